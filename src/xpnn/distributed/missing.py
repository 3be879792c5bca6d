"""Who does not come, and the end of a job that cannot go on."""

from __future__ import annotations

import sys
import time
import traceback
from types import TracebackType
from typing import Any

from xpnn.backends import host

_ASKS, _HERE = 71, 72
_LISTENS = 3.0  # seconds in which whoever waits too will have answered


class Roll:
    """Asks the processes whether they wait, and answers when asked.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        Used for nothing else.
    timeout : float
        Seconds that a process waits before it asks.
    """

    def __init__(self, comm: Any, timeout: float) -> None:
        self.comm, self.timeout = comm, timeout
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self._sent: list[Any] = []

    def _send(self, to: int, tag: int) -> None:
        self._sent.append(self.comm.Isend(host.zeros(1, host.int8), to, tag))

    def answer(self) -> list[int]:
        """Tell whoever asks that this process is here; return who asked."""
        asked = []
        while self.comm.Iprobe(tag=_ASKS):
            asked.append(self._take(_ASKS))
            self._send(asked[-1], _HERE)
        return asked

    def _take(self, tag: int) -> int:
        from mpi4py import MPI

        status, room = MPI.Status(), host.zeros(1, host.int8)
        self.comm.Recv(room, MPI.ANY_SOURCE, tag, status)
        return int(status.Get_source())

    def call(self) -> list[int]:
        """Ask everybody, and return the ranks that do not answer."""
        others = {rank for rank in range(self.size) if rank != self.rank}
        for rank in others:
            self._send(rank, _ASKS)
        end = time.monotonic() + _LISTENS
        callers: list[int] = []
        while others and time.monotonic() < end:
            callers += self.answer()
            while self.comm.Iprobe(tag=_HERE):
                others.discard(self._take(_HERE))
            time.sleep(0.001)
        if any(rank < self.rank for rank in callers):
            # Several call at once: the first of them speaks, and must not miss the others.
            time.sleep(2 * _LISTENS)
        return sorted(others)


def end_job(comm: Any, text: str) -> None:
    """Say why, and end all processes."""
    print(f"xpnn: {text}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    comm.Abort(1)


def end_job_on_errors(comm: Any, rank: int) -> None:
    """Let an error that nobody catches end all processes, which would wait for this one."""
    before = sys.excepthook
    if getattr(before, "_xpnn", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        before(kind, error, trace)
        last = traceback.format_exception_only(kind, error)[-1].strip()
        if issubclass(kind, KeyboardInterrupt):
            last = "interrupted"
        end_job(comm, f"rank {rank} of {comm.Get_size()} ended: {last}")

    hook._xpnn = True  # type: ignore[attr-defined]
    sys.excepthook = hook
