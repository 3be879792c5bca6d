"""A command that `mpiexec` has started several times at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xpnn.distributed import Group


@contextmanager
def ranks() -> Iterator[Group | None]:
    """Join the other processes; only rank 0 says what goes wrong.

    Yields
    ------
    Group or None
        None where this process is alone.
    """
    from xpnn.distributed import as_group, started_by_mpi

    group = as_group("mpi") if started_by_mpi() > 1 else None
    if group is None or group.size == 1:
        yield None
        return
    try:
        with group.together():
            yield group
    except Exception:
        if group.first:
            raise
        raise SystemExit(2) from None
