"""Fitted MLPs as plain values and arrays, for model files."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from xpnn.backends import (
    HOST_NAMESPACE,
    Backend,
    Device,
    device_name,
    dtype_name,
    host,
    scalar,
    to_host,
)
from xpnn.engine.trees import leaves, map_tree
from xpnn.estimators.classifier import MLPClassifier
from xpnn.estimators.mlp import BaseMLP
from xpnn.estimators.plain import read, write
from xpnn.estimators.regressor import MLPRegressor
from xpnn.estimators.rules import ATTRIBUTES, SolverState, is_count
from xpnn.export.model_file import ModelFileError, check_arrays
from xpnn.layers import Chain, place, size, walk
from xpnn.optimizers import Optimizer, Schedule
from xpnn.training.options import Precision
from xpnn.training.trainer import OptimizerState

KINDS: dict[str, type[BaseMLP]] = {kind.__name__: kind for kind in (MLPClassifier, MLPRegressor)}
_DTYPES = ("float16", "float32", "float64")


def _texts(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "O"


def _requested(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(v is None or isinstance(v, str) for v in value)
    )


# Fitted attributes and what they may be; those in the first table are always there.
_NEEDED: dict[str, Any] = {
    "n_features_in_": lambda v: is_count(v) and v > 0,
    "n_outputs_": lambda v: is_count(v) and v > 0,
    "out_activation_": lambda v: v in ("identity", "logistic", "softmax", "exp"),
    "n_iter_": is_count,
    "t_": is_count,
    "stopped_": lambda v: isinstance(v, bool),
    "_requested": _requested,
}
_POSSIBLE: dict[str, Any] = {
    **{name: fits for name, fits in ATTRIBUTES.items() if name not in _NEEDED},
    "feature_names_in_": _texts,
    "classes_": lambda v: isinstance(v, np.ndarray) and v.ndim == 1 and len(v) > 0,
}
_BINARIZER: dict[str, Any] = {
    "y_type_": lambda v: v in ("binary", "multiclass", "multilabel-indicator"),
    "sparse_input_": lambda v: isinstance(v, bool),
}
_SOLVER: dict[str, Any] = {
    "optimizer": lambda v: isinstance(v, Optimizer),
    "schedule": lambda v: isinstance(v, Schedule),
    "precision": lambda v: isinstance(v, Precision),
    "steps_taken": is_count,
    "epochs": is_count,
    "memory": lambda v: v is None or isinstance(v, tuple),
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
        Whether to leave out what only `partial_fit` needs: the optimizer's state and the best
        weights so far.

    Returns
    -------
    content : dict
    arrays : dict of str to numpy.ndarray

    Raises
    ------
    ModelFileError
        It is not fitted, of a class of the user's own, or a parameter cannot be saved.
    """
    name = type(model).__name__
    if KINDS.get(name) is not type(model):
        raise ModelFileError(
            f"a {type(model).__module__}.{name} cannot be saved; expected one of {', '.join(KINDS)}"
        )
    if "network_" not in vars(model):
        raise ModelFileError(f"the {name} is not fitted; call fit, and save it then")
    try:
        model._validate_params()
        model._make_loss()
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
    network = model._fitted_network()
    where = network.backend
    content = {
        "class": name,
        "parameters": parameters,
        "fitted": fitted,
        "layers": write(network.layers, "layers", {}),
        "place": [where.name, device_name(where.device), network.dtype],
    }
    binarizer = vars(model).get("_label_binarizer")
    if binarizer is not None:
        content["labels"] = {key: write(getattr(binarizer, key), key, {}) for key in _BINARIZER}
    arrays |= {f"parameters.{key}": to_host(a) for key, a in network.parameters().items()}
    solver = vars(model).get("_solver_state")
    if not for_inference:
        if model._best_theta is not None:
            arrays["best"] = to_host(model._best_theta)
        if solver is not None:
            content["solver"] = _solver_content(solver, arrays)
    return content, arrays


def _solver_content(solver: SolverState, arrays: dict[str, Any]) -> dict[str, Any]:
    """What `partial_fit` goes on with."""
    training = solver.training or OptimizerState()
    carry = training.carry()
    if carry is not None:  # the first of its arrays is the parameters once more
        for i, leaf in enumerate(leaves(carry)[1:]):
            arrays[f"state.{i}"] = to_host(leaf)
    values = {
        "optimizer": solver.optimizer,
        "schedule": solver.schedule,
        "precision": solver.precision,
        "steps_taken": training.steps_taken,
        "epochs": training.epochs,
        "memory": training.memory,
    }
    return {key: write(value, key, {}) for key, value in values.items()}


# Reading


