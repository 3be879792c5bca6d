"""Choosing a library, a device and a dtype."""

from __future__ import annotations

import importlib.machinery
import sys
import types

import numpy as np
import pytest

from xpnn import backends
from xpnn.backends import LIBRARIES, BackendUnavailableError, select


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    monkeypatch.delenv("XPNN_BACKEND", raising=False)
    monkeypatch.delenv("XPNN_DEVICE", raising=False)


class CUDARuntimeError(RuntimeError):
    """What CuPy raises where the driver or the GPU is missing."""


class FakeDevice:
    """Stands for `cupy.cuda.Device`."""

    def __init__(self, id):
        self.id = id
        self.mem_info = (1, 2**30)


FakeDevice.__module__ = "cupy.cuda.device"


@pytest.fixture
def fake_cupy(monkeypatch):
    """A CuPy whose driver answers as told: a number of devices, or an error."""

    def install(answer):
        def count():
            if isinstance(answer, Exception):
                raise answer
            return answer

        modules = {
            name: types.ModuleType(name)
            for name in ("cupy", "cupy.cuda", "cupy.cuda.runtime", "array_api_compat.cupy")
        }
        for name, module in modules.items():
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            monkeypatch.setitem(sys.modules, name, module)
        cupy, cuda, runtime, xp = modules.values()
        cupy.__version__, cupy.cuda, cuda.runtime, cuda.Device = "14.2", cuda, runtime, FakeDevice
        runtime.getDeviceCount, runtime.CUDARuntimeError = count, CUDARuntimeError
        xp.float32, xp.float64 = np.float32, np.float64
        info = types.SimpleNamespace(
            default_dtypes=lambda device=None: {"real floating": "float64"}
        )
        xp.__array_namespace_info__ = lambda: info

    return install


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LIBRARIES)
def test_by_name(name, dtype, use_library):
    use_library(name)
    backend = select(name, dtype=dtype)
    assert backend.name == name
    assert backends.dtype_name(backend.dtype) == dtype
    assert repr(backend).startswith(f"Backend({name!r}, device='")
    assert backend.describe().startswith(f"{name} {backend.version} on ")
    x = backend.asarray([1.0, 2.0])
    assert x.dtype == backend.dtype
    assert backends.backend_of(x) == backend
    assert backend.to_host(x).tolist() == [1.0, 2.0]
    assert backends.dtype_name(backend.asarray([1, 2]).dtype).startswith("int")
    assert select(name, backend.device, backend.dtype) == backend  # the library's own objects


@pytest.mark.parametrize(
    ("name", "device", "found"),
    [
        ("numpy", "cpu", "cpu"),
        ("array_api_strict", "device1", "device1"),
        ("array_api_strict", "cpu", "CPU_DEVICE"),
        ("array_api_strict", "no_float64", "no_float64"),
        ("torch", "cpu", "cpu"),
        ("jax", "cpu", "cpu:0"),
        ("jax", "cpu:1", "cpu:1"),
    ],
)
def test_devices_as_each_library_names_them(name, device, found, use_library):
    use_library(name)
    backend = select(name, device, "float32")
    assert backends.device_name(backend.device) == found
    assert backends.device_of(backend.asarray([1.0])) == backend.device
    assert select(name, backend.device, backend.dtype) == backend


@pytest.mark.parametrize(
    ("name", "device", "known"),
    [
        ("numpy", "cuda:0", "cpu"),
        ("array_api_strict", "device9", "device1"),
        ("torch", "cuda:9", "cpu"),
        ("torch", "meta", "cpu"),
        ("jax", "tpu:0", "cpu:0"),
    ],
)
def test_unknown_devices_are_refused_with_the_known_ones(name, device, known, use_library):
    use_library(name)
    with pytest.raises(ValueError, match=rf"device='{device}' is not a device of {name}.*{known}"):
        select(name, device)


def test_bfloat16_of_numpy_is_ml_dtypes(monkeypatch):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="it has NumPy's bfloat16")
    backend = select("numpy", dtype="bfloat16")
    assert backend.dtype == backends.named_dtype("bfloat16", backend.xp) == ml_dtypes.bfloat16
    assert backend.describe().endswith("on cpu, bfloat16")
    x = backend.asarray([0.5, 3.0])
    assert backends.backend_of(x) == backend
    assert backend.asarray([0.5], "bfloat16").dtype == x.dtype
    host = backends.to_host(x)
    assert (host.dtype, host.tolist()) == (np.float32, [0.5, 3.0])
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(BackendUnavailableError, match=r"needs ml_dtypes.*xpnn\[bfloat16\]"):
        select("numpy", dtype="bfloat16")


