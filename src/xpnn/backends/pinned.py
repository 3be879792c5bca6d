"""Batches that go to a GPU while it still computes on the one before.

Rows that do not fit on a GPU, or come from a source, are written to pinned memory on the
host, copied from there on a stream of their own, and read by steps on the stream that is
current:

- a step waits for the copy of its own batch;
- a copy waits for the steps that read what was in its place before;
- the host waits for a copy before it writes to that copy's pinned memory again, and never
  for a step.
"""

from __future__ import annotations

import importlib
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from xpnn.backends.libraries import library_name
from xpnn.backends.transfer import send
from xpnn.backends.types import Array, Device, Namespace

SLOTS = 2  # batches that are on the GPU at once: one to read, one to write
SHARE = 0.25  # of a GPU's memory, that rows may take at once
VARIABLE = "XPNN_DEVICE_SHARE"


def device_share(default: float = SHARE) -> float:
    """Share of a GPU's memory that rows may take: what is larger is sent batch by batch.

    Parameters
    ----------
    default : float, default `SHARE`
        Where the environment variable ``XPNN_DEVICE_SHARE`` does not say.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        The variable is no such number.
    """
    given = os.environ.get(VARIABLE, "")
    if not given:
        return default
    try:
        share = float(given)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"{VARIABLE} is {given!r}; expected a number from 0 to 1")
    return share


@dataclass(frozen=True)
class Part:
    """What is to be on the GPU: shape, dtype, and what writes it to pinned memory.

    Parameters
    ----------
    shape : tuple of int
        Rows first.
    dtype : numpy.dtype
        Of what arrives.
    fill : callable
        ``fill(room)`` writes all of a NumPy array of that shape and dtype.
    """

    shape: tuple[int, ...]
    dtype: Any
    fill: Callable[[Any], Any]

    @staticmethod
    def of(values: Any, dtype: Any = None) -> Part:
        """Send a NumPy array, in another dtype where one is given."""
        dtype = numpy.dtype(values.dtype if dtype is None else dtype)
        return Part(values.shape, dtype, lambda room: numpy.copyto(room, values, casting="unsafe"))


