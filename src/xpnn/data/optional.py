"""Packages of the extras: imported when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

from xpnn.backends import MissingExtraError


def import_optional(module: str, extra: str = "tables") -> Any:
    """Import a module of an extra; where it is missing, the error says how to install the extra."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        raise MissingExtraError(
            f'this needs {package}, which is not installed: pip install "xpnn[{extra}]"',
            name=package,
        ) from error
