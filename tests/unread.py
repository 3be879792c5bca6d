"""Makes every way to read an array's value on the host an error while steps run.

On a GPU each of them would wait until everything that is queued is done.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from xpnn.layers import Layer
from xpnn.training.dataset import StreamDataset
from xpnn.training.step import CompiledStep

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


class ReadError(AssertionError):
    """A value was read while an epoch ran."""


class Epochs:
    """Knows whether steps run.

    Parameters
    ----------
    monkeypatch : pytest.MonkeyPatch
        Puts everything back.
    """

    def __init__(self, monkeypatch):
        self.patch, self.depth, self.count = monkeypatch, 0, 0
        for owner, name in ((CompiledStep, "run"), (StreamDataset, "_sent")):
            monkeypatch.setattr(owner, name, self._inside(getattr(owner, name)))

    def _inside(self, function):
        @functools.wraps(function)
        def inside(*args, **kwargs):
            self.depth, self.count = self.depth + 1, self.count + 1
            try:
                return function(*args, **kwargs)
            finally:
                self.depth -= 1

        return inside

    def forbid(self, owner, *names):
        """Make methods raise while an epoch runs; those that a class lacks are left out."""
        for name in names:
            if hasattr(owner, name):
                self.patch.setattr(owner, name, self._raising(name, getattr(owner, name)))

    def _raising(self, name, own):
        @functools.wraps(own)
        def raising(*args, **kwargs):
            if self.depth:
                raise ReadError(f"{name} was called in an epoch")
            return own(*args, **kwargs)

        return raising

    def forbid_reads(self, library, array):
        """Make reading an array of this library an error while an epoch runs."""
        self.forbid(array, *READS, *MORE[library])
