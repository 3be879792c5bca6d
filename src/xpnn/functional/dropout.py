"""Dropout: units dropped at random during training."""

from __future__ import annotations

from xpnn.backends import Array, Namespace
from xpnn.functional.half_precision import find_namespace, upcast_half, upcast_half_gradient


@find_namespace
def dropout_mask(noise: Array, rate: float, like: Array, *, xp: Namespace = None) -> Array:
    """Factor for each unit: 0 where it is dropped, ``1 / (1 - rate)`` where it is kept.

    Parameters
    ----------
    noise : array, shape of `like`
        Uniform in [0, 1); a unit is kept where ``noise >= rate``.
    rate : float
        Share of units to drop, 0 <= rate < 1.
    like : array
        Gives the dtype.
    xp : module, optional
        Namespace of the arrays; default, looked up.

    Returns
    -------
    array, shape of `like`

    References
    ----------
    Srivastava et al. (2014), section 4, in the "inverted" form: scaling in training
    leaves nothing to do when predicting (section 10).
    """
    mask = xp.astype(noise >= rate, like.dtype) * (1.0 / (1.0 - rate))
    return xp.astype(mask, like.dtype, copy=False)  # NumPy's bfloat16 has become float32


@upcast_half
def dropout(x: Array, noise: Array, rate: float, *, xp: Namespace = None) -> tuple[Array, Array]:
    """Drop units: ``y = x * mask``.

    Parameters
    ----------
    x : array, shape (n, width)
        Activations.
    noise : array, shape (n, width)
        Uniform in [0, 1).
    rate : float
        Share of units to drop, 0 <= rate < 1.
    xp : module, optional
        Namespace of the arrays; default, looked up.

    Returns
    -------
    y : array, shape (n, width)
    mask : array, shape (n, width)
        For `dropout_backward`.
    """
    mask = dropout_mask(noise, rate, x, xp=xp)
    return x * mask, mask


@upcast_half_gradient
def dropout_backward(mask: Array, dy: Array, *, xp: Namespace = None) -> Array:
    """``dx = dy * mask``."""
    return dy * mask
