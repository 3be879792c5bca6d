"""Data: tables and digits, and readers that name the file and the line of what is wrong."""

from xpnn.data.columns import Column, describe, learn_columns
from xpnn.data.digits_csv import read_digits_csv
from xpnn.data.files import DataFileError, atomic_write, open_compressed
from xpnn.data.idx import read_idx, write_idx
from xpnn.data.mnist import (
    Mnist,
    MnistFiles,
    ascii_digit,
    digit_targets,
    fetch_mnist,
    find_mnist,
    load_mnist,
    scale_pixels,
    square_picture,
)
from xpnn.data.streams import BlockShuffle, Source, stream
from xpnn.data.tables import line_of_row, read_table, stream_table, table_format

__all__ = [
    "BlockShuffle",
    "Column",
    "DataFileError",
    "Mnist",
    "MnistFiles",
    "Source",
    "ascii_digit",
    "atomic_write",
    "describe",
    "digit_targets",
    "fetch_mnist",
    "find_mnist",
    "learn_columns",
    "line_of_row",
    "load_mnist",
    "open_compressed",
    "read_digits_csv",
    "read_idx",
    "read_table",
    "scale_pixels",
    "square_picture",
    "stream",
    "stream_table",
    "table_format",
    "write_idx",
]
