"""What a command prints: text for people, one object for machines, notes beside."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Said in words by `xpnn train`, and no news there.
_SILENT = ("Stochastic Optimizer: Maximum iterations", "Training interrupted by user")


class OutputClosed(Exception):
    """Nobody reads standard output any more: `| head` has seen enough."""


def write(text: str) -> None:
    """Write to standard output at once.

    Raises
    ------
    OutputClosed
        Nobody reads it any more.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        close_output()
        raise OutputClosed from None


def close_output() -> None:
    """Let standard output go nowhere, so that nothing complains when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def plain(value: Any) -> Any:
    """A value as JSON knows it; None for a number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return value if value is None or isinstance(value, str | int) else str(value)


@dataclass
class Screen:
    """Where a command's words go.

    Parameters
    ----------
    json : bool
        Print one JSON object and nothing else on standard output.
    quiet : bool
        Print notes and errors only.
    must_go_on : bool
        Whether the work is worth ending after nobody reads any more.
    """

    json: bool = False
    quiet: bool = False
    must_go_on: bool = False

    @property
    def silent(self) -> bool:
        """Whether text for people is left out."""
        return self.json or self.quiet

    @property
    def watched(self) -> bool:
        """Whether a person sits at a terminal and wants to see progress."""
        return not self.quiet and sys.stderr.isatty()

    def say(self, text: str = "") -> None:
        """Print text for people."""
        if not self.silent:
            self._write(text + "\n")

    def result(self, values: dict[str, Any]) -> None:
        """Print the object for machines, where that was asked for."""
        if self.json:
            self._write(json.dumps(plain(values), ensure_ascii=False) + "\n")

    def _write(self, text: str) -> None:
        try:
            write(text)
        except OutputClosed:
            if not self.must_go_on:
                raise

    def note(self, text: str) -> None:
        """Print a line on standard error."""
        print(f"note: {text}", file=sys.stderr, flush=True)

    @contextmanager
    def notes(self) -> Iterator[None]:
        """Let warnings appear as notes: in a line, without a place in the code."""

        def show(message: Warning | str, *rest: Any, **more: Any) -> None:
            self.note(" ".join(str(message).split()))

        with warnings.catch_warnings():
            # Meant for a user; others are for those who write code.
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            for begin in _SILENT:
                warnings.filterwarnings("ignore", message=begin)
            warnings.showwarning = show
            yield
