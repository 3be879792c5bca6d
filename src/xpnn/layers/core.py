"""The layers that networks are made of: dense ones, activations, dropout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from xpnn.backends import Array, Namespace
from xpnn.functional import (
    activation_rule,
    dropout,
    dropout_backward,
    initializer,
    linear,
    linear_bias_gradient,
    linear_input_gradient,
    linear_weight_gradient,
)
from xpnn.functional.checked_numbers import store_number, store_positive_integer, store_share
from xpnn.layers.base import Layer, Parameter, Tree


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """Weighted sums ``y = x @ weights + bias``.

    Parameters
    ----------
    width : int
        Number of units.
    bias : bool, default True
        Whether each unit has a bias (0 at first).
    init : str, default 'glorot_uniform'
        Initializer of the weights, a name in `xpnn.functional.INITIALIZERS`.
    scale : float, optional
        For 'normal' the standard deviation (default: inputs**-0.5), for 'uniform' the
        bound (default: 1).

    Raises
    ------
    ValueError
        `width` is not a positive integer, or `init` is not known.
    """

    width: int
    bias: bool = True
    init: str = "glorot_uniform"
    scale: float | None = None

    def __post_init__(self) -> None:
        store_positive_integer(self, "width")
        initializer(self.init)
        if self.scale is None:
            return
        if self.init not in ("normal", "uniform"):
            raise ValueError(
                f"scale={self.scale!r} goes with init='normal' or 'uniform', not {self.init!r}"
            )
        store_number(self, "scale")

    def outputs(self, inputs: int) -> int:
        """Width of the output: `width`."""
        return self.width

    def parameters(self, inputs: int) -> tuple[Parameter, ...]:
        """Weights (inputs, width), and the bias (width,) if there is one."""
        options = {}
        if self.scale is not None:
            normal = self.init == "normal"
            options = {"scale": self.scale} if normal else {"low": -self.scale, "high": self.scale}
        size = {"fan_in": inputs, "fan_out": self.width}
        draw = partial(initializer(self.init), **size, **options)
        weights = Parameter("weights", (inputs, self.width), draw)
        if not self.bias:
            return (weights,)
        none = partial(initializer("zeros"), fan_in=1, fan_out=self.width)
        return weights, Parameter("bias", (self.width,), none, decays=False)

    def forward(self, params: Tree, x: Array, noise: Tree, *, xp: Namespace) -> tuple[Array, Tree]:
        """``y = x @ weights + bias``; see `Layer.forward`."""
        return linear(x, *params, xp=xp), (x,)

    def backward(
        self, params: Tree, saved: Tree, dy: Array, *, xp: Namespace, input_gradient: bool = True
    ) -> tuple[Array | None, Tree]:
        """Gradients of the weighted sums; see `Layer.backward`."""
        (x,) = saved
        dx = linear_input_gradient(params[0], dy, xp=xp) if input_gradient else None
        dweights = linear_weight_gradient(x, dy, xp=xp)
        if not self.bias:
            return dx, (dweights,)
        return dx, (dweights, linear_bias_gradient(dy, xp=xp))


@dataclass(frozen=True, repr=False)
class RawErrorDense(Layer):
    """A dense layer with its activation that hands back errors as they came.

    The exact gradient multiplies an error by the activation's derivative and then sends
    it back through the weights. The text sends the raw error back,
    ``dx = dy @ weights.T``, and uses the derivative only in the layer's own update. Where
    errors share a sign the two point the same way, and the text's network learns well;
    but what it follows is not the gradient of any loss, so it belongs with plain SGD.
    For the exact gradient use `Dense` and `Activation`.

    Parameters
    ----------
    width : int
        Number of units.
    activation : str, default 'sigmoid'
        A name in `xpnn.functional.ACTIVATIONS`.
    bias : bool, default False
        Whether each unit has a bias; the text has none.
    init : str, default 'normal'
        Initializer of the weights.
    scale : float, optional
        Standard deviation for 'normal'; the text takes ``hidden**-0.5`` in both layers.

    References
    ----------
    Rashid, "Make Your Own Neural Network" (2016), part 2, method ``train``.
    """

    width: int
    activation: str = "sigmoid"
    bias: bool = False
    init: str = "normal"
    scale: float | None = None

    def __post_init__(self) -> None:
        store_positive_integer(self, "width")
        self._dense()
        activation_rule(self.activation)

    def _dense(self) -> Dense:
        return Dense(self.width, self.bias, self.init, self.scale)

    def outputs(self, inputs: int) -> int:
        """Width of the output: `width`."""
        return self.width

    def parameters(self, inputs: int) -> tuple[Parameter, ...]:
        """Those of `Dense`."""
        return self._dense().parameters(inputs)

    def forward(self, params: Tree, x: Array, noise: Tree, *, xp: Namespace) -> tuple[Array, Tree]:
        """``y = activation(x @ weights + bias)``; see `Layer.forward`."""
        rule = activation_rule(self.activation)
        z = linear(x, *params, xp=xp)
        y = rule.forward(z, xp=xp)
        return y, (x, y if rule.saves_output else z)

    def backward(
        self, params: Tree, saved: Tree, dy: Array, *, xp: Namespace, input_gradient: bool = True
    ) -> tuple[Array | None, Tree]:
        """Errors go back before the derivative; see the class and `Layer.backward`."""
        x, kept = saved
        dz = activation_rule(self.activation).backward(kept, dy, xp=xp)
        dx = linear_input_gradient(params[0], dy, xp=xp) if input_gradient else None
        dweights = linear_weight_gradient(x, dz, xp=xp)
        if not self.bias:
            return dx, (dweights,)
        return dx, (dweights, linear_bias_gradient(dz, xp=xp))


@dataclass(frozen=True, repr=False)
class Activation(Layer):
    """Apply an activation function to every unit.

    Parameters
    ----------
    name : str
        A name in `xpnn.functional.ACTIVATIONS`.
    alpha : float, optional
        Slope below zero of 'leaky_relu' (default 0.01), or saturation of 'elu'
        (default 1).

    Raises
    ------
    ValueError
        `name` is not known, or `alpha` is given to an activation that has none.
    """

    name: str
    alpha: float | None = None

    def __post_init__(self) -> None:
        rule = activation_rule(self.name)
        if self.alpha is None:
            return
        if rule.alpha is None:
            raise ValueError(f"alpha={self.alpha!r} was given, but {self.name!r} has no alpha")
        store_number(self, "alpha")

    def _options(self) -> dict[str, float]:
        return {} if self.alpha is None else {"alpha": self.alpha}

    def forward(self, params: Tree, x: Array, noise: Tree, *, xp: Namespace) -> tuple[Array, Tree]:
        """``y = activation(x)``; see `Layer.forward`."""
        rule = activation_rule(self.name)
        y = rule.forward(x, **self._options(), xp=xp)
        return y, (y if rule.saves_output else x,)

    def backward(
        self, params: Tree, saved: Tree, dy: Array, *, xp: Namespace, input_gradient: bool = True
    ) -> tuple[Array | None, Tree]:
        """Multiply by the derivative; see `Layer.backward`."""
        if not input_gradient:
            return None, ()
        rule = activation_rule(self.name)
        return rule.backward(saved[0], dy, **self._options(), xp=xp), ()


@dataclass(frozen=True, init=False, repr=False)
class CustomActivation(Layer):
    """Apply an activation function of the user's own.

    Parameters
    ----------
    forward : callable
        ``forward(z, xp=xp) -> a``; `a` has the shape and dtype of `z`, (n, width).
    backward : callable
        ``backward(z, a, da, xp=xp) -> dz`` turns the gradient in `a` into the gradient in `z`.

    Raises
    ------
    TypeError
        An argument is not callable.

    Notes
    -----
    Both have to be pure and to use nothing but `xp`, so that they run on every library
    and under the engine's tracing arrays.

    Examples
    --------
    >>> from xpnn.layers import CustomActivation, chain
    >>> def softsign(z, xp):
    ...     return z / (1.0 + xp.abs(z))
    >>> def softsign_backward(z, a, da, xp):
    ...     return da * (1.0 - xp.abs(a)) ** 2
    >>> layers = chain([100, CustomActivation(softsign, softsign_backward), 10])
    """

    # A layer's own methods are called `forward` and `backward`.
    forward_function: Callable[..., Array]
    backward_function: Callable[..., Array]

    def __init__(self, forward: Callable[..., Array], backward: Callable[..., Array]) -> None:
        for name, given in (("forward", forward), ("backward", backward)):
            if not callable(given):
                raise TypeError(f"{name} is {given!r}; expected a function")
            object.__setattr__(self, f"{name}_function", given)

    def __repr__(self) -> str:
        return f"CustomActivation({self.forward_function!r}, {self.backward_function!r})"

    def forward(self, params: Tree, x: Array, noise: Tree, *, xp: Namespace) -> tuple[Array, Tree]:
        """Call the function; see `Layer.forward`."""
        y = self.forward_function(x, xp=xp)
        return y, (x, y)

    def backward(
        self, params: Tree, saved: Tree, dy: Array, *, xp: Namespace, input_gradient: bool = True
    ) -> tuple[Array | None, Tree]:
        """Call its backward; see `Layer.backward`."""
        if not input_gradient:
            return None, ()
        return self.backward_function(*saved, dy, xp=xp), ()


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """Drop units at random during training; do nothing in prediction.

    Parameters
    ----------
    rate : float
        Share of the units to drop, 0 <= rate < 1.

    Raises
    ------
    ValueError
        `rate` is outside [0, 1).
    """

    rate: float

    def __post_init__(self) -> None:
        store_share(self, "rate")

    def noise(self, inputs: int, rows: int) -> Tree:
        """One uniform number for each unit and row."""
        return (rows, inputs) if self.rate > 0 else None

    def forward(self, params: Tree, x: Array, noise: Tree, *, xp: Namespace) -> tuple[Array, Tree]:
        """Drop units where there is noise; see `Layer.forward`."""
        if noise is None:
            return x, ()
        y, mask = dropout(x, noise, self.rate, xp=xp)
        return y, (mask,)

    def backward(
        self, params: Tree, saved: Tree, dy: Array, *, xp: Namespace, input_gradient: bool = True
    ) -> tuple[Array | None, Tree]:
        """Pass the gradient on where units were kept; see `Layer.backward`."""
        if not input_gradient:
            return None, ()
        return (dropout_backward(saved[0], dy, xp=xp) if saved else dy), ()
