"""An activation function of the user's own, as a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xpnn.backends import Array, Namespace
from xpnn.layers.base import Layer, Tree


@dataclass(frozen=True, repr=False)
class OwnActivation(Layer):
    """Apply a pair of functions of the user's own.

    Parameters
    ----------
    function : callable
        ``function(z, xp=xp) -> a``; a is of the shape of z.
    derivative : callable
        ``derivative(z, a, da, xp=xp) -> dz``, `da` being the gradient in `a`.

    Notes
    -----
    Both have to be pure and to use nothing but `xp`, so that they run on every library
    and under the engine's tracing arrays.
    """

    function: Callable[..., Array]
    derivative: Callable[..., Array]

    def __post_init__(self) -> None:
        for name in ("function", "derivative"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name} is {getattr(self, name)!r}; expected a function")

    def forward(self, params: Tree, x: Array, noise: Tree, *, xp: Namespace) -> tuple[Array, Tree]:
        """``y = function(x)``; see `Layer.forward`."""
        y = self.function(x, xp=xp)
        return y, (x, y)

    def backward(
        self, params: Tree, saved: Tree, dy: Array, *, xp: Namespace, input_gradient: bool = True
    ) -> tuple[Array | None, Tree]:
        """``dx = derivative(x, y, dy)``; see `Layer.backward`."""
        if not input_gradient:
            return None, ()
        return self.derivative(*saved, dy, xp=xp), ()
