"""Names of columns in messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence


def listed(names: Sequence[object], most: int = 12) -> str:
    """Names as text, the first of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def repeated(names: Iterable[str]) -> str | None:
    """The first name that is there twice."""
    return next((name for name, count in Counter(names).items() if count > 1), None)
