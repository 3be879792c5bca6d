"""Arrays of several libraries on one GPU, without a copy through the host."""

from __future__ import annotations

import numpy as np
import pytest
from gpus import DEVICES, MARKS, two_gpus

from xpnn import MLPClassifier, Network, backends, select
from xpnn.backends import transfer

pytestmark = MARKS

X = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
LABELS = (X[:, 0] > 0).astype("int64")


class OnlyMemory:
    """An object of no library with memory on a GPU."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return self.array.__dlpack__(stream=stream, max_version=max_version)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Column:
    """What cuDF's columns have."""

    def __init__(self, array):
        self.__cuda_array_interface__ = array.__cuda_array_interface__
        self.array = array

    __cuda_array_interface__ = None


@pytest.fixture
def torch():
    found = pytest.importorskip("torch", reason="needs PyTorch")
    if not found.cuda.is_available():
        pytest.skip("needs PyTorch with CUDA")
    return found


@pytest.fixture
def network():
    """A network on CuPy, whose first weights were drawn on the host."""
    return Network(6, [8, "tanh", 2], seed=0, backend=select("cupy", "cuda:0", "float32"))


def refuse(x, *args, **kwargs):
    raise AssertionError(f"a {type(x).__name__} went through the host")


@pytest.fixture
def no_host(cupy, monkeypatch):
    """Make every way of an array to the host an error."""
    monkeypatch.setattr(transfer, "to_host", refuse)
    monkeypatch.setattr(cupy.ndarray, "get", refuse)
    return monkeypatch


def test_a_torch_tensor_is_seen_by_cupy_in_place(cupy, torch, no_host):
    x, backend = torch.tensor(X, device="cuda:0"), select("cupy", "cuda:0", "float32")
    seen = transfer.view_as(x, backend.xp, backend.device)
    assert isinstance(seen, cupy.ndarray)
    assert seen.data.ptr == x.data_ptr()
    copied = backend.asarray(x)
    assert copied.data.ptr != x.data_ptr()
    x += 1.0
    no_host.undo()
    np.testing.assert_array_equal(backends.to_host(copied), X)


def test_a_cupy_array_is_seen_by_torch_in_place(cupy, torch, no_host):
    x, backend = cupy.asarray(X), select("torch", "cuda:0", "float32")
    seen = transfer.view_as(x, backend.xp, backend.device)
    assert seen.data_ptr() == x.data.ptr
    for given, expected in ((x, X), (x[::-1], X[::-1]), (x.T, X.T), (x[:, ::2], X[:, ::2])):
        found = backend.asarray(given)
        assert found.is_contiguous()
        np.testing.assert_array_equal(found.cpu().numpy(), expected)


def test_bfloat16_tensors_are_widened_on_the_gpu(torch, no_host):
    found = select("cupy", dtype="float32").asarray(
        torch.tensor([0.5, 3.0], dtype=torch.bfloat16, device="cuda:0", requires_grad=True)
    )
    no_host.undo()
    assert backends.to_host(found).tolist() == [0.5, 3.0]


def test_a_network_on_cupy_takes_torch_tensors_of_its_gpu(cupy, torch, network, no_host):
    x, t = torch.tensor(X, device="cuda:0"), cupy.asarray(LABELS)
    found = network.predict_proba(x)
    assert isinstance(found, cupy.ndarray)
    back = torch.from_dlpack(found)
    assert back.data_ptr() == found.data.ptr
    no_host.undo()
    network.fit(x, torch.tensor(LABELS, device="cuda:0"), epochs=2, batch_size=16)
    assert network.evaluate(x, t) == network.evaluate(cupy.asarray(X), t)
    with pytest.raises(backends.MixedArraysError, match="X is an array of torch on cpu"):
        network.predict(torch.tensor(X))


def test_a_network_on_torch_takes_cupy_arrays_of_its_gpu(cupy, torch, monkeypatch):
    on_torch = Network(6, [8, "tanh", 2], seed=0, backend=select("torch", "cuda:0", "float32"))
    x = cupy.asarray(X)
    monkeypatch.setattr(transfer, "to_host", refuse)
    monkeypatch.setattr(cupy.ndarray, "get", refuse)
    assert isinstance(on_torch.predict_proba(x), torch.Tensor)