def estimator_from(content: Any, arrays: dict[str, Any]) -> Any:
    """Make an estimator of what `estimator_content` gave; its arrays stay on the host.

    Returns
    -------
    MLPClassifier or MLPRegressor
        On NumPy; `placed` brings it to where it was.

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
    model: Any = kind(**{k: read(v, k, arrays) for k, v in content["parameters"].items()})
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
    if kind is MLPClassifier:
        _read_labels(model, content.get("labels"), arrays)
    model._loss = model._make_loss()
    model._random_state = np.random.RandomState()
    _read_network(model, content, arrays)
    if "solver" in content:
        _read_solver(model, content["solver"], arrays)
    model._saved_place = content["place"]  # for `placed`
    return model


def _check_content(content: Any) -> None:
    if not isinstance(content, dict) or content.get("class") not in KINDS:
        what = content.get("class") if isinstance(content, dict) else content
        raise ModelFileError(f"the estimator is a {what!r}; expected one of {', '.join(KINDS)}")
    for part in ("parameters", "fitted"):
        if not isinstance(content.get(part), dict):
            raise ModelFileError(f"its {part} are {str(content.get(part))[:80]}")
    place = content.get("place")
    whole = isinstance(place, list) and len(place) == 3 and all(isinstance(v, str) for v in place)
    if not whole or content["place"][2] not in _DTYPES:
        raise ModelFileError(f"its place is {str(place)[:80]}")


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


def _read_network(model: Any, content: dict[str, Any], arrays: dict[str, Any]) -> None:
    layers, dtype = read(content.get("layers"), "layers", {}), content["place"][2]
    if not isinstance(layers, Chain) or layers.outputs(model.n_features_in_) != model.n_outputs_:
        raise ModelFileError(f"its layers are {layers!r}, with {model.n_outputs_} outputs")
    tree = place(layers.parameters(model.n_features_in_))
    places = {f"parameters.{p.name}": p for p in walk(tree)}
    own = {k: v for k, v in arrays.items() if k.startswith("parameters.")}
    check_arrays(own, {name: p.shape for name, p in places.items()}, dtype)
    theta = np.empty(size(tree), dtype)
    for name, p in places.items():
        theta[p.offset : p.offset + p.size] = arrays[name].reshape(-1)
    model._set_network(layers, model._loss, theta)
    model.n_layers_ = len(places) // 2 + 1
    best = arrays.get("best")
    if best is not None and (best.shape != theta.shape or best.dtype != theta.dtype):
        raise ModelFileError(f"best has shape {best.shape}; expected {theta.shape} of {dtype}")
    model._best_theta = best


def _state_dtype(dtype: str) -> str:
    """Dtype of an optimizer's state."""
    return "float32" if dtype == "float16" else dtype


def _read_solver(model: Any, content: Any, arrays: dict[str, Any]) -> None:
    found = _read_part(content, _SOLVER, "solver", arrays)
    optimizer, precision = found["optimizer"], found["precision"]
    own = {k: v for k, v in arrays.items() if k.startswith("state.")}
    saved = None
    if own:
        theta, dtype = model.network_.theta, _state_dtype(model.network_.dtype)
        state = precision.optimizer(optimizer).init(theta.astype(dtype), xp=HOST_NAMESPACE)
        like = (state, scalar(0.0, HOST_NAMESPACE, "cpu", host.dtype(dtype)))
        expected = {f"state.{i}": leaf.shape for i, leaf in enumerate(leaves(like))}
        check_arrays(own, expected, dtype)
        waiting = iter(expected)
        saved = (theta, *map_tree(lambda leaf: arrays[next(waiting)], like))
    training = OptimizerState(saved, None, found["steps_taken"], found["epochs"], found["memory"])
    model._solver_state = SolverState(optimizer, found["schedule"], precision, training)


def placed(
    model: Any,
    backend: Backend | str | None,
    device: Device | str | None,
    dtype: str | None,
) -> Any:
    """Bring a model that was read to where it shall be.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor
        On NumPy.
    backend, device, dtype : optional
        As in `xpnn.load`; by default it goes to where it was when it was saved.
    """
    was = vars(model).pop("_saved_place", None)
    if isinstance(backend, Backend):
        device = backend.device if device is None else device
        dtype = dtype or dtype_name(backend.dtype)
        backend = backend.name
    network = model.network_
    if dtype is not None and dtype != network.dtype:
        if dtype not in _DTYPES:
            raise ValueError(
                f"dtype={dtype!r} is not one of estimators; expected float16, 32 or 64"
            )
        _convert(model, dtype)
    if backend is not None:
        model.to(backend, device)
    elif was is not None and was[0] != "numpy":
        network.restore_device(was[0], was[1], network.dtype)
        model._move_rest(network.backend)
    return model


def _convert(model: Any, dtype: str) -> None:
    """Change the dtype of a model on NumPy."""
    network, solver = model.network_, vars(model).get("_solver_state")
    network.theta = network.theta.astype(dtype)
    if model._best_theta is not None:
        model._best_theta = model._best_theta.astype(dtype)
    if solver is not None and solver.training is not None and solver.training.saved is not None:
        rest = map_tree(lambda a: a.astype(_state_dtype(dtype)), solver.training.saved[1:])
        solver.training.saved = (network.theta, *rest)
