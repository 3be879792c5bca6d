"""Packages that tables need and xpnn does not: imported when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

EXTRA = "tables"


def need(module: str) -> Any:
    """Import a module of the extra ``tables``.

    Parameters
    ----------
    module : str
        Its full name, such as 'pyarrow.csv'.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        It is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        raise ImportError(
            f'tables need {package}, which is not installed: pip install "xpnn[{EXTRA}]"',
            name=package,
        ) from error
