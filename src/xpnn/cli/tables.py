"""The user's DATA: any table that xpnn reads, or one from standard input."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from xpnn.cli.output import Screen, UsageError

if TYPE_CHECKING:
    from xpnn.tabular import ReadOptions, TableFile

STDIN = "-"
# What files of arrays have as targets, and a column that tells such files.
_OWN_TARGETS = {"label": "p0", "y": "x0"}
_ENDINGS = frozenset(
    [".csv", ".tsv", ".txt", ".parquet", ".npz", ".npy", ".gz", ".zst", ".bz2", ".xz"]
)  # not part of a table's name


def own_target(table: TableFile) -> str | None:
    """The column that files of arrays and digits keep the target in; None for others."""
    columns = set(table.columns)
    return next((name for name, x in _OWN_TARGETS.items() if {name, x} <= columns), None)


def choose_target(table: TableFile, target: str | None, screen: Screen) -> str:
    """Take the column that is asked for, or the one that such files have."""
    from xpnn.tabular.names import listed

    found = target or own_target(table)
    if found is None:
        raise UsageError(
            f"{table.path}: which column shall be learned? Say --target COLUMN; the table has "
            f"{listed(table.columns)}"
        )
    if found not in table.columns:
        raise UsageError(
            f"{table.path}: no column {found!r}, as --target says; it has {listed(table.columns)}"
        )
    if target is None:
        screen.say(f"target: {found}, as such files have it")
    return found


@contextmanager
def opened(data: str, reading: Callable[[], ReadOptions], screen: Screen) -> Iterator[TableFile]:
    """Open a table; one that comes through a pipe is put into a file first, as it is read twice."""
    from xpnn.backends import InputError
    from xpnn.tabular import open_table

    piped = Path(data).exists() and not (Path(data).is_file() or Path(data).is_dir())
    if data != STDIN and not piped:
        yield open_table(data, reading())
        return
    if not piped and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("DATA is '-', but nothing is piped in; expected a table, or a file's name")
    with tempfile.TemporaryDirectory(prefix="xpnn-") as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file, open(data, "rb") if piped else sys.stdin.buffer as pipe:
            shutil.copyfileobj(pipe, file)
        screen.names[str(path)] = data if piped else "standard input"
        try:
            yield open_table(path, reading())
        except (UsageError, InputError) as error:
            raise UsageError(screen.named(str(error))) from error


def stem_of(data: str) -> str:
    """Name of a table without its endings; ``model`` for standard input."""
    if data == STDIN:
        return "model"
    path = Path(Path(data).name)
    while path.suffix.lower() in _ENDINGS:
        path = path.with_suffix("")
    return path.name
