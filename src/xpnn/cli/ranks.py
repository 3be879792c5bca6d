"""A command that `mpiexec` started on several ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xpnn.distributed import ProcessGroup


@contextmanager
def ranks() -> Iterator[ProcessGroup | None]:
    """Session of all ranks, of which only rank 0 reports errors; None for a single process."""
    from xpnn.distributed import process_group, started_by_mpi

    group = process_group("mpi") if started_by_mpi() > 1 else None
    if group is None:
        yield None
        return
    try:
        with group.session():
            yield group
    except Exception:
        if group.is_main:
            raise
        raise SystemExit(2) from None
