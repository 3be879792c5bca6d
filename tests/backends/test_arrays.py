"""Finding an array's library and device, and moving arrays between host and device."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from xpnn import MLPClassifier, Network, backends
from xpnn.backends import MixedArraysError, as_array, select, to_device, to_host

# Where arrays are


def test_arrays_decide_by_themselves(backend):
    x = backend.asarray(np.ones((2, 3)))
    xp, device = backends.placement(x=x, nothing=None)
    assert xp is backend.xp
    assert device == backend.device
    assert backends.backend_of(x) == backend
    assert backends.is_array(x)
    assert backends.is_floating(x, xp)


def strict(device):
    return select("array_api_strict", device).asarray([1.0])


@pytest.mark.parametrize("name", ["array_api_strict", "torch", "jax"])
def test_two_libraries_are_an_error_that_names_both_arguments(name, use_library):
    use_library(name)
    x, t = np.ones(2), select(name).asarray([1.0])
    message = f"x is an array of numpy and t of {name}; expected arrays of one library"
    with pytest.raises(MixedArraysError, match=message):
        backends.placement(x=x, weight=None, t=t)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: backends.placement(x=strict("device1"), t=strict("device2")),
            MixedArraysError,
            "x is on device device1 and t on device2; expected",
        ),
        (
            lambda: backends.namespace(x=[1.0]),
            TypeError,
            "x is a list; expected an array of a library",
        ),
        (lambda: backends.namespace(x=None, t=None), TypeError, "none of x, t is an array"),
        (lambda: backends.backend_of("abc"), TypeError, "x is a str; expected an array"),
    ],
)
def test_other_devices_and_what_is_no_array_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# There and back


def test_there_and_back(backend):
    values = np.arange(6.0).reshape(2, 3) / 4
    for given in (values, values.tolist(), np.asfortranarray(values), values[::-1][::-1]):
        np.testing.assert_array_equal(to_host(backend.asarray(given)), values)
    labels = np.array([1, 0, 3], dtype="int32")
    assert backends.dtype_name(backend.asarray(labels).dtype) == "int32"
    own = np.zeros(3, dtype=backends.dtype_name(backend.dtype))
    x = backend.asarray(own)
    own += 1.0  # which is nobody's business
    assert to_host(x).tolist() == [0.0, 0.0, 0.0]


def test_scalars(backend, assert_close):
    x = backends.scalar(0.25, backend.xp, backend.device, backend.dtype)
    assert_close(x, 0.25, backend)
    assert backends.to_float(x) == 0.25


def test_lists_go_where_their_neighbour_is(backend64):
    like = backend64.asarray([1.0])
    made = as_array("t", [1, 2], like)
    assert backends.placement(like=like, made=made)[1] == backend64.device
    assert as_array("t", like, like) is like


def test_integers_become_floats(backend):
    found = backends.as_floating(backend.asarray([1, 2]), backend.xp)
    assert found.dtype == backends.default_float(backend.xp, backend.device)
    assert backends.as_floating(found, backend.xp) is found


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_bfloat16_comes_to_the_host_as_float32(name, use_library):
    use_library(name)
    host = to_host(select(name, dtype="bfloat16").asarray([0.5, 3.0]))
    assert (host.dtype, host.tolist()) == (np.float32, [0.5, 3.0])


def test_what_is_there_already_is_passed_on(backend):
    """`copy=None` copies only what has another dtype, place or library."""
    x = backend.asarray(np.ones((2, 3)))
    xp, device, dtype = backend.xp, backend.device, backend.dtype
    for same in (
        to_device(x, xp, device, copy=None), to_device(x, xp, device, dtype, copy=None),
        to_device(x, xp, dtype=dtype, copy=None), backend.asarray(x, copy=None),
    ):  # fmt: skip
        assert same is x
    assert to_device(x, xp, device) is not x
    assert backends.device_of(to_device(x, xp)) == device  # its own place is the default
    other = backends.named_dtype("float16" if backend.name != "array_api_strict" else "int32", xp)
    found = to_device(x, xp, device, other, copy=None)
    assert found.dtype == other
    assert backends.device_of(found) == device
    values = np.ones((2, 3))
    made = to_device(values, xp, device, dtype, copy=None)
    assert backends.backend_of(made) == backend
    np.testing.assert_array_equal(to_host(made), values)


def test_numpys_arrays_are_in_c_order():
    values, xp = np.asfortranarray(np.arange(6.0).reshape(2, 3)), backends.HOST_NAMESPACE
    for copy in (True, None):
        found = to_device(values, xp, copy=copy)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, values)
    rows = np.arange(6.0).reshape(2, 3)
    assert to_device(rows, xp, copy=None) is rows
    assert not np.shares_memory(to_device(rows, xp), rows)
    assert to_device(rows, xp, dtype="float32", copy=None).dtype == np.float32
    assert to_device(np.float64(2.0), xp).shape == ()


# PyTorch's tensors


def test_a_torch_tensors_memory_is_numpys(use_library):
    use_library("torch")
    x = select("torch", dtype="float32").asarray([1.0, 2.0])
    assert np.shares_memory(to_device(x, backends.HOST_NAMESPACE, copy=None), x.numpy())
    assert not np.shares_memory(to_device(x, backends.HOST_NAMESPACE), x.numpy())


def test_tensors_leave_their_graph_on_the_way_in(use_library):
    use_library("torch")
    import torch

    x = torch.ones(2, requires_grad=True)
    grown = x * 2.0  # holds on to the graph that it came from
    xp, cpu = backends.namespace(x=x), x.device
    for given in (x, grown):
        ways = [
            as_array("x", given),
            as_array("x", given, given),
            to_device(given, xp, cpu),
            to_device(given, xp, cpu, copy=None),
            to_device(given, xp, cpu, torch.float64, copy=None),
            select("torch").asarray(given),
            select("torch").asarray(given, copy=None),
        ]
        assert [(found.requires_grad, found.grad_fn) for found in ways] == [(False, None)] * 7
        expected = given.detach().numpy().tolist()
        for found in (*ways, to_host(given), backends.host_view(given)):
            assert np.asarray(found).tolist() == expected
    assert as_array("x", grown).data_ptr() == grown.data_ptr()
    assert grown.requires_grad
    plain = torch.ones(2)
    assert as_array("x", plain) is plain


@pytest.mark.parametrize("engine", ["pure", "planned"])
def test_a_network_on_tensors_that_require_gradients_is_in_no_graph(engine, use_library):
    use_library("torch")
    import torch

    rows = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    x, t = torch.tensor(rows, requires_grad=True), torch.arange(20) % 2
    network, other = (Network(3, [4, "tanh", 2], seed=0) for _ in range(2))
    network.fit(x, t, epochs=2, engine=engine)
    other.fit(torch.tensor(rows), t, epochs=2, engine=engine)
    for found, expected in (
        (network.theta, other.theta),
        (network.predict_proba(x), other.predict_proba(torch.tensor(rows))),
    ):
        assert not found.requires_grad
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    assert x.grad is None


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int64", "bool"])
def test_integers_of_all_sizes_come_to_the_host(dtype, use_library):
    use_library("torch")
    import torch

    values = np.array([0, np.iinfo(dtype).max if dtype != "bool" else 1], dtype)
    x = torch.tensor(values.tolist(), dtype=getattr(torch, dtype))
    host = to_host(as_array("t", x))
    assert host.dtype == dtype
    np.testing.assert_array_equal(host, values)


# What becomes an array


class Computed:
    """An object that becomes a NumPy array when it is asked, and not before."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


