"""Arrays and plain values in one file: safetensors, with JSON in its header and checksums.

Model files and checkpoints are files of this kind. Nothing in them is run when they are
read, and what is read takes memory in proportion to the file: no size is believed that the
file does not have.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from xpnn import __version__
from xpnn.backends import InputError, is_array, to_host

# safetensors' names of the dtypes that are read. It knows more, which NumPy does not.
_DTYPES = {
    "BOOL", "U8", "I8", "U16", "I16", "F16", "U32", "I32", "F32", "U64", "I64", "F64",
}  # fmt: skip
_SEAL = ', "sha256": "'
_HEADER_BYTES = 90_000_000  # safetensors reads no header above 100 million


@dataclass(frozen=True)
class FileKind:
    """What a file of arrays is for.

    `key` names the JSON text in safetensors' metadata, which tells such files from others; `name`
    is what errors call it; `error` is raised where such a file cannot be read or written.
    """

    key: str
    name: str
    format: int
    error: type[InputError]


def _plain(value: Any) -> Any:
    """Give JSON the values of arrays and NumPy numbers."""
    if is_array(value):
        return to_host(value).tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _digest(arrays: Mapping[str, Any]) -> str:
    """Checksum of arrays with their names, dtypes and shapes."""
    sum_ = sha256()
    for name in sorted(arrays):
        array = arrays[name]
        sum_.update(f"{name!r} {array.dtype.str} {array.shape}\n".encode())
        # A view as bytes: no copy.
        sum_.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return sum_.hexdigest()


def to_json(value: Any) -> str:
    """Write plain values as JSON, arrays and NumPy's numbers among them as lists and numbers."""
    return json.dumps(value, default=_plain)


def seal(header: Mapping[str, Any]) -> str:
    """Write a header as JSON that ends with its own checksum."""
    text = to_json(header)[:-1]
    return f'{text}{_SEAL}{sha256(text.encode()).hexdigest()}"}}'


def write_arrays(
    path: str | Path,
    kind: FileKind,
    header: Mapping[str, Any],
    arrays: Mapping[str, Any],
    *,
    temp_name: str | None = None,
) -> Path:
    """Write a file of arrays, whole or not at all; see `atomic_write`.

    Raises TypeError or ValueError where JSON cannot hold something in the header.
    """
    # Not needed before: a network that is not saved loads none of it.
    from safetensors.numpy import save

    from xpnn.data.files import atomic_write

    # safetensors writes the memory as it lies, so it must lie in C order.
    tensors = {
        name: np.array(a, a.dtype.newbyteorder("="), order="C", copy=None)
        for name, a in arrays.items()
    }
    about = {"format": kind.format, "xpnn": __version__}
    text = seal({**about, **header, "arrays_sha256": _digest(tensors)})
    if len(text) > _HEADER_BYTES:
        raise kind.error(
            f"{path}: its values beside the arrays take {len(text):,} bytes; a {kind.name} has "
            f"room for {_HEADER_BYTES:,}"
        )
    content = save(tensors, metadata={kind.key: text})
    with atomic_write(path, temp_name=temp_name) as place:
        place.write_bytes(content)
    return Path(path)


@contextmanager
def _opened(path: str | Path, kind: FileKind) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open such a file: the safetensors file, and xpnn's header in it."""
    from safetensors import SafetensorError, safe_open

    if Path(path).is_dir():
        raise kind.error(f"{path}: a folder; expected a {kind.name}")
    if not Path(path).exists():  # safetensors says so without a number and a name
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        with safe_open(path, framework="numpy") as file:
            yield file, _read_header(file.metadata() or {}, kind)
    except SafetensorError as error:
        raise kind.error(f"{path}: not a safetensors file, or not whole: {error}") from error
    except kind.error as error:
        raise kind.error(f"{path}: {error}") from error
    except RecursionError as error:
        raise kind.error(f"{path}: its header is nested too deeply") from error


def _read_header(metadata: dict[str, str], kind: FileKind) -> dict[str, Any]:
    if kind.key not in metadata:
        raise kind.error(f"a safetensors file, but not a {kind.name} that xpnn wrote")
    text = metadata[kind.key]
    try:
        header = json.loads(text)
    except ValueError as error:
        raise kind.error(f"its header is not JSON: {error}") from error
    form = header.get("format") if isinstance(header, dict) else None
    if not isinstance(form, int) or isinstance(form, bool) or form < 1:
        raise kind.error(f"its header has the format {form!r}; expected {kind.format}")
    if form != kind.format:
        hint = ": install a newer xpnn" if form > kind.format else ""
        raise kind.error(
            f"its format is {form}, written by xpnn {header.get('xpnn')}; xpnn {__version__} reads "
            f"format {kind.format}{hint}"
        )
    body, _, own = text.rpartition(_SEAL)
    if own != sha256(body.encode(errors="surrogatepass")).hexdigest() + '"}':
        raise kind.error("its header is damaged: its checksum is another")
    del header["sha256"]
    return header


def read_header(path: str | Path, kind: FileKind) -> dict[str, Any]:
    """Read what a file says beside its arrays: its header, with ``format`` and ``xpnn``."""
    with _opened(path, kind) as (_, header):
        return header


def read_arrays(path: str | Path, kind: FileKind) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file of arrays: its header, and the arrays by name.

    Raises `kind.error` where the file is not whole, of another kind or format, or a bit of it
    is not what was written.
    """
    with _opened(path, kind) as (file, header):
        arrays = {}
        for name in sorted(file.keys()):
            found = file.get_slice(name).get_dtype()
            if found not in _DTYPES:
                raise kind.error(f"{name} has the type {found}; expected one of {sorted(_DTYPES)}")
            arrays[name] = file.get_tensor(name)
        if header.get("arrays_sha256") != _digest(arrays):
            raise kind.error("its arrays are damaged: their checksum is another")
    return header, arrays
