"""A device's errors in words; no device is needed, the errors are look-alikes."""

from __future__ import annotations

import sys
import traceback
import types
import weakref

import numpy as np
import pytest

from xpnn import MLPClassifier, Network
from xpnn.backends import DeviceLostError, DeviceMemoryError, device_errors, is_refusal


def error_of(module, name, text, base=RuntimeError):
    return type(name, (base,), {"__module__": module})(text)


def cupy_out_of_memory():
    text = "Out of memory allocating 21,474,836,480 bytes (allocated so far: 5,368,709,120 bytes)."
    return error_of("cupy.cuda.memory", "OutOfMemoryError", text, MemoryError)


@pytest.fixture
def cupy(monkeypatch):
    """A stand-in that counts how often its pool is emptied."""
    made = types.ModuleType("cupy")
    made.emptied, made.ndarray = 0, type("ndarray", (), {})

    class Pool:
        def free_all_blocks(self):
            made.emptied += 1

    made.get_default_memory_pool = Pool
    runtime = types.SimpleNamespace(memGetInfo=lambda: (3 * 2**30, 80 * 2**30))
    made.cuda = types.SimpleNamespace(runtime=runtime)
    monkeypatch.setitem(sys.modules, "cupy", made)
    return made


def test_no_room_says_what_was_asked_what_is_free_and_what_helps(cupy):
    with pytest.raises(DeviceMemoryError) as found, device_errors("the model is as it was"):
        raise cupy_out_of_memory()
    text = str(found.value)
    assert "Out of memory allocating 21,474,836,480 bytes (allocated so far: 5,368," in text
    assert "bytes), 3.00 of 80.00 GiB are free. A smaller batch_size" in text
    for word in ("gradient_accumulation_steps=N", "xpnn.data.stream", "the model is as it was"):
        assert word in text
    assert cupy.emptied == 1


DRIVER, RUNTIME = "cupy_backends.cuda.api.driver", "cupy_backends.cuda.api.runtime"


@pytest.mark.parametrize(
    ("module", "name", "text", "kind"),
    [
        (DRIVER, "CUDADriverError", "CUDA_ERROR_OUT_OF_MEMORY: ...", "full"),
        (RUNTIME, "CUDARuntimeError", "cudaErrorMemoryAllocation", "full"),
        ("nvmath.bindings.cublas", "cuBLASError", "CUBLAS_STATUS_ALLOC_FAILED (3)", "full"),
        (DRIVER, "CUDADriverError", "CUDA_ERROR_LAUNCH_FAILED", "lost"),
        (RUNTIME, "CUDARuntimeError", "cudaErrorECCUncorrectable: uncorrectable ECC", "lost"),
        ("torch", "AcceleratorError", "CUDA error: an illegal memory access was\nmore", "lost"),
        ("cupy.cuda.compiler", "CompileException", "error: expected a ';'", "refused"),
        ("nvmath.bindings.cublas", "cuBLASError", "CUBLAS_STATUS_NOT_SUPPORTED (15)", "refused"),
        ("builtins", "RuntimeError", "something else", "other"),
    ],
)
def test_what_cuda_says_is_told_apart(module, name, text, kind, cupy):
    error = error_of(module, name, text)
    assert is_refusal(error) == (kind == "refused")
    expected = {"full": DeviceMemoryError, "lost": DeviceLostError}.get(kind, type(error))
    with pytest.raises(expected) as found, device_errors("weights of the last report"):
        raise error
    if kind == "lost":
        first = text.partition("\n")[0]
        assert f"no more: {first}. Begin a new process" in str(found.value)
        assert "the last checkpoint; weights of the last report" in str(found.value)


STEP = """
def step(array, then):
    copy = array()
    then()
"""


@pytest.mark.parametrize(
    ("module", "kept"),
    [
        ("xpnn.training.step", False),
        (None, False),  # generated code is of no module
        ("cupy.linalg", False),
        ("torch", False),
        ("callbacks_of_the_user", True),
        ("xpnnotes", True),
    ],
)
def test_what_failed_lets_its_arrays_go_and_the_users_frames_stay(module, kept, cupy):
    made, scope = [], {} if module is None else {"__name__": module}
    exec(STEP, scope)

    class Array:
        def __init__(self):
            made.append(weakref.ref(self))

    def fail():
        raise cupy_out_of_memory()

    with pytest.raises(DeviceMemoryError) as found, device_errors(""):
        scope["step"](Array, fail)
    assert (made[0]() is not None) == kept
    walk = traceback.walk_tb(found.value.__cause__.__traceback__)
    frames = {frame.f_code.co_name: frame for frame, _ in walk}
    assert ("copy" in frames["step"].f_locals) == kept


@pytest.mark.parametrize(
    ("module", "name", "text", "asked"),
    [
        ("torch", "OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 ...",
         "out of memory: CUDA out of memory. Tried to allocate 2.50 GiB"),
        ("jaxlib._jax", "JaxRuntimeError", "RESOURCE_EXHAUSTED: Out of memory allocating 1073741824"
         " bytes.", "allocating 1073741824 bytes. A"),
        ("jaxlib._jax", "JaxRuntimeError", "RESOURCE_EXHAUSTED: too much", "memory: RESOURCE_EXH"),
    ],
)  # fmt: skip
def test_other_libraries_have_no_room_either(module, name, text, asked, monkeypatch):
    emptied = []
    cuda = types.SimpleNamespace(empty_cache=lambda: emptied.append(1), mem_get_info=[].pop)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    with pytest.raises(DeviceMemoryError, match=asked), device_errors(""):
        raise error_of(module, name, text)
    assert len(emptied) == (module == "torch")


@pytest.mark.parametrize(
    "error", [ValueError("x"), RuntimeError("shape"), MemoryError("host"), KeyError(1)]
)
def test_all_other_errors_pass(error):
    with pytest.raises(type(error)) as found, device_errors(""):
        raise error
    assert found.value is error


def fails(run):
    if run.history.epochs == 2:
        raise cupy_out_of_memory()


def test_a_training_without_room_keeps_the_weights_of_its_last_report(cupy):
    x, t = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    network, other = (Network(3, [4, "tanh", 2], seed=0) for _ in range(2))
    with pytest.raises(DeviceMemoryError, match="keeps the weights of its last report"):
        network.fit(x, t, epochs=5, callbacks=[fails])
    other.fit(x, t, epochs=2)
    np.testing.assert_array_equal(network.theta, other.theta)
    model = MLPClassifier((4,), max_iter=5, random_state=0)
    with pytest.raises(DeviceMemoryError, match="allocating 21,474,836,480 bytes"):
        model.fit(x, t, callbacks=fails)
    assert model.n_iter_ == 2
