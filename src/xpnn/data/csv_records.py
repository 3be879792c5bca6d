"""Separated text, cut into blocks of whole records, each checked before it is parsed.

A parser that only has good records to read makes no guesses: a short record is not filled
up, a long one not cut, and each error names its line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xpnn.backends import Array, host
from xpnn.data.files import DataFileError, open_compressed

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
MOST_COLUMNS = 50_000

_BLOCK = 1 << 22  # bytes that are read at once
_LONGEST = 1 << 24  # bytes of a record
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
_ZERO, _NINE, _POINT, _SMALL_X, _LARGE_X = b"09.xX"
_MARK = b"\xef\xbb\xbf"  # that Windows programs put before UTF-8 text


@dataclass(frozen=True)
class Block:
    """Whole records.

    Parameters
    ----------
    content : bytes
        UTF-8, ending in a newline.
    line : int
        Number of its first line in the file.
    """

    content: bytes
    line: int


def blocks(path: str | Path, max_ratio: float | None) -> Iterator[Block]:
    """Cut a file into blocks of whole records.

    Parameters
    ----------
    path : path
        Plain or packed.
    max_ratio : float, optional
        See `open_compressed`.

    Yields
    ------
    Block
        Text without NUL, not yet checked for its records.

    Raises
    ------
    DataFileError
        The text is not UTF-8, or a record has no end within 16 MiB.
    """
    line, kept, first = 1, b"", True
    with open_compressed(path, max_ratio) as file:
        while True:
            piece = file.read(_BLOCK)
            last = not piece
            if first:
                piece, first = _without_mark(path, piece), False
            kept += piece
            if last and kept and not kept.endswith(b"\n"):
                kept += b"\n"
            cut = _end_of_records(kept)
            if len(kept) - cut > _LONGEST or (last and cut < len(kept)):
                number = line + kept.count(b"\n", 0, cut)
                what = "is never closed" if last else f"or record of more than {_LONGEST:,} bytes"
                raise DataFileError(f"{path}, line {number}: a quoted field {what}")
            block, kept = kept[:cut], kept[cut:]
            if block:
                _check_text(path, block, line)
                yield Block(block, line)
            line += block.count(b"\n")
            if last:
                return


def _without_mark(path: str | Path, piece: bytes) -> bytes:
    if piece[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataFileError(f"{path}: UTF-16 text; expected UTF-8, so save it as that")
    return piece[3:] if piece.startswith(_MARK) else piece


def _end_of_records(text: bytes) -> int:
    """Place after the last newline that is not inside quotes."""
    if b'"' not in text:
        return text.rfind(b"\n") + 1
    data = host.frombuffer(text, dtype="uint8")
    quotes = host.flatnonzero(data == _QUOTE)
    ends = host.flatnonzero(data == _NEWLINE)
    outside = ends[host.searchsorted(quotes, ends) % 2 == 0]
    return int(outside[-1]) + 1 if outside.size else 0


def _check_text(path: str | Path, block: bytes, line: int) -> None:
    at, what = block.find(b"\0"), "a NUL byte"
    if at < 0:
        try:
            block.decode()
            return
        except UnicodeDecodeError as error:
            at, what = error.start, f"the byte {block[error.start]:02x}, which is not UTF-8"
    number = line + block.count(b"\n", 0, at)
    raise DataFileError(f"{path}, line {number}: {what}; expected text in UTF-8")


def check_records(path: str | Path, block: Block, separator: str, fields: int) -> int:
    """Check that each record has its fields, and count the records.

    Parameters
    ----------
    path : path
        For messages.
    block : Block
        What to check.
    separator : str
        One of `SEPARATORS`.
    fields : int
        How many each record has.

    Returns
    -------
    int
        Records; blank lines are none.

    Raises
    ------
    DataFileError
        A record has more or fewer fields, or a quote stands in the middle of a field.
    """
    data = host.frombuffer(block.content, dtype="uint8")
    mark = ord(separator)
    _check_returns(path, block, data)
    quotes = host.flatnonzero(data == _QUOTE) if b'"' in block.content else None
    if quotes is not None:
        _check_quotes(path, block, data, quotes, mark)
    starts, counts, blank = _records(data, quotes, mark)
    wrong = (counts != fields) & ~blank
    if wrong.any():
        place = int(wrong.argmax())
        number = _line(block, int(starts[place]))
        raise DataFileError(
            f"{path}, line {number}: {int(counts[place])} fields; expected {fields}, as many as "
            "there are columns"
        )
    return int(len(counts) - blank.sum())


def _records(data: Array, quotes: Array | None, mark: int) -> tuple[Array, Array, Array]:
    """Where records begin, how many fields each has, and which are blank lines."""
    marks = host.flatnonzero((data == mark) | (data == _NEWLINE))
    if quotes is not None:
        marks = marks[host.searchsorted(quotes, marks) % 2 == 0]
    ends = host.flatnonzero(data[marks] == _NEWLINE)
    stops = marks[ends]
    starts = host.concatenate([host.zeros(1, stops.dtype), stops[:-1] + 1])
    lengths = stops - starts
    blank = lengths == 0
    blank |= (lengths == 1) & (data[starts] == _RETURN)
    return starts, host.diff(ends, prepend=-1), blank


def lines_of(block: Block, separator: str) -> Array:
    """Number of the line that each record of checked text begins in; blank lines are none."""
    data = host.frombuffer(block.content, dtype="uint8")
    starts, _, blank = _records(data, host.flatnonzero(data == _QUOTE), ord(separator))
    newlines = host.flatnonzero(data == _NEWLINE)
    return block.line + host.searchsorted(newlines, starts[~blank])


def may_be_padded(block: Block) -> bool:
    """Whether a field may be a number with a zero before it: seldom so, and dear to look for."""
    data = host.frombuffer(block.content, dtype="uint8")
    zeros = host.flatnonzero(data[:-1] == _ZERO)
    # A block ends in a newline, which stands before its first byte here.
    before, after = data[zeros - 1], data[zeros + 1]
    inside = ((before >= _ZERO) & (before <= _NINE)) | (before == _POINT)
    follows = ((after >= _ZERO) & (after <= _NINE)) | (after == _SMALL_X) | (after == _LARGE_X)
    return bool((~inside & follows).any())


def _line(block: Block, at: int) -> int:
    return block.line + block.content.count(b"\n", 0, at)


def _check_returns(path: str | Path, block: Block, data: Array) -> None:
    """Refuse a carriage return that ends no line: parsers do not agree on what it is."""
    if b"\r" not in block.content:
        return
    returns = host.flatnonzero(data == _RETURN)
    alone = returns[data[returns + 1] != _NEWLINE]
    if alone.size:
        raise DataFileError(
            f"{path}, line {_line(block, int(alone[0]))}: a carriage return in the middle of a "
            "line; expected lines that end in a newline"
        )


def _check_quotes(path: str | Path, block: Block, data: Array, quotes: Array, mark: int) -> None:
    """Refuse a quote that neither begins nor ends a field, nor is doubled in a quoted one."""
    opens, closes = quotes[::2], quotes[1::2]
    before = data[opens - 1]
    good = (before == mark) | (before == _NEWLINE) | (before == _QUOTE) | (opens == 0)
    after = data[closes + 1]
    ended = (after == mark) | (after == _NEWLINE) | (after == _RETURN) | (after == _QUOTE)
    wrong = host.sort(host.concatenate([opens[~good], closes[~ended]]))
    if wrong.size:
        raise DataFileError(
            f"{path}, line {_line(block, int(wrong[0]))}: a quote in the middle of a field; "
            'expected fields with quotes as "so ""quoted""", without spaces around them'
        )


def guess_separator(first: str, ending: str) -> str:
    """Guess what separates fields from the first line and the file's ending.

    Parameters
    ----------
    first : str
        The first record.
    ending : str
        Such as '.tsv'; it decides where several would do.

    Returns
    -------
    str
        One of `SEPARATORS`: a tab for '.tsv' and '.tab', a comma for '.csv' where there is
        one, else the most frequent one outside quotes.
    """
    outside = "".join(first.split('"')[::2])
    counts = {mark: outside.count(mark) for mark in SEPARATORS}
    if ending in (".tsv", ".tab"):
        return "\t"
    best = max(counts, key=lambda mark: counts[mark])
    if counts[","] and counts[","] >= counts[best]:
        return ","
    return best if counts[best] else ","
