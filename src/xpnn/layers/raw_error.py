"""The digit tutorial's layer, which hands back errors in its own way."""

from __future__ import annotations

from dataclasses import dataclass

from xpnn.backends import Array, Namespace
from xpnn.functional import (
    activation_rule,
    linear,
    linear_bias_gradient,
    linear_input_gradient,
    linear_weight_gradient,
)
from xpnn.functional.checked_numbers import store_positive_integer
from xpnn.layers.base import Layer, Parameter, Tree
from xpnn.layers.dense import Dense


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
