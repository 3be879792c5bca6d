"""Interleaved rounds: every contender in turn, again and again, in one process.

What pyperf and asv do otherwise: they time one program after the other, each in processes of its
own. Ratios of a few per cent are lost in that, because a machine's speed drifts by more within
minutes; here a contender and the baseline run within a second or two of each other, and the ratio
is taken round by round.

A script makes a table of works, each a function of the options that returns a `Comparison`, and
hands it to `main`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

THREADS = 2
_WITH_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
THREAD_VARIABLES = (*(f"{name}_NUM_THREADS" for name in _WITH_THREADS), "VECLIB_MAXIMUM_THREADS")
PACKAGES = ("xpnn", "numpy", "scipy", "scikit-learn", "torch", "jax", "llvmlite", "cupy-cuda13x")
# OpenBLAS's and OpenMP's threads go on spinning for some milliseconds after a product; a
# contender with threads of its own would have to share the cores with them.
PAUSE = 0.05

Work = Callable[[], Any]


class SkipError(Exception):
    """A contender cannot take part; the message says why."""


@dataclass(frozen=True)
class Contender:
    """Something to be timed.

    `make` prepares it and returns the function that a round calls, which may have a method
    `close`; it may raise `SkipError`.
    """

    name: str
    make: Callable[[], Work]
    units: int = 1  # epochs, records or calls in a round; seconds are given for one of them
    reports: bool = False  # whether the function returns seconds that were measured elsewhere
    rounds: int | None = None  # at most, for one that is far slower; it has no warm-up either


@dataclass
class Timing:
    """What was measured of a contender."""

    name: str
    seconds: list[float] = field(default_factory=list)  # for one unit, of each round
    ratios: list[float] = field(default_factory=list)  # to the baseline's of that round
    skipped: str = ""  # why it did not take part
    facts: dict[str, float | None] = field(default_factory=dict)  # by the names in `FACTS`

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        if self.skipped:
            return {"name": self.name, "skipped": self.skipped}
        return {
            "name": self.name,
            "seconds": median(self.seconds),
            "ratio": median(self.ratios),
            "ratio_lowest": min(self.ratios),
            "ratio_highest": max(self.ratios),
            "rounds": self.seconds,
            **self.facts,
        }


@dataclass
class Comparison:
    """A table: contenders beside the first of them that took part."""

    title: str
    timings: list[Timing]
    note: str = ""

    @property
    def baseline(self) -> str:
        """Name of the first contender that took part."""
        return next((timing.name for timing in self.timings if not timing.skipped), "")

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "title": self.title,
            "baseline": self.baseline,
            "note": self.note,
            "results": [timing.record() for timing in self.timings],
        }


def reason_of(error: BaseException) -> str:
    """Say in one line why a contender did not take part."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    return text if isinstance(error, SkipError) else f"{type(error).__name__}: {text}"


def measure(
    title: str,
    contenders: Sequence[Contender],
    rounds: int,
    *,
    note: str = "",
    pause: float = PAUSE,
    tolerate: type[Exception] = SkipError,
    until: float = float("inf"),
) -> Comparison:
    """Time contenders round by round, after one round that does not count.

    The order moves on by one with each round, so that nobody always follows the same one. An
    error that is to `tolerate` puts a contender out and lets the others go on. No round begins
    that would not end before `until`, a point of `time.monotonic`.
    """
    timings = [Timing(contender.name) for contender in contenders]
    works: dict[int, Work] = {}
    for number, contender in enumerate(contenders):
        try:
            works[number] = contender.make()
            if contender.rounds is None:
                works[number]()  # warm-up: compiles, plans, fills caches
        except tolerate as error:
            works.pop(number, None)
            timings[number].skipped = reason_of(error)
    for count in range(rounds):
        began = time.monotonic()
        turns = [n for n in works if count < (contenders[n].rounds or rounds)]
        turns = [n for n in turns if not timings[n].skipped]
        shift = count % max(len(turns), 1)
        for number in turns[shift:] + turns[:shift]:
            time.sleep(pause)
            try:
                _take_turn(contenders[number], works[number], timings[number])
            except tolerate as error:
                timings[number].skipped = reason_of(error)
        if 2 * time.monotonic() - began > until:
            break
    for work in works.values():
        if (close := getattr(work, "close", None)) is not None:
            close()
    return Comparison(title, _with_ratios(timings), note)


def _take_turn(contender: Contender, work: Work, timing: Timing) -> None:
    began = time.perf_counter()
    answer = work()
    seconds = float(answer) if contender.reports else time.perf_counter() - began
    timing.seconds.append(seconds / contender.units)


def _with_ratios(timings: list[Timing]) -> list[Timing]:
    there = [timing for timing in timings if not timing.skipped]
    for timing in there:
        # One that has fewer rounds took part in the first ones.
        pairs = zip(timing.seconds, there[0].seconds, strict=False)
        timing.ratios = [own / base for own, base in pairs]
    return timings


# The machine


def cpu_model() -> str:
    """Name of the processor, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Processor"):
            return value.strip()
    return platform.processor() or platform.machine()


def describe_versions() -> dict[str, str]:
    """Versions of Python and of what takes part, where installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def blas_threads() -> list[str]:
    """What computes NumPy's and SciPy's products in this process, with how many threads."""
    import numpy  # noqa: F401  (loads its BLAS)
    from threadpoolctl import threadpool_info

    return [
        f"{one['prefix']} {one['version']}, {one.get('architecture', '?')} kernels, "
        f"{one['num_threads']} threads"
        for one in threadpool_info()
        if one["user_api"] == "blas"
    ]


