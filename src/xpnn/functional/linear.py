"""The weighted sum, the weights that it begins with, and what keeps them small.

Of 16-bit floats all sums are float32's, forward and backward; what goes on to another
layer is rounded to 16 bits, a gradient in parameters is not.

Initial weights ``name(rng, fan_in, fan_out)`` of shape (fan_in, fan_out), float64, are drawn
on the host, so that a seed means the same on every library.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from xpnn.backends import Array, HostGenerator, Namespace, host, is_half, matmul
from xpnn.functional.half_precision import (
    find_namespace,
    narrow,
    total,
    upcast_half,
    upcast_half_loss,
    widen,
)


@find_namespace
def linear(x: Array, weights: Array, bias: Array | None = None, *, xp: Namespace = None) -> Array:
    """Weighted sums ``z = x @ weights + bias``.

    Parameters
    ----------
    x : array, shape (n, inputs)
        One row for each example.
    weights : array, shape (inputs, outputs)
        One column for each unit.
    bias : array, shape (outputs,), optional
        Default: none.
    xp : module, optional
        Namespace of the arrays; default, that of `x`.

    Returns
    -------
    array, shape (n, outputs)

    References
    ----------
    Goodfellow, Bengio, Courville, "Deep Learning" (2016), equation 6.3.
    """
    z = matmul(x, weights, xp)
    if bias is not None:
        z = z + widen(bias, xp)
    return narrow(z, x.dtype, xp) if is_half(x.dtype) else z


@find_namespace
def linear_input_gradient(weights: Array, dz: Array, *, xp: Namespace = None) -> Array:
    """Gradient of the loss in `x`: ``dz @ weights.T``, shape (n, inputs), dtype of `dz`."""
    return xp.astype(matmul(dz, weights.T, xp), dz.dtype, copy=False)


@find_namespace
def linear_weight_gradient(x: Array, dz: Array, *, xp: Namespace = None) -> Array:
    """Gradient of the loss in `weights`: ``x.T @ dz``, shape (inputs, outputs).

    Of 16-bit floats in float32, whose range a sum over many rows may need.
    """
    return matmul(x.T, dz, xp)


@find_namespace
def linear_bias_gradient(dz: Array, *, xp: Namespace = None) -> Array:
    """Gradient of the loss in `bias`: the column sums of `dz`, shape (outputs,).

    Of 16-bit floats in float32.
    """
    wide = widen(dz, xp)
    return xp.sum(wide, axis=0, dtype=wide.dtype)


@find_namespace
def linear_backward(
    x: Array, weights: Array, dz: Array, *, xp: Namespace = None
) -> tuple[Array, Array, Array]:
    """Gradients of `linear` from the gradient `dz` of the loss in its output.

    Parameters
    ----------
    x : array, shape (n, inputs)
        The input of the forward pass.
    weights : array, shape (inputs, outputs)
        The weights of the forward pass.
    dz : array, shape (n, outputs)
        Gradient of the loss in the output.
    xp : module, optional
        Namespace of the arrays; default, that of `x`.

    Returns
    -------
    dx : array, shape (n, inputs)
    dweights : array, shape (inputs, outputs)
    dbias : array, shape (outputs,)

    References
    ----------
    Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 6.5.6.
    """
    return (
        linear_input_gradient(weights, dz, xp=xp),
        linear_weight_gradient(x, dz, xp=xp),
        linear_bias_gradient(dz, xp=xp),
    )


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
    return alpha * saved[0]


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


def glorot_uniform(rng: HostGenerator, fan_in: int, fan_out: int) -> Array:
    """Uniform within ``+-sqrt(6 / (fan_in + fan_out))`` (Glorot & Bengio 2010, equation 16)."""
    bound = math.sqrt(6.0 / (fan_in + fan_out))
    return rng.uniform(-bound, bound, (fan_in, fan_out))


def glorot_normal(rng: HostGenerator, fan_in: int, fan_out: int) -> Array:
    """Normal with variance ``2 / (fan_in + fan_out)`` (Glorot & Bengio 2010, equation 12)."""
    return rng.normal(0.0, math.sqrt(2.0 / (fan_in + fan_out)), (fan_in, fan_out))


def he_uniform(rng: HostGenerator, fan_in: int, fan_out: int) -> Array:
    """Uniform within ``+-sqrt(6 / fan_in)``, the same variance as `he_normal`."""
    bound = math.sqrt(6.0 / fan_in)
    return rng.uniform(-bound, bound, (fan_in, fan_out))


def he_normal(rng: HostGenerator, fan_in: int, fan_out: int) -> Array:
    """Normal with variance ``2 / fan_in`` (He et al. 2015, equation 10)."""
    return rng.normal(0.0, math.sqrt(2.0 / fan_in), (fan_in, fan_out))


def uniform(
    rng: HostGenerator, fan_in: int, fan_out: int, *, low: float = -1.0, high: float = 1.0
) -> Array:
    """Uniform within [low, high), the tutorials' uniform(-1, 1) by default."""
    return rng.uniform(low, high, (fan_in, fan_out))


def normal(rng: HostGenerator, fan_in: int, fan_out: int, *, scale: float | None = None) -> Array:
    """Normal with standard deviation `scale`; default ``fan_in**-0.5``.

    The digit tutorial uses ``scale = H**-0.5``, H hidden units, for both of its matrices.
    """
    return rng.normal(0.0, fan_in**-0.5 if scale is None else scale, (fan_in, fan_out))


def zeros(rng: HostGenerator, fan_in: int, fan_out: int) -> Array:
    """All zero; takes `rng` like the others and draws nothing from it."""
    return host.zeros((fan_in, fan_out))


INITIALIZERS: dict[str, Callable[..., Array]] = {
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "uniform": uniform,
    "normal": normal,
    "zeros": zeros,
}


def initializer(name: str) -> Callable[..., Array]:
    """Look an initializer up by name.

    Raises
    ------
    ValueError
        There is none of that name; the message lists them.
    """
    if name not in INITIALIZERS:
        raise ValueError(
            f"initializer={name!r} is not known; expected one of {', '.join(INITIALIZERS)}"
        )
    return INITIALIZERS[name]
