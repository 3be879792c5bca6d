"""The dense layer: every input reaches every unit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from xpnn.backends import Array, HostGenerator, Namespace
from xpnn.functional import (
    initializer,
    linear,
    linear_bias_gradient,
    linear_input_gradient,
    linear_weight_gradient,
)
from xpnn.functional.checked_numbers import store_number, store_positive_integer
from xpnn.layers.base import Layer, Parameter, Tree


def _initial_weights(
    rng: HostGenerator, name: str, scale: float | None, inputs: int, width: int
) -> Array:
    if name == "normal":
        return initializer(name)(rng, inputs, width, scale=scale)
    if name == "uniform" and scale is not None:
        return initializer(name)(rng, inputs, width, low=-scale, high=scale)
    return initializer(name)(rng, inputs, width)


def _initial_bias(rng: HostGenerator, width: int) -> Array:
    return initializer("zeros")(rng, 1, width)[0]


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
        draw = partial(
            _initial_weights, name=self.init, scale=self.scale, inputs=inputs, width=self.width
        )
        weights = Parameter("weights", (inputs, self.width), draw)
        if not self.bias:
            return (weights,)
        zeros = partial(_initial_bias, width=self.width)
        return weights, Parameter("bias", (self.width,), zeros, decays=False)

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
