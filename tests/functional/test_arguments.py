"""What formulas do with arrays of two libraries or devices, and with things that are no arrays."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import backends
from xpnn import functional as F

NUMPY = np.ones((2, 2))
CALLS = {
    "linear": (lambda a, b: F.linear(a, b), "x", "weights"),
    "linear, bias": (lambda a, b: F.linear(a, a, b), "x", "bias"),
    "linear_backward": (lambda a, b: F.linear_backward(a, a, b), "x", "dz"),
    "sigmoid_backward": (lambda a, b: F.sigmoid_backward(a, b), "a", "da"),
    "gelu_backward": (lambda a, b: F.gelu_backward(a, b), "z", "da"),
    "mean_squared_error": (lambda a, b: F.mean_squared_error(a, b), "scores", "targets"),
    "loss, weights": (
        lambda a, b: F.softmax_cross_entropy(a, a, sample_weight=b[0, :]),
        "scores", "sample_weight",
    ),
    "dropout": (lambda a, b: F.dropout(a, b, 0.5), "x", "noise"),
    "dropout_backward": (lambda a, b: F.dropout_backward(a, b), "mask", "dy"),
    "accuracy": (lambda a, b: F.accuracy(a, b), "predicted", "labels"),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_two_libraries_are_an_error_that_names_both_arguments(name):
    strict = backends.select("array_api_strict").asarray(NUMPY)
    call, first, second = CALLS[name]
    message = f"{first} is an array of numpy and {second} of array_api_strict"
    with pytest.raises(backends.MixedArraysError, match=message):
        call(NUMPY, strict)


@pytest.mark.parametrize("name", CALLS)
def test_two_devices_are_an_error_that_names_both_arguments(name):
    near, far = (backends.select("array_api_strict", d).asarray(NUMPY) for d in ("cpu", "device1"))
    call, first, second = CALLS[name]
    message = f"{first} is on device CPU_DEVICE and {second} on device1"
    with pytest.raises(backends.MixedArraysError, match=message):
        call(near, far)


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.sigmoid([1.0, 2.0]),
        lambda: F.linear([[1.0]], [[1.0]]),
        lambda: F.mean_squared_error(3.0, 4.0),
        lambda: F.one_hot([1, 2], 3),
    ],
)
def test_lists_are_refused_with_the_name_of_the_argument(call):
    with pytest.raises(
        TypeError, match=r"(z|x|scores|labels) is a (list|float); expected an array"
    ):
        call()


@pytest.mark.parametrize("name", ["numpy", "array_api_strict", "torch", "jax"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_goes_in_and_out(name, dtype, use_library):
    use_library(name)
    if name == "array_api_strict" or (name, dtype) == ("numpy", "bfloat16"):
        with pytest.raises(ValueError, match=f"dtype='{dtype}' is not a dtype of {name}"):
            backends.select(name, dtype=dtype)
        return
    backend = backends.select(name, dtype=dtype)
    x = backend.asarray(np.linspace(-3, 3, 12).reshape(3, 4))
    for function in F.ACTIVATIONS.values():
        assert function.forward(x).dtype == x.dtype
    y, mask = F.dropout(x, backend.asarray(np.full((3, 4), 0.7), "float32"), 0.5)
    assert y.dtype == mask.dtype == x.dtype
    expected = 1 / (1 + np.exp(-backends.to_host(x).astype("float64")))
    limit = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    np.testing.assert_allclose(backends.to_host(F.sigmoid(x)), expected, rtol=limit)
