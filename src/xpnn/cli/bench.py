"""`xpnn bench`: this library beside its peers, on the user's own machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from xpnn.bench.command import QUESTIONS, THREADS
from xpnn.cli.output import UsageError

# What answers the question in about three minutes; --full runs what the repository's scripts run.
_SHORT = {
    "train": ["--work", "mnist,tabular", "--quick", "--rounds", "3"],
    "online": ["--rounds", "3"],
    "predict": ["--rounds", "5"],
    "import": ["--rounds", "5"],
}


def command(
    question: str,
    *,
    tiny: bool = False,
    full: bool = False,
    threads: int = THREADS,
    data: Path | None = None,
    out: Path | None = None,
) -> list[str]:
    """Make the command line of one benchmark's process.

    A process of its own, because the number of threads is fixed once NumPy is imported,
    and so that each question meets the same conditions as in its script.
    """
    words = [sys.executable, "-m", "xpnn.bench", question, "--threads", str(threads)]
    words += ["--tiny"] if tiny else [] if full else _SHORT[question]
    if data is not None:
        words += ["--data", str(data)]
    if out is not None:
        words += ["--out", str(out / f"{question}.json")]
    return words


def bench(
    question: Annotated[
        str, typer.Argument(help=f"{', '.join(QUESTIONS)} or all.", metavar="[QUESTION]")
    ] = "all",
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Very little data, to see that it runs.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="All workloads, torch.compile and more rounds: minutes."),
    ] = False,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Threads and cores for everybody.")
    ] = THREADS,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder with MNIST; default: random data of its shape."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the results as JSON files.")
    ] = None,
) -> None:
    """Compare xpnn's speed with the bare arithmetic and with its peers.

    Training beside the matrix products alone, plain NumPy, scikit-learn,
    PyTorch and JAX where installed; the tutorials' own code; prediction;
    import. Interleaved rounds, about three minutes: let the machine rest.

    Example: xpnn bench train --full --out results
    """
    if question != "all" and question not in QUESTIONS:
        raise UsageError(
            f"question is {question!r}; expected all, or one of {', '.join(QUESTIONS)}"
        )
    for one in QUESTIONS if question == "all" else (question,):
        print(f"\n{QUESTIONS[one]}", flush=True)
        words = command(one, tiny=tiny, full=full, threads=threads, data=data, out=out)
        code = subprocess.run(words, check=False).returncode
        if code:
            raise typer.Exit(code)
