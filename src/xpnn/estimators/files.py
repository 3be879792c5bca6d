"""Fitted estimators as model files."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from xpnn.backends import (
    HOST_NAMESPACE,
    Backend,
    Device,
    dtype_name,
    host,
    scalar,
    to_host,
)
from xpnn.engine.trees import leaves, map_tree
from xpnn.estimators.classifier import MLPClassifier
from xpnn.estimators.learner import Kept
from xpnn.estimators.moving import land, move
from xpnn.estimators.plain import read, write
from xpnn.estimators.rates import Rates
from xpnn.estimators.regressor import MLPRegressor
from xpnn.export.model_file import ModelFileError, check_arrays
from xpnn.optimizers import Optimizer, Schedule
from xpnn.optimizers.scaled import Scaled
from xpnn.training.precision import PLAIN, Precision

KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (MLPClassifier, MLPRegressor)}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _widths(value: Any) -> bool:
    return isinstance(value, list) and all(_count(v) and v > 0 for v in value)


def _texts(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "O"


# Fitted attributes and what they may be; those in the first table are always there.
_NEEDED: dict[str, Any] = {
    "_hidden": _widths,
    "n_features_in_": lambda v: _count(v) and v > 0,
    "n_outputs_": lambda v: _count(v) and v > 0,
    "_activation": lambda v: True,  # the structure cannot be made of a wrong one
    "_dropout": lambda v: True,
    "_library": lambda v: isinstance(v, str),
    "_device_name": lambda v: isinstance(v, str),
    "_dtype_name": lambda v: v in ("float16", "float32", "float64"),
    "out_activation_": lambda v: v in ("identity", "logistic", "softmax", "exp"),
    "n_iter_": _count,
    "t_": _count,
    "stopped_": lambda v: isinstance(v, bool),
}
_POSSIBLE: dict[str, Any] = {
    "loss_": _number,
    "loss_curve_": _numbers,
    "validation_loss_curve_": _numbers,
    "validation_scores_": lambda v: v is None or _numbers(v),
    "best_validation_score_": lambda v: v is None or _number(v),
    "best_loss_": lambda v: v is None or _number(v),
    "_no_improvement_count": _count,
    "feature_names_in_": _texts,
    "classes_": lambda v: isinstance(v, np.ndarray) and v.ndim == 1 and len(v) > 0,
}
_BINARIZER: dict[str, Any] = {
    "y_type_": lambda v: v in ("binary", "multiclass", "multilabel-indicator"),
    "sparse_input_": lambda v: isinstance(v, bool),
}
_RATES: dict[str, Any] = {
    "schedule": lambda v: v is None or isinstance(v, Schedule),
    "first": _number,
    "now": _number,
    "mode": lambda v: v in ("constant", "invscaling", "adaptive"),
    "power": _number,
    "taken": _count,
    "losses": _numbers,
}


# Writing


def estimator_content(
    model: Any, for_inference: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a fitted estimator as plain values and arrays.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor
        Fitted, or made by `initialize`.
    for_inference : bool, default False
        Whether to leave out what only further training needs.

    Returns
    -------
    content : dict
    arrays : dict of str to numpy.ndarray

    Raises
    ------
    ModelFileError
        It is not fitted, or a parameter cannot be saved.
    """
    name = type(model).__name__
    if not hasattr(model, "coefs_"):
        raise ModelFileError(f"the {name} is not fitted; call fit, and save it then")
    try:
        model._validate_params()
        model._make_objective()
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"the {name} cannot be saved: {error}") from error
    arrays: dict[str, Any] = {}
    given = model.get_params()
    del given["distributed"]  # where a training ran is nothing that a model is made of
    parameters = {key: write(given[key], key, arrays) for key in sorted(given)}
    fitted = {
        key: write(getattr(model, key), key, arrays)
        for key in [*_NEEDED, *_POSSIBLE]
        if hasattr(model, key)
    }
    content = {"class": name, "parameters": parameters, "fitted": fitted}
    binarizer = vars(model).get("_label_binarizer")
    if binarizer is not None:
        content["labels"] = {key: write(getattr(binarizer, key), key, {}) for key in _BINARIZER}
    model._theta()
    for kind in ("coefs", "intercepts"):
        parts = getattr(model, f"{kind}_")
        arrays |= {f"{kind}.{i}": to_host(part) for i, part in enumerate(parts)}
    if for_inference:
        return content, arrays
    if model._best_theta is not None:
        arrays["best"] = to_host(model._best_theta)
    kept = vars(model).get("_kept")
    if kept is not None:
        content["optimizer"] = write(kept.optimizer, "optimizer", {})
        if kept.precision != PLAIN:
            content["precision"] = write(kept.precision, "precision", {})
        content["rates"] = {key: write(getattr(kept.rates, key), key, {}) for key in _RATES}
        # The first of its arrays is the parameters once more.
        for i, leaf in enumerate(leaves(kept.carry())[1:]):
            arrays[f"state.{i}"] = to_host(leaf)
    return content, arrays


