"""Importing xpnn beside importing NumPy, each time in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from xpnn.bench.command import Settings
from xpnn.bench.rounds import Comparison, Contender, Work, measure

ROUNDS = 15
STATEMENTS = ("import numpy", "import xpnn", "from xpnn import Network")


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def _process(code: str) -> Work:
    return lambda: _run(code)


def _alone(statement: str) -> Work:
    """Time the statement inside the interpreter, without the interpreter's own start."""
    code = (
        f"import time; began = time.perf_counter(); {statement}; print(time.perf_counter() - began)"
    )
    return lambda: float(_run(code))


def compare(settings: Settings) -> Iterator[Comparison]:
    """Yield the statements alone, then whole processes."""
    rounds = settings.count(ROUNDS)
    if settings.wants("alone"):
        yield measure(
            "alone",
            "importing alone, measured inside a fresh interpreter",
            [Contender(s, lambda s=s: _alone(s), reports=True) for s in STATEMENTS],  # type: ignore[misc]
            rounds,
            note="import xpnn loads nothing else; Network brings what a training needs.",
        )
    if settings.wants("process"):
        yield measure(
            "process",
            "a whole process: python -c STATEMENT",
            [Contender(s, lambda s=s: _process(s)) for s in (*STATEMENTS, "pass")],  # type: ignore[misc]
            rounds,
        )
