"""Sees every way to read an array's value on the host.

On a GPU each of them waits until everything that is queued is done.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from xpnn.layers import Layer

READS = ("__bool__", "__float__", "__int__", "__index__", "__complex__", "__array__")
MORE = {
    "array_api_strict": ("__dlpack__", "__buffer__", "to_device"),
    "torch": ("item", "tolist", "cpu", "numpy", "__dlpack__"),
    "cupy": ("item", "tolist", "get", "__dlpack__"),
}


@dataclass(frozen=True, repr=False)
class Peeking(Layer):
    """What a layer must not do: read a value while the network learns."""

    def forward(self, params, x, noise, *, xp):
        return x * (0.5 if float(xp.sum(x)) > 0 else 1.0), ()

    def backward(self, params, saved, dy, *, xp, input_gradient=True):
        return dy, ()


def replace(monkeypatch, owner, names, wrap):
    """Put ``wrap(name, method)`` in the place of those methods that a class has."""
    for name in names:
        if hasattr(owner, name):
            own = getattr(owner, name)
            monkeypatch.setattr(owner, name, functools.wraps(own)(wrap(name, own)))


class Reads:
    """Counts the reads of a library's arrays."""

    def __init__(self, monkeypatch, library, array):
        self.count = 0
        replace(monkeypatch, array, READS + MORE[library], self._counting)

    def _counting(self, name, own):
        def counting(*args, **kwargs):
            self.count += 1
            return own(*args, **kwargs)

        return counting

    def during(self, call, *args, **kwargs):
        """How many there are while something is called."""
        before = self.count
        call(*args, **kwargs)
        return self.count - before


class ReadError(AssertionError):
    """A value was read while an epoch ran."""


class Epochs:
    """Knows whether steps run, and can make reads raise there: for CuPy's tests."""

    def __init__(self, monkeypatch):
        from xpnn.training.dataset import StreamDataset
        from xpnn.training.step import CompiledStep

        self.patch, self.depth, self.count = monkeypatch, 0, 0
        replace(monkeypatch, CompiledStep, ["run"], self._inside)
        replace(monkeypatch, StreamDataset, ["_sent"], self._inside)

    def _inside(self, name, function):
        def inside(*args, **kwargs):
            self.depth, self.count = self.depth + 1, self.count + 1
            try:
                return function(*args, **kwargs)
            finally:
                self.depth -= 1

        return inside

    def _raising(self, name, own):
        def raising(*args, **kwargs):
            if self.depth:
                raise ReadError(f"{name} was called in an epoch")
            return own(*args, **kwargs)

        return raising

    def forbid(self, owner, *names):
        """Make methods raise while an epoch runs; those that a class lacks are ignored."""
        replace(self.patch, owner, names, self._raising)

    def forbid_reads(self, library, array):
        """Make reading an array of this library an error while an epoch runs."""
        self.forbid(array, *READS, *MORE[library])
