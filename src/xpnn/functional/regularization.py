"""Keeping weights and gradients small."""

from __future__ import annotations

from xpnn.backends import Array, Namespace
from xpnn.functional.half_precision import total, upcast_half, upcast_half_loss


@upcast_half_loss
def l2_penalty(weights: Array, alpha: float, *, xp: Namespace = None) -> tuple[Array, Array]:
    """L2 penalty ``alpha / 2 * sum(weights**2)``.

    Parameters
    ----------
    weights : array
        Any shape.
    alpha : float
        Strength, 0 or more.
    xp : module, optional
        Namespace of the array; default, looked up.

    Returns
    -------
    penalty : array, 0-d
    saved : tuple
        For `l2_penalty_backward`.

    References
    ----------
    Krogh & Hertz (1991), equation 2; Goodfellow, Bengio & Courville (2016), equation 7.2.
    """
    return 0.5 * alpha * total(weights * weights, xp), (weights,)


@upcast_half
def l2_penalty_backward(saved: tuple[Array], alpha: float, *, xp: Namespace = None) -> Array:
    """``alpha * weights``."""
    (weights,) = saved
    return alpha * weights


@upcast_half
def clip_by_norm(gradient: Array, limit: float, *, xp: Namespace = None) -> Array:
    """Shorten a gradient whose length passes `limit`; its direction stays.

    Parameters
    ----------
    gradient : array, shape (parameters,)
        The gradient of all parameters as one vector.
    limit : float
        Largest Euclidean norm, above 0.
    xp : module, optional
        Namespace of the array; default, looked up.

    Returns
    -------
    array, shape (parameters,)

    References
    ----------
    Pascanu, Mikolov & Bengio (2013), algorithm 1.
    """
    # Scaling by the largest entry first keeps the squares of huge gradients finite.
    largest = xp.max(xp.abs(gradient))
    scale = xp.where(largest > 0, largest, largest + 1.0)
    norm = scale * xp.sqrt(total((gradient / scale) ** 2, xp))
    return gradient * (limit / xp.maximum(norm, limit))
