"""Arrays go from library to library in place where memory is of one kind."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from xpnn import MLPClassifier, MLPRegressor, Network, Perceptron, backends, select
from xpnn.backends import BackendUnavailableError, as_array, to_host, transfer

LIBRARIES = pytest.mark.parametrize("there", ["array_api_strict", "torch", "jax"])
X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
LABELS = (X[:, 0] > 0).astype("int64")


class OnlyMemory:
    """An object of no library: it has memory, and says where it is."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return self.array.__dlpack__(max_version=max_version)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OldMemory(OnlyMemory):
    """One that knows the first version of the protocol only."""

    def __dlpack__(self, stream=None):
        return self.array.__dlpack__()


class Elsewhere(OnlyMemory):
    """One that says its memory is on a device of some kind."""

    def __init__(self, kind, refuses=None):
        self.kind, self.refuses = kind, refuses

    def __dlpack__(self, **options):
        raise self.refuses

    def __dlpack_device__(self):
        return self.kind, 0


@pytest.fixture
def in_place(monkeypatch):
    """Let libraries share the host's memory as they do a GPU's; no way through NumPy is left.

    Called, the fixture opens that way again.
    """
    monkeypatch.setattr(transfer, "SHARED", frozenset({transfer.HOST}))

    def refuse(x):
        raise AssertionError(f"a {type(x).__name__} went through the host")

    monkeypatch.setattr(transfer, "to_host", refuse)
    return monkeypatch.undo


@pytest.fixture
def torch(use_library):
    use_library("torch")
    import torch

    return torch


ROWS = [
    ("array_api_strict", lambda x: x),
    ("jax", lambda x: x),
    ("torch", lambda x: x),
    ("torch", lambda x: x.T),
    ("torch", lambda x: x[::2]),
    ("torch", lambda x: x[1:, 1:]),
]


@pytest.mark.parametrize(("here", "change"), ROWS)
@LIBRARIES
def test_a_library_takes_anothers_rows_in_any_order_without_the_host(
    here, there, change, use_library, request
):
    use_library(here)
    use_library(there)
    x = change(select(here, dtype="float32").asarray(X))
    backend = select(there, dtype="float32")
    restore = request.getfixturevalue("in_place")
    seen = transfer.view_as(x, backend.xp, backend.device)
    found = transfer.to_device(x, backend.xp, backend.device, backend.dtype)
    assert backends.backend_of(found) == backend
    restore()
    np.testing.assert_array_equal(to_host(seen), change(X))
    if here == "torch":
        x += 1.0  # a copy shares no memory
    np.testing.assert_array_equal(to_host(found), change(X))


@LIBRARIES
def test_memory_read_backwards_is_seen(there, in_place, use_library):
    """PyTorch has no such arrays and would end the process; JAX none with steps."""
    use_library(there)
    backend = select(there, dtype="float32")
    seen = transfer.view_as(X[::-1], backend.xp, backend.device)
    in_place()
    np.testing.assert_array_equal(to_host(seen), X[::-1])


@pytest.mark.usefixtures("in_place")
def test_what_is_compact_is_not_copied_and_bfloat16_is_widened_where_it_is_unknown(torch):
    assert transfer.view_as(X, select("torch").xp, "cpu").data_ptr() == X.ctypes.data
    x = torch.tensor([0.5, 3.0], dtype=torch.bfloat16)
    seen = transfer.view_as(x, backends.HOST_NAMESPACE, "cpu")
    assert (seen.dtype, seen.tolist()) == (np.float32, [0.5, 3.0])
    kept = transfer.to_device(x, select("torch").xp, torch.device("cpu"))
    assert kept.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", None])
def test_a_dtype_is_taken_on_the_way(dtype, in_place, torch):
    strict = select("array_api_strict", "cpu")
    wanted = None if dtype is None else getattr(strict.xp, dtype)
    found = transfer.to_device(torch.arange(3.0), strict.xp, strict.device, wanted)
    in_place()
    assert backends.dtype_name(found.dtype) == (dtype or "float32")
    assert to_host(found).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "device"), [("array_api_strict", "device2"), ("jax", "cpu:1"), ("torch", "cpu")]
)
def test_a_librarys_own_array_moves_without_the_host(name, device, monkeypatch, use_library):
    use_library(name)
    x, backend = select(name, dtype="float32").asarray(X), select(name, device, "float64")
    monkeypatch.setattr(transfer, "to_host", None)
    found = backend.asarray(x)
    monkeypatch.undo()
    assert backends.backend_of(found) == backend
    np.testing.assert_array_equal(to_host(found), X.astype("float64"))


def test_float64_never_reaches_a_device_without_it():
    x = select("array_api_strict", "device1").asarray(X.astype("float64"))
    found = select("array_api_strict", "no_float64", "float32").asarray(x)
    assert backends.device_name(backends.device_of(found)) == "no_float64"


def test_host_memory_and_fake_devices_are_not_shared_otherwise():
    """The way through NumPy is as short on the host, and a fake device's memory is not there."""
    strict = select("array_api_strict", "device1")
    assert transfer.view_as(X, strict.xp, strict.device) is None
    with pytest.raises(backends.MixedArraysError, match="X is an array of numpy"):
        Network(3, [2], backend=strict).predict(X)


