"""One bound call of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnn.backends import host
from xpnn.engine.operations import REDUCTIONS
from xpnn.engine.schedule import BLOCK


@dataclass
class Call:
    """One bound call.

    Parameters
    ----------
    function : callable
        A NumPy function.
    arguments : tuple
        Arrays and constants, the output buffer among them.
    text : str
        What it does, for `describe`.
    out : numpy.ndarray, optional
        Output buffer, where the function wants it by keyword.
    chain, block : int
        Number of the chain and of the block in it, where it works on a block.
    source : str
        Source of a kernel.
    results : tuple of numpy.ndarray
        What a kernel writes.
    """

    function: Any
    arguments: tuple[Any, ...]
    text: str
    out: Any = None
    chain: int = -1
    block: int = -1
    source: str = ""
    results: tuple[Any, ...] = ()

    def written(self) -> Any:
        """Array that the call writes to."""
        if self.out is not None:
            return self.out
        if self.results:
            return self.results[-1]
        if self.function is host.copyto:
            return self.arguments[0]
        if self.function in REDUCTIONS.values():
            return self.arguments[3]
        return self.arguments[-1]

    def read(self) -> list[Any]:
        """Arrays that the call reads."""
        arrays = [a for a in self.arguments if isinstance(a, host.ndarray)]
        if self.out is not None:
            return arrays
        if self.results:
            return [a for a in arrays if all(a is not r for r in self.results)]
        return arrays[1:] if self.function is host.copyto else arrays[:-1]

    def sliced(self, start: int, stop: int, length: int, chain: int) -> Call:
        """Return the same on one block of a long vector."""

        def cut(value: Any) -> Any:
            if not isinstance(value, host.ndarray) or value.ndim == 0:
                return value
            return value[start:stop] if value.shape[0] == length else value[: stop - start]

        return Call(
            self.function, tuple(map(cut, self.arguments)), self.text, cut(self.out), chain,
            start // BLOCK,
        )  # fmt: skip

    def run(self) -> None:
        """Do it."""
        if self.out is None:
            self.function(*self.arguments)
        else:
            self.function(*self.arguments, out=self.out)
