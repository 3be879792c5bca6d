"""What a command prints and where: it works with any codec, width, pipe or none."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

# Said in words by `xpnn train`, and no news there.
_SILENT = ("Stochastic Optimizer: Maximum iterations", "Training interrupted by user")


# What arguments of Python are called on the command line.
_WORDS = {
    "hidden_layer_sizes": "--hidden",
    "learning_rate_init": "--learning-rate",
    "max_iter": "--epochs",
    "^validation_fraction is": "--validation is",
    "^column_types names": "--column-type names",
    r"^column_types\['(.*)'\] is '(.*?)'": r"--column-type is '\1=\2'",
    r"column_types=\{\"(.*)\": \"(.*)\"\}": r"--column-type \1=\2",
    r"\b(decimal|thousands|encoding)='(.*?)'": r"--\1 '\2'",
    r"^(decimal|thousands|encoding|sep|labels|usecols|dtype)\b": r"--\1",
    "--usecols": "--usecol",
    r"\bday_first\b": "--day-first",
    r"\bdate_format\b": "--date-format",
    "TabularRegressor learns numbers": "--task regression learns numbers",
    "TabularClassifier learns labels": "--task classification learns labels",
}


def in_options(text: str) -> str:
    """Let what the library says speak of the command's options."""
    _, runaway, rest = text.partition("The loss became")
    if runaway:
        text = f"the loss became{rest.partition(';')[0]}; a smaller --learning-rate helps"
    for pattern, option in _WORDS.items():
        text = re.sub(pattern, option, text)
    return text


class UsageError(ValueError):
    """The words or files that a command was given are wrong; the message is for the user."""


class OutputClosed(Exception):
    """Nobody reads standard output any more: `| head` has seen enough."""


class SafeStream:
    """A standard stream that never ends a command: what cannot be written goes nowhere."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.error: OSError | None = None  # why text was lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write text, or lose it."""
        try:
            self.stream.write(text)
        except OSError as error:
            self.lose(error)
        return len(text)

    def flush(self) -> None:
        """Write what waits, or lose it."""
        try:
            self.stream.flush()
        except OSError as error:
            self.lose(error)

    def lose(self, error: OSError) -> None:
        """Let the stream go nowhere from now on, so that nothing complains when Python ends."""
        self.error = self.error or error
        with suppress(OSError, ValueError):  # a stream of a test has no number
            number = self.stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


@contextmanager
def safe_streams() -> Iterator[tuple[SafeStream, SafeStream]]:
    """Make standard output and standard error safe while a command runs.

    Characters that their codec lacks are written as escapes. Streams that were closed when the
    process began are opened to nowhere, so that no file of ours gets their numbers.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    before = sys.stdout, sys.stderr
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        out, err = (SafeStream(stream or nowhere) for stream in before)
        for stream in before:
            if hasattr(stream, "reconfigure"):
                stack.callback(stream.reconfigure, errors=stream.errors)
                stream.reconfigure(errors="backslashreplace")
        sys.stdout, sys.stderr = out, err
        try:
            yield out, err
        finally:
            sys.stdout, sys.stderr = before
            out.flush()
            err.flush()


def is_unicode(stream: Any) -> bool:
    """Whether a stream takes every character."""
    return (getattr(stream, "encoding", None) or "ascii").lower().startswith("utf")


def write_data(text: str) -> None:
    """Write rows to standard output at once, as UTF-8 whatever the terminal's codec is."""
    out: Any = sys.stdout
    if isinstance(out, SafeStream) and out.error is not None:
        raise OutputClosed
    try:
        out.flush()
        if hasattr(out, "buffer"):
            out.buffer.write(text.encode("utf-8", "surrogatepass"))
            out.buffer.flush()
        else:  # what stands in for it in a program
            out.write(text)
    except BrokenPipeError as error:
        out.lose(error)
        raise OutputClosed from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def _plain(value: Any) -> Any:
    """Write a value as JSON knows it; None for a number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value if value is None or isinstance(value, str | int) else str(value)


@dataclass
class Screen:
    """Where a command's words go: people read text, machines one JSON object."""

    json: bool = False
    quiet: bool = False
    names: dict[str, str] = field(default_factory=dict)  # of files, where people know others

    @property
    def progress(self) -> bool:
        """Whether a person sits at a terminal and wants to see progress."""
        return not self.quiet and sys.stderr.isatty()

    def say(self, text: str = "") -> None:
        """Print text for people."""
        if not (self.json or self.quiet):
            print(text, flush=True)

    def result(self, values: dict[str, Any]) -> None:
        """Print the object for machines, where that was asked for."""
        if self.json:
            print(json.dumps(_plain(values), ensure_ascii=not is_unicode(sys.stdout)), flush=True)

    def note(self, text: str) -> None:
        """Print a line on standard error."""
        print(f"note: {self.named(text)}", file=sys.stderr, flush=True)

    def named(self, text: str) -> str:
        """Let a text speak of files as people know them."""
        for path, name in self.names.items():
            text = text.replace(path, name)
        return text

    @contextmanager
    def notes(self, shown: bool = True) -> Iterator[None]:
        """Let warnings appear as notes: each once, in a line, without a place in the code.

        Those of processes that are not `shown` are lost.
        """
        told: set[str] = set()

        def show(message: Warning | str, *rest: Any, **more: Any) -> None:
            text = in_options(" ".join(str(message).split()))
            if shown and text not in told:
                told.add(text)
                self.note(text)

        with warnings.catch_warnings():
            # Meant for a user; others are for those who write code.
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            for begin in _SILENT:
                warnings.filterwarnings("ignore", message=begin)
            warnings.showwarning = show
            yield
