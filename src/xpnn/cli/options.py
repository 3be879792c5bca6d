"""Options that several commands share, and how they are read."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from xpnn.cli.output import UsageError

if TYPE_CHECKING:
    from xpnn.tabular import ReadOptions

    Reading = Callable[[], ReadOptions]
else:  # not imported before a table is read; help shall appear at once
    Reading = Any

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
        help="CSV or other separated text (also packed: gzip, zstd, bz2, xz), Parquet, NPZ, NPY, "
        "IDX, the tutorial's digits, or a folder of such files; - reads standard input.",
    ),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file of xpnn.")]
Target = Annotated[
    str | None,
    typer.Option(
        "--target", "-t", help="For models of plain numbers: the column that is no input."
    ),
]
ColumnTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--column-type",
        metavar="COLUMN=TYPE",
        help="What a column is, where its content does not say it: numeric, boolean, categorical, "
        "text, datetime, duration or ignored. May be given several times.",
    ),
]
_READING: dict[str, tuple[Any, Any]] = {
    "header": (
        Annotated[
            bool,
            typer.Option("--header/--no-header", help="Whether text begins with a line of names."),
        ],
        True,
    ),
    "encoding": (
        Annotated[str | None, typer.Option(help="Of text, such as cp1252; default: UTF-8.")],
        None,
    ),
    "sep": (
        Annotated[str | None, typer.Option(help="Between fields; default: found out.")],
        None,
    ),
    "decimal": (
        Annotated[str | None, typer.Option(help="What stands before decimals; default: a point.")],
        None,
    ),
    "thousands": (
        Annotated[str | None, typer.Option(help="What groups three digits each.")],
        None,
    ),
    "na_values": (
        Annotated[
            list[str] | None,
            typer.Option("--na-value", help="Text that is missing, in every column. Repeatable."),
        ],
        None,
    ),
    "dtype": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--dtype",
                metavar="COLUMN=KIND",
                help="What a column of text holds: text, integer, number, boolean, datetime or "
                "time. Repeatable.",
            ),
        ],
        None,
    ),
    "usecols": (
        Annotated[
            list[str] | None,
            typer.Option("--usecol", help="Read this column, and others named so, only."),
        ],
        None,
    ),
    "date_format": (
        Annotated[str | None, typer.Option(help="Of dates, such as %d/%m/%Y.")],
        None,
    ),
    "day_first": (
        Annotated[
            bool | None,
            typer.Option("--day-first/--month-first", help="What 01/02/2020 means."),
        ],
        None,
    ),
    "labels": (
        Annotated[
            Path | None,
            typer.Option("--labels", help="Labels of IDX images; default: the file beside them."),
        ],
        None,
    ),
}  # fmt: skip


def reads_tables(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `reading` the options of `xpnn.tabular.ReadOptions` instead."""
    signature = inspect.signature(command, eval_str=True)
    kept = [p for p in signature.parameters.values() if p.name != "reading"]
    for hint, _ in _READING.values():
        get_args(hint)[1].rich_help_panel = "How DATA is read"
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for name, (hint, default) in _READING.items()
    ]

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        reading = {name: given.pop(name) for name in _READING}
        # Not yet: of several processes one says what is wrong with them.
        command(**given, reading=functools.partial(_read_options, reading))

    del wrapped.__dict__["__wrapped__"]  # typer would look at it
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in kept] + own
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _read_options(given: dict[str, Any]) -> ReadOptions:
    """Options for reading of what was given on the command line."""
    from xpnn.tabular import ReadOptions

    many = {name: tuple(given[name] or ()) for name in ("na_values", "usecols")}
    dtype = pairs_of("--dtype", given["dtype"])
    return ReadOptions(
        **{**given, **many, "usecols": many["usecols"] or None, "dtype": dtype or None}
    )


def pairs_of(option: str, words: Sequence[str] | None) -> dict[str, str]:
    """Read words such as ``zip=categorical``."""
    pairs = {}
    for word in words or ():
        name, mark, value = word.rpartition("=")
        if not mark or not name:
            raise UsageError(f"{option} is {word!r}; expected COLUMN=TYPE, such as zip=text")
        pairs[name] = value
    return pairs


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
