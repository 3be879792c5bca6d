"""Tabular estimators as ONNX models: raw columns in, predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnn.estimators.onnx_export import add_estimator
from xpnn.estimators.onnx_steps import Block, Part
from xpnn.export.onnx_file import check_dtype
from xpnn.export.onnx_graph import Graph, OnnxError, check_opset, write
from xpnn.tabular.cells import NO_SECONDS
from xpnn.tabular.columns import Column
from xpnn.tabular.preprocessor import CLIP, LARGEST, flagged_of, rows_of

_DAY = 86400


def tabular_to_onnx(
    model: Any, path: str | Path | None, *, opset: int | None, dtype: str | None, doc: str
) -> Any:
    """Make an ONNX model of a fitted tabular estimator; see `xpnn.estimators.to_onnx`."""
    network = model.estimator_
    graph, columns = Graph(check_opset(opset)), model.preprocessor_.used_columns
    for column in columns:
        if column.kind == "text":
            raise OnnxError(
                f"column {column.name!r} is text, whose words ONNX cannot find; fit without it: "
                f'column_types={{"{column.name}": "ignored"}}'
            )
        if column.flag and "" in (*column.values, *column.rare):
            raise OnnxError(
                f"column {column.name!r} has missing cells and empty texts, which ONNX cannot tell "
                "apart; make them one"
            )
    chosen = check_dtype(dtype, network._fitted_network().dtype)
    x = _add_columns(graph, columns)
    x = x if chosen == "float32" else graph.cast(x, chosen)
    classes = getattr(model, "classes_", None)
    units = None
    if classes is None:
        mean, scale = model._shift
        units = (float(scale), float(mean))
    add_estimator(graph, network, x, chosen, units, classes)
    properties = {
        "feature_names": [column.name for column in columns],
        "class_names": None if classes is None else [str(label) for label in classes],
        "target": [getattr(model, "target_name_", None) or "target"],
    }
    return write(graph.model("xpnn", doc or repr(model), properties), path)


def _add_columns(graph: Graph, columns: Sequence[Column]) -> str:
    """Declare an input of shape (n, 1) for each column, and turn them into features."""
    values: dict[str, str] = {}
    for column in columns:
        kinds: dict[str, Any] = {"categorical": object, "datetime": np.int64}
        values[column.name] = graph.input(column.name, kinds.get(column.kind, np.float64), 1)
    numbers = [column for column in columns if column.parts]
    parts = _add_numbers(graph, numbers, values) if numbers else []
    for column in columns:
        if column.kind == "categorical":
            parts += _add_category(graph, column, values[column.name])
    return Block(graph, "float32", tuple(part for part in parts if part.width)).matrix()


def _add_numbers(graph: Graph, columns: Sequence[Column], values: dict[str, str]) -> list[Part]:
    """Fill in, scale, clip softly, and say where something was missing."""
    raw = []
    for column in columns:
        value = values[column.name]
        dates = column.kind == "datetime"
        if column.kind == "boolean":
            value = _truth(graph, value)
        raw += _add_date(graph, value, column.hours) if dates else [Part(value, 1)]
    block = Block(graph, "float64", tuple(raw))
    table = block.matrix()
    missing = graph.add("IsNaN", table)
    rows, soft = rows_of(columns)
    fill, center, scale = (block.row(rows[name]) for name in ("fill", "center", "scale"))
    low, high = block.number(-LARGEST), block.number(LARGEST)
    table = graph.add("Where", missing, fill, table)
    table = graph.add("Div", graph.add("Sub", table, center), scale)
    table = graph.add("Clip", table, low, high)
    part = graph.add("Div", table, block.number(CLIP))
    root = graph.add("Sqrt", graph.add("Add", block.number(1.0), graph.add("Mul", part, part)))
    softened = graph.add("Div", table, root)
    table = graph.add("Where", graph.constant(np.asarray(soft)[None]), softened, table)
    parts = [Part(graph.cast(table, np.float32), block.width)]
    if flagged := flagged_of(columns):
        flags = Block(graph, "float32", (Part(graph.cast(missing, np.float32), block.width),))
        parts += flags.take(flagged).parts
    return parts


def _truth(graph: Graph, value: str) -> str:
    """Zero and one, and NaN for all else, which is missing."""
    numbers = [graph.constant(np.asarray(float(number))) for number in (0, 1)]
    known = graph.add("Or", *(graph.add("Equal", value, number) for number in numbers))
    return graph.add("Where", known, value, graph.constant(np.asarray(np.nan)))


def _add_category(graph: Graph, column: Column, value: str) -> list[Part]:
    """A feature for each value, one for all others, and one for missing, where there are such."""
    count = len(column.values)
    other, absent = (count if column.other else -1), -2
    places = {"": absent} | {word: i for i, word in enumerate(column.values)}
    place = graph.add(
        "LabelEncoder", value, ml=True, keys_strings=list(places),
        values_int64s=list(places.values()), default_int64=other,
    )  # fmt: skip
    wanted = [*range(count + column.other), *([absent] if column.flag else [])]
    hot = graph.add("Equal", place, graph.constant(np.asarray(wanted, np.int64)[None]))
    return [Part(graph.cast(hot, np.float32), len(wanted))]


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

    none = graph.add("Equal", seconds, whole(NO_SECONDS))
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
