"""Fitted perceptrons in model files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from xpnn.backends import Backend, Device, device_name, dtype_name, to_host
from xpnn.estimators.perceptron import Perceptron
from xpnn.estimators.plain import read, write
from xpnn.export.model_file import ModelFileError
from xpnn.units.perceptron_history import Epoch, PerceptronHistory

_DTYPES = ("float16", "float32", "float64")


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _floats(axes: int) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, np.ndarray) and v.ndim == axes and v.dtype.kind == "f"


# Fitted attributes and what they may be.
_FITTED: dict[str, Callable[[Any], bool]] = {
    "coef_": _floats(2),
    "intercept_": _floats(1),
    "classes_": lambda v: isinstance(v, np.ndarray) and v.ndim == 1 and len(v) > 1,
    "n_features_in_": _count,
    "n_iter_": _count,
    "t_": lambda v: isinstance(v, float) and v >= 0,
    "converged_": lambda v: isinstance(v, bool),
    "_library": lambda v: isinstance(v, str),
    "_device_name": lambda v: isinstance(v, str),
    "_dtype_name": lambda v: v in _DTYPES,
}
_NAMES = "feature_names_in_"  # of a model fitted on a frame


def perceptron_content(
    model: Perceptron, for_inference: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a fitted perceptron as plain values and arrays.

    Of `history_` the updates of each epoch are written, and not the examples that made them.
    """
    if not hasattr(model, "coef_"):
        raise ModelFileError("the Perceptron is not fitted; call fit, and save it then")
    arrays: dict[str, Any] = {}
    state = {name: vars(model)[name] for name in [*_FITTED, _NAMES] if name in vars(model)}
    coef = state["coef_"]
    state["coef_"] = to_host(coef.toarray() if issparse(coef) else coef)
    state["intercept_"] = to_host(state["intercept_"])
    given = model.get_params()
    content: dict[str, Any] = {
        "parameters": {key: write(given[key], key, arrays) for key in sorted(given)},
        "fitted": {key: write(value, key, arrays) for key, value in state.items()},
    }
    if not for_inference:
        history = model.history_
        content["epochs"] = write(
            [(epoch.number, epoch.units, epoch.updates) for epoch in history], "epochs", arrays
        )
        content["stopped"] = history.stopped
    return {"perceptron": content}, arrays


def perceptron_from(header: dict[str, Any], arrays: dict[str, Any]) -> Perceptron:
    """Make a perceptron of what `perceptron_content` gave."""
    try:
        return _perceptron_from(header["perceptron"], arrays)
    except ModelFileError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"the perceptron cannot be made: {error}") from error


def _perceptron_from(content: dict[str, Any], arrays: dict[str, Any]) -> Perceptron:
    model = Perceptron(**{k: read(v, k, arrays) for k, v in content["parameters"].items()})
    model._validate_params()
    for name, fits in _FITTED.items():
        value = read(content["fitted"][name], name, arrays)
        if not fits(value):
            raise ModelFileError(f"{name} is {value!r}, which no Perceptron has")
        setattr(model, name, value)
    if _NAMES in content["fitted"]:
        model.feature_names_in_ = read(content["fitted"][_NAMES], _NAMES, arrays)
    classes = len(model.classes_)
    units = 1 if classes == 2 else classes
    expected = {"coef_": (units, model.n_features_in_), "intercept_": (units,)}
    for name, shape in expected.items():
        found = getattr(model, name)
        if found.shape != shape or found.dtype != model._dtype_name:
            raise ModelFileError(
                f"{name} has shape {found.shape} and type {found.dtype}; expected {shape} and "
                f"{model._dtype_name}"
            )
    labels = model.classes_.tolist()
    model.history_ = PerceptronHistory(tuple(labels[-units:]))
    model.history_.converged = model.converged_
    model.history_.stopped = bool(content.get("stopped", False))
    for number, fired, updates in read(content.get("epochs", []), "epochs", arrays):
        model.history_.epochs.append(Epoch(int(number), tuple(fired), tuple(map(int, updates))))
    check_is_fitted(model)
    return model


def place_perceptron(
    model: Perceptron, backend: Backend | str | None, device: Device | str | None, dtype: str | None
) -> Perceptron:
    """Bring a perceptron that was read to where it shall be: by default, to where it was."""
    if isinstance(backend, Backend):
        device = backend.device if device is None else device
        dtype = dtype or dtype_name(backend.dtype)
        backend = backend.name
    if dtype is not None:
        if dtype not in _DTYPES:
            raise ValueError(
                f"dtype={dtype!r} is not one of estimators; expected one of {', '.join(_DTYPES)}"
            )
        model._dtype_name = dtype
        model.coef_, model.intercept_ = (
            part.astype(dtype, copy=False) for part in (model.coef_, model.intercept_)
        )
    if backend is not None:
        model._library, model._device_name = "numpy", "cpu"
        named = device is None or isinstance(device, str)
        return model.to(backend, device if named else device_name(device))
    if model._library != "numpy":
        model.restore_device()
    return model
