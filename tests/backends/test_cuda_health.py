"""What is wrong with a GPU, in a sentence for each situation; the situations are made up."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from xpnn.backends import BackendUnavailableError, cuda_health, host
from xpnn.backends.cuda_health import diagnose_cuda


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    """A CuPy with a driver and one GPU; tests take some of it away."""
    runtime = SimpleNamespace(driverGetVersion=lambda: 13000, runtimeGetVersion=lambda: 13020)
    made = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    plain = importlib.import_module
    monkeypatch.setattr(
        cuda_health.importlib,
        "import_module",
        lambda name: made if name == "cupy" else plain(name),
    )
    library = SimpleNamespace(load=lambda: None)
    monkeypatch.setattr(cuda_health, "LIBRARIES", {"cupy": library})
    backend = SimpleNamespace(xp=host, device="cpu", asarray=host.asarray)
    found = SimpleNamespace(runtime=runtime, library=library, backend=backend)
    found.select = lambda *_: backend
    monkeypatch.setattr(cuda_health, "select", lambda *given: found.select(*given))
    for name in cuda_health._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return found


def fails(error):
    def fail(*given):
        raise error

    return fail


def test_a_gpu_that_computes_and_one_that_computes_wrongly(cupy):
    assert diagnose_cuda() == ""
    cupy.backend.asarray = lambda values: host.asarray([1.0, 1.0])
    assert diagnose_cuda() == "the GPU computes wrongly: 1 + 2 + 4 gave 2.0"
    cupy.backend.asarray = fails(RuntimeError("an illegal address\n..."))
    assert diagnose_cuda() == (
        "the GPU is there, but a sum on it failed with RuntimeError: an illegal address"
    )


def test_cupy_is_not_installed(cupy):
    cupy.library.load = fails(BackendUnavailableError("cupy cannot be used: not installed"))
    assert diagnose_cuda() == "cupy cannot be used: not installed"


def test_the_driver_is_too_old(cupy):
    cupy.runtime.driverGetVersion = lambda: 12040
    assert diagnose_cuda() == (
        "the NVIDIA driver is too old: it knows CUDA 12.4 and this CuPy needs CUDA 13; install a "
        "newer driver, or CuPy for CUDA 12 (extra 'cuda12')"
    )


def test_no_gpu_is_visible_and_what_may_hide_it(cupy, monkeypatch):
    cupy.runtime.driverGetVersion = lambda: 0  # as CUDA answers without a driver
    cupy.select = fails(BackendUnavailableError("cupy cannot be used: there is no GPU"))
    assert diagnose_cuda() == "cupy cannot be used: there is no GPU"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "void")
    assert diagnose_cuda() == (
        "cupy cannot be used: there is no GPU; NVIDIA_VISIBLE_DEVICES is 'void' and "
        "CUDA_VISIBLE_DEVICES is '7'"
    )


def test_the_device_that_is_asked_for_is_the_one_that_computes(cupy):
    asked = []
    cupy.select = lambda *given: asked.append(given) or cupy.backend
    assert diagnose_cuda("cuda:3") == ""
    assert asked == [("cupy", "cuda:3", "float32")]
    cupy.select = fails(ValueError("device='cuda:3' is not a device of cupy"))
    assert diagnose_cuda("cuda:3") == "device='cuda:3' is not a device of cupy"


def test_the_command_says_one_line():
    def run(*words):
        command = [sys.executable, "-m", "xpnn", "backends", *words]
        return subprocess.run(command, capture_output=True, text=True)

    fine = run("--require", "numpy")
    assert fine.returncode == 0
    assert fine.stdout.startswith("numpy ")
    found = run("--require", "cupy")
    assert (found.returncode == 0) == (found.stderr == "")
    if found.returncode:
        assert (found.returncode, found.stderr.count("\n")) == (2, 1)
        assert found.stderr.startswith("error: ")
    wrong = run("--require", "cuda")
    assert "--require is 'cuda'; expected one of numpy, cupy," in wrong.stderr
    assert "--require LIBRARY" in run("--device", "cpu").stderr
