"""Columns on their way through preprocessing, as values of an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnn.export.onnx_graph import Graph


@dataclass(frozen=True)
class Part:
    """Neighbouring columns in one value of shape (n, width)."""

    value: str
    width: int
    text: bool = False


@dataclass(frozen=True)
class Block:
    """Columns in order."""

    graph: Graph
    dtype: str
    parts: tuple[Part, ...]

    @property
    def width(self) -> int:
        """Number of columns."""
        return sum(part.width for part in self.parts)

    def number(self, value: float) -> str:
        """Constant in the dtype of the columns."""
        return self.graph.constant(np.asarray(value, self.dtype))

    def row(self, values: Any) -> str:
        """Constant with a number for each column."""
        return self.graph.constant(np.asarray(values, self.dtype).reshape(1, -1))

    def matrix(self) -> str:
        """All columns, which hold numbers, in one value."""
        if len(self.parts) == 1:
            return self.parts[0].value
        return self.graph.add("Concat", *(part.value for part in self.parts), axis=1)

    def take(self, places: Sequence[int]) -> Block:
        """Columns by their numbers; neighbours stay together."""
        if list(places) == list(range(self.width)):
            return self
        owners = [(part, i) for part in self.parts for i in range(part.width)]
        runs: list[tuple[Part, list[int]]] = []
        for part, i in (owners[place] for place in places):
            if runs and runs[-1][0] is part:
                runs[-1][1].append(i)
            else:
                runs.append((part, [i]))
        return Block(self.graph, self.dtype, tuple(self._cut(part, run) for part, run in runs))

    def _cut(self, part: Part, columns: list[int]) -> Part:
        if columns == list(range(part.width)):
            return part
        numbers = self.graph.constant(np.asarray(columns, np.int64))
        cut = self.graph.add("Gather", part.value, numbers, axis=1)
        return Part(cut, len(columns), part.text)

    def columns(self) -> list[Part]:
        """Each column on its own."""
        return [self.take([i]).parts[0] for i in range(self.width)]

    def of(self, *parts: Part) -> Block:
        """Other columns in the same graph."""
        return Block(self.graph, self.dtype, parts)

    def of_matrix(self, value: str, width: int | None = None) -> Block:
        """Numbers in one value."""
        return self.of(Part(value, self.width if width is None else width))
