"""A GPU's two streams, played on the host by somebody who sees every race.

Host, copies and steps each have a clock for all three, as in vector clocks: an operation may
touch memory only where it knows of all that touched it before, by an event that it waited for.
Copies are made at once, so results are right; what would be wrong on a GPU raises.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np


class RaceError(AssertionError):
    """Memory is written while somebody may still use it, or read before it is written."""


@dataclass
class _Memory:
    name: str
    written: tuple[str, int] | None = None
    read: dict[str, int] = field(default_factory=dict)


class _Pinned(np.ndarray):
    """Pinned memory: whoever takes a part of it is about to write there."""

    streams = None

    def __getitem__(self, key):
        if self.streams is not None:
            self.streams.touch("host", self, "write")
        return np.asarray(self)[key]


class Streams:
    """What `xpnn.backends.pinned.CupyStreams` is, for memory on the host.

    Parameters
    ----------
    wrap, unwrap : callable
        Make an array of a library of NumPy's, and the other way round.
    forgets : str
        Name of a method that does nothing: a mistake to be seen.
    """

    def __init__(self, wrap=lambda a: a, unwrap=lambda a: a, forgets=""):
        self.wrap, self.unwrap = wrap, unwrap
        self.clocks = {name: defaultdict(int) for name in ("host", "copies", "steps")}
        self.memory = {}
        self.held = []
        self.log = []
        if forgets:
            setattr(self, forgets, lambda event: None)

    def _tick(self, who):
        if who != "host":  # the host queues it: all that it knows is known
            self._merge(who, self.clocks["host"])
        self.clocks[who][who] += 1

    def _merge(self, who, event):
        for name, time in event.items():
            self.clocks[who][name] = max(self.clocks[who][name], time)

    def _of(self, array):
        array = np.asarray(array)
        while isinstance(array.base, np.ndarray):
            array = array.base
        return self.memory.get(array.ctypes.data)

    def touch(self, who, array, how):
        """Read or write; raises where that would be a race."""
        memory = self._of(array)
        if memory is None:
            return
        self._tick(who)
        clock = self.clocks[who]
        before = [] if memory.written is None else [("written", *memory.written)]
        if how == "write":
            before += [("read", *use) for use in memory.read.items()]
        for what, by, time in before:
            if clock[by] < time:
                raise RaceError(f"{who} {how} {memory.name}, which may still be {what} by {by}")
        if how == "write":
            memory.written, memory.read = (who, clock[who]), {}
        else:
            if memory.written is None:
                raise RaceError(f"{who} read {memory.name}, which nobody wrote")
            memory.read[who] = clock[who]
        self.log.append((who, how, memory.name, dict(clock)))

    def reads(self, array):
        """Note that a step on the current stream reads an array."""
        self.touch("steps", self.unwrap(array), "read")

    # What a feeder asks for

    def _make(self, shape, dtype, name):
        array = np.empty(shape, dtype)
        array.fill(77)
        self.held.append(array)  # an address stands for one memory only
        self.memory[array.ctypes.data] = _Memory(f"{name} {len(self.memory)}")
        return array

    def buffers(self, shape, dtype):
        pinned = self._make(shape, dtype, "pinned buffer").view(_Pinned)
        pinned.streams = self
        # A pool hands out memory that steps which are queued may still read.
        array = self._make(shape, dtype, "device buffer")
        self._tick("steps")
        self._of(array).read["steps"] = self.clocks["steps"]["steps"]
        return pinned, self.wrap(array)

    def copy(self, source, target):
        self.touch("copies", source, "read")
        self.touch("copies", self.unwrap(target), "write")
        self.unwrap(target)[...] = source

    def record(self, copies):
        return dict(self.clocks["copies" if copies else "steps"])

    def let_copies_wait(self, event):
        self._merge("copies", event)

    def let_steps_wait(self, event):
        self._merge("steps", event)

    def synchronize(self, event):
        self._merge("host", event)
