"""Operations of a process group, one by one: ``mpiexec -n 3 python mpi_checks.py NAME``."""

from __future__ import annotations

import itertools
import os
import pickle
import sys
import threading

import numpy as np
import pytest
from mpi4py import MPI
from threadpoolctl import threadpool_info

from xpnn import MLPClassifier, Network, select
from xpnn.backends import to_host
from xpnn.data import stream
from xpnn.data.streams import BlockShuffle, Windows
from xpnn.distributed import (
    MPIOptions,
    ProcessGroup,
    RankError,
    ShardedWindows,
    process_group,
)
from xpnn.distributed.shard import shard_ranks

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(40, 3)), RNG.integers(0, 2, 40)


def free_communicators():
    """How many more communicators MPI can make."""
    made = []
    try:
        while True:
            made.append(MPI.COMM_SELF.Dup())
    except MPI.Exception:
        return len(made)
    finally:
        for comm in made:
            comm.Free()


def trainings(number):
    """A training of each kind; no two of them have parameters of the same length."""
    width, options = 2 + number, MPIOptions(timeout=50.0 + number)
    Network(3, [width, "relu", 2], seed=0).fit(X, T, epochs=1, distributed=options)
    Network(3, [width, 2], seed=0).fit(
        stream(X, T, memory="1 KiB"), epochs=1, distributed=options, X_val=X, y_val=T
    )
    place = select("array_api_strict", None, "float32") if number % 2 else None
    x = X if place is None else place.asarray(X)
    MLPClassifier((width,), max_iter=1, random_state=0, distributed=options).partial_fit(
        x, T, classes=[0, 1]
    )


def leaks():
    trainings(0)
    before, threads = free_communicators(), threading.active_count()
    for number in range(1, 9):
        trainings(number)
    assert free_communicators() == before > 1000, (free_communicators(), before)
    assert threading.active_count() == threads


