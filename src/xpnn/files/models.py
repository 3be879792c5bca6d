"""Estimators and tables' models in model files."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator

from xpnn.backends import Device
from xpnn.estimators.files import KINDS, estimator_content, estimator_from, placed
from xpnn.estimators.table_model import TableModel
from xpnn.export.model_file import ModelFileError, wrap_errors

_KNOWN = ", ".join(["Network", *KINDS, TableModel.__name__])


def model_content(model: Any, for_inference: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a model as plain values for the header, and arrays of the host."""
    if type(model) is not TableModel:
        _check_class(model)
        content, arrays = estimator_content(model, for_inference)
        return {"kind": "estimator", "estimator": content}, arrays
    if model.target is None:
        raise ModelFileError("the TableModel is not fitted; call fit, and save it then")
    _check_class(model.estimator)
    content, arrays = estimator_content(model.estimator, for_inference)
    return {"kind": "table", "table": model.to_config(), "estimator": content}, arrays


def _check_class(model: Any) -> None:
    """Refuse what a model file has no place for."""
    kind = type(model)
    if kind in KINDS.values():
        return
    hint = ""
    if isinstance(model, BaseEstimator):
        hint = ". skops.io.dump writes pipelines and other estimators, those of xpnn in them too"
    raise ModelFileError(
        f"a {kind.__module__}.{kind.__name__} cannot be saved; expected one of {_KNOWN}{hint}"
    )


def model_from(header: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """Make a model of what `model_content` gave, on the host."""
    kind = header["kind"]
    if kind not in ("estimator", "table"):
        raise ModelFileError(f"it holds a model of the kind {kind!r}, which is not known")
    estimator = estimator_from(header.get("estimator"), arrays)
    if kind == "estimator":
        return estimator
    with wrap_errors("the table's model"):
        return TableModel.from_config(header.get("table"), estimator)


def place_model(
    model: Any, library: str | None, device: Device | str | None, dtype: str | None
) -> Any:
    """Bring a model that was read to a library, by default to where it was."""
    placed(model.estimator if isinstance(model, TableModel) else model, library, device, dtype)
    return model
