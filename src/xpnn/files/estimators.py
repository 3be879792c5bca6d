"""Estimators, tables' models and pipelines in model files: all that scikit-learn is needed for."""

from __future__ import annotations

from typing import Any

from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from xpnn.backends import Device
from xpnn.estimators.files import KINDS, estimator_content, estimator_from, placed
from xpnn.estimators.table_model import TableModel
from xpnn.export.model_file import ModelFileError, making
from xpnn.files.pipelines import estimators_in, pipeline_content, pipeline_from

Values = dict[str, Any]
_CLASSES = (*KINDS.values(), TableModel, Pipeline, TransformedTargetRegressor)


def model_content(model: Any, for_inference: bool) -> tuple[Values, Values]:
    """Write a model as plain values for the header, and arrays of the host."""
    if type(model) not in _CLASSES:
        known = ", ".join(["Network", *(kind.__name__ for kind in _CLASSES)])
        raise ModelFileError(
            f"a {type(model).__module__}.{type(model).__name__} cannot be saved; expected one of "
            f"{known}"
        )
    if isinstance(model, Pipeline | TransformedTargetRegressor):
        content, arrays = pipeline_content(model, for_inference)
        return {"kind": "pipeline", "pipeline": content}, arrays
    if isinstance(model, TableModel):
        content, arrays = estimator_content(model.estimator, for_inference)
        return {"kind": "table", "table": model.to_config(), "estimator": content}, arrays
    content, arrays = estimator_content(model, for_inference)
    return {"kind": "estimator", "estimator": content}, arrays


def model_from(header: Values, arrays: Values) -> Any:
    """Make a model of what `model_content` gave, on the host."""
    kind = header["kind"]
    if kind == "pipeline":
        return pipeline_from(header.get("pipeline"), arrays)
    if kind not in ("estimator", "table"):
        raise ModelFileError(f"it holds a model of the kind {kind!r}, which is not known")
    estimator = estimator_from(header.get("estimator"), arrays)
    if kind == "estimator":
        return estimator
    with making("the table's model"):
        return TableModel.from_config(header.get("table"), estimator)


def place_model(
    model: Any, library: str | None, device: Device | str | None, dtype: str | None
) -> Any:
    """Bring the estimators in a model that was read to a library, by default to where they were."""
    for estimator in estimators_in(model):
        placed(estimator, library, device, dtype)
    return model
