"""What the pictures ask of a model: its dense layers, and the names of its inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from xpnn.backends import InputError, host, to_host
from xpnn.layers import Activation, Chain, Dense, Dropout, RawErrorDense, unflatten, walk
from xpnn.training import Network

_OUTPUTS = {"softmax_cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}


@dataclass(frozen=True)
class DenseView:
    """A dense layer as a picture shows it; arrays on the host."""

    weights: Any  # (inputs, units)
    bias: Any = None  # (units,)
    activation: str = ""  # what follows


def last_step(model: Any) -> Any:
    """The model inside a search or at the end of a pipeline; else the model itself."""
    while True:
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif getattr(model, "steps", None):
            model = model.steps[-1][1]
        else:
            return model


def dense_views(model: Any) -> list[DenseView]:
    """List the dense layers of a Network, or of an estimator with `coefs_` or `coef_`.

    Raises
    ------
    TypeError
        The model has no such weights.
    ValueError
        A layer with parameters is not dense, or a weight is not finite.
    """
    model = last_step(model)
    if isinstance(model, Network):
        found = _of_network(model)
    elif hasattr(model, "coefs_"):
        found = _of_estimator(model)
    elif hasattr(model, "coef_"):
        coef = model.coef_.toarray() if hasattr(model.coef_, "toarray") else model.coef_
        weights = host.atleast_2d(_floats(coef)).T
        bias = host.ravel(_floats(getattr(model, "intercept_", 0.0)))
        found = [DenseView(weights, host.broadcast_to(bias, weights.shape[1:]))]
    else:
        raise TypeError(
            f"model is a {type(model).__name__} without weights; expected a Network, or a fitted "
            "estimator with coefs_ or coef_"
        )
    for number, layer in enumerate(found, start=1):
        for name, values in (("weights", layer.weights), ("bias", layer.bias)):
            if values is not None and not host.isfinite(values).all():
                raise InputError(
                    f"the {name} of dense layer {number} hold values that are not finite; "
                    "there is nothing to draw"
                )
    return found


def _floats(values: Any) -> Any:
    return host.asarray(to_host(values), dtype=host.float64)


def _of_network(network: Network) -> list[DenseView]:
    params = unflatten(network.tree, _floats(network.theta), xp=host)
    found: list[DenseView] = []
    _collect(network.layers, params, found)
    if not found:
        raise InputError("the network has no dense layer; there is nothing to draw")
    return _with_output(found, _OUTPUTS.get(network.loss.name, ""))


def _collect(layer: Any, params: Any, found: list[DenseView]) -> None:
    if isinstance(layer, Chain):
        for inner, its in zip(layer.layers, params, strict=True):
            _collect(inner, its, found)
    elif isinstance(layer, Dense | RawErrorDense):
        activation = layer.activation if isinstance(layer, RawErrorDense) else ""
        found.append(DenseView(params[0], params[1] if layer.bias else None, activation))
    elif any(True for _ in walk(params)):
        raise InputError(f"the layer {layer!r} is not dense; only dense layers are drawn")
    elif found and not isinstance(layer, Dropout):
        name = layer.name if isinstance(layer, Activation) else type(layer).__name__
        found[-1] = replace(found[-1], activation=f"{found[-1].activation} {name}".strip())


def _of_estimator(model: Any) -> list[DenseView]:
    pairs = list(zip(model.coefs_, model.intercepts_, strict=True))
    hidden = getattr(model, "activation", "")
    if isinstance(hidden, str) or not isinstance(hidden, list | tuple) or callable(hidden[0]):
        hidden = [hidden] * (len(pairs) - 1)
    names = [_activation_name(spec) for spec in hidden] + [""]
    found = [
        DenseView(_floats(w), _floats(b), name) for (w, b), name in zip(pairs, names, strict=True)
    ]
    return _with_output(found, getattr(model, "out_activation_", ""))


def _activation_name(spec: Any) -> str:
    if isinstance(spec, str):
        return spec
    return str(getattr(spec, "name", "custom"))


def _with_output(layers: list[DenseView], name: str) -> list[DenseView]:
    if name in ("", "identity") or layers[-1].activation:
        return layers
    return [*layers[:-1], replace(layers[-1], activation=name)]


def input_names(model: Any) -> list[str] | None:
    """Names of what the first dense layer is handed, where the model knows them."""
    before = model
    while hasattr(before, "best_estimator_"):
        before = before.best_estimator_
    if len(getattr(before, "steps", ())) > 1:
        try:
            return [str(name) for name in before[:-1].get_feature_names_out()]
        except (AttributeError, ValueError):
            return None  # a step that does not name what it gives
    names = getattr(before, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]