@pytest.mark.parametrize("kind", [OnlyMemory, OldMemory])
def test_a_network_takes_what_only_shares_its_memory(kind):
    weight, networks = np.linspace(0.5, 2.0, 12), []
    for wrap in (np.asarray, kind):
        network = Network(3, [4, "tanh", 2], seed=0)
        network.fit(
            wrap(X), wrap(LABELS), sample_weight=wrap(weight), X_val=wrap(X), y_val=wrap(LABELS),
            epochs=2, batch_size=5,
        )  # fmt: skip
        networks.append(network)
    expected, found = networks
    np.testing.assert_array_equal(found.theta, expected.theta)
    for name in ("predict", "predict_proba", "scores"):
        result = getattr(found, name)(kind(X))
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, getattr(expected, name)(X))
    assert found.evaluate(kind(X), kind(LABELS)) == expected.evaluate(X, LABELS)


def test_it_goes_to_where_a_network_is(backend64):
    """Host memory is a list of numbers: its result is where the network is."""
    network, x = Network(3, [2], seed=0, backend=backend64), X.astype("float64")
    found = network.scores(OnlyMemory(x))
    assert backends.backend_of(found) == backend64
    expected = network.scores(backend64.asarray(x))
    np.testing.assert_allclose(to_host(found), to_host(expected))
    np.testing.assert_array_equal(to_host(backend64.asarray(OnlyMemory(X))), X)


@pytest.mark.parametrize("make", [MLPClassifier, MLPRegressor, Perceptron])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_estimator_takes_it_too(make):
    options = {"random_state": 0, "max_iter": 3}
    expected = make(**options).fit(X, LABELS)
    found = make(**options).fit(OnlyMemory(X), OnlyMemory(LABELS))
    np.testing.assert_array_equal(found.predict(OnlyMemory(X)), expected.predict(X))
    assert found.score(OnlyMemory(X), OnlyMemory(LABELS)) == expected.score(X, LABELS)


@LIBRARIES
def test_results_go_on_to_other_libraries(there, torch, use_library):
    use_library(there)
    here = select(there, dtype="float32")
    network = Network(3, [4, "tanh", 2], seed=0)
    network.fit(here.asarray(X), here.asarray(LABELS), epochs=1)
    found = network.predict_proba(here.asarray(X))
    expected = to_host(found)
    np.testing.assert_array_equal(torch.from_dlpack(found).numpy(), expected)
    np.testing.assert_array_equal(np.from_dlpack(found), expected)
    again = here.xp.from_dlpack(torch.from_dlpack(found))
    assert backends.backend_of(again).name == there


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (Elsewhere(4), TypeError, "x: a Elsewhere has memory on a device of DLPack's type 4; exp"),
        (Elsewhere(1, BufferError("no")), TypeError, "x: a Elsewhere cannot share its memory: no"),
        (OnlyMemory(np.ones((3, 3)) * 1j), TypeError, "x holds 1j; expected numbers"),
        # The GPU has failed, and not the object.
        (
            Elsewhere(1, RuntimeError("cudaErrorIllegalAddress: gone")),
            RuntimeError,
            "cudaErrorIllegalAddress",
        ),
    ],
)
def test_memory_that_cannot_be_seen_is_an_error_that_names_it(given, error, message):
    assert as_array("x", OnlyMemory(np.ones(3) > 0j)).dtype == bool
    with pytest.raises(error, match=message):
        as_array("x", given)


class OnGpu:
    """Stands for a GPU's library: notes what it was handed."""

    def __init__(self, name, installed=True):
        self.name, self.there, self.seen = name, installed, []

    def installed(self):
        return self.there

    def load(self):
        if not self.there:
            raise BackendUnavailableError(f"{self.name} cannot be used: not installed")
        names = ("from_dlpack", "asarray", "as_tensor")
        return SimpleNamespace(**{name: self._taker(name) for name in names})

    def _taker(self, how):
        def take(x):
            self.seen.append((how, x))
            return np.ones((2, 3))

        return take


class Column:
    """What cuDF's columns have: CUDA's array interface, and no DLPack."""

    __cuda_array_interface__ = None


class Frame(Column):
    """And its frames."""

    def to_cupy(self):
        return np.ones((2, 3))


@pytest.fixture
def gpu_libraries(monkeypatch):
    def install(**installed):
        found = {name: OnGpu(name, there) for name, there in installed.items()}
        for name, library in found.items():
            monkeypatch.setitem(transfer.LIBRARIES, name, library)
        return found

    return install


@pytest.mark.parametrize(
    ("cupy", "taker", "how"), [(True, "cupy", "asarray"), (False, "torch", "as_tensor")]
)
def test_a_gpus_memory_is_cupys_else_pytorchs(cupy, taker, how, gpu_libraries):
    libraries = gpu_libraries(cupy=cupy, torch=True)
    given = (Elsewhere(2), Column(), Elsewhere(13))
    for x in (*given, Frame()):
        assert as_array("x", x).shape == (2, 3)
    names = ("from_dlpack", how, "from_dlpack")
    assert libraries[taker].seen == list(zip(names, given, strict=True))


def test_a_networks_library_comes_first_where_it_is_on_a_gpu(gpu_libraries, torch):
    xp, libraries = select("torch", "cpu").xp, gpu_libraries(cupy=True, torch=True)
    for device in ("cuda:1", "cpu"):
        transfer.from_dlpack(Elsewhere(2), xp, device)
    assert (len(libraries["torch"].seen), len(libraries["cupy"].seen)) == (1, 1)


def test_a_gpus_memory_without_a_library_for_it_says_what_to_install(gpu_libraries):
    gpu_libraries(cupy=False, torch=False)
    with pytest.raises(BackendUnavailableError, match="cupy cannot be used"):
        as_array("x", Elsewhere(2))