@pytest.mark.parametrize("kind", [OnlyMemory, Column])
def test_memory_of_no_library_is_cupys(kind, cupy, network, no_host):
    x = cupy.asarray(X)
    found, expected = network.scores(kind(x)), network.scores(x)
    no_host.undo()
    assert isinstance(found, cupy.ndarray)
    np.testing.assert_array_equal(backends.to_host(found), backends.to_host(expected))
    unplaced = Network(6, [8, "tanh", 2], seed=0)
    unplaced.fit(kind(x), kind(cupy.asarray(LABELS)), epochs=1)
    assert isinstance(unplaced.theta, cupy.ndarray)


@pytest.mark.parametrize("kind", [OnlyMemory, Column])
def test_an_estimator_takes_it_too(kind, cupy):
    options = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}
    x = cupy.asarray(X)
    expected = MLPClassifier(**options).fit(x, LABELS)
    found = MLPClassifier(**options).fit(kind(x), kind(cupy.asarray(LABELS)))
    assert isinstance(found.coefs_[0], cupy.ndarray)
    np.testing.assert_array_equal(
        backends.to_host(found.predict(kind(x))), backends.to_host(expected.predict(x))
    )


def test_an_estimator_on_cupy_gives_torch_tensors_back(torch, cupy):
    x = torch.tensor(X, device="cuda:0")
    model = MLPClassifier((8,), max_iter=2, random_state=0, backend="cupy").fit(x, LABELS)
    assert isinstance(model.coefs_[0], cupy.ndarray)
    found = model.predict_proba(x)
    assert isinstance(found, torch.Tensor)
    assert found.device == x.device


def test_a_cudf_frame_is_seen():
    cudf = pytest.importorskip("cudf", reason="needs cuDF")
    network = Network(6, [2], seed=0, backend=select("cupy", dtype="float32"))
    frame = cudf.DataFrame({f"c{i}": X[:, i] for i in range(6)})
    expected = network.scores(select("cupy", dtype="float32").asarray(X))
    found = network.scores(frame)
    np.testing.assert_array_equal(backends.to_host(found), backends.to_host(expected))


def test_jax_arrays_of_the_gpu_are_seen(cupy, no_host):
    jax = pytest.importorskip("jax", reason="needs JAX")
    if jax.default_backend() != "gpu":
        pytest.skip("needs JAX with CUDA")
    x = jax.numpy.asarray(X)
    found = select("cupy", "cuda:0", "float32").asarray(x)
    back = select("jax", "cuda:0", "float32").asarray(found)
    no_host.undo()
    np.testing.assert_array_equal(backends.to_host(found), X)
    np.testing.assert_array_equal(np.asarray(back), X)


def test_what_another_stream_still_makes_is_waited_for(cupy, torch):
    """The owner makes the current stream wait; nobody waits on the host."""
    backend = select("cupy", "cuda:0", "float32")
    for own in (torch.cuda.default_stream(), torch.cuda.Stream()):
        with torch.cuda.stream(own):
            x = torch.ones((4096, 4096), device="cuda:0")
            for _ in range(20):
                x = x @ x / 4096
            with cupy.cuda.Stream(non_blocking=True):
                found = backend.asarray(x)
                total = float(found.sum())
        assert total == pytest.approx(4096 * 4096)


@two_gpus
def test_arrays_go_from_gpu_to_gpu_without_the_host(cupy, no_host):
    far = select("cupy", DEVICES[1], "float32")
    with cupy.cuda.Device(0):
        x = cupy.ones((2048, 2048), "float64")
        for _ in range(10):
            x = x @ x / 2048  # queued still while it is copied
        for current in (0, 1):
            with cupy.cuda.Device(current):
                found = far.asarray(x)
                assert backends.device_name(backends.device_of(found)) == DEVICES[1]
                assert cupy.cuda.Device().id == current
    no_host.undo()
    assert backends.to_host(found).min() == backends.to_host(found).max() == 1.0


@two_gpus
def test_a_tensor_of_another_gpu_is_refused_by_a_network_and_moved_by_asarray(
    torch, network, no_host
):
    x = torch.tensor(X, device=DEVICES[1])
    with pytest.raises(backends.MixedArraysError, match="X is an array of torch on cuda:1"):
        network.predict(x)
    found = select("cupy", DEVICES[0], "float32").asarray(x)
    no_host.undo()
    np.testing.assert_array_equal(backends.to_host(found), X)
