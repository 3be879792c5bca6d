"""The command line that every benchmark has."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xpnn.bench.machine import describe_machine, describe_versions, limit_threads

THREADS = 2
QUESTIONS = {
    "train": "Training: an epoch beside the bare matrix products and beside the peers.",
    "online": "Learning one record at a time: the tutorials' own code and this library.",
    "predict": "Prediction of one row and of many beside the bare arithmetic.",
    "import": "Importing xpnn beside importing NumPy.",
}
_MODULES = {"import": "xpnn.bench.importing"}
_FILES = {"import": "import_time", "dropin": "sklearn_dropin"}


@dataclass(frozen=True)
class Settings:
    """What a benchmark was asked for.

    Parameters
    ----------
    rounds : int or None
        Rounds that count; None means the benchmark's own number.
    tiny : bool
        Whether to go through the motions on very little data.
    threads : int
        Threads and cores for everybody.
    data : Path or None
        Folder with the MNIST database; None means random rows of the same shape.
    work : tuple of str
        Names of the workloads; empty means all.
    quick : bool
        Whether to leave out what takes long to prepare.
    out : Path or None
        JSON file to write.
    """

    rounds: int | None = None
    tiny: bool = False
    threads: int = THREADS
    data: Path | None = None
    work: tuple[str, ...] = ()
    quick: bool = False
    out: Path | None = None

    def count(self, usual: int) -> int:
        """Return the number of rounds, where `usual` is the benchmark's own."""
        return self.rounds or (2 if self.tiny else usual)

    def wants(self, name: str) -> bool:
        """Whether a workload was asked for."""
        return not self.work or name in self.work


Compare = Callable[[Settings], Iterable[Any]]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_positive.__name__ = "positive integer"  # for argparse's message


def parse(description: str, argv: Sequence[str], prog: str) -> Settings:
    """Read the options that all benchmarks share."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--rounds", type=_positive, help="rounds that count")
    parser.add_argument("--tiny", action="store_true", help="very little data; times mean nothing")
    parser.add_argument("--threads", type=_positive, default=THREADS, help="default: %(default)s")
    parser.add_argument("--data", type=Path, help="folder with the MNIST database")
    parser.add_argument("--work", default="", help="comma-separated workloads; default: all")
    parser.add_argument("--quick", action="store_true", help="leave out what takes long to prepare")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    found = parser.parse_args(argv)
    work = tuple(name.strip() for name in found.work.split(",") if name.strip())
    return Settings(
        found.rounds, found.tiny, found.threads, found.data, work, found.quick, found.out
    )


def shown_command(prefix: str, argv: Sequence[str]) -> str:
    """Write the command down without the folders of the machine it ran on."""
    return " ".join([prefix, *(Path(word).name if "/" in word else word for word in argv)])


def describe_run(settings: Settings, command: str) -> dict[str, Any]:
    """Describe machine, versions, threads, date and command, for the results file."""
    return {
        "machine": describe_machine(),
        "versions": describe_versions(),
        "threads": settings.threads,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "tiny": settings.tiny,
    }


def main(
    question: str,
    argv: Sequence[str] | None = None,
    *,
    prefix: str = "",
    compare: Compare | None = None,
    description: str = "",
) -> None:
    """Run one benchmark in this process: print its tables, write its JSON file.

    Parameters
    ----------
    question : str
        A key of `QUESTIONS`, a module of this package, or any name where `compare` is given.
    argv : sequence of str, optional
        Options; default, those that the process was started with.
    prefix : str, optional
        How the benchmark was started; default, as a script in `benchmarks/`.
    compare : callable, optional
        ``compare(settings)`` yields comparisons; must not import NumPy before it is
        called. Default: the module of the question.
    description : str, optional
        For the help text; needed where the question is not in `QUESTIONS`.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    prefix = prefix or f"python benchmarks/{_FILES.get(question, question)}.py"
    settings = parse(description or QUESTIONS[question], argv, prefix)
    limit_threads(settings.threads)
    # Only now: these import NumPy.
    from xpnn.bench import report

    if compare is None:
        module = importlib.import_module(_MODULES.get(question, f"xpnn.bench.{question}"))
        compare = module.compare
    run = describe_run(settings, shown_command(prefix, argv))
    machine = run["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['os']}")
    print(f"threads for everybody: {settings.threads}; rest before each turn, then one round each")
    comparisons = []
    for comparison in compare(settings):
        report.show(comparison)
        comparisons.append(comparison)
    if settings.out is not None:
        results = {"question": question, **run, "comparisons": report.records(comparisons)}
        print(f"results: {report.write(settings.out, results)}")
