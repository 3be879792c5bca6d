"""Dropout as a layer."""

from __future__ import annotations

from dataclasses import dataclass

from xpnn.backends import Array, Namespace
from xpnn.functional import dropout, dropout_backward
from xpnn.functional.checked_numbers import store_share
from xpnn.layers.base import Layer, Tree


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
