"""A command that `mpiexec` has started several times at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xpnn.distributed import ProcessGroup


@contextmanager
def ranks() -> Iterator[ProcessGroup | None]:
    """Join the other processes; only rank 0 says what goes wrong.

    Yields
    ------
    ProcessGroup or None
        None where this process is alone.
    """
    from xpnn.distributed import process_group, started_by_mpi

    group = process_group("mpi") if started_by_mpi() > 1 else None
    if group is None or group.size == 1:
        yield None
        return
    try:
        with group.session():
            yield group
    except Exception:
        if group.is_main:
            raise
        raise SystemExit(2) from None
