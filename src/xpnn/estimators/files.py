"""Fitted estimators as plain values and arrays, for model files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import LabelBinarizer

from xpnn.backends import HOST_NAMESPACE, device_name, dtype_name, host, scalar, to_host
from xpnn.engine.trees import leaves, map_tree
from xpnn.estimators.classifier import MLPClassifier
from xpnn.estimators.inputs import is_foreign
from xpnn.estimators.perceptron import Perceptron
from xpnn.estimators.plain import read, write
from xpnn.estimators.regressor import MLPRegressor
from xpnn.estimators.rules import ATTRIBUTES, SolverState, is_count
from xpnn.export.model_file import ModelFileError, check_arrays, wrap_errors
from xpnn.layers import Chain, place, size, walk
from xpnn.optimizers import Optimizer, Schedule
from xpnn.training.options import Precision
from xpnn.training.trainer import OptimizerState
from xpnn.units.perceptron import Epoch, PerceptronHistory

KINDS: dict[str, Any] = {kind.__name__: kind for kind in (MLPClassifier, MLPRegressor, Perceptron)}
_DTYPES = ("float16", "float32", "float64")
Checks = dict[str, Callable[[Any], bool]]


def _is_array(axes: int, kinds: str) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, np.ndarray) and v.ndim == axes and v.dtype.kind in kinds


def _is_requested(value: Any) -> bool:
    whole = isinstance(value, tuple) and len(value) == 3
    return whole and all(v is None or isinstance(v, str) for v in value)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


# Fitted attributes and what they may be, and those that need not be there.
_MLP: Checks = {
    **ATTRIBUTES,
    "n_features_in_": lambda v: is_count(v) and v > 0,
    "feature_names_in_": _is_array(1, "O"),
    "n_outputs_": lambda v: is_count(v) and v > 0,
    "out_activation_": lambda v: v in ("identity", "logistic", "softmax", "exp"),
    "classes_": lambda v: isinstance(v, np.ndarray) and v.ndim == 1 and len(v) > 0,
    "_requested": _is_requested,
}
_PERCEPTRON: Checks = {
    "coef_": _is_array(2, "f"),
    "intercept_": _is_array(1, "f"),
    "classes_": lambda v: isinstance(v, np.ndarray) and v.ndim == 1 and len(v) > 1,
    "n_features_in_": is_count,
    "feature_names_in_": _is_array(1, "O"),
    "n_iter_": is_count,
    "t_": lambda v: isinstance(v, float) and v >= 0,
    "converged_": _is_bool,
}
_OPTIONAL = {*ATTRIBUTES, "feature_names_in_", "classes_"} - {"n_iter_", "t_", "stopped_"}
_BINARIZER: Checks = {
    "y_type_": lambda v: v in ("binary", "multiclass", "multilabel-indicator"),
    "sparse_input_": _is_bool,
}
_SOLVER: Checks = {
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
    """Write a fitted estimator of `KINDS` as plain values and arrays.

    `for_inference` leaves out what only `partial_fit` needs: the optimizer's state, the best
    weights so far, a perceptron's history.
    """
    name, is_perceptron = type(model).__name__, isinstance(model, Perceptron)
    if ("coef_" if is_perceptron else "network_") not in vars(model):
        raise ModelFileError(f"the {name} is not fitted; call fit, and save it then")
    try:
        model._validate_params()
        if not is_perceptron:
            model._make_loss()
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"the {name} cannot be saved: {error}") from error
    arrays: dict[str, Any] = {}
    given = model.get_params()
    given.pop("distributed", None)  # where a training ran is nothing that a model is made of
    where = model._backend if is_perceptron else model._fitted_network().backend
    content = {
        "class": name,
        "parameters": {key: write(given[key], key, arrays) for key in sorted(given)},
        "fitted": {
            key: write(_on_host(getattr(model, key)), key, arrays)
            for key in (_PERCEPTRON if is_perceptron else _MLP)
            if hasattr(model, key)
        },
        "place": [where.name, device_name(where.device), dtype_name(where.dtype)],
    }
    if not is_perceptron:
        _add_network(model, content, arrays, for_inference)
    elif not for_inference:  # what was updated in each epoch, without the examples
        epochs = [(epoch.number, epoch.units, epoch.updates) for epoch in model.history_]
        content |= {"epochs": write(epochs, "epochs", arrays), "stopped": model.history_.stopped}
    return content, arrays


def _on_host(value: Any) -> Any:
    value = value.toarray() if issparse(value) else value
    return to_host(value) if is_foreign(value) else value


def _add_network(
    model: Any, content: dict[str, Any], arrays: dict[str, Any], for_inference: bool
) -> None:
    network, state = model._fitted_network(), vars(model)
    content["layers"] = write(network.layers, "layers", {})
    if "_label_binarizer" in state:
        binarizer = state["_label_binarizer"]
        content["labels"] = {key: write(getattr(binarizer, key), key, {}) for key in _BINARIZER}
    arrays |= {f"parameters.{key}": to_host(a) for key, a in network.parameters().items()}
    if not for_inference:
        if model._best_theta is not None:
            arrays["best"] = to_host(model._best_theta)
        if state.get("_solver_state") is not None:
            content["solver"] = _solver_content(state["_solver_state"], arrays)


def _solver_content(solver: SolverState, arrays: dict[str, Any]) -> dict[str, Any]:
    """What `partial_fit` goes on with."""
    training = solver.training or OptimizerState()
    carry = training.carry()
    if carry is not None:  # the first of its arrays is the parameters once more
        for i, leaf in enumerate(leaves(carry)[1:]):
            arrays[f"state.{i}"] = to_host(leaf)
    values = vars(training) | vars(solver)
    return {key: write(values[key], key, {}) for key in _SOLVER}


# Reading


def estimator_from(content: Any, arrays: dict[str, Any]) -> Any:
    """Make an estimator of what `estimator_content` gave; it is on NumPy until it is `placed`."""
    with wrap_errors("the estimator"):
        _check_content(content)
        kind = KINDS[content["class"]]
        model = kind(**{k: read(v, k, arrays) for k, v in content["parameters"].items()})
        model._validate_params()
        for name, fits in (_PERCEPTRON if kind is Perceptron else _MLP).items():
            if name in content["fitted"]:
                value = read(content["fitted"][name], name, arrays)
                if not fits(value):
                    raise ModelFileError(f"{name} is {value!r}, which no {kind.__name__} has")
                setattr(model, name, value)
            elif name not in _OPTIONAL:
                raise ModelFileError(f"{name} is missing")
        (_read_perceptron if kind is Perceptron else _read_mlp)(model, content, arrays)
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


def _read_perceptron(model: Perceptron, content: dict[str, Any], arrays: dict[str, Any]) -> None:
    labels = model.classes_.tolist()
    units = 1 if len(labels) == 2 else len(labels)
    shapes = {"coef_": (units, model.n_features_in_), "intercept_": (units,)}
    check_arrays({name: getattr(model, name) for name in shapes}, shapes, content["place"][2])
    history = PerceptronHistory(tuple(labels[-units:]), converged=model.converged_)
    history.stopped = bool(content.get("stopped", False))
    for number, fired, updates in read(content.get("epochs", []), "epochs", arrays):
        history.epochs.append(Epoch(int(number), tuple(fired), tuple(map(int, updates))))
    model.history_ = history


def _read_mlp(model: Any, content: dict[str, Any], arrays: dict[str, Any]) -> None:
    if isinstance(model, MLPClassifier):
        _read_labels(model, content.get("labels"), arrays)
    model._loss = model._make_loss()
    model._random_state = np.random.RandomState()
    _read_network(model, content, arrays)
    if "solver" in content:
        _read_solver(model, content["solver"], arrays)


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
    parameters = list(walk(tree))
    weights = sum(p.decays for p in parameters)
    if len(parameters) != 2 * weights:
        raise ModelFileError(f"its layers are {layers!r}; an estimator's all have a bias")
    own = {k: v for k, v in arrays.items() if k.startswith("parameters.")}
    check_arrays(own, {f"parameters.{p.name}": p.shape for p in parameters}, dtype)
    theta = np.empty(size(tree), dtype)
    for p in parameters:
        theta[p.offset : p.offset + p.size] = arrays[f"parameters.{p.name}"].reshape(-1)
    model._set_network(layers, model._loss, theta)
    model.n_layers_ = weights + 1
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


# Placing


def placed(model: Any, library: str | None, device: Any, dtype: str | None) -> None:
    """Bring an estimator that was read to a library, by default to where it was when saved."""
    was = vars(model).pop("_saved_place", None)
    if dtype is not None and dtype not in _DTYPES:
        raise ValueError(
            f"dtype={dtype!r} is not one of estimators; expected one of {', '.join(_DTYPES)}"
        )
    if dtype is not None:
        _convert(model, dtype)
    if library is not None:
        model.to(library, device)
    elif was is not None and was[0] != "numpy":
        if isinstance(model, Perceptron):
            model.restore_device(was[0], was[1])
        else:
            model.network_.restore_device(was[0], was[1], model.network_.dtype)
            model._move_rest(model.network_.backend)


def _convert(model: Any, dtype: str) -> None:
    """Change the dtype of a model on NumPy."""
    if isinstance(model, Perceptron):
        model.coef_, model.intercept_ = model.coef_.astype(dtype), model.intercept_.astype(dtype)
        return
    network, solver = model.network_, vars(model).get("_solver_state")
    network.theta = network.theta.astype(dtype)
    if model._best_theta is not None:
        model._best_theta = model._best_theta.astype(dtype)
    if solver is not None and solver.training is not None and solver.training.saved is not None:
        rest = map_tree(lambda a: a.astype(_state_dtype(dtype)), solver.training.saved[1:])
        solver.training.saved = (network.theta, *rest)