# Reading


def estimator_from(content: Any, arrays: dict[str, Any]) -> Any:
    """Make an estimator of what `estimator_content` gave; its arrays stay on the host.

    Raises
    ------
    ModelFileError
        There is something in it that no estimator has.
    """
    try:
        return _estimator_from(content, arrays)
    except ModelFileError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"the estimator cannot be made: {error}") from error


def _estimator_from(content: Any, arrays: dict[str, Any]) -> Any:
    _check_content(content)
    kind = KINDS[content["class"]]
    model = kind(**{k: read(v, k, arrays) for k, v in content["parameters"].items()})
    model._validate_params()
    fitted = content["fitted"]
    for name, fits in [*_NEEDED.items(), *_POSSIBLE.items()]:
        if name in fitted:
            value = read(fitted[name], name, arrays)
            if not fits(value):
                raise ModelFileError(f"{name} is {value!r}, which no estimator has")
            setattr(model, name, value)
        elif name in _NEEDED:
            raise ModelFileError(f"{name} is missing")
    model.n_layers_ = len(model._hidden) + 2
    if kind is MLPClassifier:
        _read_labels(model, content.get("labels"), arrays)
    model._objective = model._make_objective()
    _read_theta(model, arrays)
    if "optimizer" in content:
        _read_state(model, content, arrays)
    return model


def _check_content(content: Any) -> None:
    if not isinstance(content, dict) or content.get("class") not in KINDS:
        what = content.get("class") if isinstance(content, dict) else content
        raise ModelFileError(f"the estimator is a {what!r}; expected one of {', '.join(KINDS)}")
    for part in ("parameters", "fitted"):
        if not isinstance(content.get(part), dict):
            raise ModelFileError(f"its {part} are {str(content.get(part))[:80]}")


def _read_part(values: Any, checks: dict[str, Any], name: str, arrays: Any) -> dict[str, Any]:
    if not isinstance(values, dict) or set(values) != set(checks):
        raise ModelFileError(f"its {name} are {str(values)[:80]}; expected {', '.join(checks)}")
    found = {key: read(v, key, arrays) for key, v in values.items()}
    wrong = [key for key, fits in checks.items() if not fits(found[key])]
    if wrong:
        raise ModelFileError(f"{wrong[0]} of its {name} is {found[wrong[0]]!r}")
    return found


def _read_labels(model: Any, values: Any, arrays: dict[str, Any]) -> None:
    found = _read_part(values, _BINARIZER, "labels", arrays)
    if not hasattr(model, "classes_"):
        raise ModelFileError("classes_ is missing")
    count = len(model.classes_)
    if model.n_outputs_ != count and not (model.n_outputs_ == 1 and count <= 2):
        raise ModelFileError(f"there are {count} classes and {model.n_outputs_} outputs")
    binarizer = LabelBinarizer()
    vars(binarizer).update(found, classes_=model.classes_)
    model._label_binarizer = binarizer


