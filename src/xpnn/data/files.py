"""Reading files that may be compressed, and writing them whole or not at all."""

from __future__ import annotations

import errno
import gzip
import io
import os
import secrets
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from xpnn.backends import InputError
from xpnn.data.optional import import_optional

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class DataFileError(InputError):
    """A data file does not hold what it should; the message names the file and the place."""


@contextmanager
def open_compressed(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file to read bytes, unpacked where it begins like a gzip or zstd file.

    Parameters
    ----------
    path : path
        Its ending does not matter.

    Yields
    ------
    binary file
        Its unpacked content. zstd needs the extra `tables`.

    Raises
    ------
    DataFileError
        The file turns out to be broken or cut off while it is read.
    """
    with Path(path).open("rb") as file:
        begin = file.peek(4)[:4]
        if begin[:2] != _GZIP and begin != _ZSTD:
            yield file
            return
        kind = "gzip" if begin[:2] == _GZIP else "zstd"
        try:
            if kind == "gzip":
                unpacked: Any = gzip.GzipFile(fileobj=file)
            else:
                arrow = import_optional("pyarrow")
                unpacked = arrow.CompressedInputStream(arrow.PythonFile(file, "r"), "zstd")
            yield cast(BinaryIO, io.BufferedReader(_Unpacked(unpacked, kind), 1 << 16))
        except _BrokenFile as error:
            raise DataFileError(f"{path}: a broken {kind} file: {error}") from error


def compression(file: BinaryIO) -> str | None:
    """How a file that `open_compressed` opened is packed: 'gzip', 'zstd' or None."""
    raw = getattr(file, "raw", None)
    return raw.kind if isinstance(raw, _Unpacked) else None


class _BrokenFile(ValueError):
    """A compressed file cannot be unpacked."""


class _Unpacked(io.RawIOBase):
    """What a file unpacks to."""

    def __init__(self, unpacked: Any, kind: str) -> None:
        self._unpacked, self.kind = unpacked, kind

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._unpacked.read(len(buffer))
        except (EOFError, zlib.error, OSError) as error:
            # The system's own errors have a number, those about the content have none.
            if getattr(error, "errno", None) is not None:
                raise
            raise _BrokenFile(" ".join(str(error).split())) from error
        buffer[: len(data)] = data
        return len(data)


def npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, Any]:
    """Read an NPY file's shape, whether it is in Fortran's order, and dtype; damage raises."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version} is not known")
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    # Version 3 differs from 2 in the text of field names only, which no table has.
    return np.lib.format.read_array_header_2_0(file)


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


def _target_of(path: Path) -> tuple[Path, os.stat_result | None]:
    """Find the file to replace, behind symbolic links, and what is known about it."""
    target = Path(os.path.realpath(path))
    try:
        found = target.stat()
    except FileNotFoundError:
        return target, None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "a device or pipe; expected a file", str(path))
    return target, found


def _take_over(temporary: Path, old: os.stat_result) -> None:
    """Give a file the owner and the permissions of the one that it replaces."""
    if os.name == "posix":
        with suppress(OSError):  # only root may give files away
            os.chown(temporary, old.st_uid, old.st_gid)
    temporary.chmod(stat.S_IMODE(old.st_mode))


@contextmanager
def atomic_write(path: str | Path, *, temp_name: str | None = None) -> Iterator[Path]:
    """Write a temporary file beside a file, and rename it once it is whole.

    Parameters
    ----------
    path : path
        Where the file shall be; its folder is made if it is missing. A symbolic link stays:
        the file that it points to is replaced. An older file's permissions are kept; a new
        file gets the usual ones.
    temp_name : str, optional
        Name of the temporary file. Default: one that nobody else has. With a name, what
        a killed process left is written over, but only one process may write at a time.

    Yields
    ------
    Path
        A temporary file in the same folder, with the same ending, to write to. It is
        synced and renamed when the block ends, and removed when the block raises.

    Raises
    ------
    OSError
        It cannot be written, or is a folder, a device or a pipe; an older file is unchanged.
    """
    target, old = _target_of(Path(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / (temp_name or f".xpnn-{secrets.token_hex(8)}{target.suffix}")
    if temp_name is not None:
        temporary.unlink(missing_ok=True)
    # The system takes the process's umask away from these permissions by itself. They never
    # allow more than the file's own will, not even while it is being written.
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode) & 0o666 | stat.S_IWUSR
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        if old is not None:
            _take_over(temporary, old)
        temporary.replace(target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
