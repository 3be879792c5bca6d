"""Several processes end where one does, to rounding."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from mpi_cases import CASES, files, run
from mpi_runs import HERE, mpiexec, start

from xpnn.backends import status

pytestmark = pytest.mark.slow  # starts processes

RANKS = (2, 3, 4)
LIBRARY = {"strict": "array_api_strict", "torch": "torch", "jax": "jax", "kernels": "numba",
           "cupy": "cupy", "cupy, mixed": "cupy"}  # fmt: skip


def cases(ranks):
    """All cases; libraries that are slow to import on few processes only."""
    return [name for name in CASES if ranks < 4 or name not in LIBRARY]


def can_run(name):
    if name == "kernels":
        return find_spec("numba") is not None
    return name not in LIBRARY or status(LIBRARY[name]).usable


def runnable(name, check):
    if name not in LIBRARY:
        return
    if name == "kernels":
        pytest.importorskip("numba", reason="Numba is not installed (extra fast)")
    else:
        check(LIBRARY[name])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return files(tmp_path_factory.mktemp("mpi"))


@pytest.fixture(scope="module")
def found(place):
    """Let each number of processes run all cases that can run here, once."""
    kept = {}

    def of(ranks):
        if ranks not in kept:
            mpiexec()  # or skip
            folder = place / str(ranks)
            folder.mkdir()
            can = [n for n in cases(ranks) if can_run(n)]
            kept[ranks] = start(ranks, str(HERE / "mpi_cases.py"), str(files(folder)), *can)
        done = kept[ranks]
        assert done.returncode == 0, done.stderr[-3000:]
        return place / str(ranks)

    return of


@pytest.fixture(scope="module")
def alone(place):
    kept = {}

    def of(name):
        if name not in kept:
            kept[name] = run(name, None, place)
        return kept[name]

    return of


@pytest.mark.parametrize(("name", "ranks"), [(n, ranks) for ranks in RANKS for n in cases(ranks)])
def test_ranks_end_where_one_process_does(name, ranks, found, alone, use_library):
    runnable(name, use_library)
    folder = found(ranks)
    expected = alone(name)
    narrow = name in ("float32", "torch", "jax", "batches", "cupy")
    tolerance = {"rtol": 2e-4, "atol": 2e-5} if narrow else {"rtol": 1e-8, "atol": 1e-10}
    if name.endswith("mixed"):
        tolerance = {"rtol": 5e-3, "atol": 5e-3}
    shares = {"rtol": 1e-6}  # an accuracy is a float32
    first = np.load(folder / f"{name}.0.npz")
    assert set(first.files) == set(expected)
    for key, value in expected.items():
        own = shares if key == "validation_accuracy" else tolerance
        np.testing.assert_allclose(first[key], value, **own, err_msg=key)
    for rank in range(1, ranks):
        other = np.load(folder / f"{name}.{rank}.npz")
        for key in expected:
            np.testing.assert_array_equal(other[key], first[key], err_msg=f"rank {rank}: {key}")


@pytest.mark.parametrize("name", ["plain", "dropout", "files", "lbfgs", "stream of labels"])
def test_one_rank_is_one_process(name, place, alone):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed (extra mpi)")
    folder = place / "1"
    folder.mkdir(exist_ok=True)
    done = start(1, str(HERE / "mpi_cases.py"), str(files(folder)), name)
    assert done.returncode == 0, done.stderr[-3000:]
    one = np.load(folder / f"{name}.0.npz")
    for key, value in alone(name).items():
        np.testing.assert_array_equal(one[key], value)
