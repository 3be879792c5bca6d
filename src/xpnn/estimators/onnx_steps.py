"""scikit-learn's fitted preprocessing as ONNX nodes.

Written with operators that onnxruntime has in double precision: those of ai.onnx.ml that
scale and fill in are for single precision only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils.validation import check_is_fitted

from xpnn.export.onnx_graph import Graph, OnnxError

_EXACT = 2**53  # whole numbers that float64 holds


# Columns on their way


@dataclass(frozen=True)
class Part:
    """Neighbouring columns in one value of shape (n, width)."""

    value: str
    width: int
    text: bool = False


@dataclass(frozen=True)
class Block:
    """Columns in order."""

    graph: Graph
    dtype: str
    parts: tuple[Part, ...]

    @property
    def width(self) -> int:
        """Number of columns."""
        return sum(part.width for part in self.parts)

    def number(self, value: float) -> str:
        """Constant in the dtype of the columns."""
        return self.graph.constant(np.asarray(value, self.dtype))

    def row(self, values: Any) -> str:
        """Constant with a number for each column."""
        return self.graph.constant(np.asarray(values, self.dtype).reshape(1, -1))

    def matrix(self) -> str:
        """All columns, which hold numbers, in one value."""
        if len(self.parts) == 1:
            return self.parts[0].value
        return self.graph.add("Concat", *(part.value for part in self.parts), axis=1)

    def take(self, places: Sequence[int]) -> Block:
        """Columns by their numbers; neighbours stay together."""
        if list(places) == list(range(self.width)):
            return self
        owners = [(part, i) for part in self.parts for i in range(part.width)]
        runs: list[tuple[Part, list[int]]] = []
        for part, i in (owners[place] for place in places):
            if runs and runs[-1][0] is part:
                runs[-1][1].append(i)
            else:
                runs.append((part, [i]))
        return Block(self.graph, self.dtype, tuple(self._cut(part, run) for part, run in runs))

    def _cut(self, part: Part, columns: list[int]) -> Part:
        if columns == list(range(part.width)):
            return part
        numbers = self.graph.constant(np.asarray(columns, np.int64))
        cut = self.graph.add("Gather", part.value, numbers, axis=1)
        return Part(cut, len(columns), part.text)

    def columns(self) -> list[Part]:
        """Each column on its own."""
        return [self.take([i]).parts[0] for i in range(self.width)]

    def of(self, *parts: Part) -> Block:
        """Other columns in the same graph."""
        return Block(self.graph, self.dtype, parts)

    def of_matrix(self, value: str) -> Block:
        """As many numbers in one value."""
        return self.of(Part(value, self.width))


# Scaling


def _shift_and_scale(block: Block, shift: Any, scale: Any) -> Block:
    """``(x - shift) / scale``, where there are such."""
    value = block.matrix()
    if shift is not None:
        value = block.graph.add("Sub", value, block.row(shift))
    if scale is not None:
        value = block.graph.add("Div", value, block.row(scale))
    return block.of_matrix(value)


def _add_standard(step: Any, block: Block) -> Block:
    return _shift_and_scale(
        block, step.mean_ if step.with_mean else None, step.scale_ if step.with_std else None
    )


def _add_robust(step: Any, block: Block) -> Block:
    return _shift_and_scale(
        block,
        step.center_ if step.with_centering else None,
        step.scale_ if step.with_scaling else None,
    )


def _add_min_max(step: Any, block: Block) -> Block:
    graph = block.graph
    value = graph.add("Mul", block.matrix(), block.row(step.scale_))
    value = graph.add("Add", value, block.row(step.min_))
    if step.clip:
        low, high = step.feature_range
        value = graph.add("Clip", value, block.number(low), block.number(high))
    return block.of_matrix(value)


def _add_function(step: Any, block: Block) -> Block:
    if step.func is not None:
        raise OnnxError(
            f"a FunctionTransformer with the function {step.func!r} cannot be written as ONNX: "
            "it is code"
        )
    return block


def _is_word(value: Any) -> bool:
    """Whether a category is text."""
    return isinstance(value, str)


def _is_nothing(value: Any) -> bool:
    """Whether a category stands for a missing value: None, NaN or pandas' NA."""
    return value is None or type(value).__name__ == "NAType" or value != value


# Missing values


def _missing(block: Block, part: Part, marker: Any) -> str:
    """Truth values: where a column holds the marker of the missing ones."""
    graph = block.graph
    if part.text:
        # A tensor has no text that is missing: the empty one stands for it.
        words = [""] if _is_nothing(marker) else [str(marker)]
        found = graph.add(
            "LabelEncoder", part.value, ml=True, keys_strings=words, values_int64s=[1],
            default_int64=0,
        )  # fmt: skip
        return graph.cast(found, np.bool_)
    if _is_nothing(marker):
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


