"""The backend matrix: which library, device and dtype each numeric test runs on."""

from __future__ import annotations

import os
from pathlib import Path

# The tests' arrays are small: on a busy machine more threads only wait for each other.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# Before JAX is imported: float64, and a second CPU device that is not the default one.
os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_PLATFORMS", "")
if "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    ).strip()
for variable in ("XPNN_BACKEND", "XPNN_DEVICE"):
    os.environ.pop(variable, None)

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import depth
from xpnn import backends
from xpnn.checks.tolerance import deviation, tolerance

# No deadline and no example database: no test depends on time or on an earlier run.
settings.register_profile(
    "xpnn",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("xpnn")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backends",
        default="all",
        help="comma-separated libraries to test: numpy,array_api_strict,torch,jax,cupy or all",
    )
    parser.addoption(
        "--slow",
        action="store_true",
        help="also run what takes long: killed trainings, processes, CUDA sources, many examples",
    )


def pytest_configure(config: pytest.Config) -> None:
    depth.EVERYTHING = config.getoption("--slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="slow; asked for with --slow")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(skip)


def _chosen(config: pytest.Config) -> list[str]:
    wanted = config.getoption("--backends")
    if wanted == "all":
        return list(backends.LIBRARIES)
    names = [name.strip() for name in wanted.split(",")]
    unknown = [name for name in names if name not in backends.LIBRARIES]
    if unknown:
        raise pytest.UsageError(
            f"--backends: {', '.join(unknown)} not known; expected {', '.join(backends.LIBRARIES)}"
        )
    return names


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = _chosen(metafunc.config)
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize(
            "backend",
            [(name, dtype) for name in names for dtype in ("float32", "float64")],
            indirect=True,
            ids=lambda pair: f"{pair[0]}-{pair[1]}",
        )
    elif "backend64" in metafunc.fixturenames:
        metafunc.parametrize("backend64", names, indirect=True)


def unusual_device(name: str, dtype: str) -> str | None:
    """A device that is not the library's default, where it has one."""
    if name == "array_api_strict":
        # The device without float64 turns every silent promotion into an error.
        return "no_float64" if dtype == "float32" else "device1"
    devices = list(backends.status(name).devices)
    return devices[-1] if len(devices) > 1 else None


def _skip_unless_usable(name: str) -> None:
    found = backends.status(name)
    if not found.usable:
        pytest.skip(found.reason)


def _select(request: pytest.FixtureRequest, name: str, dtype: str) -> backends.Backend:
    for mark in request.node.iter_markers("skip_backend"):
        if mark.args[0] == name:
            pytest.skip(mark.kwargs["reason"])
    _skip_unless_usable(name)
    return backends.select(name, unusual_device(name, dtype), dtype)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> backends.Backend:
    """Each library, on a device that is not its default, in float32 and float64."""
    return _select(request, *request.param)


@pytest.fixture
def backend64(request: pytest.FixtureRequest) -> backends.Backend:
    """Each library, on a device that is not its default, in float64."""
    return _select(request, request.param, "float64")


@pytest.fixture
def use_library(request: pytest.FixtureRequest):
    """Skip the test where a library is not asked for, or cannot be used: ``use_library(name)``."""

    def check(name: str) -> None:
        if name not in _chosen(request.config):
            pytest.skip(f"{name} is not among --backends")
        _skip_unless_usable(name)

    return check


def torch_gradient(function, *arrays):
    import torch

    leaves = [torch.from_numpy(np.array(a)).requires_grad_() for a in arrays]
    tied = sum(0.0 * leaf.sum() for leaf in leaves)  # also where nothing depends on them
    return torch.autograd.grad(function(*leaves) + tied, leaves)


def jax_gradient(function, *arrays):
    import jax

    return jax.grad(function, argnums=tuple(range(len(arrays))))(*map(jax.numpy.asarray, arrays))


@pytest.fixture(params=["torch", "jax"])
def derive(request: pytest.FixtureRequest, use_library):
    """Gradients of ``function(backend, *arrays)`` by automatic differentiation, in float64."""
    use_library(request.param)
    here = backends.select(request.param, dtype="float64")
    own = {"torch": torch_gradient, "jax": jax_gradient}[request.param]

    def gradients(function, *arrays):
        found = own(lambda *a: function(here, *a), *arrays)
        return [backends.to_host(g) for g in found]

    return gradients


@pytest.fixture
def xp(request: pytest.FixtureRequest):
    """Namespace of the test's backend."""
    return _current(request).xp


@pytest.fixture
def device(request: pytest.FixtureRequest):
    """Device of the test's backend."""
    return _current(request).device


@pytest.fixture
def dtype(request: pytest.FixtureRequest):
    """Dtype of the test's backend."""
    return _current(request).dtype


@pytest.fixture
def current(request: pytest.FixtureRequest):
    """Make the test's device current: of CuPy it has to be where `xp` is handed in."""
    with backends.on_device(_current(request).device):
        yield


def _current(request: pytest.FixtureRequest) -> backends.Backend:
    name = "backend" if "backend" in request.fixturenames else "backend64"
    return request.getfixturevalue(name)


@pytest.fixture
def assert_close():
    """Hold an array against NumPy's float64 result: library, device, dtype, shape, values."""

    def check(found, expected, backend, dtype=None, factor=1.0):
        own = backends.backend_of(found)
        assert own.name == backend.name
        assert own.device == backend.device
        wanted = backends.dtype_name(backend.dtype if dtype is None else dtype)
        assert backends.dtype_name(found.dtype) == wanted
        values = backends.to_host(found)
        assert values.shape == backends.host.shape(expected)
        limit = factor * tolerance(wanted) if wanted.startswith(("float", "bfloat")) else 0.0
        _, relative = deviation(values, expected)
        assert relative <= limit, f"deviates by {relative:.3g}, allowed {limit:.3g}"

    return check


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with MNIST, beside the repository where there is one."""
    if not SHARED.is_dir():
        pytest.skip(f"no data at {SHARED}: MNIST is not part of the repository")
    return SHARED
