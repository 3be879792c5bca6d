"""What is wrong with a GPU, in a sentence for each situation; the situations are made up."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from xpnn.backends import BackendUnavailableError, cuda_health, cuda_trouble, host
from xpnn.backends.cuda_health import Surroundings

MODULE = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.129.03  Release Build\n"


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    """A CuPy with a driver and one GPU; tests take some of it away."""

    class Runtime:
        driverGetVersion = staticmethod(lambda: 13000)
        runtimeGetVersion = staticmethod(lambda: 13020)
        getDeviceCount = staticmethod(lambda: 1)

    runtime = Runtime()
    plain = importlib.import_module

    def imported(name):
        return (
            SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
            if name == "cupy"
            else plain(name)
        )

    monkeypatch.setattr(cuda_health.importlib, "import_module", imported)
    library = SimpleNamespace(load=lambda: None)
    monkeypatch.setattr(cuda_health, "LIBRARIES", {"cupy": library})
    backend = SimpleNamespace(xp=host, device="cpu", asarray=host.asarray)
    monkeypatch.setattr(cuda_health, "select", lambda *_: backend)
    monkeypatch.setattr(cuda_health.sys, "platform", "linux")
    return SimpleNamespace(runtime=runtime, library=library, backend=backend)


def no_library(name):
    raise OSError(f"{name}: cannot open shared object file")


@pytest.fixture
def around(tmp_path):
    """Surroundings with these devices, variables, and kernel's driver."""

    def make(nodes=("nvidia0",), driver=MODULE, load=lambda name: None, container=True, **environ):
        folder = tmp_path / "dev"
        folder.mkdir()
        for name in (*nodes, "nvidiactl", "null"):
            (folder / name).touch()
        version = tmp_path / "version"
        if driver:
            version.write_text(driver)
        return Surroundings(folder, version, environ, load, container)

    return make


def test_nothing_is_wrong(around):
    assert cuda_trouble(seen=around()) == ""


def test_cupy_is_not_installed(around, cupy):
    def load():
        raise BackendUnavailableError("cupy cannot be used: the package is not installed.")

    cupy.library.load = load
    assert cuda_trouble(seen=around()) == "cupy cannot be used: the package is not installed."


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"nodes": ()}, "no GPU reaches this container, and the host has the driver 535.129.03: "
         "install the NVIDIA Container Toolkit"),
        ({"nodes": (), "driver": ""}, "the host has no NVIDIA driver: install the driver on the "
         "host, then install the NVIDIA Container Toolkit"),
        ({"nodes": (), "NVIDIA_VISIBLE_DEVICES": "void"}, "this container was told to see no GPU: "
         "NVIDIA_VISIBLE_DEVICES is 'void'; expected all, or numbers of GPUs"),
        ({"nodes": (), "container": False}, "the kernel has the NVIDIA driver 535.129.03, but "
         "neither /dev/nvidia0 nor libcuda.so.1 is there"),
        ({"nodes": (), "container": False, "driver": ""}, "there is no NVIDIA driver: neither "
         "/dev/nvidia0 nor libcuda.so.1 is there; install driver 525 or newer (CUDA 12) or 580"),
        ({"nodes": ("nvidia3",), "NVIDIA_DRIVER_CAPABILITIES": "utility"}, "libcuda.so.1 is "
         "missing, though /dev/nvidia3 is there: install the NVIDIA driver's compute libraries, or "
         "give the container the capability 'compute' (NVIDIA_DRIVER_CAPABILITIES=compute,utility)"
         "; NVIDIA_DRIVER_CAPABILITIES is 'utility'"),
        ({"nodes": ("dxg",)}, "libcuda.so.1 is missing, though /dev/dxg is there"),
    ],
)  # fmt: skip
def test_the_drivers_library_is_missing(around, given, words):
    said = cuda_trouble(seen=around(load=no_library, **given))
    assert words in said
    assert "\n" not in said


def test_the_driver_is_too_old(around, cupy):
    cupy.runtime.driverGetVersion = lambda: 12040
    said = cuda_trouble(seen=around())
    assert said == (
        "the NVIDIA driver 535.129.03 is too old: it knows CUDA 12.4 and this CuPy needs CUDA 13; "
        "install driver 580 or newer, or CuPy for CUDA 12 (extra 'cuda12', image with XPNN_CUDA=12)"
    )


def fails(text):
    def fail():
        raise RuntimeError(text)

    return fail


def test_no_gpu_is_visible(around, cupy):
    cupy.runtime.getDeviceCount = fails("cudaErrorNoDevice: no CUDA-capable device is detected")
    assert cuda_trouble(seen=around(CUDA_VISIBLE_DEVICES="7")) == (
        "no GPU is visible, and /dev/nvidia0 is there; CUDA_VISIBLE_DEVICES is '7', which may name "
        "a GPU that is not there: expected numbers from 0"
    )


def test_no_gpu_is_visible_and_nothing_hides_it(around, cupy):
    cupy.runtime.getDeviceCount = lambda: 0
    said = cuda_trouble(seen=around(nodes=()))
    assert said == "no GPU is visible, and no GPU's device is there"


def test_the_driver_does_not_start(around, cupy):
    cupy.runtime.getDeviceCount = fails("cudaErrorSystemDriverMismatch: versions differ\nmore")
    said = cuda_trouble(seen=around(NVIDIA_VISIBLE_DEVICES="all"))
    assert said.startswith(
        "the driver does not start: cudaErrorSystemDriverMismatch: versions differ; "
        "NVIDIA_VISIBLE_DEVICES is 'all'. Look at 'nvidia-smi'"
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("device='cuda:3' is not a device of cupy"), "device='cuda:3' is not a device"),
        (RuntimeError("an illegal address\n..."), "failed with RuntimeError: an illegal address"),
    ],
)
def test_the_gpu_is_there_and_fails(around, cupy, error, words):
    def fail(values):
        raise error

    cupy.backend.asarray = fail
    assert words in cuda_trouble("cuda:3", around())


def test_the_gpu_computes_wrongly(around, cupy):
    cupy.backend.asarray = lambda values: host.asarray([1.0, 1.0])
    assert cuda_trouble(seen=around()) == "the GPU computes wrongly: 1 + 2 + 4 gave 2.0"


def test_the_command_says_one_line():
    words = [sys.executable, "-m", "xpnn", "backends", "--require"]
    fine = subprocess.run([*words, "numpy"], capture_output=True, text=True)
    assert fine.returncode == 0
    assert fine.stdout.startswith("numpy ")
    found = subprocess.run([*words, "cupy"], capture_output=True, text=True)
    assert (found.returncode == 0) == (found.stderr == "")
    if found.returncode:
        assert (found.returncode, found.stderr.count("\n")) == (2, 1)
        assert found.stderr.startswith("error: ")
    wrong = subprocess.run([*words, "cuda"], capture_output=True, text=True)
    assert "--require is 'cuda'; expected one of numpy, cupy," in wrong.stderr
    alone = [sys.executable, "-m", "xpnn", "backends", "--device", "cpu"]
    assert "--require LIBRARY" in subprocess.run(alone, capture_output=True, text=True).stderr
