"""Warnings that point at the caller's line, however deep they are raised."""

from __future__ import annotations

import sys
import warnings

_INSIDE = ("xpnn", "sklearn", "contextlib", "joblib")


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and show the first line outside of this library as the place.

    Parameters
    ----------
    message : str
        What to say.
    category : type of Warning, default UserWarning
        Which kind.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _INSIDE:
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
