"""Categories and missing values as ONNX nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnn.estimators.onnx_blocks import Block, Part
from xpnn.export.onnx_graph import OnnxError

_EXACT = 2**53  # whole numbers that float64 holds


def is_word(value: Any) -> bool:
    """Whether a category is text."""
    return isinstance(value, str)


def is_nothing(value: Any) -> bool:
    """Whether a category stands for a missing value: None, NaN or pandas' NA."""
    return value is None or type(value).__name__ == "NAType" or value != value


# Filling in


def _missing(block: Block, part: Part, marker: Any) -> str:
    """Truth values: where a column holds the marker of the missing ones."""
    graph = block.graph
    if part.text:
        # A tensor has no text that is missing: the empty one stands for it.
        words = [""] if is_nothing(marker) else [str(marker)]
        found = graph.add(
            "LabelEncoder", part.value, ml=True, keys_strings=words, values_int64s=[1],
            default_int64=0,
        )  # fmt: skip
        return graph.cast(found, np.bool_)
    if is_nothing(marker):
        return graph.add("IsNaN", part.value)
    if not isinstance(marker, int | float | np.number):
        raise OnnxError(f"SimpleImputer: missing_values is {marker!r} in a column of numbers")
    return graph.add("Equal", part.value, block.number(float(marker)))


def _fill(block: Block, part: Part, missing: str, values: Any) -> Part:
    """Put values in place of missing ones."""
    if part.text:
        fill = block.graph.constant(np.asarray([[str(v) for v in values]], object))
    else:
        fill = block.row([float(v) for v in values])
    return Part(block.graph.add("Where", missing, fill, part.value), part.width, part.text)


def add_imputer(step: Any, block: Block) -> Block:
    """Add a fitted `SimpleImputer`."""
    statistics = np.asarray(step.statistics_)
    keeps = step.keep_empty_features
    kept = [i for i, value in enumerate(statistics) if keeps or not is_nothing(value)]
    parts, masks, at = [], [], 0
    if len(kept) < block.width:
        block = block.of(*block.columns())
    for part in block.parts:
        places = range(at, at + part.width)
        at += part.width
        mask = _missing(block, part, step.missing_values)
        masks.append(Part(block.graph.cast(mask, block.dtype), part.width))
        if places[0] in kept:
            parts.append(_fill(block, part, mask, statistics[list(places)]))
    if step.add_indicator:
        flags = block.of(*masks).take([int(i) for i in step.indicator_.features_])
        parts += flags.parts
    return block.of(*parts)


# Encoding


def _codes(block: Block, part: Part, known: Any, unknown: int) -> str:
    """Number of each value in the list of categories, int64 of shape (n, 1)."""
    graph = block.graph
    if not part.text:
        return _codes_of_numbers(block, part, known, unknown)
    words = {str(w): i for i, w in enumerate(known) if not is_nothing(w)}
    for i, value in enumerate(known):
        if is_nothing(value):
            if "" in words:
                raise OnnxError(
                    "a column has both a missing value and empty text among its categories; in "
                    "ONNX empty text stands for the missing value"
                )
            words[""] = i
        elif not is_word(value):
            raise OnnxError(f"a column has the category {value!r} beside text; expected text only")
    return graph.add(
        "LabelEncoder", part.value, ml=True, keys_strings=list(words),
        values_int64s=list(words.values()), default_int64=unknown,
    )  # fmt: skip


def _codes_of_numbers(block: Block, part: Part, known: Any, unknown: int) -> str:
    graph = block.graph
    empty = [is_nothing(value) for value in known]
    try:
        numbers = [0.0 if gone else float(v) for v, gone in zip(known, empty, strict=True)]
    except (TypeError, ValueError, OverflowError) as error:
        raise OnnxError(f"a column has categories that are no numbers: {error}") from error
    if any(abs(n) > _EXACT for n in numbers):
        raise OnnxError(f"a column has a category beyond {_EXACT}, which float64 cannot hold")
    same = graph.add("Equal", part.value, block.row(numbers))
    if any(empty):
        same = graph.add("And", same, graph.constant(~np.asarray([empty])))
        nothing = graph.add("And", graph.add("IsNaN", part.value), graph.constant([empty]))
        same = graph.add("Or", same, nothing)
    hits = graph.cast(same, np.int32)
    place = graph.add("ArgMax", hits, axis=1, keepdims=1)
    found = graph.cast(
        graph.add("ReduceMax", hits, graph.constant(np.asarray([1])), keepdims=1), np.bool_
    )
    return graph.add("Where", found, place, graph.constant(np.asarray(unknown, np.int64)))


def _look_up(block: Block, part: Part, known: Any, table: Any, other: Any) -> str:
    """Find what a table has for each category, and `other` for an unknown one.

    Where `other` is None, an unknown category points behind the table: the runtime fails.
    """
    codes = _codes(block, part, known, len(known))
    table = table if other is None else np.append(table, other)
    return block.graph.add("Gather", block.graph.constant(table), codes, axis=0)


def _grouped(step: Any, i: int) -> tuple[Any, int, int | None]:
    """Number of each category once rare ones are one; how many; which one the rare ones are."""
    known = step.categories_[i]
    rare = getattr(step, "infrequent_categories_", None)
    rare = None if rare is None else rare[i]
    if rare is None:
        return np.arange(len(known)), len(known), None
    members = set(map(repr, rare.tolist()))  # as text: NaN is unlike itself
    frequent = [k for k, value in enumerate(known.tolist()) if repr(value) not in members]
    numbers = np.full(len(known), len(frequent), np.int64)
    numbers[frequent] = np.arange(len(frequent))
    return numbers, len(frequent) + 1, len(frequent)


def add_one_hot(step: Any, block: Block) -> Block:
    """Add a fitted `OneHotEncoder`; with handle_unknown='error' the runtime fails too."""
    graph, parts = block.graph, []
    for i, part in enumerate(block.columns()):
        table, count, rare = _grouped(step, i)
        kept = list(range(count))
        if step.drop_idx_ is not None and step.drop_idx_[i] is not None:
            kept.remove(int(table[step.drop_idx_[i]]))
        other: int | None = -1
        if step.handle_unknown == "error":
            other = None
        elif step.handle_unknown != "ignore" and rare is not None:
            other = rare
        code = _look_up(block, part, step.categories_[i], table, other)
        hot = graph.add("Equal", code, graph.constant(np.asarray([kept], np.int64)))
        if kept:
            parts.append(Part(graph.cast(hot, block.dtype), len(kept)))
    return block.of(*parts)


def add_ordinal(step: Any, block: Block) -> Block:
    """Add a fitted `OrdinalEncoder`; with handle_unknown='error' the runtime fails too."""
    parts = []
    for i, part in enumerate(block.columns()):
        table, _, _ = _grouped(step, i)
        values = table.astype(block.dtype)
        for place, value in enumerate(step.categories_[i]):
            if isinstance(value, float) and value != value:  # but not None
                values[place] = step.encoded_missing_value
        other = None
        if step.handle_unknown == "use_encoded_value":
            other = np.asarray(step.unknown_value, block.dtype)
        parts.append(Part(_look_up(block, part, step.categories_[i], values, other), 1))
    return block.of(*parts)
