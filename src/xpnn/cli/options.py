"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BackendOption = Annotated[
    str,
    typer.Option("--backend", help="auto, numpy, cupy, torch, jax or array_api_strict."),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="As the library names it: cpu, cuda:1, device1."),
]
DtypeOption = Annotated[
    str | None,
    typer.Option("--dtype", help="float16, bfloat16, float32 or float64."),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for what is written; default: xpnn-<demo>."),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of everything random.")
]
NoProgressOption = Annotated[
    bool, typer.Option("--no-progress", help="Do not draw a progress bar.")
]

# Of the commands about a user's own table

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="CSV or TSV (plain, gzip, zstd), Parquet, NPZ, NPY, IDX, the tutorial's digits; "
        "- reads standard input.",
    ),
]
ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file of xpnn.")]
HeaderOption = Annotated[
    bool,
    typer.Option("--header/--no-header", help="Whether text begins with a line of names."),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option("--labels", help="Labels of IDX pictures; default: the file beside them."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print notes and errors only.")]
