"""An activation function as a layer."""

from __future__ import annotations

from dataclasses import dataclass

from xpnn.backends import Array, Namespace
from xpnn.functional import activation_rule
from xpnn.functional.checked_numbers import store_number
from xpnn.layers.base import Layer, Tree


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
