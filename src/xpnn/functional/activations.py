"""Activation functions, and dropout, each with its backward.

``name(z) -> a`` takes scores of any shape and returns the same shape and dtype.
``name_backward(saved, da) -> dz`` turns the gradient in `a` into the gradient in `z`;
`saved` is `a` where the derivative can be told from the output, else `z`: the table
`ACTIVATIONS` says which. All are elementwise but softmax and log-softmax, which work
along the last axis. In each, `xp` is the namespace of the arrays (default: looked up).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from xpnn.backends import Array, Namespace, erf
from xpnn.functional.half_precision import (
    exp_limit,
    find_namespace,
    upcast_half,
    upcast_half_gradient,
)


@upcast_half
def identity(z: Array, *, xp: Namespace = None) -> Array:
    """``a = z``."""
    return z


@upcast_half_gradient
def identity_backward(a: Array, da: Array, *, xp: Namespace = None) -> Array:
    """``dz = da``."""
    return da


@upcast_half
def heaviside(z: Array, *, xp: Namespace = None) -> Array:
    """Threshold unit: 1 where ``z >= 0``, else 0 (McCulloch & Pitts 1943)."""
    return xp.astype(z >= 0, z.dtype)


@upcast_half_gradient
def heaviside_backward(a: Array, da: Array, *, xp: Namespace = None) -> Array:
    """``dz = 0``: the derivative is zero wherever it exists, so nothing is learned through it."""
    return da * 0.0


@upcast_half
def sigmoid(z: Array, *, xp: Namespace = None) -> Array:
    """Logistic function ``a = 1 / (1 + exp(-z))``.

    The exponent is capped where ``exp`` would overflow; there `a` is below the smallest
    normal number anyway.
    """
    return 1.0 / (1.0 + xp.exp(xp.minimum(-z, exp_limit(z.dtype, xp))))


@upcast_half_gradient
def sigmoid_backward(a: Array, da: Array, *, xp: Namespace = None) -> Array:
    """``dz = da * a * (1 - a)``."""
    return da * a * (1.0 - a)


@upcast_half
def tanh(z: Array, *, xp: Namespace = None) -> Array:
    """Hyperbolic tangent."""
    return xp.tanh(z)


@upcast_half_gradient
def tanh_backward(a: Array, da: Array, *, xp: Namespace = None) -> Array:
    """``dz = da * (1 - a**2)``."""
    return da * (1.0 - a * a)


@upcast_half
def relu(z: Array, *, xp: Namespace = None) -> Array:
    """Rectified linear unit ``a = max(z, 0)`` (Nair & Hinton 2010)."""
    return xp.maximum(z, 0.0)


@upcast_half_gradient
def relu_backward(a: Array, da: Array, *, xp: Namespace = None) -> Array:
    """``dz = da`` where ``a > 0``, else 0."""
    return da * xp.astype(a > 0, da.dtype)


@upcast_half
def leaky_relu(z: Array, alpha: float = 0.01, *, xp: Namespace = None) -> Array:
    """``a = z`` where ``z > 0``, else ``alpha * z`` (Maas, Hannun & Ng 2013)."""
    return xp.maximum(z, 0.0) + alpha * xp.minimum(z, 0.0)


@upcast_half_gradient
def leaky_relu_backward(z: Array, da: Array, alpha: float = 0.01, *, xp: Namespace = None) -> Array:
    """``dz = da`` where ``z > 0``, else ``alpha * da``."""
    return xp.where(z > 0, da, alpha * da)


@upcast_half
def elu(z: Array, alpha: float = 1.0, *, xp: Namespace = None) -> Array:
    """``a = z`` where ``z > 0``, else ``alpha * (exp(z) - 1)``.

    Clevert, Unterthiner & Hochreiter (2016), equation 15.
    """
    return xp.maximum(z, 0.0) + alpha * xp.expm1(xp.minimum(z, 0.0))


@upcast_half_gradient
def elu_backward(z: Array, da: Array, alpha: float = 1.0, *, xp: Namespace = None) -> Array:
    """``dz = da`` where ``z > 0``, else ``alpha * exp(z) * da``."""
    return da * xp.where(z > 0, 1.0, alpha * xp.exp(xp.minimum(z, 0.0)))


_SQRT_HALF = math.sqrt(0.5)
_SQRT_TWO_OVER_PI = math.sqrt(2.0 / math.pi)
_DENSITY_AT_ZERO = 1.0 / math.sqrt(2.0 * math.pi)


@upcast_half
def gelu(z: Array, *, xp: Namespace = None) -> Array:
    """Gaussian error linear unit ``a = z * Phi(z)``, exact.

    `Phi` is the standard normal distribution function (Hendrycks & Gimpel 2016, section 2).
    """
    return 0.5 * z * (1.0 + erf(_SQRT_HALF * z, xp))


@upcast_half_gradient
def gelu_backward(z: Array, da: Array, *, xp: Namespace = None) -> Array:
    """``dz = da * (Phi(z) + z * phi(z))``, `phi` the standard normal density."""
    near = xp.minimum(xp.maximum(z, -100.0), 100.0)  # beyond, the density is zero
    density = _DENSITY_AT_ZERO * xp.exp(-0.5 * near * near)
    return da * (0.5 * (1.0 + erf(_SQRT_HALF * z, xp)) + near * density)


def _gelu_tanh_gate(z: Array, xp: Namespace) -> tuple[Array, Array]:
    """The clipped z and ``tanh`` of the cubic; beyond +-10 the gate is exactly 0 or 1."""
    near = xp.minimum(xp.maximum(z, -10.0), 10.0)
    return near, xp.tanh(_SQRT_TWO_OVER_PI * near * (1.0 + 0.044715 * near * near))


@upcast_half
def gelu_tanh(z: Array, *, xp: Namespace = None) -> Array:
    """GELU in its tanh form ``a = z/2 * (1 + tanh(sqrt(2/pi) * (z + 0.044715 * z**3)))``.

    Hendrycks & Gimpel (2016), section 2.
    """
    _, gate = _gelu_tanh_gate(z, xp)
    return 0.5 * z * (1.0 + gate)


@upcast_half_gradient
def gelu_tanh_backward(z: Array, da: Array, *, xp: Namespace = None) -> Array:
    """The derivative of the tanh form, by the product and chain rules."""
    near, gate = _gelu_tanh_gate(z, xp)
    inner = _SQRT_TWO_OVER_PI * (1.0 + 3.0 * 0.044715 * near * near)
    return da * 0.5 * (1.0 + gate + near * (1.0 - gate * gate) * inner)


@upcast_half
def silu(z: Array, *, xp: Namespace = None) -> Array:
    """``a = z * sigmoid(z)``, also called swish (Elfwing, Uchibe & Doya 2018)."""
    return z * sigmoid(z, xp=xp)


@upcast_half_gradient
def silu_backward(z: Array, da: Array, *, xp: Namespace = None) -> Array:
    """``dz = da * s * (1 + z * (1 - s))`` with ``s = sigmoid(z)``."""
    s = sigmoid(z, xp=xp)
    return da * s * (1.0 + z * sigmoid(-z, xp=xp))


@upcast_half
def softplus(z: Array, *, xp: Namespace = None) -> Array:
    """``a = log(1 + exp(z))``, from ``max(z, 0) + log1p(exp(-|z|))`` (Dugas et al. 2001)."""
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


@upcast_half_gradient
def softplus_backward(z: Array, da: Array, *, xp: Namespace = None) -> Array:
    """``dz = da * sigmoid(z)``."""
    return da * sigmoid(z, xp=xp)


@upcast_half
def softmax(z: Array, *, xp: Namespace = None) -> Array:
    """``a_j = exp(z_j) / sum_k exp(z_k)`` along the last axis.

    The row's largest score is taken off first, which changes nothing but overflow
    (Goodfellow, Bengio & Courville 2016, equation 6.29 and section 4.1).
    """
    e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True, dtype=z.dtype)


@upcast_half_gradient
def softmax_backward(a: Array, da: Array, *, xp: Namespace = None) -> Array:
    """``dz = a * (da - sum(da * a))``: the whole Jacobian, not its diagonal."""
    return a * (da - xp.sum(da * a, axis=-1, keepdims=True, dtype=a.dtype))


@upcast_half
def log_softmax(z: Array, *, xp: Namespace = None) -> Array:
    """``a_j = z_j - log(sum_k exp(z_k))`` along the last axis."""
    shifted = z - xp.max(z, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True, dtype=z.dtype))


@upcast_half_gradient
def log_softmax_backward(a: Array, da: Array, *, xp: Namespace = None) -> Array:
    """``dz = da - exp(a) * sum(da)``."""
    return da - xp.exp(a) * xp.sum(da, axis=-1, keepdims=True, dtype=a.dtype)


@dataclass(frozen=True)
class ActivationRule:
    """An activation, its backward, and what the backward wants to have saved.

    Parameters
    ----------
    forward : callable
        ``forward(z, xp=xp) -> a``.
    backward : callable
        ``backward(saved, da, xp=xp) -> dz``.
    saves_output : bool
        Whether `saved` is `a` (else `z`).
    alpha : float or None
        Default of the one parameter that leaky ReLU and ELU have.
    """

    forward: Callable[..., Array]
    backward: Callable[..., Array]
    saves_output: bool
    alpha: float | None = None


ACTIVATIONS: dict[str, ActivationRule] = {
    "identity": ActivationRule(identity, identity_backward, True),
    "heaviside": ActivationRule(heaviside, heaviside_backward, True),
    "sigmoid": ActivationRule(sigmoid, sigmoid_backward, True),
    "tanh": ActivationRule(tanh, tanh_backward, True),
    "relu": ActivationRule(relu, relu_backward, True),
    "leaky_relu": ActivationRule(leaky_relu, leaky_relu_backward, False, alpha=0.01),
    "elu": ActivationRule(elu, elu_backward, False, alpha=1.0),
    "gelu": ActivationRule(gelu, gelu_backward, False),
    "gelu_tanh": ActivationRule(gelu_tanh, gelu_tanh_backward, False),
    "silu": ActivationRule(silu, silu_backward, False),
    "softplus": ActivationRule(softplus, softplus_backward, False),
    "softmax": ActivationRule(softmax, softmax_backward, True),
    "log_softmax": ActivationRule(log_softmax, log_softmax_backward, True),
}


def activation_rule(name: str) -> ActivationRule:
    """Look an activation up by name.

    Raises
    ------
    ValueError
        There is none of that name; the message lists them.
    """
    if name not in ACTIVATIONS:
        raise ValueError(
            f"activation={name!r} is not known; expected one of {', '.join(ACTIVATIONS)}"
        )
    return ACTIVATIONS[name]


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
