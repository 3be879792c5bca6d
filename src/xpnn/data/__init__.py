"""Data: tables and digits, and readers that name the file and the line of what is wrong.

Parts are imported when they are first asked for: a network needs none of the readers.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "digits_csv": ("read_digits_csv",),
    "files": ("DataFileError", "atomic_write", "open_compressed"),
    "idx": ("read_idx", "write_idx"),
    "mnist": (
        "Mnist", "MnistFiles", "ascii_digit", "digit_targets", "fetch_mnist", "find_mnist",
        "load_mnist", "scale_pixels", "square_picture",
    ),
    "sources": ("stream",),
    "streams": ("BlockShuffle", "Source"),
}  # fmt: skip
_WHERE = {name: f"xpnn.data.{module}" for module, names in _NAMES.items() for name in names}

__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'xpnn.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value
