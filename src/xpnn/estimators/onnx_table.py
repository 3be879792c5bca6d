"""A table's preprocessing as ONNX nodes: raw columns in, features out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnn.data.cells import MISSING
from xpnn.estimators.onnx_steps import Block, Part
from xpnn.estimators.table_columns import scaling
from xpnn.export.onnx_graph import Graph

NO_DATE = int(np.iinfo(np.int64).min)
"""A date that is missing, as NumPy writes NaT."""

_LARGEST = float(np.finfo(np.float32).max)
_DAY = 86400


def table_inputs(codes: Sequence[Any]) -> list[str]:
    """Names of the columns that are inputs: all that are not ignored."""
    return [code.column.name for code in codes if code.column.kind != "ignored"]


def add_table(graph: Graph, codes: Sequence[Any]) -> str:
    """Declare an input of shape (n, 1) for each column, and turn them into features."""
    values = {}
    for code in codes:
        name, kind = code.column.name, code.column.kind
        if kind == "category":
            values[name] = graph.input(name, object, 1)
        elif kind != "ignored":
            values[name] = graph.input(name, np.int64 if kind == "date" else np.float64, 1)
    numbers = [code for code in codes if code.column.parts]
    parts = _add_numbers(graph, numbers, values) if numbers else []
    for code in codes:
        if code.column.kind == "category":
            parts.append(_add_category(graph, code, values[code.column.name]))
    return Block(graph, "float32", tuple(part for part in parts if part.width)).matrix()


def _add_numbers(graph: Graph, codes: Sequence[Any], values: dict[str, str]) -> list[Part]:
    """Fill in, scale, and say where something was missing."""
    raw = []
    for code in codes:
        value = values[code.column.name]
        dates = code.column.kind == "date"
        raw += _add_date(graph, value, code.column.hours) if dates else [Part(value, 1)]
    block = Block(graph, "float64", tuple(raw))
    table = block.matrix()
    missing = graph.add("Or", graph.add("IsNaN", table), graph.add("IsInf", table))
    *numbers, flagged = scaling(codes)
    fill, mean, scale = map(block.row, numbers)
    table = graph.add("Where", missing, fill, table)
    table = graph.add("Div", graph.add("Sub", table, mean), scale)
    table = graph.add("Clip", table, block.number(-_LARGEST), block.number(_LARGEST))
    parts = [Part(graph.cast(table, np.float32), block.width)]
    if flagged:
        flags = Block(graph, "float32", (Part(graph.cast(missing, np.float32), block.width),))
        parts += flags.take(flagged).parts
    return parts


def _add_category(graph: Graph, code: Any, value: str) -> Part:
    """A feature for each value, and one for all others where there is such."""
    count = len(code.categories)
    other = count if code.rare else -1
    places = {word: i for i, word in enumerate(code.categories)}
    # What the table's reader takes for nothing is the same here; "" stands for it.
    for word in MISSING:
        places[word] = places.get("", other)
    place = graph.add(
        "LabelEncoder", value, ml=True, keys_strings=list(places),
        values_int64s=list(places.values()), default_int64=other,
    )  # fmt: skip
    width = count + bool(code.rare)
    hot = graph.add("Equal", place, graph.constant(np.arange(width, dtype=np.int64)[None]))
    return Part(graph.cast(hot, np.float32), width)


def _add_date(graph: Graph, seconds: str, hours: bool) -> list[Part]:
    """Year, month, weekday and days since 1970, and the hour, as float64.

    The calendar is that of Hinnant, "chrono-compatible low-level date algorithms" (2014),
    ``civil_from_days``: years begin in March, and 400 of them have 146,097 days.
    """

    def whole(number: int) -> str:
        return graph.constant(np.asarray(number, np.int64))

    def remainder(a: str, b: int) -> str:
        return graph.add("Mod", a, whole(b))  # of the sign of b, as in Python

    def divided(a: str, b: int) -> str:
        return graph.add("Div", graph.add("Sub", a, remainder(a, b)), whole(b))

    def plus(a: str, b: int) -> str:
        return graph.add("Add", a, whole(b))

    def times(a: str, b: int) -> str:
        return graph.add("Mul", a, whole(b))

    none = graph.add("Equal", seconds, whole(NO_DATE))
    seconds = graph.add("Where", none, whole(0), seconds)
    day = divided(seconds, _DAY)
    z = plus(day, 719468)
    in_era = remainder(z, 146097)
    fixed = graph.add("Sub", in_era, divided(in_era, 1460))
    fixed = graph.add("Add", fixed, divided(in_era, 36524))
    year = divided(graph.add("Sub", fixed, divided(in_era, 146096)), 365)
    leap = graph.add("Sub", divided(year, 4), divided(year, 100))
    in_year = graph.add("Sub", in_era, graph.add("Add", times(year, 365), leap))
    march = divided(plus(times(in_year, 5), 2), 153)  # 0 in March
    month = plus(remainder(plus(march, 2), 12), 1)
    early = graph.cast(graph.add("Less", month, whole(3)), np.int64)
    year = graph.add("Add", graph.add("Add", year, times(divided(z, 146097), 400)), early)
    found = [year, month, remainder(plus(day, 3), 7)]

    def real(value: str, divisor: int = 1) -> Part:
        value = graph.cast(value, np.float64)
        if divisor != 1:
            value = graph.add("Div", value, graph.constant(np.asarray(float(divisor))))
        nothing = graph.constant(np.asarray(np.nan))
        return Part(graph.add("Where", none, nothing, value), 1)

    parts = [*map(real, found), real(seconds, _DAY)]
    return [*parts, real(remainder(seconds, _DAY), 3600)] if hours else parts