def _read_theta(model: Any, arrays: dict[str, Any]) -> None:
    structure, dtype = model._structure, model._dtype_name
    shapes = {f"coefs.{i}": p.shape for i, p in enumerate(structure.weights)}
    shapes |= {f"intercepts.{i}": p.shape for i, p in enumerate(structure.biases)}
    own = {k: v for k, v in arrays.items() if k.startswith(("coefs.", "intercepts."))}
    check_arrays(own, shapes, dtype)
    theta = np.empty(structure.size, dtype)
    for kind, places in (("coefs", structure.weights), ("intercepts", structure.biases)):
        for i, place in enumerate(places):
            theta[place.offset : place.offset + place.size] = arrays[f"{kind}.{i}"].reshape(-1)
    model._set_theta(theta)
    best = arrays.get("best")
    if best is not None and (best.shape != theta.shape or best.dtype != theta.dtype):
        raise ModelFileError(f"best has shape {best.shape}; expected {theta.shape} of {dtype}")
    model._best_theta = best


def _numbers_of(dtype: str) -> str:
    """Dtype of an optimizer's state."""
    return "float32" if dtype == "float16" else dtype


def _read_state(model: Any, content: dict[str, Any], arrays: dict[str, Any]) -> None:
    optimizer = read(content["optimizer"], "optimizer", arrays)
    if not isinstance(optimizer, Optimizer):
        raise ModelFileError(f"optimizer is {optimizer!r}")
    precision = PLAIN
    if "precision" in content:
        precision = read(content["precision"], "precision", arrays)
    scaling = optimizer.loss_scale if isinstance(optimizer, Scaled) else None
    if not isinstance(precision, Precision) or scaling != precision.scaling:
        raise ModelFileError(f"precision is {precision!r} and the optimizer {optimizer!r}")
    rates = object.__new__(Rates)
    vars(rates).update(_read_part(content.get("rates"), _RATES, "rates", arrays))
    theta, numbers = model._theta(), _numbers_of(model._dtype_name)
    state = optimizer.init(theta.astype(numbers), xp=HOST_NAMESPACE)
    like = (state, scalar(0.0, HOST_NAMESPACE, "cpu", host.dtype(numbers)))
    expected = {f"state.{i}": leaf.shape for i, leaf in enumerate(leaves(like))}
    own = {k: v for k, v in arrays.items() if k.startswith("state.")}
    check_arrays(own, expected, numbers)
    waiting = iter(expected)
    state, count = map_tree(lambda leaf: arrays[next(waiting)], like)
    model._kept = Kept(optimizer, rates, (theta, state, count), precision=precision)


def placed(
    model: Any, backend: Backend | str | None, device: Device | str | None, dtype: str | None
) -> Any:
    """Bring a model that was read to where it shall be: by default, to where it was."""
    if isinstance(backend, Backend):
        device = backend.device if device is None else device
        dtype = dtype or dtype_name(backend.dtype)
        backend = backend.name
    if dtype is not None and dtype != model._dtype_name:
        if dtype not in ("float16", "float32", "float64"):
            raise ValueError(
                f"dtype={dtype!r} is not one of estimators; expected float16, 32 or 64"
            )
        model._dtype_name = dtype
        theta, best, kept = model._theta(), model._best_theta, vars(model).get("_kept")
        model._set_theta(theta.astype(dtype))
        model._best_theta = None if best is None else best.astype(dtype)
        if kept is not None:
            rest = map_tree(lambda a: a.astype(_numbers_of(dtype)), kept.state[1:])
            kept.state = (model._theta(), *rest)
    if backend is not None:
        model._library, model._device_name = "numpy", "cpu"
        move(model, backend, device)
    elif model._library != "numpy":
        land(model)
    return model
