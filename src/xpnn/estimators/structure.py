"""From scikit-learn's parameters to layers and initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from xpnn.backends import InputError
from xpnn.functional import ACTIVATIONS
from xpnn.layers import (
    Activation,
    Chain,
    CustomActivation,
    Dense,
    Dropout,
    Layer,
    Parameter,
    Tree,
    place,
    size,
    walk,
)

# scikit-learn's word for the field's.
_NAMES = {"logistic": "sigmoid"}


def hidden_widths(sizes: Any) -> list[int]:
    """Read `hidden_layer_sizes`.

    Raises
    ------
    TypeError
        A width is not an integer.
    ValueError
        A width is not positive.
    """
    widths = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    if not all(isinstance(w, Integral) and not isinstance(w, bool) for w in widths):
        raise TypeError(f"hidden_layer_sizes must be integers, got {widths}.")
    if any(w <= 0 for w in widths):
        raise InputError(f"hidden_layer_sizes must be > 0, got {widths}.")
    return [int(w) for w in widths]


def _activation(spec: Any) -> Layer:
    if isinstance(spec, Layer):
        return spec
    if isinstance(spec, str):
        return Activation(_NAMES.get(spec, spec))
    if isinstance(spec, tuple) and len(spec) == 2 and all(map(callable, spec)):
        return CustomActivation(*spec)
    raise InputError(
        f"activation holds {spec!r}; expected a name ({', '.join(['logistic', *ACTIVATIONS])}), "
        "a layer, or a pair of functions (forward, backward)"
    )


def _for_each(name: str, value: Any, count: int, single: Callable[[Any], bool]) -> list[Any]:
    """Spread one value over the hidden layers, or check that there is one for each."""
    if single(value):
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise InputError(f"{name} has {len(values)} entries; expected one, or {count} hidden ones")
    return values


def _one_activation(value: Any) -> bool:
    pair = isinstance(value, tuple) and len(value) == 2 and all(map(callable, value))
    return isinstance(value, str | Layer) or pair


def make_layers(hidden: Sequence[int], outputs: int, activation: Any, dropout: Any) -> Chain:
    """Make the layers.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the hidden layers.
    outputs : int
        Width of the output.
    activation : str, Layer, pair of functions, or a sequence of them
        One for all hidden layers or one for each.
    dropout : float or sequence of float
        Fraction of units dropped, for all hidden layers or for each.

    Returns
    -------
    Chain

    Raises
    ------
    ValueError
        A name is not known, or there are not as many as hidden layers.
    """
    activations = _for_each("activation", activation, len(hidden), _one_activation)
    rates = _for_each("dropout", dropout, len(hidden), lambda v: isinstance(v, Real))
    layers: list[Layer] = []
    for width, spec, rate in zip(hidden, activations, rates, strict=True):
        layers += [Dense(width), _activation(spec)]
        if rate:
            layers.append(Dropout(float(rate)))
    return Chain((*layers, Dense(outputs)))


def hidden_ends(layers: Chain) -> list[int]:
    """For each hidden layer, how many layers of the chain end with its activation."""
    return [i + 2 for i, layer in enumerate(layers.layers[:-1]) if isinstance(layer, Dense)]


def weights_of(tree: Tree) -> list[Parameter]:
    """Weights of each dense layer."""
    return [p for p in walk(tree) if p.decays]


def biases_of(tree: Tree) -> list[Parameter]:
    """Biases of each dense layer."""
    return [p for p in walk(tree) if not p.decays]


def packing(tree: Tree) -> Any:
    """Indices of the flat vector's entries in scikit-learn's order: weights, then biases."""
    ordered = [*weights_of(tree), *biases_of(tree)]
    return np.concatenate([np.arange(p.offset, p.offset + p.size) for p in ordered])


def initial_weights(inputs: int, layers: Chain, activation: Any, rng: Any, dtype: Any) -> Any:
    """Draw the flat vector as scikit-learn draws its weights: number by number the same.

    Glorot & Bengio (2010), equation 16; before the logistic function with 2 in place of 6,
    and so before the output after a logistic layer.

    Parameters
    ----------
    inputs : int
        Number of features.
    layers : Chain
        What to draw for.
    activation : object
        The parameter of that name.
    rng : numpy.random.RandomState
        Where numbers come from.
    dtype : dtype
        What they are rounded to.

    Returns
    -------
    numpy.ndarray, shape (parameters,)
    """
    tree = place(layers.parameters(inputs))
    weights, biases = weights_of(tree), biases_of(tree)
    specs = _for_each("activation", activation, len(weights) - 1, _one_activation)
    specs = [*specs, specs[-1] if specs else activation]
    logistic: tuple[Any, ...] = ("logistic", "sigmoid", Activation("sigmoid"))
    theta = np.empty(size(tree), dtype)
    for weight, bias, spec in zip(weights, biases, specs, strict=True):
        factor = 2.0 if spec in logistic else 6.0
        bound = math.sqrt(factor / sum(weight.shape))
        for parameter in (weight, bias):
            drawn = rng.uniform(-bound, bound, parameter.shape).reshape(-1)
            theta[parameter.offset : parameter.offset + parameter.size] = drawn
    return theta