def _add_imputer(step: Any, block: Block) -> Block:
    """Add a fitted `SimpleImputer`."""
    statistics = np.asarray(step.statistics_)
    keeps = step.keep_empty_features
    kept = [i for i, value in enumerate(statistics) if keeps or not _is_nothing(value)]
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
    words = {str(w): i for i, w in enumerate(known) if not _is_nothing(w)}
    for i, value in enumerate(known):
        if _is_nothing(value):
            if "" in words:
                raise OnnxError(
                    "a column has both a missing value and empty text among its categories; in "
                    "ONNX empty text stands for the missing value"
                )
            words[""] = i
        elif not _is_word(value):
            raise OnnxError(f"a column has the category {value!r} beside text; expected text only")
    return graph.add(
        "LabelEncoder", part.value, ml=True, keys_strings=list(words),
        values_int64s=list(words.values()), default_int64=unknown,
    )  # fmt: skip


def _codes_of_numbers(block: Block, part: Part, known: Any, unknown: int) -> str:
    graph = block.graph
    empty = [_is_nothing(value) for value in known]
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


def _add_one_hot(step: Any, block: Block) -> Block:
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


def _add_ordinal(step: Any, block: Block) -> Block:
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


# Steps


def _add_pipeline(step: Any, block: Block) -> Block:
    for _, inner in step.steps:
        block = _add_step(inner, block)
    return block


def _add_columns(step: Any, block: Block) -> Block:
    if step.transformer_weights:
        raise OnnxError("a ColumnTransformer with transformer_weights cannot be written as ONNX")
    parts: list[Part] = []
    for name, inner, _ in step.transformers_:
        places = list(step._transformer_to_input_indices[name])
        if places and not (isinstance(inner, str) and inner == "drop"):
            parts += _add_step(inner, block.take(places)).parts
    return block.of(*parts)


STEPS: dict[type, Callable[[Any, Block], Block]] = {
    StandardScaler: _add_standard,
    MinMaxScaler: _add_min_max,
    MaxAbsScaler: lambda step, block: _shift_and_scale(block, None, step.scale_),
    RobustScaler: _add_robust,
    SimpleImputer: _add_imputer,
    OneHotEncoder: _add_one_hot,
    OrdinalEncoder: _add_ordinal,
    FunctionTransformer: _add_function,
    Pipeline: _add_pipeline,
    ColumnTransformer: _add_columns,
}


_SCALERS = (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler)


def _add_step(step: Any, block: Block) -> Block:
    """Add a fitted step."""
    if _passes(step):
        return block
    _known(step)
    check_is_fitted(step)
    if isinstance(step, _SCALERS) and any(part.text for part in block.parts):
        raise OnnxError(f"{type(step).__name__} is handed text; expected numbers")
    return STEPS[type(step)](step, block)


def _passes(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


def _known(step: Any) -> None:
    if type(step) not in STEPS:
        raise OnnxError(
            f"a step of the class {type(step).__module__}.{type(step).__name__} cannot be written "
            f"as ONNX; expected one of {', '.join(kind.__name__ for kind in STEPS)}"
        )


def _holds_text(step: Any, width: int) -> list[bool | None]:
    """Say which of its columns a fitted step takes for text."""
    if _passes(step):
        return [False] * width
    _known(step)
    if isinstance(step, ColumnTransformer):
        return _texts_of_columns(step, width)
    if isinstance(step, Pipeline):
        looking = [inner for _, inner in step.steps if not _passes(inner)]
        return _holds_text(looking[0] if looking else None, width)
    if isinstance(step, OneHotEncoder | OrdinalEncoder):
        return [any(map(_is_word, known)) for known in step.categories_]
    if isinstance(step, SimpleImputer):
        return [_is_word(value) for value in step.statistics_]
    return [False] * width


def _texts_of_columns(step: Any, width: int) -> list[bool | None]:
    found: list[bool | None] = [None] * width
    for name, inner, _ in step.transformers_:
        places = list(step._transformer_to_input_indices[name])
        if not places or (isinstance(inner, str) and inner == "drop"):
            continue
        for place, text in zip(places, _holds_text(inner, len(places)), strict=True):
            if text is not None and found[place] not in (None, text):
                raise OnnxError(
                    f"column {place} is taken for text by one step and for numbers by another; "
                    "expected one of the two"
                )
            found[place] = text if found[place] is None else found[place]
    return found


def _add_inputs(graph: Graph, first: Any, dtype: str) -> Block:
    """Declare the inputs: one for each column of a frame, or one for all of an array."""
    _known(first)
    check_is_fitted(first)
    width = int(first.n_features_in_)
    texts = _holds_text(first, width)
    of_columns = isinstance(first, ColumnTransformer)
    if not of_columns and len(set(texts)) == 1:
        value = graph.input("X", object if texts[0] else dtype, width)
        return Block(graph, dtype, (Part(value, width, bool(texts[0])),))
    names = getattr(first, "feature_names_in_", None) if of_columns else None
    if names is None:
        names = [f"X{i}" for i in range(width)]
    parts = []
    for name, text in zip(names, texts, strict=True):
        # What no step looks at is no input; its place is kept, and nobody reads it.
        value = "" if text is None else graph.input(str(name), object if text else dtype, 1)
        parts.append(Part(value, 1, bool(text)))
    return Block(graph, dtype, tuple(parts))


def add_steps(graph: Graph, steps: list[Any], dtype: str) -> str:
    """Add the inputs that the first of several steps takes, and all the steps."""
    block = _add_inputs(graph, steps[0], dtype)
    for step in steps:
        block = _add_step(step, block)
    return block.matrix()
