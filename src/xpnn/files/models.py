"""Estimators, tabular ones among them, in model files."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator

from xpnn.backends import Device
from xpnn.estimators.files import KINDS, estimator_content, estimator_from, placed
from xpnn.export.model_file import ModelFileError

_TABULAR = ("TabularClassifier", "TabularRegressor")
_KNOWN = ", ".join(["Network", *KINDS, *_TABULAR])


def model_content(model: Any, for_inference: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a model as plain values for the header, and arrays of the host."""
    if type(model).__name__ in _TABULAR:  # not imported before somebody has one
        from xpnn.tabular.files import CLASSES, tabular_content

        if type(model) in CLASSES.values():
            return tabular_content(model, for_inference)
    _check_class(model)
    content, arrays = estimator_content(model, for_inference)
    return {"kind": "estimator", "estimator": content}, arrays


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
    if kind == "tabular":
        from xpnn.tabular.files import tabular_from

        return tabular_from(header, arrays)
    if kind != "estimator":
        raise ModelFileError(f"it holds a model of the kind {kind!r}, which is not known")
    return estimator_from(header.get("estimator"), arrays)


def place_model(
    model: Any, library: str | None, device: Device | str | None, dtype: str | None
) -> Any:
    """Bring a model that was read to a library, by default to where it was."""
    placed(getattr(model, "estimator_", model), library, device, dtype)
    return model
