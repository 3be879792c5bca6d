"""Several processes end where one does, to rounding."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
from mpi_cases import CASES, files, run
from mpi_runs import HERE, mpiexec, start

from xpnn.backends import status

pytestmark = pytest.mark.slow  # starts processes

RANKS = (2, 3, 4)
LIBRARY = {"strict": "array_api_strict", "torch": "torch", "jax": "jax", "cupy": "cupy",
           "cupy, mixed": "cupy"}  # fmt: skip
NARROW = ("float32", "torch", "jax", "batches", "cupy")


def cases(ranks):
    """All cases; libraries that are slow to import on few processes only."""
    return [name for name in CASES if ranks < 4 or name not in (*LIBRARY, "native")]


def can_run(name):
    if name == "native":
        return find_spec("llvmlite") is not None
    return name not in LIBRARY or status(LIBRARY[name]).usable


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return files(tmp_path_factory.mktemp("mpi"))


@pytest.fixture(scope="module")
def found(place):
    """Let each number of processes run all cases that can run here, once."""
    mpiexec()  # or skip

    @cache
    def of(ranks, *names):
        folder = place / str(ranks)
        folder.mkdir()
        can = names or [name for name in cases(ranks) if can_run(name)]
        done = start(ranks, str(HERE / "mpi_cases.py"), str(files(folder)), *can)
        return folder, done

    return of


@pytest.fixture(scope="module")
def alone(place):
    return cache(lambda name: run(name, None, place))


@pytest.mark.parametrize(("name", "ranks"), [(n, ranks) for ranks in RANKS for n in cases(ranks)])
def test_ranks_end_where_one_process_does(name, ranks, found, alone, use_library):
    if name in LIBRARY:
        use_library(LIBRARY[name])
    elif not can_run(name):
        pytest.skip("llvmlite is not installed")
    folder, done = found(ranks)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = alone(name)
    tolerance = {"rtol": 2e-4, "atol": 2e-5} if name in NARROW else {"rtol": 1e-8, "atol": 1e-10}
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


def test_one_rank_is_one_process(found, alone):
    names = ("plain", "dropout", "files", "lbfgs", "stream of labels")
    folder, done = found(1, *names)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in names:
        one = np.load(folder / f"{name}.0.npz")
        for key, value in alone(name).items():
            np.testing.assert_array_equal(one[key], value, err_msg=f"{name}: {key}")
