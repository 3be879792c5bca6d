"""The outputs of threshold units for every combination of 0 and 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

LARGEST = 16  # inputs: 65,536 rows


@dataclass(frozen=True)
class TruthTable:
    """A table that prints; iterating gives ``(inputs, outputs)`` for each row.

    Parameters
    ----------
    inputs : tuple of tuple of int
        All combinations of 0 and 1, counted up in binary.
    outputs : tuple of int
        The output for each.
    hidden : tuple of tuple of int
        Outputs of the hidden units for each; empty rows for a single unit.
    name : str
        Heading of the outputs.
    hidden_names : tuple of str
        Headings of the hidden units.
    """

    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]
    hidden: tuple[tuple[int, ...], ...]
    name: str
    hidden_names: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[tuple[tuple[int, ...], int]]:
        return iter(zip(self.inputs, self.outputs, strict=True))

    def __len__(self) -> int:
        return len(self.inputs)

    def __str__(self) -> str:
        width = len(self.inputs[0])
        heads = [*(f"x{i + 1}" for i in range(width)), *self.hidden_names, self.name]
        rules = "-+-".join(
            "--".join("-" * len(head) for head in part) for part in self._parts(tuple(heads))
        )
        lines = [self._line(heads, heads), rules]
        for row in zip(self.inputs, self.hidden, self.outputs, strict=True):
            values = [str(v) for v in (*row[0], *row[1], row[2])]
            lines.append(self._line(heads, values))
        return "\n".join(lines)

    def _parts(self, cells: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Inputs, hidden units and output, without the parts that are empty."""
        a = len(self.inputs[0])
        b = a + len(self.hidden_names)
        return [part for part in (cells[:a], cells[a:b], cells[b:]) if part]

    def _line(self, heads: list[str], values: list[str]) -> str:
        cells = tuple(f"{v:>{len(head)}}" for head, v in zip(heads, values, strict=True))
        return " | ".join("  ".join(part) for part in self._parts(cells))


def combinations(inputs: int) -> tuple[tuple[int, ...], ...]:
    """All rows of 0 and 1 of a length, counted up in binary; of 16 inputs at most."""
    if inputs > LARGEST:
        raise ValueError(
            f"a truth table of {inputs} inputs has 2**{inputs} rows; expected at most {LARGEST} "
            "inputs"
        )
    return tuple(product((0, 1), repeat=inputs))
