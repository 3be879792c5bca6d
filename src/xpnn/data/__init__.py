"""Data: tables and digits, and readers that name the file and the line of what is wrong.

Parts are imported when they are first asked for: a network needs none of the readers.
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "BlockShuffle": "xpnn.data.streams",
    "Column": "xpnn.data.columns",
    "DataFileError": "xpnn.data.files",
    "Mnist": "xpnn.data.mnist",
    "MnistFiles": "xpnn.data.mnist",
    "Source": "xpnn.data.streams",
    "ascii_digit": "xpnn.data.mnist",
    "describe": "xpnn.data.columns",
    "digit_targets": "xpnn.data.mnist",
    "fetch_mnist": "xpnn.data.mnist",
    "find_mnist": "xpnn.data.mnist",
    "learn_columns": "xpnn.data.columns",
    "line_of_row": "xpnn.data.tables",
    "load_mnist": "xpnn.data.mnist",
    "read_digits_csv": "xpnn.data.digits_csv",
    "read_idx": "xpnn.data.idx",
    "read_table": "xpnn.data.tables",
    "open_compressed": "xpnn.data.files",
    "atomic_write": "xpnn.data.files",
    "scale_pixels": "xpnn.data.mnist",
    "square_picture": "xpnn.data.mnist",
    "stream": "xpnn.data.sources",
    "stream_table": "xpnn.data.tables",
    "table_format": "xpnn.data.tables",
    "write_idx": "xpnn.data.idx",
}

__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'xpnn.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value
