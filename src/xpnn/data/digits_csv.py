"""Digits as text: ``label,p0,...,p783``, one record a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xpnn.backends import Array, host
from xpnn.data.files import DataFileError, open_compressed

PIXELS = 784

_FIELDS = PIXELS + 1
_BLOCK = 1 << 21  # bytes that are parsed at once
_LONGEST = 1 << 16  # bytes of a line; a record takes at most 3140
_COMMA, _NEWLINE, _ZERO, _NINE = b",\n09"


def _parse_block(block: bytes) -> Array | None:
    """Parse whole lines of plain numbers; None where anything in them is unusual."""
    text = host.frombuffer(block, dtype="uint8")
    ends = host.flatnonzero(text < _ZERO)
    if ends.size % _FIELDS or text.max() > _NINE:
        return None
    marks = text[ends].reshape(-1, _FIELDS)
    if (marks[:, :-1] != _COMMA).any() or (marks[:, -1] != _NEWLINE).any():
        return None
    lengths = host.diff(ends, prepend=-1) - 1
    if lengths.min() < 1 or lengths.max() > 3:
        return None
    digits = (text - _ZERO).astype("int16")
    # Before the first fields lie the block's last bytes; their lengths rule those out.
    values = digits[ends - 1]
    values += 10 * digits[ends - 2] * (lengths > 1)
    values += 100 * digits[ends - 3] * (lengths > 2)
    values = values.reshape(-1, _FIELDS)
    if values.max() > 255 or values[:, 0].max() > 9:
        return None
    return values.astype("uint8")


def _number(text: str, most: int) -> int | None:
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        return None
    return int(text) if int(text) <= most else None


def _parse_line(line: bytes, where: str) -> list[int]:
    """Parse one record, and say exactly what is wrong with it."""
    fields = line.decode("latin-1").split(",")
    if len(fields) != _FIELDS:
        raise DataFileError(
            f"{where}: {len(fields)} fields; expected {_FIELDS}: a label and {PIXELS} pixels"
        )
    values = []
    for column, text in enumerate(fields, start=1):
        value = _number(text, 9 if column == 1 else 255)
        if value is None:
            shown = text if len(text) <= 40 else f"{text[:37]}..."
            what = "a label 0 to 9" if column == 1 else "a pixel, a whole number 0 to 255"
            raise DataFileError(f"{where}, column {column}: found {shown!r}; expected {what}")
        values.append(value)
    return values


def _parse_lines(block: bytes, path: str | Path, first: int) -> Array:
    """Parse lines one by one: slow, but spaces and blank lines are welcome."""
    lines = enumerate(block.split(b"\n"), start=first)
    rows = [_parse_line(line, f"{path}, line {i}") for i, line in lines if line.strip()]
    return host.asarray(rows, dtype="uint8").reshape(-1, _FIELDS)


def _blocks(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Whole lines ending in a newline, and the number of the first of them."""
    number, kept = 1, b""
    with open_compressed(path) as file:
        while True:
            piece = file.read(_BLOCK)
            kept += piece
            if number == 1 and kept.startswith(b"\xef\xbb\xbf"):
                kept = kept[3:]  # the mark that Windows programs put before UTF-8 text
            cut = kept.rfind(b"\n") + 1 if piece else len(kept)
            if len(kept) - cut > _LONGEST:
                last = number + kept.count(b"\n")
                raise DataFileError(
                    f"{path}, line {last}: longer than {_LONGEST:,} bytes; expected a record "
                    f"of {_FIELDS} fields"
                )
            block, kept = kept[:cut], kept[cut:]
            if block:
                yield number, block
            number += block.count(b"\n")
            if not piece:
                return


def read_digits_csv(path: str | Path) -> tuple[Array, Array]:
    """Read handwritten digits from a CSV file, plain or gzipped.

    Parameters
    ----------
    path : path
        One record a line, ``label,p0,...,p783``; a first line ``label,...`` of names,
        blank lines and Windows line ends are accepted.

    Returns
    -------
    images : numpy.ndarray of uint8, shape (n, 784)
        Rows of the 28x28 pictures one after the other; 255 is ink.
    labels : numpy.ndarray of int64, shape (n,)
        The digits 0 to 9.

    Raises
    ------
    DataFileError
        A record is not of this form (the message names line and column), or there is none.
    """
    table = host.concatenate(list(iter_digits(path)))
    return table[:, 1:].copy(), table[:, 0].astype("int64")


def iter_digits(path: str | Path) -> Iterator[Array]:
    """Read handwritten digits piece by piece: uint8 (n, 785), labels in the first column.

    See `read_digits_csv`.
    """
    empty = True
    for number, block in _blocks(path):
        block = block.replace(b"\r\n", b"\n")
        if number == 1 and block[:6].lstrip(b'"').lower().startswith(b"label"):
            number, block = 2, block[block.find(b"\n") + 1 or len(block) :]
        whole = block.rstrip()
        if not whole:
            continue
        table = _parse_block(whole + b"\n")
        empty = False
        yield _parse_lines(block, path, number) if table is None else table
    if empty:
        raise DataFileError(f"{path}: no records; expected lines label,p0,...,p{PIXELS - 1}")
