"""What is told to the caller: warnings that point at its line, and lines that may get lost."""

from __future__ import annotations

import contextlib
import sys
import warnings

_INSIDE = ("xpnn", "sklearn", "contextlib", "joblib")


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and show the first line outside of this library as the place."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _INSIDE:
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def print_line(text: str) -> None:
    """Print a line, or lose it where nothing can be printed: no training ends over a line."""
    with contextlib.suppress(OSError, ValueError):  # a closed pipe, another codec, a closed file
        print(text)
