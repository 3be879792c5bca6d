"""Reading files plain or packed, and writing them whole or not at all."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from xpnn.data.optional import need

MAX_RATIO = 200.0  # real tables unpack to up to 50 times their packed size
FREE_BYTES = 1 << 26  # that any packed file may unpack to

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_ZSTD_PIECE = 1 << 10


class DataFileError(ValueError):
    """A data file does not hold what it should; the message names the file and the place."""


@contextmanager
def reading(path: str | Path, max_ratio: float | None = None) -> Iterator[BinaryIO]:
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
        `is_packed` tells whether it is unpacked on its way. zstd needs the extra `tables`.

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
        packed = _Counted(file)
        try:
            if kind == "zstd":
                unpacked = cast(BinaryIO, _Unzstd(packed))
            else:
                unpacked = cast(BinaryIO, gzip.GzipFile(fileobj=cast(BinaryIO, packed)))
            if max_ratio is not None:
                unpacked = cast(BinaryIO, _Limited(unpacked, packed, path, max_ratio))
            yield unpacked if kind == "gzip" and max_ratio is None else _buffered(unpacked)
        except (gzip.BadGzipFile, EOFError, zlib.error, _BrokenZstd) as error:
            raise DataFileError(f"{path}: a broken {kind} file: {error}") from error


def is_packed(file: BinaryIO) -> bool:
    """Whether a file that `reading` opened is unpacked on its way."""
    return not isinstance(getattr(file, "raw", None), io.FileIO)


def _buffered(raw: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, raw), 1 << 16))


class _Counted:
    """A file that counts the bytes that were read of it; not more than an unpacker needs."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.count = file, 0

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.count += len(data)
        return data

    def seekable(self) -> bool:
        return False


class _BrokenZstd(ValueError):
    """A zstd file is not one, or not whole."""


class _Unpacked(io.RawIOBase):
    """Base of what is read in pieces."""

    def readable(self) -> bool:
        return True

    def _next(self, most: int) -> bytes | memoryview:
        raise NotImplementedError

    def readinto(self, buffer: Any) -> int:
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Unzstd(_Unpacked):
    """What a zstd file unpacks to: all of its frames, one after the other."""

    def __init__(self, packed: _Counted) -> None:
        self._zstd = need("zstandard")
        self._packed, self._kept, self._frame = packed, memoryview(b""), None

    def _next(self, most: int) -> bytes | memoryview:
        while not self._kept:
            if not self._more():
                return b""
        data, self._kept = self._kept[:most], self._kept[most:]
        return data

    def _more(self) -> bool:
        """Unpack a piece: a small one, as four bytes may unpack to 128 KiB."""
        piece = self._packed.read(_ZSTD_PIECE)
        if not piece:
            if self._frame is not None:
                raise _BrokenZstd("it ends in the middle")
            return False
        parts = []
        while piece:
            if self._frame is None:
                self._frame = self._zstd.ZstdDecompressor().decompressobj()
            frame: Any = self._frame
            try:
                parts.append(frame.decompress(piece))
            except self._zstd.ZstdError as error:
                raise _BrokenZstd(str(error)) from error
            piece = b""
            if frame.eof:
                piece, self._frame = frame.unused_data, None
        self._kept = memoryview(b"".join(parts))
        return True


class _Limited(_Unpacked):
    """Stops where a file unpacks to far more than it holds."""

    def __init__(self, unpacked: BinaryIO, packed: _Counted, path: object, ratio: float) -> None:
        self._unpacked, self._packed, self._path = unpacked, packed, path
        self._ratio, self._count = ratio, 0

    def _next(self, most: int) -> bytes:
        data = self._unpacked.read(most)
        self._count += len(data)
        if self._count > FREE_BYTES + self._ratio * self._packed.count:
            raise DataFileError(
                f"{self._path}: {self._packed.count:,} packed bytes unpack to more than "
                f"{self._count:,}, over {self._ratio:g} times as many; if that is right, read it "
                "with a larger max_ratio"
            )
        return data


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
