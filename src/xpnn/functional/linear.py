"""The weighted sum: what a neuron, a layer and a network all begin with.

Of 16-bit floats all sums are float32's, forward and backward; what goes on to another
layer is rounded to 16 bits, a gradient in parameters is not.
"""

from __future__ import annotations

from xpnn.backends import Array, Namespace, is_half, matmul
from xpnn.functional.half_precision import find_namespace, narrow


def _single(x: Array | float, xp: Namespace) -> Array:
    half = hasattr(x, "dtype") and is_half(x.dtype)  # a neuron's bias is a number
    return xp.astype(x, xp.float32) if half else x


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
        z = z + _single(bias, xp)
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
    wide = _single(dz, xp)
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