@pytest.fixture(params=["of no library", "of Dask"])
def lazy(request, monkeypatch):
    """A class of lazily computed arrays; Dask's count as a library of the standard elsewhere."""
    own = type("Array", (Computed,), {})
    if request.param == "of Dask":
        dask, array = types.ModuleType("dask"), types.ModuleType("dask.array")
        dask.array, array.Array = array, own
        monkeypatch.setitem(sys.modules, "dask", dask)
        monkeypatch.setitem(sys.modules, "dask.array", array)
    return own


def test_lazily_computed_arrays_are_numpys(lazy, backend):
    values = np.arange(4.0)
    assert not backends.is_array(lazy(values))
    assert type(as_array("x", lazy(values))) is np.ndarray
    found = as_array("x", lazy(values), backend.asarray(values))
    assert backends.backend_of(found) == backend
    for made in (found, backend.asarray(lazy(values)), to_host(lazy(values))):
        np.testing.assert_array_equal(to_host(made), values)
    with pytest.raises(TypeError, match="x holds 'a'; expected numbers"):
        as_array("x", lazy(np.array(["a"])))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_lazily_computed_arrays_are_learned_from_and_predicted(lazy):
    rows, labels = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    for make in (lambda: Network(3, [2], seed=0), lambda: MLPClassifier((4,), max_iter=3)):
        model = make()
        model.fit(lazy(rows), lazy(labels))
        np.testing.assert_array_equal(model.predict(lazy(rows)), model.predict(rows))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["1.5", "2"], "x holds '1.5'; expected numbers"),
        ([[1.0, 2.0], [3.0]], "x is not a rectangular table of numbers"),
        ([1j], r"x holds 1j; expected numbers"),
        ([None, 1.0], "x holds None; expected numbers"),
        (np.array(["a"]), "x has dtype <U1; expected numbers"),
        (np.array([1j]), "x has dtype complex128; expected numbers"),
        (np.array([{}]), "x has dtype object; expected numbers"),
        (np.array(["2020-01-01"], "datetime64[D]"), "x has dtype datetime64"),
        (
            np.ma.masked_greater(np.arange(6.0), 4),
            "x has masked values; expected a number in every place",
        ),
    ],
)
def test_what_is_no_number_is_refused(value, message):
    with pytest.raises(TypeError, match=message):
        as_array("x", value)