def describe_run(command: str, *, threads: int, tiny: bool) -> dict[str, Any]:
    """Describe machine, versions, threads, date and command, for the results file."""
    return {
        "machine": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "os": f"{platform.system()} {platform.machine()}",
        },
        "versions": describe_versions(),
        "threads": threads,
        "blas": blas_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "tiny": tiny,
    }


def shown_command(prefix: str, argv: Sequence[str]) -> str:
    """Write a command down without the folders of the machine it ran on."""
    return " ".join([prefix, *(Path(word).name if "/" in word else word for word in argv)])


def _one_per_core(cpus: list[int]) -> list[int]:
    """Order logical processors so that the first ones are cores of their own."""
    first: list[int] = []
    others: list[int] = []
    seen: set[str] = set()
    for cpu in cpus:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = path.read_text().strip() if path.exists() else str(cpu)
        (others if core in seen else first).append(cpu)
        seen.add(core)
    return first + others


def use_threads(threads: int) -> None:
    """Start the script again with so many threads and cores, unless it was started so.

    Libraries read their number of threads when they are imported. JAX has no such setting and
    takes a thread for each processor that it may run on, so on Linux the process is also bound
    to that many processors.
    """
    if os.environ.get("XPNN_BENCHMARK_THREADS") == str(threads):
        return
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    os.environ["XPNN_BENCHMARK_THREADS"] = str(threads)
    # What is compared is the CPU, in float32, which is JAX's own default.
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "0"}
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        if threads < len(usable):
            os.sched_setaffinity(0, _one_per_core(usable)[:threads])
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


# The command line


def positive(text: str) -> int:
    """Read a positive integer; its name is in argparse's message."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def make_parser(doc: str, usual_rounds: int) -> argparse.ArgumentParser:
    """Make the parser of a script's docstring, with the options that all scripts have."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=positive, default=usual_rounds, help="that count")
    parser.add_argument("--tiny", action="store_true", help="very little data: no true times")
    parser.add_argument("--threads", type=positive, default=THREADS, help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    return parser


def start(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Read the command line, see to the threads, and say where all of it runs."""
    options = parser.parse_args()
    if options.tiny:
        options.rounds = min(options.rounds, 2)
    use_threads(options.threads)
    command = shown_command(f"python benchmarks/{Path(sys.argv[0]).name}", sys.argv[1:])
    run = describe_run(command, threads=options.threads, tiny=options.tiny)
    machine = run["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['os']}")
    print(f"threads for everybody: {options.threads}; BLAS: {'; '.join(run['blas'])}")
    return options, run


def chosen_works(text: str, known: Sequence[str]) -> list[str]:
    """Read `--work`, a comma-separated list of names; an empty one means all."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise SystemExit(f"--work names {name!r}; expected some of {','.join(known)}")
    return [name for name in known if not names or name in names]


def main(
    doc: str,
    works: Mapping[str, Callable[[argparse.Namespace], Comparison]],
    usual_rounds: int = 7,
    parser: argparse.ArgumentParser | None = None,
) -> None:
    """Run a script: print a table for each work that is asked for, write them to a file.

    `parser` is one of `make_parser` with further options.
    """
    parser = parser or make_parser(doc, usual_rounds)
    parser.add_argument("--work", default="", help=f"of {','.join(works)}; default: all")
    options, run = start(parser)
    comparisons = []
    for name in chosen_works(options.work, list(works)):
        found = works[name](options)
        show(found)
        comparisons.append({"name": name, **found.record()})
    if options.out is not None:
        write(options.out, {**run, "comparisons": comparisons})


# The table and the file


def _three(value: float) -> str:
    """Write three digits, and all four of a number that a unit's size leaves below 1024."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def short_time(seconds: float) -> str:
    """Write a time with three digits and a fitting unit."""
    units = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
    size, unit = next((pair for pair in units if abs(seconds) >= pair[0]), units[-1])
    return f"{_three(seconds / size)} {unit}"


def short_size(size: float) -> str:
    """Write a number of bytes with a fitting unit."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{_three(size)} {unit}"
        size /= 1024
    return f"{_three(size)} GiB"


# Header and text of the columns beside the times.
FACTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "accuracy": ("accuracy", "{:.4f}".format),
    "r2": ("R2", "{:.4f}".format),
    "peak_bytes": ("peak memory", short_size),
    "modules": ("modules of xpnn", "{:.0f}".format),
}


def print_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; in a pipe, one whose rows stay whole."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for number, header in enumerate(headers):
        table.add_column(header, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=int(os.environ.get("COLUMNS", 120)))
    console.print(table)


def show(comparison: Comparison) -> None:
    """Print a comparison as a table."""
    timings = comparison.timings
    facts = {name: FACTS[name] for timing in timings for name in timing.facts}
    rows, notes = [], [comparison.note] if comparison.note else []
    for timing in timings:
        if timing.skipped:
            rows.append([timing.name, *"-" * (3 + len(facts))])
            notes.append(f"{timing.name}: {timing.skipped}")
            continue
        found = timing.record()
        values = [(timing.facts.get(name), text) for name, (_, text) in facts.items()]
        rows.append(
            [
                timing.name,
                short_time(found["seconds"]),
                f"{found['ratio']:.2f}",
                f"{found['ratio_lowest']:.2f} to {found['ratio_highest']:.2f}",
                *("-" if value is None else text(value) for value, text in values),
            ]
        )
    times = f"times {comparison.baseline or 'the first'}"
    headers = ["", "median time", times, "lowest to highest", *(head for head, _ in facts.values())]
    print()
    print_table(comparison.title, headers, rows)
    for note in notes:
        print(note)
    sys.stdout.flush()  # a pipe shall show what there is


def write(path: Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"results: {path}")
