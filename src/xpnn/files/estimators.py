"""Fitted estimators of every kind in model files."""

from __future__ import annotations

from typing import Any

from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from xpnn.backends import Backend, Device
from xpnn.estimators.classifier import MLPClassifier
from xpnn.estimators.files import estimator_content, estimator_from, placed
from xpnn.estimators.perceptron import Perceptron
from xpnn.estimators.regressor import MLPRegressor
from xpnn.estimators.table_model import TableModel
from xpnn.export.model_file import ModelFileError
from xpnn.files.kinds import Kind, Values
from xpnn.files.perceptrons import perceptron_content, perceptron_from, place_perceptron
from xpnn.files.pipelines import pipeline_content, pipeline_from, place_pipeline


def _estimator_content(model: Any, for_inference: bool) -> tuple[Values, Values]:
    content, arrays = estimator_content(model, for_inference)
    return {"estimator": content}, arrays


def _estimator_from(header: Values, arrays: Values) -> Any:
    return estimator_from(header.get("estimator"), arrays)


def _table_content(model: TableModel, for_inference: bool) -> tuple[Values, Values]:
    content, arrays = estimator_content(model.estimator, for_inference)
    return {"table": model.to_config(), "estimator": content}, arrays


def _table_from(header: Values, arrays: Values) -> TableModel:
    estimator = _estimator_from(header, arrays)
    try:
        return TableModel.from_config(header.get("table"), estimator)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"the table's model cannot be made: {error}") from error


def _place_table(
    model: TableModel, backend: Backend | str | None, device: Device | str | None, dtype: str | None
) -> TableModel:
    placed(model.estimator, backend, device, dtype)
    return model


KINDS: dict[str, Kind] = {
    "estimator": Kind((MLPClassifier, MLPRegressor), _estimator_content, _estimator_from, placed),
    "perceptron": Kind((Perceptron,), perceptron_content, perceptron_from, place_perceptron),
    "table": Kind((TableModel,), _table_content, _table_from, _place_table),
    "pipeline": Kind(
        (Pipeline, TransformedTargetRegressor), pipeline_content, pipeline_from, place_pipeline
    ),
}
"""Name in a file's header -> kind, of all but networks."""


def kind_of_model(model: Any) -> str:
    """Find the kind of a model.

    Raises
    ------
    ModelFileError
        No kind holds its class.
    """
    for name, kind in KINDS.items():
        if type(model) in kind.classes:
            return name
    known = ["Network"] + [cls.__name__ for kind in KINDS.values() for cls in kind.classes]
    raise ModelFileError(
        f"a {type(model).__module__}.{type(model).__name__} cannot be saved; expected one of "
        f"{', '.join(known)}"
    )