@pytest.mark.parametrize("name", ["array_api_strict", "torch", "jax"])
def test_complex_numbers_are_refused_on_every_library(name, use_library):
    use_library(name)
    with pytest.raises(TypeError, match=r"x has dtype .*complex.*; expected numbers"):
        as_array("x", select(name).xp.asarray([1j]))


def test_matrices_and_masked_arrays_become_plain_arrays():
    x = np.arange(6.0).reshape(3, 2)
    with pytest.warns(PendingDeprecationWarning, match="matrix subclass"):
        matrix = np.matrix(x)
    for same in (np.ma.array(x), matrix):
        found = as_array("X", same)
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, x)


# Devices without 64 bits


@pytest.mark.parametrize(("device", "dtype"), [("no_x64", "int32"), ("device1", "int64")])
def test_integers_take_the_devices_width(device, dtype):
    x = select("array_api_strict", device, "float32").asarray(np.arange(3))
    assert backends.dtype_name(x.dtype) == dtype


@pytest.mark.parametrize(
    ("dtype", "narrow"), [("int64", "int32"), ("uint64", "uint32"), ("float64", "float32")]
)
def test_a_device_without_64_bits_gets_32(dtype, narrow):
    xp = select("array_api_strict").xp
    for given in (np.arange(3, dtype=dtype), xp.arange(3, dtype=getattr(xp, dtype))):
        found = to_device(given, xp, xp.Device("no_x64"))
        assert backends.dtype_name(found.dtype) == narrow
        assert to_host(found).tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 10**10])
def test_integers_that_would_become_others_are_refused(value):
    xp = select("array_api_strict").xp
    message = rf"^{value} does not fit into int32, the largest integers of array_api_strict on no_x"
    for given in (np.array([1, value]), xp.asarray([1, value])):
        with pytest.raises(ValueError, match=message):
            to_device(given, xp, xp.Device("no_x64"))


def test_integers_that_jax_would_change_are_refused(use_library):
    use_library("jax")
    import jax

    jax.config.update("jax_enable_x64", False)
    try:
        for values in (np.array([10**10]), np.array([2**40], "uint64")):
            with pytest.raises(ValueError, match=f"{values[0]} does not fit into u?int32"):
                to_device(values, jax.numpy)
        assert to_device(np.array([7]), jax.numpy).tolist() == [7]
    finally:
        jax.config.update("jax_enable_x64", True)
