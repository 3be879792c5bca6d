"""What was learned about each column, as plain values: numbers that go into a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xpnn.backends import InputError
from xpnn.data.columns import KINDS, Column
from xpnn.data.dates import FORMS

FORMAT = 1


@dataclass(frozen=True)
class ColumnCode:
    """A column and how its cells turn into numbers.

    Parameters
    ----------
    column : Column
        What it is taken for.
    fill, mean, scale : tuple of float
        For each of the column's numbers: what stands for a missing one, and what is taken
        off and divided by.
    flag : bool
        Whether a feature says where the column had nothing.
    categories : tuple of str
        Values with a feature each, sorted; an empty text is the missing value.
    rare : bool
        Whether a feature stands for all other values, known and unknown.
    """

    column: Column
    fill: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    flag: bool = False
    categories: tuple[str, ...] = ()
    rare: bool = False

    def to_config(self) -> dict[str, Any]:
        """All of it as plain values, without what is empty."""
        given = {**vars(self.column), **{k: v for k, v in vars(self).items() if k != "column"}}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
        return {k: v for k, v in plain.items() if v or k in ("name", "kind")}


_COLUMN = {
    "name": str, "kind": str, "missing": int, "distinct": int, "words": str, "form": str,
    "hours": bool, "reason": str,
}  # fmt: skip
_CODE = {"fill": float, "mean": float, "scale": float, "flag": bool, "categories": str}
_LISTS = ("words", "fill", "mean", "scale", "categories")
_FIELDS: dict[str, type] = {**_COLUMN, **_CODE, "rare": bool}


def _value(where: str, name: str, value: Any) -> Any:
    """One field of a column, held against its type."""
    kind = _FIELDS.get(name)
    if kind is None:
        raise InputError(f"{where} has the field {name!r}; expected {', '.join(_FIELDS)}")
    if name not in _LISTS:
        return _plain(f"{where}: {name}", value, kind)
    if not isinstance(value, list | tuple):
        raise InputError(f"{where}: {name} is {value!r}; expected a list")
    return tuple(_plain(f"{where}: {name}", entry, kind) for entry in value)


def _plain(what: str, value: Any, kind: type) -> Any:
    allowed: Any = (int, float) if kind is float else (kind,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{what} is {value!r}; expected a {kind.__name__}")
    if kind is not float:
        return value
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"{what} is {value!r}; expected a finite number")
    return number


def code_from_config(config: Any, place: int) -> ColumnCode:
    """Make a column's code from what `ColumnCode.to_config` gave.

    Parameters
    ----------
    config : dict
        Plain values.
    place : int
        Number of the column, for messages.

    Returns
    -------
    ColumnCode

    Raises
    ------
    ValueError
        A field is not known, missing, of another type, or contradicts another.
    """
    where = f"preprocessing, column {place}"
    if not isinstance(config, Mapping) or not {"name", "kind"} <= set(config):
        raise InputError(f"{where} is {str(config)[:80]}; expected its name and kind")
    given = {name: _value(where, str(name), value) for name, value in config.items()}
    where = f"preprocessing, column {given['name']!r}"
    column = Column(**{k: v for k, v in given.items() if k in _COLUMN})
    code = ColumnCode(column, **{k: v for k, v in given.items() if k not in _COLUMN})
    if column.kind not in KINDS:
        raise InputError(f"{where}: kind is {column.kind!r}; expected one of {', '.join(KINDS)}")
    if column.kind == "date" and column.form not in FORMS:
        raise InputError(f"{where}: form is {column.form!r}; expected one of {', '.join(FORMS)}")
    for name in ("missing", "distinct"):
        if getattr(column, name) < 0:
            raise InputError(f"{where}: {name} is {getattr(column, name)}; expected 0 or more")
    _check_numbers(where, code)
    _check_categories(where, code)
    return code


def _check_numbers(where: str, code: ColumnCode) -> None:
    parts = len(code.column.parts)
    for name in ("fill", "mean", "scale"):
        if len(getattr(code, name)) != parts:
            raise InputError(
                f"{where}: {name} has {len(getattr(code, name))} numbers; expected {parts} for a "
                f"column of the kind {code.column.kind!r}"
            )
    if not all(s > 0 for s in code.scale):
        raise InputError(f"{where}: scale is {list(code.scale)}; expected numbers above 0")
    if code.flag and not parts:
        raise InputError(f"{where}: flag is True, but it has no numbers")


def _check_categories(where: str, code: ColumnCode) -> None:
    names, kind = code.categories, code.column.kind
    if kind != "category":
        if names or code.rare:
            raise InputError(f"{where}: a column of the kind {kind!r} has categories")
        return
    if not names and not code.rare:
        raise InputError(f"{where}: a category without categories")
    if list(names) != sorted(set(names)):
        raise InputError(f"{where}: its categories are not sorted, or one is there twice")


def codes_from_config(config: Any) -> tuple[ColumnCode, ...]:
    """Read the codes of all columns.

    Parameters
    ----------
    config : dict
        ``{"format": 1, "columns": [...]}``.

    Returns
    -------
    tuple of ColumnCode

    Raises
    ------
    ValueError
        It is not what `ColumnCode.to_config` gives, or of a newer format.
    """
    if not isinstance(config, Mapping) or set(config) != {"format", "columns"}:
        raise InputError(f"preprocessing is {str(config)[:80]}; expected a format and columns")
    form = config["format"]
    if isinstance(form, bool) or not isinstance(form, int) or form < 1:
        raise InputError(f"preprocessing has the format {form!r}; expected {FORMAT}")
    if form > FORMAT:
        raise InputError(
            f"preprocessing has the format {form}; this xpnn reads up to {FORMAT}: install a newer "
            "one"
        )
    if not isinstance(config["columns"], list | tuple):
        raise InputError("preprocessing has columns that are no list")
    codes = tuple(code_from_config(c, i) for i, c in enumerate(config["columns"], start=1))
    check_names([code.column.name for code in codes])
    if not any(code.column.kind != "ignored" for code in codes):
        raise InputError("preprocessing leaves all columns out")
    return codes


def check_names(names: Sequence[str]) -> None:
    """Refuse two columns of one name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"there are two columns {name!r}; expected different names")
        seen.add(name)
