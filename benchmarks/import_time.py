"""How long does importing xpnn take, beside importing NumPy, and how much does it load?

python benchmarks/import_time.py [--work alone,process] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from typing import Any

from rounds import Comparison, Contender, main, measure

STATEMENTS = (
    "import numpy",
    "import xpnn",
    "from xpnn import Network",
    "from xpnn import MLPClassifier",
)


def in_new_process(code: str) -> str:
    words = [sys.executable, "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def seconds_alone(statement: str) -> float:
    """Seconds of the statement inside a fresh interpreter, without the interpreter's start."""
    timed = f"began = time.perf_counter(); {statement}; print(time.perf_counter() - began)"
    return float(in_new_process(f"import time; {timed}"))


def modules_loaded(statement: str) -> int:
    """Modules of this library that the statement loads."""
    counted = "sum(name.partition('.')[0] == 'xpnn' for name in sys.modules)"
    return int(in_new_process(f"import sys; {statement}; print({counted})"))


def alone(options: argparse.Namespace) -> Comparison:
    """The statements alone."""

    def timed(statement: str) -> Any:
        return partial(seconds_alone, statement)

    found = measure(
        "importing alone, measured inside a fresh interpreter",
        [Contender(s, partial(timed, s), reports=True) for s in STATEMENTS],
        options.rounds,
    )
    for timing in found.timings:
        timing.facts["modules"] = modules_loaded(timing.name)
    return found


def process(options: argparse.Namespace) -> Comparison:
    """Whole processes."""

    def started(statement: str) -> Any:
        return partial(in_new_process, statement)

    return measure(
        "a whole process: python -c STATEMENT",
        [Contender(s, partial(started, s)) for s in (*STATEMENTS, "pass")],
        options.rounds,
    )


if __name__ == "__main__":
    main(__doc__, {"alone": alone, "process": process}, 15)
