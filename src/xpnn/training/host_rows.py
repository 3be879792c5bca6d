"""Rows that stay on the host, and are made an array only when a batch asks for them."""

from __future__ import annotations

import os
from typing import Any

from xpnn.backends import Device, InputError, Namespace, device_name, host, library_name
from xpnn.backends.libraries import memory_of
from xpnn.engine import HostRows

CHUNK = 4096  # most rows from the host that go through at once
CHUNK_BYTES = 2**24  # and most bytes
VARIABLE = "XPNN_DEVICE_SHARE"


class _Rows(HostRows):
    """What both kinds have in common: rows that look like a dense array to the engine."""

    ndim = 2
    dtype: Any
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that all rows would take as a dense array."""
        return int(self.dtype.itemsize * self.shape[0] * self.shape[1])

    def __len__(self) -> int:
        return int(self.shape[0])


class SparseRows(_Rows):
    """A SciPy sparse matrix, kept as CSR; dense, of `dtype`, batch by batch."""

    def __init__(self, matrix: Any, dtype: Any) -> None:
        self.dtype = host.dtype(dtype)
        # SciPy has no sparse float16.
        kept = host.promote_types(self.dtype, host.float32)
        self.matrix = matrix.tocsr().astype(kept, copy=False)
        self.shape = matrix.shape

    def __getitem__(self, key: Any) -> Any:
        rows = self.matrix[key[0] if isinstance(key, tuple) else key].toarray()
        return rows.astype(self.dtype, copy=False)

    def pick(self, indices: Any) -> SparseRows:
        """Pick rows by their indices; they stay sparse."""
        return SparseRows(self.matrix[indices], self.dtype)

    def take(self, indices: Any, axis: int = 0, out: Any = None, mode: str = "raise") -> Any:
        """Pick rows by their indices, as `numpy.ndarray.take` does."""
        if out is None:
            return self[indices]
        if self.matrix.dtype == out.dtype:
            self.matrix[indices].toarray(out=out)
        else:
            out[...] = self[indices]
        return out


class HostTable(_Rows):
    """A table that a GPU has no room for: its rows go there batch by batch.

    The table, or the rows of it that `indices` pick, is never copied as a whole.
    """

    def __init__(self, table: Any, dtype: Any, indices: Any = None) -> None:
        self.table, self.indices, self.dtype = table, indices, host.dtype(dtype)
        self.shape = (len(table) if indices is None else len(indices), table.shape[1])

    def __getitem__(self, key: Any) -> Any:
        rows = key[0] if isinstance(key, tuple) else key
        if self.indices is not None:
            rows = self.indices[rows]
        return host.ascontiguousarray(self.table[rows], self.dtype)

    def pick(self, indices: Any) -> HostTable:
        """Pick rows by their indices; none is copied."""
        own = indices if self.indices is None else self.indices[indices]
        return HostTable(self.table, self.dtype, own)

    def take(self, indices: Any, axis: int = 0, out: Any = None, mode: str = "raise") -> Any:
        """Pick rows by their indices, as `numpy.ndarray.take` does."""
        if out is None:
            return self[indices]
        if out.dtype != self.table.dtype:
            out[...] = self[indices]
            return out
        rows = indices if self.indices is None else self.indices[indices]
        return self.table.take(rows, axis=0, out=out, mode="clip")  # 'raise' makes a copy


def chunks(x: Any) -> list[slice]:
    """Cut rows that stay on the host into parts that go through at once, as dense arrays."""
    rows, features = x.shape
    each = max(1, min(CHUNK, CHUNK_BYTES // (features * x.dtype.itemsize)))
    return [slice(i, min(i + each, rows)) for i in range(0, rows, each)]


def fits(nbytes: int, xp: Namespace, device: Device) -> bool:
    """Whether a device has room for so many bytes; where nobody knows, and on CPUs, it has.

    A GPU has room for a quarter of its memory, or for what ``XPNN_DEVICE_SHARE`` says: an
    InputError unless that is from 0 to 1.
    """
    given = os.environ.get(VARIABLE) or "0.25"
    try:
        share = float(given)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise InputError(f"{VARIABLE} is {given!r}; expected a number from 0 to 1")
    where = device_name(device)
    memory = memory_of(library_name(xp), where) if where.startswith("cuda") else None
    return memory is None or nbytes <= share * memory
