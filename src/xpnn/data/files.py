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

MAX_RATIO = 200.0  # real tables unpack to up to 50 times their compressed size
FREE_BYTES = 1 << 26  # that any compressed file may unpack to

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class DataFileError(InputError):
    """A data file does not hold what it should; the message names the file and the place."""


@contextmanager
def open_compressed(path: str | Path, max_ratio: float | None = None) -> Iterator[BinaryIO]:
    """Open a file to read bytes, unpacked where it begins like a gzip or zstd file.

    Parameters
    ----------
    path : path
        Its ending does not matter.
    max_ratio : float, optional
        How many times larger than the file its content may be, beside 64 MiB that any file
        may have. Default: no limit.

    Yields
    ------
    binary file
        Its unpacked content. zstd needs the extra `tables`.

    Raises
    ------
    DataFileError
        The file turns out to be broken, cut off or beyond the limit while it is read.
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
            limited = _Limited(unpacked, file, path, kind, max_ratio)
            yield cast(BinaryIO, io.BufferedReader(limited, 1 << 16))
        except _BrokenFile as error:
            raise DataFileError(f"{path}: a broken {kind} file: {error}") from error


def compression(file: BinaryIO) -> str | None:
    """How a file that `open_compressed` opened is packed: 'gzip', 'zstd' or None."""
    raw = getattr(file, "raw", None)
    return raw.kind if isinstance(raw, _Limited) else None


class _BrokenFile(ValueError):
    """A compressed file cannot be unpacked."""


class _Limited(io.RawIOBase):
    """What a file unpacks to, up to far more than it holds."""

    def __init__(
        self, unpacked: Any, file: BinaryIO, path: object, kind: str, ratio: float | None
    ) -> None:
        self._unpacked, self._file, self._path = unpacked, file, path
        self.kind, self._ratio, self._count = kind, ratio, 0

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
        self._count += len(data)
        packed = self._file.tell()
        if self._ratio is not None and self._count > FREE_BYTES + self._ratio * packed:
            raise DataFileError(
                f"{self._path}: {packed:,} compressed bytes unpack to more than "
                f"{self._count:,}, over {self._ratio:g} times as many; if that is right, read it "
                "with a larger max_ratio"
            )
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