class CupyCopies:
    """The streams of a GPU as `Feeder` uses them: copies on one, steps on the current one.

    Memory comes from CuPy's pools.

    Parameters
    ----------
    device : cupy.cuda.Device
        The GPU.
    """

    def __init__(self, device: Device) -> None:
        self.cupy, self.device = importlib.import_module("cupy"), device
        with device:
            self.stream = self.cupy.cuda.Stream(non_blocking=True)

    def room(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Make a NumPy array in pinned memory."""
        with self.device:
            return importlib.import_module("cupyx").empty_pinned(shape, dtype)

    def place(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Make an array on the GPU."""
        with self.device:
            return self.cupy.empty(shape, dtype)

    def copy(self, room: Any, place: Array) -> None:
        """Queue a copy to the GPU."""
        with self.device:
            send(room, place, self.stream)

    def _mark(self, stream: Any) -> Any:
        event = self.cupy.cuda.Event(block=True, disable_timing=True)
        event.record(stream)
        return event

    def copies(self) -> Any:
        """Mark what copies are queued so far."""
        with self.device:
            return self._mark(self.stream)

    def steps(self) -> Any:
        """Mark what is queued so far on the current stream."""
        with self.device:
            return self._mark(self.cupy.cuda.get_current_stream())

    def hold_copies(self, mark: Any) -> None:
        """Let the copies to come wait for a mark."""
        self.stream.wait_event(mark)

    def hold_steps(self, mark: Any) -> None:
        """Let what comes on the current stream wait for a mark."""
        with self.device:
            self.cupy.cuda.get_current_stream().wait_event(mark)

    @staticmethod
    def wait(mark: Any) -> None:
        """Wait for a mark on the host."""
        mark.synchronize()


class PinnedPair:
    """Pinned memory on the host that a GPU copies to and from directly.

    Parameters
    ----------
    like : cupy.ndarray
        What is to be copied.
    """

    def __init__(self, like: Array) -> None:
        self.room = importlib.import_module("cupyx").empty_pinned(like.shape, like.dtype)

    def down(self, array: Array) -> Any:
        """Copy to the host, and wait until it is there; NumPy's array of that memory."""
        array.get(out=self.room)
        return self.room

    def up(self, like: Array) -> Array:
        """Copy the pinned memory to the GPU of `like`."""
        with like.device:
            found = importlib.import_module("cupy").empty_like(like)
            send(self.room, found)
            # The pinned memory is written again in the next sum.
            found.device.synchronize()
        return found


@dataclass
class _Slot:
    """Pinned memory and memory on the GPU for one batch, and who uses it until when."""

    rooms: list[Any] = field(default_factory=list)
    places: list[Any] = field(default_factory=list)
    copied: Any = None
    used: Any = None


class Feeder:
    """Sends batches to a GPU, each while the steps on the one before run.

    Parameters
    ----------
    door : CupyCopies
        What streams and memory are reached through.
    slots : int, default 2
        Batches that are on the GPU at once.
    """

    def __init__(self, door: Any, slots: int = SLOTS) -> None:
        self.door = door
        self.slots = [_Slot() for _ in range(slots)]
        self.turn = 0
        self.latest: _Slot | None = None
        # Pinned memory must not go back to its pool while a copy still reads it.
        weakref.finalize(self, _drain, door, self.slots).atexit = False

    def bring(self, parts: Sequence[Part | None]) -> list[Array | None]:
        """Send a batch.

        Parameters
        ----------
        parts : sequence of Part or None
            Its columns: in each call as many, of the same dtypes and trailing shapes.

        Returns
        -------
        list of array or None
            On the GPU. What is queued on the current stream between this call and the next
            may read them; later calls write there again.
        """
        door = self.door
        if self.latest is not None:
            self.latest.used = door.steps()
        slot = self.slots[self.turn]
        self.turn = (self.turn + 1) % len(self.slots)
        if slot.copied is not None:
            door.wait(slot.copied)
        self._make_room(slot, [part for part in parts if part is not None])
        door.hold_copies(slot.used)
        try:
            found = self._send(slot, parts)
        finally:  # rows that cannot be read end this batch, and maybe not the use of its memory
            slot.copied = door.copies()
        door.hold_steps(slot.copied)
        self.latest = slot
        return found

    def _send(self, slot: _Slot, parts: Sequence[Part | None]) -> list[Array | None]:
        """Write each column to its pinned memory, and queue its copy."""
        found: list[Array | None] = []
        memory = zip(slot.rooms, slot.places, strict=True)
        for part in parts:
            if part is None:
                found.append(None)
                continue
            room, place = (array[: part.shape[0], ...] for array in next(memory))
            part.fill(room)
            self.door.copy(room, place)
            found.append(place)
        return found

    def _make_room(self, slot: _Slot, parts: Sequence[Part]) -> None:
        """Make memory where a slot has none, or too little."""
        for number, part in enumerate(parts):
            if number == len(slot.rooms):
                slot.rooms.append(None)
                slot.places.append(None)
            room = slot.rooms[number]
            if room is not None and len(room) >= part.shape[0]:
                continue
            slot.rooms[number] = self.door.room(part.shape, part.dtype)
            slot.places[number] = self.door.place(part.shape, part.dtype)
            # The pool may give memory that queued steps still read.
            slot.used = self.door.steps()
        if slot.used is None:
            slot.used = self.door.steps()


def _drain(door: Any, slots: Sequence[_Slot]) -> None:
    for slot in slots:
        if slot.copied is not None:
            door.wait(slot.copied)


def feeder_for(xp: Namespace, device: Device) -> Feeder | None:
    """Make what sends batches to a device; None for libraries whose streams are their own."""
    return Feeder(CupyCopies(device)) if library_name(xp) == "cupy" else None
