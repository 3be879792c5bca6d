"""An activation function of the user's own, as a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xpnn.backends import Array, Namespace
from xpnn.layers.base import Layer, Tree


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
