"""scikit-learn's fitted preprocessing as ONNX nodes.

Written with operators that onnxruntime has in double precision: those of ai.onnx.ml that
scale and fill in are for single precision only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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

from xpnn.estimators.onnx_blocks import Block, Part
from xpnn.estimators.onnx_encoders import add_imputer, add_one_hot, add_ordinal, is_word
from xpnn.export.onnx_graph import Graph, OnnxError


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


def _add_pipeline(step: Any, block: Block) -> Block:
    for _, inner in step.steps:
        block = add_step(inner, block)
    return block


def _add_columns(step: Any, block: Block) -> Block:
    if step.transformer_weights:
        raise OnnxError("a ColumnTransformer with transformer_weights cannot be written as ONNX")
    parts: list[Part] = []
    for name, inner, _ in step.transformers_:
        places = list(step._transformer_to_input_indices[name])
        if places and not (isinstance(inner, str) and inner == "drop"):
            parts += add_step(inner, block.take(places)).parts
    return block.of(*parts)


STEPS: dict[type, Callable[[Any, Block], Block]] = {
    StandardScaler: _add_standard,
    MinMaxScaler: _add_min_max,
    MaxAbsScaler: lambda step, block: _shift_and_scale(block, None, step.scale_),
    RobustScaler: _add_robust,
    SimpleImputer: add_imputer,
    OneHotEncoder: add_one_hot,
    OrdinalEncoder: add_ordinal,
    FunctionTransformer: _add_function,
    Pipeline: _add_pipeline,
    ColumnTransformer: _add_columns,
}


_SCALERS = (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler)


def add_step(step: Any, block: Block) -> Block:
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


def holds_text(step: Any, width: int) -> list[bool | None]:
    """Say which of its columns a fitted step takes for text."""
    if _passes(step):
        return [False] * width
    _known(step)
    if isinstance(step, ColumnTransformer):
        return _texts_of_columns(step, width)
    if isinstance(step, Pipeline):
        looking = [inner for _, inner in step.steps if not _passes(inner)]
        return holds_text(looking[0] if looking else None, width)
    if isinstance(step, OneHotEncoder | OrdinalEncoder):
        return [any(map(is_word, known)) for known in step.categories_]
    if isinstance(step, SimpleImputer):
        return [is_word(value) for value in step.statistics_]
    return [False] * width


def _texts_of_columns(step: Any, width: int) -> list[bool | None]:
    found: list[bool | None] = [None] * width
    for name, inner, _ in step.transformers_:
        places = list(step._transformer_to_input_indices[name])
        if not places or (isinstance(inner, str) and inner == "drop"):
            continue
        for place, text in zip(places, holds_text(inner, len(places)), strict=True):
            if text is not None and found[place] not in (None, text):
                raise OnnxError(
                    f"column {place} is taken for text by one step and for numbers by another; "
                    "expected one of the two"
                )
            found[place] = text if found[place] is None else found[place]
    return found


def _names(step: Any, width: int) -> list[str]:
    """Names of the columns that a fitted step saw."""
    names = getattr(step, "feature_names_in_", None)
    return [f"X{i}" for i in range(width)] if names is None else list(map(str, names))


def _add_inputs(graph: Graph, first: Any, dtype: str) -> Block:
    """Declare the inputs: one for each column of a frame, or one for all of an array."""
    _known(first)
    check_is_fitted(first)
    width = int(first.n_features_in_)
    texts = holds_text(first, width)
    names = _names(first, width) if isinstance(first, ColumnTransformer) else []
    if not names and len(set(texts)) == 1:
        value = graph.input("X", object if texts[0] else dtype, width)
        return Block(graph, dtype, (Part(value, width, bool(texts[0])),))
    names = names or [f"X{i}" for i in range(width)]
    parts = []
    for name, text in zip(names, texts, strict=True):
        # What no step looks at is no input; its place is kept, and nobody reads it.
        value = "" if text is None else graph.input(name, object if text else dtype, 1)
        parts.append(Part(value, 1, bool(text)))
    return Block(graph, dtype, tuple(parts))


def add_steps(graph: Graph, steps: list[Any], dtype: str) -> str:
    """Add the inputs that the first of several steps takes, and all the steps."""
    block = _add_inputs(graph, steps[0], dtype)
    for step in steps:
        block = add_step(step, block)
    return block.matrix()