def process_wide():
    def settings():
        pools = [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]
        return (sys.excepthook, threading.excepthook, np.geterr(), os.environ.copy(), pools,
                MPI.COMM_WORLD.Get_errhandler() == MPI.ERRORS_RETURN)  # fmt: skip

    before, inside = settings(), []

    def look(run):
        inside.append(settings())
        if len(inside) == 2:
            raise ValueError("enough")

    options = {"epochs": 1, "distributed": "mpi", "callbacks": [look]}
    Network(3, [2], seed=0).fit(X, T, **options)
    assert settings() == before, (settings(), before)
    with pytest.raises((ValueError, RankError), match="enough"):
        Network(3, [2], seed=0).fit(X, T, **options)
    assert settings() == before, (settings(), before)
    group = process_group("mpi")
    assert len(inside) == 2 * group.is_main
    for found in inside:
        limit = max(len(os.sched_getaffinity(0)) // group.size, 1)
        assert all(count <= limit for _, count in found[4])


class Recorded:
    """A communicator that notes the bytes of its messages."""

    def __init__(self, comm):
        self.comm, self.sizes = comm, []

    def __getattr__(self, name):
        function = getattr(self.comm, name)

        def call(*arguments):
            first = arguments[0] if arguments else None
            first = first[0] if isinstance(first, list) else first
            self.sizes.append(getattr(first, "nbytes", 0))
            return function(*arguments)

        return call if name.startswith(("I", "A")) and name != "Iprobe" else function


def operations(group):
    """The results of all operations on values that each rank draws from its number."""
    own = np.random.default_rng(group.rank)
    vector = own.normal(size=41)
    values = [own.normal(size=(5 * group.rank + to, 3)) for to in range(group.size)]
    narrow = select("array_api_strict", None, "float32").asarray(vector)
    whole = vector.copy()
    group.into(whole, whole)
    out = np.empty_like(vector)
    group.into(vector, out)
    return {
        "in place": whole,
        "into": out,
        "all_reduce": group.all_reduce(vector),
        "numbers": group.all_reduce_numbers([1.0, float(group.rank)]),
        "strict": to_host(group.all_reduce(narrow)),
        "broadcast_array": to_host(group.broadcast_array(narrow)),
        "broadcast": group.broadcast({"of": group.rank, "rows": vector}),
        "all_gather": group.all_gather((group.rank, vector)),
        "all_to_all": group.all_to_all(values),
        "map_rows": group.map_rows(lambda x: 2 * x, np.arange(22.0).reshape(11, 2)),
    }


def messages():
    found, rank = {}, MPI.COMM_WORLD.Get_rank()
    for limit in (2**30, 64, 29):
        comm = Recorded(MPI.COMM_WORLD)
        group = ProcessGroup(MPIOptions(20.0), comm, max_message_bytes=limit)
        found[limit] = operations(group)
        assert 0 < max(comm.sizes) <= limit, max(comm.sizes)
        assert limit == 2**30 or comm.sizes.count(limit - limit % 8) > 10
    one, *others = (pickle.dumps(results) for results in found.values())
    assert all(other == one for other in others)
    drawn = [np.random.default_rng(other).normal(size=41) for other in range(3)]
    results = found[2**30]
    for name in ("in place", "into", "all_reduce"):
        np.testing.assert_allclose(results[name], sum(drawn), rtol=1e-12)
    np.testing.assert_allclose(results["strict"], sum(drawn), rtol=1e-5, atol=1e-6)
    assert results["numbers"] == [3.0, 3.0]
    np.testing.assert_array_equal(results["broadcast_array"], drawn[0].astype("float32"))
    assert results["broadcast"]["of"] == 0
    np.testing.assert_array_equal(results["broadcast"]["rows"], drawn[0])
    assert [other for other, _ in results["all_gather"]] == [0, 1, 2]
    assert [len(part) for part in results["all_to_all"]] == [5 * other + rank for other in range(3)]
    np.testing.assert_array_equal(results["map_rows"], 2 * np.arange(22.0).reshape(11, 2))


def source(rows, kind):
    """Rows in blocks that can be read in any order, or in batches that come in one order."""
    x = np.arange(rows, dtype=float)[:, None] * [1.0, -1.0]
    t = np.asarray([f"row {i}" for i in range(rows)])  # some of them are longer texts
    shuffle = BlockShuffle(block_rows=3, buffer_blocks=4)
    if kind == "blocks":
        return stream(x, t, weight=x[:, 0], shuffle=shuffle)
    parts = [slice(start, start + 5) for start in range(0, rows, 5)]
    return stream(lambda: ((x[part], t[part]) for part in parts), shuffle=shuffle)


def windows():
    """The shards of each batch are, together, the batch that a single process has."""
    group = process_group("mpi")
    choices = itertools.product((1, 2, 31, 64), (1, 2, 7), ("blocks", "order"), (None, 5))
    for rows, batch, kind, seed in choices:
        sharded = ShardedWindows(source(rows, kind), batch, "float32", group)
        single = Windows(source(rows, kind), batch, "float32").go(seed)
        for own, whole in itertools.zip_longest(sharded.go(seed), single):
            assert (own.whole, own.first, own.rows) == (
                whole.rows, whole.first, max(own.counted, 1)
            )  # fmt: skip
            order = np.arange(whole.rows) if whole.order is None else whole.order
            for name in ("x", "t", "weight"):
                column, expected = getattr(own, name), getattr(whole, name)
                parts = group.all_gather(None if column is None else column[: own.counted])
                if expected is None:
                    assert parts == [None] * group.size
                    continue
                ranks = shard_ranks(whole.rows, batch, group.size)
                for rank, part in enumerate(parts):
                    np.testing.assert_array_equal(part, expected[order[ranks == rank]])


if __name__ == "__main__":
    {"leaks": leaks, "process wide": process_wide, "messages": messages, "windows": windows}[
        sys.argv[1]
    ]()
    print(f"rank {process_group('mpi').rank} is done", flush=True)
