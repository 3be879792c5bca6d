"""From scikit-learn's parameters to layers, parameters and start weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from xpnn.backends import Array, Namespace
from xpnn.functional import ACTIVATIONS
from xpnn.layers import (
    Activation,
    Chain,
    CustomActivation,
    Dense,
    Dropout,
    Layer,
    Parameter,
    place,
    unflatten,
    walk,
)

ActivationSpec = str | Layer | tuple[Callable[..., Any], Callable[..., Any]]
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
        raise ValueError(f"hidden_layer_sizes must be > 0, got {widths}.")
    return [int(w) for w in widths]


def _activation(spec: ActivationSpec) -> Layer:
    if isinstance(spec, Layer):
        return spec
    if isinstance(spec, str):
        return Activation(_NAMES.get(spec, spec))
    if isinstance(spec, tuple) and len(spec) == 2 and all(map(callable, spec)):
        return CustomActivation(*spec)
    raise ValueError(
        f"activation holds {spec!r}; expected a name ({', '.join(['logistic', *ACTIVATIONS])}), "
        "a layer, or a pair of functions (function, derivative)"
    )


def _for_each(name: str, value: Any, count: int, single: Callable[[Any], bool]) -> list[Any]:
    """Spread one value over the hidden layers, or check that there is one for each."""
    if single(value):
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} entries; expected one, or {count} hidden ones")
    return values


def _one_activation(value: Any) -> bool:
    pair = isinstance(value, tuple) and len(value) == 2 and all(map(callable, value))
    return isinstance(value, str | Layer) or pair


@dataclass(frozen=True)
class Structure:
    """A network as scikit-learn counts it.

    Parameters
    ----------
    widths : tuple of int
        Inputs, hidden layers, outputs.
    layers : Chain
        The layers.
    tree : nested tuples of Parameter
        Where weights and biases lie in the flat vector.
    hidden : tuple of int
        For each hidden layer, how many layers of the chain end with its activation.
    """

    widths: tuple[int, ...]
    layers: Chain
    tree: Any
    hidden: tuple[int, ...]

    @property
    def weights(self) -> list[Parameter]:
        """Weights of each dense layer."""
        return [p for p in walk(self.tree) if p.decays]

    @property
    def biases(self) -> list[Parameter]:
        """Biases of each dense layer."""
        return [p for p in walk(self.tree) if not p.decays]

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(p.size for p in walk(self.tree))

    def cut(self, theta: Array, xp: Namespace) -> tuple[list[Array], list[Array]]:
        """Cut the flat vector into `coefs_` and `intercepts_`: views where there are any."""
        parts = list(walk(unflatten(self.tree, theta, xp=xp)))
        return parts[::2], parts[1::2]

    def packing(self) -> Any:
        """Numbers of the flat vector's entries in scikit-learn's order: weights, then biases."""
        parts = [np.arange(p.offset, p.offset + p.size) for p in [*self.weights, *self.biases]]
        return np.concatenate(parts)


def make_structure(
    inputs: int, hidden: Sequence[int], outputs: int, activation: Any, dropout: Any
) -> Structure:
    """Make the layers.

    Parameters
    ----------
    inputs, outputs : int
        Widths.
    hidden : sequence of int
        Widths of the hidden layers.
    activation : str, Layer, pair of functions, or a sequence of them
        One for all hidden layers or one for each.
    dropout : float or sequence of float
        Share of units left out, for all hidden layers or for each.

    Returns
    -------
    Structure

    Raises
    ------
    ValueError
        A name is not known, or there are not as many as hidden layers.
    """
    activations = _for_each("activation", activation, len(hidden), _one_activation)
    rates = _for_each("dropout", dropout, len(hidden), lambda v: isinstance(v, Real))
    layers: list[Layer] = []
    ends = []
    for width, spec, rate in zip(hidden, activations, rates, strict=True):
        layers += [Dense(width), _activation(spec)]
        ends.append(len(layers))
        if rate:
            layers.append(Dropout(float(rate)))
    chain = Chain((*layers, Dense(outputs)))
    tree = place(chain.parameters(inputs))
    return Structure((inputs, *hidden, outputs), chain, tree, tuple(ends))


def start_weights(structure: Structure, activation: Any, source: Any, dtype: Any) -> Any:
    """Draw the flat vector as scikit-learn draws its weights: number by number the same.

    Glorot & Bengio (2010), equation 16; before the logistic function with 2 in place of 6,
    and so before the output after a logistic layer.

    Parameters
    ----------
    structure : Structure
        What to draw for.
    activation : object
        The parameter of that name.
    source : numpy.random.RandomState
        Where numbers come from.
    dtype : dtype
        What they are rounded to.

    Returns
    -------
    numpy.ndarray, shape (parameters,)
    """
    specs = _for_each("activation", activation, len(structure.hidden), _one_activation)
    specs = [*specs, specs[-1] if specs else activation]
    logistic: tuple[Any, ...] = ("logistic", "sigmoid", Activation("sigmoid"))
    theta = np.empty(structure.size, dtype)
    for weights, bias, spec in zip(structure.weights, structure.biases, specs, strict=True):
        factor = 2.0 if spec in logistic else 6.0
        bound = math.sqrt(factor / sum(weights.shape))
        for parameter in (weights, bias):
            drawn = source.uniform(-bound, bound, parameter.shape).reshape(-1)
            theta[parameter.offset : parameter.offset + parameter.size] = drawn
    return theta
