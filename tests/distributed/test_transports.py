"""How vectors on a GPU are reduced: chosen and said, with stand-ins for GPUs and ranks."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from xpnn.backends import cuda
from xpnn.distributed import MPIOptions, transports


class Stub:
    """A group of two whose other process is like this one."""

    size, is_main, rank = 2, True, 0

    def __init__(self, transport):
        self.options = MPIOptions(transport=transport)

    def broadcast(self, value):
        return value

    def all_gather(self, value):
        return [value, (self.other or value[0], value[1])]


@pytest.mark.parametrize(
    ("transport", "missing", "other", "expected"),
    [
        ("auto", "", "gpu 1", "by NCCL"),
        ("auto", "", None, "host memory (two ranks have the same GPU)"),
        ("auto", "NCCL is not there: no", "gpu 1", "host memory (NCCL is not there"),
        ("nccl", "", "gpu 1", "by NCCL"),
        ("staged", "", "gpu 1", "through host memory"),
        ("cuda-aware", "", "gpu 1", "by a CUDA-aware MPI"),
    ],
)
def test_the_way_of_sums_is_chosen_and_said(monkeypatch, transport, missing, other, expected):
    class Ring:
        new_id = staticmethod(lambda: (1, 2))
        place = staticmethod(lambda array: "gpu 0")
        missing = None

        def __init__(self, size, unique, rank, like):
            assert (size, unique, rank) == (2, (1, 2), 0)

    Ring.missing = staticmethod(lambda: missing)
    monkeypatch.setattr(transports, "NcclRing", Ring)
    monkeypatch.setattr(transports, "library_name", lambda xp: "cupy")
    group = Stub(transport)
    group.other = other
    assert expected in transports.transport_for(group, np.zeros(3))[0]


def test_nccl_that_was_asked_for_and_cannot_be_is_an_error(monkeypatch):
    class Ring:
        place = staticmethod(lambda array: "gpu 0")
        missing = staticmethod(lambda: "")

    monkeypatch.setattr(transports, "NcclRing", Ring)
    monkeypatch.setattr(transports, "library_name", lambda xp: "cupy")
    group = Stub("nccl")
    group.other = None
    with pytest.raises(RuntimeError, match="transport='nccl' cannot be used: two ranks have"):
        transports.transport_for(group, np.zeros(3))


def test_nccl_that_is_missing_is_said_once(monkeypatch):
    """CuPy warns of it when its module is imported, which would be an error here."""

    def imported(name):
        assert name == "cupy.cuda.nccl"
        warnings.warn("nccl library could not be loaded", stacklevel=1)
        return SimpleNamespace(available=False)

    monkeypatch.setattr(cuda.importlib, "import_module", imported)
    assert cuda.NcclRing.missing() == "NCCL is not installed"
