"""What a stream of rows is: blocks, and how they are mixed."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MEMORY = 2**28
PIECE = 2**20  # bytes that are read at once: what is read is still in the cache when it is copied
BLOCKS = 16  # in a buffer

_UNITS = {"": 1, **{f"{p}{e}": b**n for e, b in (("B", 1000), ("iB", 1024))
                    for n, p in enumerate("KMGT", 1)}, "B": 1}  # fmt: skip


def bytes_of(memory: int | str, name: str = "memory") -> int:
    """Read an amount of memory.

    Parameters
    ----------
    memory : int or str
        Bytes, or a text such as ``"256 MiB"``, ``"1GB"``.
    name : str, default 'memory'
        Of the argument, for the error.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        It is something else.
    """
    if isinstance(memory, int) and not isinstance(memory, bool) and memory > 0:
        return memory
    if isinstance(memory, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B?)\s*", memory)
        if found and found[2] in _UNITS and float(found[1]) > 0:
            return max(int(float(found[1]) * _UNITS[found[2]]), 1)
    raise ValueError(f"{name} is {memory!r}; expected bytes, or a text such as '256 MiB'")


@dataclass(frozen=True)
class BlockShuffle:
    """How the rows of a source are mixed: by blocks, and within a buffer of several blocks.

    The blocks come in an order drawn from the seed, and fill a buffer; its rows are
    permuted. A row can meet any row of the blocks in the same buffer.

    Parameters
    ----------
    block_rows : int, optional
        Rows in a block, which are read together. Parquet row groups and the chunks of
        Dask and zarr are blocks already. Default: a sixteenth of the buffer.
    buffer_blocks : int, optional
        Blocks in a buffer. Default: as many as the source's memory allows.
    seed : int, optional
        The order depends on it and on the number of the epoch alone. Default: drawn anew
        for each epoch by the training, from its own seed.

    Raises
    ------
    ValueError
        A number is out of range.
    """

    block_rows: int | None = None
    buffer_blocks: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, lowest in (("block_rows", 1), ("buffer_blocks", 1), ("seed", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if value is not None and not (whole and value >= lowest):
                raise ValueError(f"{name} is {value!r}; expected an integer from {lowest} on")

    def sizes(self, row_bytes: int, memory: int, batch: int) -> tuple[int, int]:
        """Choose rows of a buffer, which is whole batches, and of a block.

        Parameters
        ----------
        row_bytes : int
            Bytes of a row in the buffer.
        memory : int
            Bytes of two buffers: one is filled while the other is in use.
        batch : int
            Rows of a step.

        Returns
        -------
        int, int
        """
        most = max(memory // (2 * row_bytes), 1)
        block = self.block_rows or max(most // (self.buffer_blocks or BLOCKS), 1)
        rows = block * (self.buffer_blocks or max(most // block, 1))
        return max(rows // batch, 1) * batch, block


@dataclass
class Block:
    """Rows on the host, as a source hands them out; valid until the next block is asked for.

    Parameters
    ----------
    x : numpy.ndarray, shape (n, features)
        Rows.
    t : numpy.ndarray or None, shape (n,) or (n, outputs)
        Targets.
    weight : numpy.ndarray or None, shape (n,)
        Weights.
    """

    x: Any
    t: Any = None
    weight: Any = None


class Source(ABC):
    """Rows that are read block by block, in place of arrays; `stream` makes one.

    Parameters
    ----------
    name : str
        For errors: a file's name, where there is one.
    features : int
        Numbers in a row.
    dtype : dtype
        Of the rows.
    rows : int or None
        Number of rows; None where nobody knows.
    once : bool, default False
        Whether it can be gone through once only.

    Attributes
    ----------
    memory : int
        Bytes that the two buffers take together.
    shuffle : BlockShuffle
        How rows are mixed, where the training mixes them.
    classes : numpy.ndarray or None
        Labels, where they are known beforehand.
    """

    def __init__(
        self, name: str, features: int, dtype: Any, rows: int | None, once: bool = False
    ) -> None:
        self.name, self.features, self.dtype = name, features, np.dtype(dtype)
        self.rows, self.once = rows, once
        self.memory, self.shuffle = MEMORY, BlockShuffle()
        self.classes: Any = None

    def __repr__(self) -> str:
        rows = "?" if self.rows is None else f"{self.rows:,}"
        return f"<{type(self).__name__} {self.name}: {rows} rows x {self.features} {self.dtype}>"

    def unit_rows(self, block_rows: int) -> Sequence[int] | None:
        """Rows of each block that can be read in any order; None where there is one order only."""
        return None

    def units(self, block_rows: int) -> int | None:
        """Count the blocks that can be read in any order; None where there is one order only."""
        found = self.unit_rows(block_rows)
        return None if found is None else len(found)

    @abstractmethod
    def blocks(self, order: Sequence[int] | None, block_rows: int) -> Iterator[Block]:
        """Read blocks.

        Parameters
        ----------
        order : sequence of int or None
            Numbers of the blocks to read; None means all, as they come.
        block_rows : int
            Rows in a block, where the data does not say.

        Yields
        ------
        Block
            Parts of the blocks, in order.
        """

    def targets(self) -> Iterator[Any]:
        """Read the targets alone, as they come."""
        for block in self.blocks(None, max(PIECE // self.row_bytes, 1)):
            yield self.target_of(block)

    def target_of(self, block: Any) -> Any:
        """Targets of a block or window; an error where the source has none."""
        if block.t is None:
            raise ValueError(
                f"{self.name} has no targets; name them: stream(x, target), or give batches (x, t)"
            )
        return block.t

    def sample(self) -> Block:
        """Read the first row."""
        blocks = self.blocks(None, 1)
        try:
            block = next((block for block in blocks if len(block.x)), None)
        finally:
            close = getattr(blocks, "close", None)
            if close is not None:
                close()
        if block is None:
            raise ValueError(f"{self.name} has no rows; expected at least one")
        weight = None if block.weight is None else block.weight[:1].copy()
        return Block(block.x[:1].copy(), None if block.t is None else block.t[:1].copy(), weight)

    def count(self) -> int:
        """Count the rows, by going through all of them where they are not known."""
        if self.rows is None:
            self.rows = sum(len(block.x) for block in self.blocks(None, PIECE))
        return self.rows

    @property
    def row_bytes(self) -> int:
        """Bytes of a row as it is stored."""
        return self.features * self.dtype.itemsize

    def check_once(self, epochs: int) -> None:
        """Refuse to go several times through what can be gone through once.

        Raises
        ------
        ValueError
            Says what to hand in instead.
        """
        if self.once and epochs > 1:
            raise ValueError(
                f"{self.name} can be gone through once, and {epochs} epochs were asked for; hand "
                "stream a function that makes the iterator anew, or a list"
            )


def check_numbers(dtype: Any, where: str) -> Any:
    """Refuse a dtype that holds no numbers.

    Raises
    ------
    TypeError
        Names the place.
    """
    if np.dtype(dtype).kind not in "biuf":
        raise TypeError(f"{where} holds {dtype}; expected numbers")
    return np.dtype(dtype)
