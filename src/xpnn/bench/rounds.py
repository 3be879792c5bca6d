"""Interleaved rounds: every contender in turn, again and again, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Work = Callable[[], Any]

# OpenBLAS's and OpenMP's threads go on spinning for some milliseconds after a product; a
# contender that brings threads of its own would have to share the cores with them.
PAUSE = 0.05


class SkipError(Exception):
    """A contender cannot take part; the message says why."""


@dataclass(frozen=True)
class Contender:
    """Something to be timed.

    Parameters
    ----------
    name : str
        For the table.
    make : callable
        Prepares it, and returns the function that a round calls, which may have a method
        `close`; may raise `SkipError`.
    units : int, default 1
        Epochs, records or calls in a round; seconds are given for one of them.
    reports : bool, default False
        Whether the function returns the seconds that it took, measured elsewhere.
    """

    name: str
    make: Callable[[], Work]
    units: int = 1
    reports: bool = False


@dataclass
class Timing:
    """What was measured of a contender.

    Parameters
    ----------
    name : str
        Of the contender.
    seconds : list of float
        For one unit, of each round.
    ratios : list of float
        The same, divided by the baseline's seconds of that round.
    skipped : str, default ''
        Why it did not take part.
    facts : dict
        What else is known of it, by the names in `xpnn.bench.report.FACTS`; None where it
        could not be found out.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    skipped: str = ""
    facts: dict[str, float | None] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        if self.skipped:
            return {"name": self.name, "skipped": self.skipped}
        return {
            "name": self.name,
            "seconds": median(self.seconds),
            "ratio": median(self.ratios),
            "ratio_lowest": min(self.ratios),
            "ratio_highest": max(self.ratios),
            "rounds": self.seconds,
            **self.facts,
        }


@dataclass
class Comparison:
    """A table: contenders beside a baseline.

    Parameters
    ----------
    name : str
        Short, for looking it up in the JSON file.
    title : str
        What was done.
    timings : list of Timing
        The first one is the baseline.
    note : str, default ''
        What a reader should know.
    """

    name: str
    title: str
    timings: list[Timing]
    note: str = ""

    def record(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "baseline": self.timings[0].name,
            "note": self.note,
            "results": [timing.record() for timing in self.timings],
        }


def measure(
    name: str,
    title: str,
    contenders: Sequence[Contender],
    rounds: int,
    *,
    pause: float = PAUSE,
    note: str = "",
) -> Comparison:
    """Time contenders round by round, after one round that does not count.

    The order moves on by one with each round, so that nobody always follows the same one.

    Parameters
    ----------
    name, title, note : str
        As in `Comparison`.
    contenders : sequence of Contender
        The first one is the baseline.
    rounds : int
        Rounds that count.
    pause : float
        Seconds of rest before each turn; see `PAUSE`.

    Returns
    -------
    Comparison
    """
    timings, works = [Timing(c.name) for c in contenders], {}
    for number, contender in enumerate(contenders):
        try:
            works[number] = contender.make()
            works[number]()  # warm-up: compiles, plans, fills caches
        except SkipError as reason:
            works.pop(number, None)
            timings[number].skipped = str(reason)
    turns = list(works)
    for count in range(rounds):
        shift = count % len(turns)
        for number in turns[shift:] + turns[:shift]:
            time.sleep(pause)
            began = time.perf_counter()
            answer = works[number]()
            seconds = time.perf_counter() - began
            if contenders[number].reports:
                seconds = float(answer)
            timings[number].seconds.append(seconds / contenders[number].units)
    for work in works.values():
        if (close := getattr(work, "close", None)) is not None:
            close()
    for number in turns:
        pairs = zip(timings[number].seconds, timings[0].seconds, strict=True)
        timings[number].ratios = [own / base for own, base in pairs]
    return Comparison(name, title, timings, note)
