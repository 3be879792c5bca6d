"""Data: readers that name the file and the line of what is wrong, streams, handwritten digits."""

from xpnn.data.digits_csv import read_digits_csv
from xpnn.data.files import DataFileError, reading, replacing
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

__all__ = [
    "BlockShuffle",
    "DataFileError",
    "Mnist",
    "MnistFiles",
    "Source",
    "ascii_digit",
    "digit_targets",
    "fetch_mnist",
    "find_mnist",
    "load_mnist",
    "read_digits_csv",
    "read_idx",
    "reading",
    "replacing",
    "scale_pixels",
    "square_picture",
    "stream",
    "write_idx",
]
