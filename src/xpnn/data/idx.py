"""IDX files, the format of the MNIST database: a type, sizes, and big-endian numbers."""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from xpnn.backends import Array, ArrayLike, InputError, host, to_host
from xpnn.data.files import DataFileError, atomic_write, compression, open_compressed

TYPES = {
    0x08: "uint8",
    0x09: "int8",
    0x0B: "int16",
    0x0C: "int32",
    0x0D: "float32",
    0x0E: "float64",
}

_PIECE = 1 << 20  # bytes that are unpacked at once
_MOST_DIMENSIONS = 64  # of a NumPy array
# deflate packs at most 1032 bytes into one, zstd 128 KiB into four
_BEST_RATIO = {"gzip": 1040, "zstd": 33_000}


def _read_header(path: str | Path, file: BinaryIO) -> tuple[str, tuple[int, ...]]:
    """Dtype and shape that the file says it holds."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
        known = ", ".join(f"{code:02x}" for code in TYPES)
        begins = f"begins with {magic.hex(' ')}" if magic else "is empty"
        raise DataFileError(
            f"{path}: {begins}; expected an IDX file: 00 00, a type ({known}) and the number "
            "of dimensions"
        )
    dimensions = magic[3]
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise DataFileError(
            f"{path}: {dimensions} dimensions; expected 1 to {_MOST_DIMENSIONS} in an IDX file"
        )
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataFileError(
            f"{path}: cut off after {4 + len(sizes)} bytes; expected {4 + 4 * dimensions} bytes "
            f"of header for {dimensions} dimensions"
        )
    return TYPES[magic[2]], struct.unpack(f">{dimensions}I", sizes)


def _check_size(path: str | Path, found: int, expected: int, shape: tuple[int, ...]) -> None:
    if found == expected:
        return
    what = "cut off" if found < expected else "too long"
    amount = f"{found:,}" if found < expected else f"more than {expected:,}"
    raise DataFileError(
        f"{path}: {what}: {amount} bytes of numbers; expected {expected:,} for shape {shape}"
    )


def read_idx(path: str | Path) -> Array:
    """Read an IDX file, plain or packed.

    Parameters
    ----------
    path : path
        The file; a gzip or zstd file is known by its first bytes.

    Returns
    -------
    numpy.ndarray
        In the shape that the file says, as uint8, int8, int16, int32, float32 or float64.

    Raises
    ------
    DataFileError
        It is not an IDX file, or holds fewer or more bytes than its sizes ask for.
    """
    (whole,) = iter_idx(path)
    return whole


def iter_idx(path: str | Path, rows: int | None = None) -> Iterator[Array]:
    """Read an IDX file piece by piece, `rows` entries of its first axis at a time; see `read_idx`.

    By default it comes in one piece; a file without entries gives one empty array. What only the
    end of a packed file shows is raised at its end.
    """
    with open_compressed(path) as file:
        name, shape = _read_header(path, file)
        dtype = host.dtype(name).newbyteorder(">")
        expected = math.prod(shape) * dtype.itemsize
        _check_header(path, file, shape, expected)
        count = shape[0] if rows is None else rows
        size = expected // max(shape[0], 1)
        found = 0
        for start in range(0, max(shape[0], 1), max(count, 1)):
            part = min(count, shape[0] - start)
            values = host.empty(part * size, dtype="uint8")
            found += _read_into(file, values)
            # One byte more: there must be none, and gzip compares its checksum at the end.
            if found < start * size + len(values) or found == expected:
                _check_size(path, found + len(file.read(1)), expected, shape)
            yield values.view(dtype).reshape(part, *shape[1:]).astype(name, copy=False)


def _check_header(path: str | Path, file: BinaryIO, shape: tuple[int, ...], expected: int) -> None:
    """Refuse sizes that the file cannot hold before memory is taken for them."""
    length = Path(path).stat().st_size
    packed = compression(file)
    if packed is None:
        _check_size(path, length - 4 - 4 * len(shape), expected, shape)
    elif expected > length * _BEST_RATIO[packed]:
        raise DataFileError(
            f"{path}: cut off: {length:,} packed bytes cannot hold the {expected:,} bytes of "
            f"numbers of shape {shape}"
        )
    if math.prod(n for n in shape if n) > 1 << 59:
        raise DataFileError(f"{path}: shape {shape} is larger than an array can be")


def _read_into(file: BinaryIO, values: Array) -> int:
    """Fill an array of bytes as far as the file goes."""
    found = 0
    while found < len(values):
        piece = file.read(min(_PIECE, len(values) - found))
        if not piece:
            break
        values[found : found + len(piece)] = host.frombuffer(piece, dtype="uint8")
        found += len(piece)
    return found


def write_idx(path: str | Path, array: ArrayLike) -> Path:
    """Write an array as an IDX file.

    Parameters
    ----------
    path : path
        Packed with gzip where it ends in ``.gz``.
    array : array_like, at least 1-d
        As uint8, int8, int16, int32, float32 or float64.

    Returns
    -------
    Path
        Where it is.

    Raises
    ------
    ValueError
        The format has no such dtype or shape.
    """
    values = to_host(array)
    codes = {name: code for code, name in TYPES.items()}
    if values.dtype.name not in codes:
        raise InputError(f"array has dtype {values.dtype}; expected one of {', '.join(codes)}")
    if values.ndim < 1 or max(values.shape) >= 1 << 32:
        raise InputError(f"array has shape {values.shape}; expected 1 or more sizes below 2**32")
    header = struct.pack(
        f">BBBB{values.ndim}I", 0, 0, codes[values.dtype.name], values.ndim, *values.shape
    )
    content = header + values.astype(values.dtype.newbyteorder(">")).tobytes()
    with atomic_write(path) as beside:
        # No time stamp: the same numbers give the same file.
        packed = gzip.compress(content, 6, mtime=0) if beside.suffix == ".gz" else content
        beside.write_bytes(packed)
    return Path(path)
