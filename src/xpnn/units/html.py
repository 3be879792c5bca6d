"""Tables for notebooks: small, well-formed HTML from plain text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_LEFT = 'style="text-align:left"'
# Notebooks pad cells themselves, and then leave the spacing out; bare pages do not.
_TABLE = 'style="text-align:right;border-spacing:0.8em 0.1em"'


def html_table(
    heads: Sequence[object],
    rows: Sequence[Sequence[object]],
    caption: str = "",
    *,
    words: int = 0,
    omitted: int = 0,
) -> str:
    """Write a table; every text is escaped.

    The first `words` columns hold words, which are set to the left. A line in the middle says
    how many rows were `omitted` there.
    """

    def cells(tag: str, values: Sequence[object]) -> str:
        styles = [f" {_LEFT}" if i < words else "" for i in range(len(values))]
        texts = (
            f"<{tag}{style}>{escape(str(value))}</{tag}>"
            for style, value in zip(styles, values, strict=True)
        )
        return f"<tr>{''.join(texts)}</tr>"

    lines = [cells("td", row) for row in rows]
    if omitted:
        cell = f'<td colspan="{len(heads)}" style="text-align:center">... {omitted:,} more ...</td>'
        lines.insert((len(lines) + 1) // 2, f"<tr>{cell}</tr>")
    below = 'style="caption-side:bottom;text-align:left"'
    caption = f"<caption {below}>{escape(caption)}</caption>" if caption else ""
    head, body = f"<thead>{cells('th', heads)}</thead>", f"<tbody>{''.join(lines)}</tbody>"
    return f"<table {_TABLE}>{caption}{head}{body}</table>"