def test_the_default_dtype_is_the_librarys(use_library):
    assert backends.dtype_name(select("numpy").dtype) == "float64"
    use_library("torch")
    assert backends.dtype_name(select("torch").dtype) == "float32"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: select("tensorflow"), r"name='tensorflow' is not a backend; expected auto, numpy"),
        (lambda: select("numpy", dtype="float8"), r"dtype='float8' is not known; expected one of"),
        (lambda: select("numpy", dtype="int32"), r"dtype='int32' is not known"),
        (lambda: select("array_api_strict", dtype="bfloat16"), r"dtype='bfloat16' is not a dtype"),
        (
            lambda: select("numpy", select("array_api_strict", "device1").device),
            "device='device1' is not a device of numpy",
        ),
        (lambda: select(device="mpx"), "device='mpx' is not a device of any library here; they"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_environment_variables(monkeypatch):
    monkeypatch.setenv("XPNN_BACKEND", "array_api_strict")
    monkeypatch.setenv("XPNN_DEVICE", "device2")
    backend = select()
    assert (backend.name, backends.device_name(backend.device)) == ("array_api_strict", "device2")
    # What the caller says goes before the environment.
    assert select("numpy", "cpu").name == "numpy"
    assert backends.device_name(select(device="device1").device) == "device1"


@pytest.mark.parametrize(
    ("variable", "value", "name", "message"),
    [
        ("XPNN_BACKEND", "numpi", "auto", "XPNN_BACKEND='numpi' is not a backend; expected auto,"),
        ("XPNN_DEVICE", "gpu", "auto", r"'gpu' is not a device of .* \(from XPNN_DEVICE\)"),
        ("XPNN_DEVICE", "gpu", "numpy", r"'gpu' is not a device of .* \(from XPNN_DEVICE\)"),
    ],
)
def test_wrong_environment_variables_are_named(variable, value, name, message, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=message):
        select(name)


def test_a_device_decides_which_library_auto_is(use_library):
    assert select(device="device1").name == "array_api_strict"
    assert select(device=select("array_api_strict", "device2").device).name == "array_api_strict"
    use_library("torch")
    import torch

    assert select(device=torch.device("cpu")).name == "torch"
    use_library("jax")
    assert select(device="cpu:1").name == "jax"
    assert select(device=select("jax", "cpu:1").device).name == "jax"


def test_apples_gpus_are_pytorchs(monkeypatch, use_library):
    use_library("torch")
    import torch

    if torch.backends.mps.is_available():
        assert select(device="mps").name == "torch"
        return
    with pytest.raises(ValueError, match=r"device='mps' is not a device of any library.*torch"):
        select(device="mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    found = select(device="mps")
    assert (found.name, found.device) == ("torch", torch.device("mps"))


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        (CUDARuntimeError("cudaErrorInsufficientDriver: ..."), "the NVIDIA driver is missing or"),
        (CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device"), "there is no GPU"),
        (0, "there is no GPU"),
    ],
)
def test_cupy_says_what_is_missing(answer, missing, fake_cupy):
    fake_cupy(answer)
    with pytest.raises(BackendUnavailableError, match=f"cupy cannot be used: {missing}"):
        select("cupy")
    found = backends.status("cupy")
    assert not found.usable
    assert missing in found.reason
    assert found.version == "14.2"
    assert select("auto").name == "numpy"


def test_without_the_package_cupy_says_how_to_install_it(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "cupy" else find_spec(name, *a),
    )
    message = r"cupy cannot be used: the package is not installed\. Install it with: .*cuda13"
    with pytest.raises(BackendUnavailableError, match=message):
        select("cupy")
    assert select("auto").name == "numpy"
    assert backends.status("cupy").version is None


def test_a_package_that_does_not_import_is_no_crash(monkeypatch):
    monkeypatch.setattr(LIBRARIES["torch"].__class__, "installed", lambda self: True)
    monkeypatch.setitem(sys.modules, "array_api_compat.torch", None)
    with pytest.raises(BackendUnavailableError, match="torch cannot be used: importing it failed"):
        select("torch")
    assert not backends.status("torch").usable


def test_auto_takes_cupy_where_it_works(fake_cupy):
    fake_cupy(2)
    assert select("auto").name == "cupy"
    assert backends.device_name(select().device) == "cuda:0"
    assert backends.device_name(select(device="cuda:1").device) == "cuda:1"
    assert backends.status("cupy").devices == {"cuda:0": 2**30, "cuda:1": 2**30}
    assert select(device="cpu").name == "numpy"
    with pytest.raises(ValueError, match="device='cuda:2' is not a device of cupy; it has: cuda:0"):
        select("cupy", "cuda:2")


def test_available_lists_every_library_with_devices_or_a_reason():
    found = {status.name: status for status in backends.available()}
    assert list(found) == list(LIBRARIES)
    assert found["numpy"].usable
    assert found["numpy"].version == np.__version__
    for status in found.values():
        assert status.install.startswith("python -m pip install")
        assert bool(status.devices) == status.usable == (status.reason == "")
        assert all(memory is None or memory > 2**20 for memory in status.devices.values())


def test_float64_that_jax_has_switched_off_is_explained(use_library):
    use_library("jax")
    import jax

    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ValueError, match=r"'float64' is switched off in jax; set .*JAX_ENABLE"):
            select("jax", dtype="float64")
    finally:
        jax.config.update("jax_enable_x64", True)
