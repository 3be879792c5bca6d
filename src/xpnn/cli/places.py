"""Places for what a command writes: looked at before the work, not after it."""

from __future__ import annotations

import os
from pathlib import Path


def check_place(path: Path, option: str) -> None:
    """Refuse a file that could not be written.

    Parameters
    ----------
    path : Path
        Where it shall be; its folder is made when it is written.
    option : str
        The option that says so.

    Raises
    ------
    ValueError
        It is a folder, or nothing can be written there.
    """
    if path.is_dir():
        raise ValueError(f"{option} is '{path}', a folder; expected a file")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(f"{option} is '{path}', but nothing can be written in {folder}")


def check_picture(path: Path, option: str) -> None:
    """Refuse a picture that could not be written, or of an unknown kind.

    Raises
    ------
    ValueError
        As `check_place`, or its ending is not one of those that can be drawn.
    """
    from xpnn.plots.figure import ENDINGS

    check_place(path, option)
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"{option} is '{path}'; expected one that ends in {', '.join(ENDINGS)}")
