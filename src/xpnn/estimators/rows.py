"""Rows that are made dense only when a batch asks for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnn.engine import HostRows


class SparseRows(HostRows):
    """A SciPy sparse matrix that looks like a dense array of rows to the engine.

    Parameters
    ----------
    matrix : sparse matrix or array, shape (n, features)
        In any format; kept as CSR.
    dtype : dtype
        Of the dense rows.
    """

    ndim = 2

    def __init__(self, matrix: Any, dtype: Any) -> None:
        self.matrix = matrix.tocsr().astype(dtype, copy=False)
        self.dtype = np.dtype(dtype)
        self.shape = matrix.shape

    @property
    def nbytes(self) -> int:
        """Bytes that all rows would take as a dense array."""
        return int(self.dtype.itemsize * self.shape[0] * self.shape[1])

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> Any:
        return self.matrix[key[0] if isinstance(key, tuple) else key].toarray()

    def pick(self, numbers: Any) -> SparseRows:
        """Pick rows by their numbers; they stay sparse."""
        return SparseRows(self.matrix[numbers], self.dtype)

    def take(self, numbers: Any, axis: int = 0, out: Any = None, mode: str = "raise") -> Any:
        """Pick rows by their numbers, as `numpy.ndarray.take` does."""
        rows = self.matrix[numbers]
        if out is None:
            return rows.toarray()
        rows.toarray(out=out)
        return out
