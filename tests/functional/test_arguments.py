"""What formulas do with arrays of two libraries or devices, and with things that are no arrays."""

from __future__ import annotations

import inspect

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
    if (name, dtype) == ("numpy", "bfloat16"):
        pytest.importorskip("ml_dtypes", reason="NumPy knows bfloat16 through ml_dtypes")
    if name == "array_api_strict":
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


# Arguments by keyword

FORMULAS = [
    name
    for name in F.__all__
    if inspect.isfunction(getattr(F, name))
    and "xp" in inspect.signature(getattr(F, name)).parameters
]
FAR = np.array([[300.0, -12.0, 0.5], [-300.0, 9.5, 200.0], [1.0, 0.0, -90.0], [60.0, -60.0, 7.0]])
VALUES = {
    **dict.fromkeys(["z", "x", "scores", "da", "dy", "dz", "gradient", "like"], FAR),
    "a": 1.0 / (1.0 + np.exp(-FAR)),
    "weights": FAR.T[:, :2],
    "bias": np.array([300.0, -300.0]),
    "targets": np.abs(FAR) > 50.0,
    "sample_weight": np.array([100.0, 0.0, 300.0, 1.0]),
    "mask": np.array([[2.0, 0.0, 2.0]] * 4),
    "noise": np.array([[0.25, 0.75, 0.5]] * 4),
    "predicted": np.abs(FAR) > 50.0,
    "saved": (FAR,),
}
PLAIN = {"labels": np.array([0, 2, 1, 2]), "rate": 0.5, "alpha": 0.3, "limit": 1.0, "classes": 3}
CHANGED = {
    "linear": {"bias": np.array([300.0, -300.0])},
    "linear_backward": {"dz": FAR[:, :2]},
    "accuracy": {"labels": np.abs(FAR) > 60.0},
    "l2_penalty": {"weights": FAR},
    "linear_input_gradient": {"dz": FAR[:, :2]},
    # Beyond a limit that depends on the dtype the loss is a tangent.
    "poisson": {"scores": FAR / 20.0},
}


def arguments(name, dtype):
    """An argument for each positional parameter of a formula, in its order."""
    given = {}
    for parameter in inspect.signature(getattr(F, name)).parameters.values():
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            continue
        value = CHANGED.get(name, {}).get(parameter.name, VALUES.get(parameter.name))
        if value is None:
            given[parameter.name] = PLAIN[parameter.name]
        elif isinstance(value, tuple):
            given[parameter.name] = tuple(v.astype(dtype) for v in value)
        else:
            given[parameter.name] = value.astype(dtype)
    return given


def arrays(result):
    return [a for part in result for a in arrays(part)] if isinstance(result, tuple) else [result]


def test_the_formulas_are_all_there():
    assert len(FORMULAS) > 50
    assert {"sigmoid", "hinge_backward", "linear", "accuracy", "clip_by_norm"} <= set(FORMULAS)


@pytest.mark.parametrize("given", [False, True], ids=["xp looked up", "xp given"])
@pytest.mark.parametrize("name", FORMULAS)
def test_keywords_mean_the_same_as_places(name, given):
    """In float16: what is widened by its place is widened by its name."""
    function, values = getattr(F, name), arguments(name, "float16")
    options = {"xp": backends.HOST_NAMESPACE} if given else {}
    with np.errstate(over="ignore"):
        expected = arrays(function(*values.values(), **options))
        found = arrays(function(**dict(reversed(values.items())), **options))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", FORMULAS)
def test_half_precision_by_keyword_is_as_good_as_double(name):
    """Rounded once: what float16 can hold of the result in float64 comes out."""
    function = getattr(F, name)
    half, double = (arguments(name, dtype) for dtype in ("float16", "float64"))
    double = {k: _same_numbers(v, double[k]) for k, v in half.items()}
    with np.errstate(over="ignore"):
        found, expected = (arrays(function(**values)) for values in (half, double))
    for one, other in zip(found, expected, strict=True):
        if one.dtype == np.float16:
            other = np.clip(other, -65504.0, 65504.0)
            one = np.clip(one.astype("float64"), -65504.0, 65504.0)
        scale = np.abs(other).max() * 2.0**-9
        np.testing.assert_allclose(one, other, rtol=2.0**-10, atol=2.0**-13 * min(scale, 1.0))


def _same_numbers(half, double):
    """The double arguments as the halves round them."""
    if isinstance(half, tuple):
        return tuple(h.astype("float64") for h in half)
    return half.astype("float64") if getattr(half, "dtype", None) == np.float16 else double


@pytest.mark.parametrize(
    ("call", "dtype"),
    [
        (lambda half, single: F.sigmoid_backward(single, half), "float32"),
        (lambda half, single: F.sigmoid_backward(half, single), "float16"),
        (lambda half, single: F.mean_squared_error(single, half)[1][0], "float32"),
        (lambda half, single: F.mean_squared_error(half, single)[1][0], "float16"),
        (lambda half, single: F.linear(single, half.T), "float32"),
        (lambda half, single: F.linear(half, single.T), "float16"),
        (lambda half, single: F.dropout(half, single, 0.5)[0], "float16"),
        (lambda half, single: F.dropout_mask(single, 0.5, half), "float16"),
    ],
)
def test_the_first_argument_decides_the_dtype_of_the_result(call, dtype):
    half, single = np.full((2, 3), 0.5, "float16"), np.full((2, 3), 0.5, "float32")
    assert call(half, single).dtype == dtype
