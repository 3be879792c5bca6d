"""The user's DATA: any table that xpnn reads, or one from standard input."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpnn.cli.output import Screen, UsageError

if TYPE_CHECKING:
    import pandas as pd

STDIN = "-"
# The column that such files have beside what is learned from.
_OWN_TARGET = {"idx": "label", "digits": "label", "npz": "y"}
_ENDINGS = frozenset(
    [".csv", ".tsv", ".txt", ".parquet", ".npz", ".npy", ".gz", ".gzip", ".zst", ".zstd"]
)  # not part of a table's name


@dataclass(frozen=True)
class Table:
    """A table in a file."""

    path: Path
    header: bool = True
    labels: Path | None = None

    def read(self) -> pd.DataFrame:
        """All of it."""
        from xpnn.data import read_table

        return read_table(self.path, header=self.header, labels=self.labels)

    def stream(self) -> Iterator[pd.DataFrame]:
        """Chunk by chunk."""
        from xpnn.data import stream_table

        return stream_table(self.path, header=self.header, labels=self.labels)

    def columns(self) -> list[str]:
        """Names of the columns."""
        from xpnn.data import stream_table

        chunks = stream_table(self.path, 1, text=True, header=self.header, labels=self.labels)
        return [str(name) for name in next(iter(chunks)).columns]

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Let an error about a cell name the file, and the line where the file is text."""
        from xpnn.data import line_of_row
        from xpnn.data.cells import CellError

        try:
            yield
        except CellError as error:
            line = line_of_row(self.path, int(error.row), header=self.header)
            where = f"row {error.row}" if line is None else f"line {line}"
            text = f"{self.path}, {where}: column {error.column!r}: {error.problem}"
            raise UsageError(text) from error

    def own_target(self) -> str | None:
        """The column that files of this format keep the target in; None for others."""
        from xpnn.data import table_format

        name = _OWN_TARGET.get(table_format(self.path))
        return name if name in self.columns() else None


def choose_target(table: Table, target: str | None, screen: Screen) -> str:
    """Take the column that is asked for, or the one that such files have."""
    if target is not None:
        return target
    found = table.own_target()
    if found is None:
        from xpnn.data.columns import listed

        raise UsageError(
            f"{table.path}: which column shall be learned? Say --target COLUMN; the table has "
            f"{listed(table.columns())}"
        )
    screen.say(f"target: {found}, as such files have it")
    return found


@contextmanager
def opened(data: str, header: bool = True, labels: Path | None = None) -> Iterator[Table]:
    """Find a table; one from standard input is put into a file first, as it is read twice."""
    if data != STDIN:
        yield Table(Path(data), header, labels)
        return
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("DATA is '-', but nothing is piped in; expected a table, or a file's name")
    from xpnn.backends import InputError

    with tempfile.TemporaryDirectory(prefix="xpnn-") as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        try:
            yield Table(path, header, labels)
        except (UsageError, InputError) as error:
            if str(path) not in str(error):
                raise
            raise UsageError(str(error).replace(str(path), "standard input")) from error


def stem_of(data: str) -> str:
    """Name of a table without its endings; ``model`` for standard input."""
    if data == STDIN:
        return "model"
    path = Path(Path(data).name)
    while path.suffix.lower() in _ENDINGS:
        path = path.with_suffix("")
    return path.name
