"""Arrays go from library to library in place where memory is of one kind."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from xpnn import MLPClassifier, MLPRegressor, Network, Perceptron, backends, select
from xpnn.backends import BackendUnavailableError, transfer

LIBRARIES = ("array_api_strict", "torch", "jax")
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
    """Let libraries share the host's memory as they do a GPU's; no way through NumPy is left."""
    monkeypatch.setattr(transfer, "SHARED", frozenset({transfer.HOST}))

    def refuse(x):
        raise AssertionError(f"a {type(x).__name__} went through the host")

    monkeypatch.setattr(transfer, "to_host", refuse)


def made(name, values, use_library, dtype="float32"):
    use_library(name)
    return select(name, dtype=dtype).asarray(values)


@pytest.mark.parametrize("there", LIBRARIES)
@pytest.mark.parametrize("here", LIBRARIES)
def test_a_library_takes_anothers_array_without_the_host(here, there, use_library, request):
    x = made(here, X, use_library)
    use_library(there)
    backend = select(there, dtype="float32")
    request.getfixturevalue("in_place")
    found = transfer.to_device(x, backend.xp, backend.device, backend.dtype)
    assert backends.backend_of(found).name == there
    assert backends.device_of(found) == backend.device
    request.getfixturevalue("monkeypatch").undo()
    np.testing.assert_array_equal(backends.to_host(found), X)


@pytest.mark.parametrize("there", LIBRARIES)
def test_a_copy_shares_no_memory(there, in_place, use_library, monkeypatch):
    use_library("torch")
    use_library(there)
    import torch

    x = torch.zeros(4, dtype=torch.float32, requires_grad=True)
    backend = select(there, dtype="float32")
    found = transfer.to_device(x, backend.xp, backend.device)
    with torch.no_grad():
        x += 1.0
    monkeypatch.undo()
    assert backends.to_host(found).tolist() == [0.0] * 4


@pytest.mark.parametrize("there", LIBRARIES)
@pytest.mark.parametrize("change", [lambda x: x.T, lambda x: x[::2], lambda x: x[1:, 1:]])
def test_rows_in_any_order_are_seen(there, change, in_place, use_library, monkeypatch):
    use_library("torch")
    use_library(there)
    import torch

    backend, x = select(there, dtype="float32"), change(torch.tensor(X))
    seen = transfer.view_as(x, backend.xp, backend.device)
    found = transfer.to_device(x, backend.xp, backend.device)
    monkeypatch.undo()
    for array in (seen, found):
        np.testing.assert_array_equal(backends.to_host(array), change(X))


@pytest.mark.parametrize("there", LIBRARIES)
def test_memory_read_backwards_is_seen(there, in_place, use_library, monkeypatch):
    """PyTorch has no such arrays and would end the process; JAX none with steps."""
    use_library(there)
    backend = select(there, dtype="float32")
    seen = transfer.view_as(X[::-1], backend.xp, backend.device)
    monkeypatch.undo()
    np.testing.assert_array_equal(backends.to_host(seen), X[::-1])


def test_what_is_compact_is_not_copied(in_place, use_library):
    use_library("torch")
    seen = transfer.view_as(X, select("torch").xp, "cpu")
    assert seen.data_ptr() == X.ctypes.data


def test_bfloat16_is_widened_where_a_library_lacks_it(in_place, use_library):
    use_library("torch")
    import torch

    x = torch.tensor([0.5, 3.0], dtype=torch.bfloat16)
    seen = transfer.view_as(x, backends.HOST_NAMESPACE, "cpu")
    assert seen.dtype == np.float32
    assert seen.tolist() == [0.5, 3.0]
    kept = transfer.to_device(x, select("torch").xp, torch.device("cpu"))
    assert kept.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", None])
def test_a_dtype_is_taken_on_the_way(dtype, in_place, use_library, monkeypatch):
    use_library("torch")
    import torch

    strict = select("array_api_strict", "cpu")
    wanted = None if dtype is None else getattr(strict.xp, dtype)
    found = transfer.to_device(torch.arange(3.0), strict.xp, strict.device, wanted)
    monkeypatch.undo()
    assert backends.dtype_name(found.dtype) == (dtype or "float32")
    assert backends.to_host(found).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "device"), [("array_api_strict", "device2"), ("jax", "cpu:1"), ("torch", "cpu")]
)
def test_a_librarys_own_array_moves_without_the_host(name, device, monkeypatch, use_library):
    x = made(name, X, use_library)
    backend = select(name, device, "float64")
    monkeypatch.setattr(transfer, "to_host", None)
    found = backend.asarray(x)
    monkeypatch.undo()
    assert backends.backend_of(found) == backend
    np.testing.assert_array_equal(backends.to_host(found), X.astype("float64"))


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
    expected, found = Network(3, [4, "tanh", 2], seed=0), Network(3, [4, "tanh", 2], seed=0)
    options = {"epochs": 2, "batch_size": 5}
    weight = np.linspace(0.5, 2.0, 12)
    expected.fit(X, LABELS, sample_weight=weight, X_val=X, y_val=LABELS, **options)
    found.fit(
        kind(X), kind(LABELS), sample_weight=kind(weight), X_val=kind(X), y_val=kind(LABELS),
        **options,
    )  # fmt: skip
    np.testing.assert_array_equal(found.theta, expected.theta)
    for name in ("predict", "predict_proba", "scores"):
        result = getattr(found, name)(kind(X))
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, getattr(expected, name)(X))
    assert found.evaluate(kind(X), kind(LABELS)) == expected.evaluate(X, LABELS)


def test_it_goes_to_where_a_network_is(backend64):
    """Host memory is a list of numbers: its result is where the network is."""
    network = Network(3, [2], seed=0, backend=backend64)
    found = network.scores(OnlyMemory(X.astype("float64")))
    assert backends.backend_of(found) == backend64
    np.testing.assert_allclose(
        backends.to_host(found),
        backends.to_host(network.scores(backend64.asarray(X.astype("float64")))),
    )
    np.testing.assert_array_equal(backends.to_host(backend64.asarray(OnlyMemory(X))), X)


@pytest.mark.parametrize("make", [MLPClassifier, MLPRegressor, Perceptron])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_estimator_takes_it_too(make):
    options = {"random_state": 0, "max_iter": 3}
    expected = make(**options).fit(X, LABELS)
    found = make(**options).fit(OnlyMemory(X), OnlyMemory(LABELS))
    np.testing.assert_array_equal(found.predict(OnlyMemory(X)), expected.predict(X))
    assert found.score(OnlyMemory(X), OnlyMemory(LABELS)) == expected.score(X, LABELS)


@pytest.mark.parametrize("name", LIBRARIES)
def test_results_go_on_to_other_libraries(name, use_library):
    use_library("torch")
    import torch

    x = made(name, X, use_library)
    network = Network(3, [4, "tanh", 2], seed=0)
    network.fit(x, made(name, LABELS, use_library), epochs=1)
    found = network.predict_proba(x)
    expected = backends.to_host(found)
    np.testing.assert_array_equal(torch.from_dlpack(found).numpy(), expected)
    np.testing.assert_array_equal(np.from_dlpack(found), expected)
    again = select(name).xp.from_dlpack(torch.from_dlpack(found))
    assert backends.backend_of(again).name == name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Elsewhere(4), r"x: a Elsewhere has memory on a device of DLPack's type 4; expected the "),
        (Elsewhere(1, BufferError("no")), "x: a Elsewhere cannot share its memory: no"),
        (OnlyMemory(np.ones(3) > 0j), None),
        (OnlyMemory(np.ones((3, 3)) * 1j), "x holds 1j; expected numbers"),
    ],
)
def test_memory_that_cannot_be_seen_is_an_error_that_names_it(given, message):
    if message is None:
        assert backends.as_array("x", given).dtype == bool
        return
    with pytest.raises(TypeError, match=message):
        backends.as_array("x", given)


def test_a_gpu_that_fails_is_not_taken_for_an_object_that_does():
    with pytest.raises(RuntimeError, match="cudaErrorIllegalAddress"):
        backends.as_array("x", Elsewhere(1, RuntimeError("cudaErrorIllegalAddress: gone")))


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
    ("installed", "taker", "how"),
    [
        ({"cupy": True, "torch": True}, "cupy", "asarray"),
        ({"cupy": False, "torch": True}, "torch", "as_tensor"),
    ],
)
def test_a_gpus_memory_is_cupys_else_pytorchs(installed, taker, how, gpu_libraries):
    libraries = gpu_libraries(**installed)
    shared, column = Elsewhere(2), Column()
    for given in (shared, column, Elsewhere(13)):
        assert backends.as_array("x", given).shape == (2, 3)
    assert [name for name, _ in libraries[taker].seen] == ["from_dlpack", how, "from_dlpack"]
    assert libraries[taker].seen[1][1] is column
    assert backends.as_array("x", Frame()).shape == (2, 3)


def test_a_networks_library_comes_first_where_it_is_on_a_gpu(gpu_libraries, use_library):
    use_library("torch")
    torch, libraries = select("torch", "cpu").xp, gpu_libraries(cupy=True, torch=True)
    transfer.from_dlpack(Elsewhere(2), torch, "cuda:1")
    transfer.from_dlpack(Elsewhere(2), torch, "cpu")
    assert (len(libraries["torch"].seen), len(libraries["cupy"].seen)) == (1, 1)


def test_a_gpus_memory_without_a_library_for_it_says_what_to_install(gpu_libraries):
    gpu_libraries(cupy=False, torch=False)
    with pytest.raises(BackendUnavailableError, match="cupy cannot be used"):
        backends.as_array("x", Elsewhere(2))
