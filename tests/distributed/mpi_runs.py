"""Starting several processes for a test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LIMIT = 240  # seconds, should something hang that must not


def mpiexec() -> str:
    """The command, beside this Python or on the path; skips where there is none."""
    if find_spec("mpi4py") is None:
        pytest.skip('mpi4py is not installed; install it with: pip install "xpnn[mpi]"')
    own = Path(sys.executable).with_name("mpiexec")
    found = str(own) if own.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip('there is no mpiexec; install one with: pip install "xpnn[mpi]"')
    return found


def environment(**more: str) -> dict[str, str]:
    """That of a rank: one thread, and the folders that this process imports from."""
    path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PYTHONPATH": path, **more}


def start(ranks: int, *command: str, env=(), **options) -> subprocess.CompletedProcess:
    """Run a Python command on that many processes, to its end."""
    return subprocess.run(
        [mpiexec(), "-n", str(ranks), sys.executable, *command], env=environment(**dict(env)),
        text=True, capture_output=True, timeout=LIMIT, check=False, **options,
    )  # fmt: skip
