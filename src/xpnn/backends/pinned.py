"""Batches copied to a GPU while it still computes on the one before.

Rows that do not fit on a GPU, or come from a source, are written to pinned memory on the
host, copied from there on a stream of their own, and read by steps on the current stream:

- a step waits for the copy of its own batch;
- a copy waits for the steps that read what was in its device buffer before;
- the host waits for a copy before it writes to that copy's pinned buffer again, and never
  for a step.
"""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from xpnn.backends.libraries import Array, Device, Namespace, library_name
from xpnn.backends.transfer import send

SLOTS = 2  # batches that are on the GPU at once: one to read, one to write


@dataclass(frozen=True)
class Part:
    """One column of a batch: its shape, rows first, and its NumPy dtype on the device.

    ``fill(buffer)`` writes all of an array of pinned memory of that shape and dtype.
    """

    shape: tuple[int, ...]
    dtype: Any
    fill: Callable[[Any], Any]

    @staticmethod
    def of(values: Any, dtype: Any = None) -> Part:
        """Make one of a NumPy array, converted to another dtype where one is given."""
        dtype = numpy.dtype(values.dtype if dtype is None else dtype)
        return Part(values.shape, dtype, lambda to: numpy.copyto(to, values, casting="unsafe"))


class CupyStreams:
    """The two streams of a GPU that a `Feeder` uses: one for copies; for steps the current one.

    Memory comes from CuPy's pools.
    """

    def __init__(self, device: Device) -> None:
        self.cupy, self.device = importlib.import_module("cupy"), device
        with device:
            self.stream = self.cupy.cuda.Stream(non_blocking=True)

    def buffers(self, shape: tuple[int, ...], dtype: Any) -> tuple[Any, Array]:
        """Make a NumPy array in pinned memory, and an array on the GPU."""
        with self.device:
            pinned = importlib.import_module("cupyx").empty_pinned(shape, dtype)
            return pinned, self.cupy.empty(shape, dtype)

    def copy(self, source: Any, target: Array) -> None:
        """Queue a copy from a pinned buffer to a device buffer."""
        with self.device:
            send(source, target, self.stream)

    def record(self, copies: bool) -> Any:
        """Return an event that happens when the copies, or steps, queued so far are done."""
        with self.device:
            event = self.cupy.cuda.Event(block=True, disable_timing=True)
            event.record(self.stream if copies else self.cupy.cuda.get_current_stream())
        return event

    def let_copies_wait(self, event: Any) -> None:
        """Let the copies to come wait for an event."""
        self.stream.wait_event(event)

    def let_steps_wait(self, event: Any) -> None:
        """Let what comes on the current stream wait for an event."""
        with self.device:
            self.cupy.cuda.get_current_stream().wait_event(event)

    @staticmethod
    def synchronize(event: Any) -> None:
        """Wait for an event on the host."""
        event.synchronize()


@dataclass
class _Slot:
    """Buffers of one batch, and the events after which they are free again."""

    pinned: list[Any] = field(default_factory=list)
    device: list[Any] = field(default_factory=list)
    copied: Any = None
    used: Any = None


class Feeder:
    """Copies batches to a GPU, each while the steps on the one before run.

    `streams` is a `CupyStreams`; `slots` batches are on the GPU at once.
    """

    def __init__(self, streams: Any, slots: int = SLOTS) -> None:
        self.streams = streams
        self.slots = [_Slot() for _ in range(slots)]
        self.next = 0
        self.latest: _Slot | None = None
        # Pinned memory must not go back to its pool while a copy still reads it.
        weakref.finalize(self, _synchronize, streams, self.slots).atexit = False

    def to_device(self, parts: Sequence[Part | None]) -> list[Array | None]:
        """Queue the copy of a batch: in each call as many columns, of the same kinds.

        What is queued on the current stream between this call and the next may read the arrays
        that are returned; later calls write there again.
        """
        streams = self.streams
        if self.latest is not None:
            self.latest.used = streams.record(copies=False)
        slot = self.slots[self.next]
        self.next = (self.next + 1) % len(self.slots)
        if slot.copied is not None:
            streams.synchronize(slot.copied)
        self._allocate(slot, [part for part in parts if part is not None])
        streams.let_copies_wait(slot.used)
        try:
            found = self._copy(slot, parts)
        finally:  # rows that cannot be read end this batch, and maybe not the use of its memory
            slot.copied = streams.record(copies=True)
        streams.let_steps_wait(slot.copied)
        self.latest = slot
        return found

    def _copy(self, slot: _Slot, parts: Sequence[Part | None]) -> list[Array | None]:
        """Write each column to its pinned buffer, and queue its copy."""
        found: list[Array | None] = []
        buffers = zip(slot.pinned, slot.device, strict=True)
        for part in parts:
            if part is None:
                found.append(None)
                continue
            pinned, device = (buffer[: part.shape[0], ...] for buffer in next(buffers))
            part.fill(pinned)
            self.streams.copy(pinned, device)
            found.append(device)
        return found

    def _allocate(self, slot: _Slot, parts: Sequence[Part]) -> None:
        """Make buffers where a slot has none, or too small ones."""
        for number, part in enumerate(parts):
            if number == len(slot.pinned):
                slot.pinned.append(None)
                slot.device.append(None)
            pinned = slot.pinned[number]
            if pinned is not None and len(pinned) >= part.shape[0]:
                continue
            slot.pinned[number], slot.device[number] = self.streams.buffers(part.shape, part.dtype)
            slot.used = None  # the pool may give memory that queued steps still read
        if slot.used is None:
            slot.used = self.streams.record(copies=False)


def _synchronize(streams: Any, slots: Sequence[_Slot]) -> None:
    for slot in slots:
        if slot.copied is not None:
            streams.synchronize(slot.copied)


def feeder_for(xp: Namespace, device: Device) -> Feeder | None:
    """Make what copies batches to a device; None for libraries whose streams are their own."""
    return Feeder(CupyStreams(device)) if library_name(xp) == "cupy" else None
