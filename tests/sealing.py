"""Model files and checkpoints with something in them changed, and their checksums right."""

from __future__ import annotations

import json

from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from xpnn.data.arrays_file import _digest, seal


def header_of(path, key="xpnn"):
    """The header as JSON gives it."""
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()[key])


def write_sealed(path, header, arrays, key="xpnn"):
    """Write a file whose checksums fit, whatever is in it; a text is written as it is."""
    text = header
    if not isinstance(header, str):
        if isinstance(header, dict):
            header = {k: v for k, v in header.items() if k != "sha256"}
            header["arrays_sha256"] = _digest(arrays)
        text = seal(header) if isinstance(header, dict) else json.dumps(header)
    save_file(arrays, path, metadata={key: text})
    return path


def edited(path, target, change=None, arrays=None, key="xpnn"):
    """A copy of a file; `change` gets the header and gives another, `arrays` changes arrays."""
    header, tensors = header_of(path, key), load_file(path)
    if change is not None:
        header = change(header)
    if arrays is not None:
        arrays(tensors)
    return write_sealed(target, header, tensors, key)
