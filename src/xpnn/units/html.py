"""Tables for notebooks: small, well-formed HTML from plain text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(
    heads: Sequence[object],
    rows: Sequence[Sequence[object]],
    caption: str = "",
    *,
    words: int = 0,
    omitted: int = 0,
) -> str:
    """Write a table; every text is escaped.

    Parameters
    ----------
    heads : sequence
        Headings of the columns.
    rows : sequence of sequence
        One entry for each heading.
    caption : str, optional
        A line below.
    words : int, default 0
        Columns from the left that hold words, and are not set to the right like numbers.
    omitted : int, default 0
        Rows that are missing in the middle; a line there says so.

    Returns
    -------
    str
    """
    lines = [_row(row, words) for row in rows]
    if omitted:
        middle = f'<td colspan="{len(heads)}" {_CENTRE}>... {omitted:,} more ...</td>'
        lines.insert((len(lines) + 1) // 2, f"<tr>{middle}</tr>")
    below = f"<caption {_BELOW}>{escape(caption)}</caption>" if caption else ""
    head = "".join(f"<th{_align(i < words)}>{escape(str(h))}</th>" for i, h in enumerate(heads))
    body = "".join(lines)
    return f"<table {_RIGHT}>{below}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_BELOW = 'style="caption-side:bottom;text-align:left"'
# Notebooks pad cells themselves, and then leave the spacing out; bare pages do not.
_RIGHT = 'style="text-align:right;border-spacing:0.8em 0.1em"'
_LEFT = 'style="text-align:left"'
_CENTRE = 'style="text-align:center"'


def _align(word: bool) -> str:
    return f" {_LEFT}" if word else ""


def _row(cells: Sequence[object], words: int) -> str:
    inside = "".join(
        f"<td{_align(i < words)}>{escape(str(cell))}</td>" for i, cell in enumerate(cells)
    )
    return f"<tr>{inside}</tr>"
