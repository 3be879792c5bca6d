"""Interleaved rounds that end in time, whatever happens to a contender."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

from xpnn.bench.rounds import Contender, SkipError, Timing

RESERVE = 5.0  # seconds that preparing a contender leaves to the rounds
WARM_UPS = 2  # the first compiles, the second may still record


class TimeOverError(SkipError):
    """Something was broken off for its time."""


class Deadline:
    """A point in time.

    Parameters
    ----------
    seconds : float
        From now.
    """

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then; below 0 afterwards."""
        return self.end - time.monotonic()


@contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Break off what takes longer; only Python's own code can be broken off.

    Raises
    ------
    TimeOverError
        It took longer, or there is no time at all.
    """
    if seconds <= 0:
        raise TimeOverError("left out: no time was left for it")
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread
        return

    def over(*_: object) -> None:
        raise TimeOverError(f"it took longer than the {seconds:.0f} s that were left")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def reason_of(error: BaseException) -> str:
    """Say in one line why a contender does not take part."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, SkipError) and lines:
        return lines[0]
    return f"{type(error).__name__}: {lines[0] if lines else 'without a message'}"


def measure_within(
    contenders: Sequence[Contender],
    rounds: int,
    deadline: Deadline,
    *,
    few: Sequence[str] = (),
    warm_ups: int = WARM_UPS,
) -> list[Timing]:
    """Time contenders round by round, until there are enough rounds or no time is left.

    The order moves on by one with each round. Who raises an error, whatever it is, or is not
    ready in time, is out with the reason; the others go on.

    Parameters
    ----------
    contenders : sequence of Contender
        Each waits for the device before it returns. Who is slow to prepare comes last.
    rounds : int
        Rounds at most.
    deadline : Deadline
        When to end.
    few : sequence of str
        Names of those that are far too slow for many rounds: no warm-up, two rounds.
    warm_ups : int
        Rounds before that do not count.

    Returns
    -------
    list of Timing
        As `contenders`, without ratios.
    """
    timings, works = [Timing(c.name) for c in contenders], {}
    for number, contender in enumerate(contenders):
        try:
            with time_limit(deadline.left - RESERVE):
                works[number] = contender.make()
                for _ in range(0 if contender.name in few else warm_ups):
                    works[number]()
        except Exception as error:  # libraries and devices fail in their own ways
            works.pop(number, None)
            timings[number].skipped = reason_of(error)
    for count in range(rounds):
        began = time.monotonic()
        turns = [n for n in works if not timings[n].skipped]
        turns = [n for n in turns if count < 2 or contenders[n].name not in few]
        shift = count % max(len(turns), 1)
        for number in turns[shift:] + turns[:shift]:
            try:
                with time_limit(deadline.left):
                    _take(contenders[number], works[number], timings[number])
            except Exception as error:
                if isinstance(error, TimeOverError) and timings[number].seconds:
                    continue  # what it took in the rounds before stands
                timings[number].skipped = reason_of(error)
        if deadline.left < time.monotonic() - began:
            break  # another such round would end too late
    for number, work in works.items():
        if (close := getattr(work, "close", None)) is not None and not timings[number].skipped:
            close()
    return timings


def _take(contender: Contender, work: Any, timing: Timing) -> None:
    began = time.perf_counter()
    answer = work()
    seconds = float(answer) if contender.reports else time.perf_counter() - began
    timing.seconds.append(seconds / contender.units)


def with_ratios(timings: Sequence[Timing]) -> list[Timing]:
    """Put who was measured first, and set each beside the first of them.

    Medians are compared, as the numbers of rounds may differ.
    """
    there = [timing for timing in timings if not timing.skipped]
    for timing in there:
        timing.ratios = [own / median(there[0].seconds) for own in timing.seconds]
    return [*there, *(timing for timing in timings if timing.skipped)]
