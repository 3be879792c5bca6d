"""Options that several commands share, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from xpnn.cli.output import UsageError

Backend = Annotated[
    str,
    typer.Option("--backend", help="auto, numpy, cupy, torch, jax or array_api_strict."),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="As the library names it: cpu, cuda:1, device1."),
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of everything random.")
]

# Of the commands about a user's own table

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="CSV or TSV (plain, gzip, zstd), Parquet, NPZ, NPY, IDX, the tutorial's digits; "
        "- reads standard input.",
    ),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file of xpnn.")]
Header = Annotated[
    bool,
    typer.Option("--header/--no-header", help="Whether text begins with a line of names."),
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="Labels of IDX images; default: the file beside them."),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target", "-t", help="For models of plain numbers: the column that is no input."
    ),
]
Compute = Annotated[str, typer.Option("--backend", help="Where to compute, as in train.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print notes and errors only.")]


def widths_of(text: str) -> tuple[int, ...]:
    """Read widths of hidden layers, such as ``100,50``; ``none`` is a network without any."""
    if text.strip().lower() in ("none", "0", ""):
        return ()
    try:
        widths = tuple(int(word) for word in text.split(","))
    except ValueError:
        widths = (0,)
    if min(widths) < 1:
        raise UsageError(f"--hidden is {text!r}; expected widths such as 100 or 100,50, or none")
    return widths


def check_out(
    path: Path, option: str, sources: Sequence[Path | str] = (), endings: Sequence[str] = ()
) -> None:
    """Refuse a file that could not be written: before the work, not after it.

    `option` names it; `sources` are read by the command, and must not be written over.
    """
    if endings and path.suffix.lower() not in endings:
        raise UsageError(f"{option} is '{path}'; expected a file that ends in {', '.join(endings)}")
    if path.is_dir():
        raise UsageError(f"{option} is '{path}', a folder; expected a file")
    for source in sources:
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise UsageError(f"{option} is '{path}', which is read; expected another file")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"{option} is '{path}', but nothing can be written in {folder}")
