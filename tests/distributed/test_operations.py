"""What a process group exchanges, and that it leaves nothing behind."""

from __future__ import annotations

import pytest
from mpi_runs import HERE, start

pytestmark = pytest.mark.slow  # starts processes

CHECKS = str(HERE / "mpi_checks.py")


@pytest.mark.parametrize("name", ["messages", "process wide", "leaks", "windows"])
def test_on_three_ranks(name):
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = start(3, CHECKS, name, env=threads)
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in range(3):
        assert f"rank {rank} is done" in done.stdout
