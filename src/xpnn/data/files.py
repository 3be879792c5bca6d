"""Reading files plain or gzipped, and writing them whole or not at all."""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast


class DataFileError(ValueError):
    """A data file does not hold what it should; the message names the file and the place."""


@contextmanager
def reading(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file to read bytes, unpacked where it begins like a gzip file.

    Parameters
    ----------
    path : path
        Its ending does not matter.

    Yields
    ------
    binary file
        A `gzip.GzipFile` where the file is packed.

    Raises
    ------
    DataFileError
        The gzip file turns out to be broken or cut off while it is read.
    """
    with Path(path).open("rb") as file:
        if file.peek(2)[:2] != b"\x1f\x8b":
            yield file
            return
        try:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=file))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataFileError(f"{path}: a broken gzip file: {error}") from error


def sync_folder(folder: Path) -> None:
    """Make the system write down which files a folder holds, where it can be asked to."""
    if os.name != "posix":  # Windows opens no folders
        return
    with suppress(OSError):  # some network file systems refuse
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def replacing(path: str | Path, *, beside: str | None = None) -> Iterator[Path]:
    """Write a file beside its place, and move it there once it is whole.

    Parameters
    ----------
    path : path
        Where the file shall be; its folder is made if it is missing.
    beside : str, optional
        Name of the temporary file. Default: one that nobody else has. With a name, what
        a killed process left is written over, but only one process may write at a time.

    Yields
    ------
    Path
        A temporary file in the same folder, with the same ending, to write to. It is
        synced and renamed when the block ends, and removed when the block raises.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if beside is None:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        place = Path(name)
    else:
        place = path.parent / beside
    try:
        yield place
        with place.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes files that only their owner can read; give the usual rights back.
        mask = os.umask(0)
        os.umask(mask)
        place.chmod(0o666 & ~mask)
        place.replace(path)
        sync_folder(path.parent)
    finally:
        place.unlink(missing_ok=True)
