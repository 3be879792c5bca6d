"""Finding an array's library and device, and moving arrays between host and device."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import backends
from xpnn.backends import MixedArraysError, select


def test_arrays_decide_by_themselves(backend):
    x = backend.asarray(np.ones((2, 3)))
    xp, device = backends.placement(x=x, nothing=None)
    assert xp is backend.xp
    assert device == backend.device
    assert backends.backend_of(x) == backend
    assert backends.is_array(x)
    assert backends.is_floating(x, xp)


def test_there_and_back(backend):
    values = np.arange(6.0).reshape(2, 3) / 4
    for given in (values, values.tolist(), np.asfortranarray(values), values[::-1][::-1]):
        back = backends.to_host(backend.asarray(given))
        np.testing.assert_array_equal(back, values)
    labels = np.array([1, 0, 3], dtype="int32")
    assert backends.dtype_name(backend.asarray(labels).dtype) == "int32"


def test_arrays_on_a_device_share_no_memory_with_the_users(backend):
    values = np.zeros(3, dtype=backends.dtype_name(backend.dtype))
    x = backend.asarray(values)
    values += 1.0
    assert backends.to_host(x).tolist() == [0.0, 0.0, 0.0]


def test_scalars(backend, assert_close):
    x = backends.scalar(0.25, backend.xp, backend.device, backend.dtype)
    assert_close(x, 0.25, backend)
    assert backends.to_float(x) == 0.25


def test_lists_go_where_their_neighbour_is(backend64):
    like = backend64.asarray([1.0])
    made = backends.as_array_like("t", [1, 2], like)
    assert backends.placement(like=like, made=made)[1] == backend64.device
    assert backends.as_array_like("t", like, like) is like


def test_integers_become_floats(backend):
    x = backend.asarray([1, 2])
    found = backends.as_floating(x, backend.xp)
    expected = backends.default_float(backend.xp, backend.device)
    assert found.dtype == expected
    assert backends.as_floating(found, backend.xp) is found


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_bfloat16_comes_to_the_host_as_float32(name, use_library):
    use_library(name)
    x = select(name, dtype="bfloat16").asarray([0.5, 3.0])
    host = backends.to_host(x)
    assert host.dtype == np.float32
    assert host.tolist() == [0.5, 3.0]


def test_a_torch_tensor_that_wants_gradients_can_be_read(use_library):
    use_library("torch")
    import torch

    assert backends.to_host(torch.ones(2, requires_grad=True)).tolist() == [1.0, 1.0]


def test_two_libraries_are_an_error_that_names_both_arguments():
    x, t = np.ones(2), select("array_api_strict").asarray([1.0])
    message = "x is an array of numpy and t of array_api_strict; expected arrays of one library"
    with pytest.raises(MixedArraysError, match=message):
        backends.namespace(x=x, weight=None, t=t)


def test_two_devices_are_an_error_that_names_both_arguments():
    x, t = (select("array_api_strict", d).asarray([1.0]) for d in ("device1", "device2"))
    with pytest.raises(MixedArraysError, match="x is on device device1 and t on device2; expected"):
        backends.placement(x=x, t=t)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_every_pair_of_libraries_is_refused(name, use_library):
    use_library(name)
    other = select(name).asarray([1.0])
    with pytest.raises(MixedArraysError, match=f"a is an array of numpy and b of {name}"):
        backends.placement(a=np.ones(1), b=other)


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
    ],
)
def test_what_is_no_number_is_refused(value, message):
    with pytest.raises(TypeError, match=message):
        backends.as_array("x", value)


@pytest.mark.parametrize("name", ["array_api_strict", "torch", "jax"])
def test_complex_numbers_are_refused_on_every_library(name, use_library):
    use_library(name)
    x = select(name).xp.asarray([1j])
    with pytest.raises(TypeError, match=r"x has dtype .*complex.*; expected numbers"):
        backends.as_array("x", x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: backends.namespace(x=[1.0]), "x is a list; expected an array of a library"),
        (lambda: backends.namespace(x=None, t=None), "none of x, t is an array"),
        (lambda: backends.backend_of("abc"), "x is a str; expected an array"),
    ],
)
def test_what_is_no_array_is_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_integers_take_the_devices_width():
    strict = backends.select("array_api_strict", "no_x64", "float32")
    assert backends.dtype_name(strict.asarray(np.arange(3)).dtype) == "int32"
    usual = backends.select("array_api_strict", "device1")
    assert backends.dtype_name(usual.asarray(np.arange(3)).dtype) == "int64"
