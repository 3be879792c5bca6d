"""Partition of batches over ranks, and what a user may ask for: all that needs one process."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnn import MLPClassifier, Network, load, save
from xpnn.data import stream
from xpnn.distributed import (
    MPIOptions,
    ProcessGroup,
    Shard,
    ShardedWindows,
    check_single_process,
    process_group,
    shard_bounds,
    started_by_mpi,
)
from xpnn.distributed.shard import shard_ranks


@given(st.integers(0, 200), st.integers(1, 17))
def test_bounds_cover_all_rows_and_sizes_differ_by_one_at_most(rows, size):
    bounds = [shard_bounds(rows, rank, size) for rank in range(size)]
    assert [start for start, _ in bounds] == [0, *(stop for _, stop in bounds[:-1])]
    assert bounds[-1][1] == rows
    sizes = [stop - start for start, stop in bounds]
    assert max(sizes) - min(sizes) <= 1


def shards(size):
    return [Shard(rank, size) for rank in range(size)]


@given(st.integers(1, 60), st.integers(1, 25), st.integers(1, 7), st.booleans())
def test_the_shards_of_each_batch_are_the_batch(rows, batch_size, size, shuffled):
    permutation = np.random.default_rng(rows).permutation(rows) if shuffled else None
    whole = np.arange(rows) if permutation is None else permutation
    of_ranks = [shard.batches(rows, batch_size, permutation) for shard in shards(size)]
    ranks = shard_ranks(rows, batch_size, size)
    for number, first in enumerate(range(0, rows, batch_size)):
        batch = whole[first : first + batch_size]
        parts = [of_rank[number] for of_rank in of_ranks]
        own = [part.indices for part in parts if part.counts]
        np.testing.assert_array_equal(np.concatenate(own), batch)
        assert all(part.batch_rows == len(batch) for part in parts)
        assert all(part.indices.tolist() == [0] for part in parts if not part.counts)
        expected = np.repeat(range(size), [part.stop - part.start for part in parts])
        np.testing.assert_array_equal(ranks[first : first + batch_size], expected)


@given(st.integers(1, 60), st.integers(1, 25), st.integers(1, 7))
def test_sharded_data_is_read_row_after_row(rows, batch_size, size):
    for shard in shards(size):
        ignored = np.arange(rows // 2)
        batches = shard.batches(rows, batch_size, ignored, sharded=True)
        own = [batch.indices for batch in batches if batch.counts]
        assert [batch.batch_rows for batch in batches] == [
            len(range(rows)[i : i + batch_size]) for i in range(0, rows, batch_size)
        ]
        seen = np.concatenate(own) if own else np.empty(0, int)
        np.testing.assert_array_equal(seen, np.arange(len(seen)))


class Recorded:
    """A runner that notes what it is asked to do."""

    dtype = np.dtype("float32")

    def run(self, rows, size, order, rates, noise, sums, before):
        self.order = order
        self.batches = [order[i : i + size] for i in range(0, rows, size)]
        self.noise = [noise(len(batch)) for batch in self.batches]
        assert len(self.batches) == len(rates)
        return ()


def test_a_rank_without_rows_takes_the_step_with_one_that_does_not_count():
    drawn = []

    def noise(rows):
        drawn.append(rows)
        return np.arange(rows * 2.0).reshape(rows, 2)

    runner = Recorded()
    shards(4)[3].run(runner, 9, 4, None, [0.1] * 3, noise, 1)
    assert drawn == [4, 4, 1]  # the noise is that of the whole batch
    assert [float(present[0]) for _, present in runner.noise] == [1.0, 1.0, 0.0]
    np.testing.assert_array_equal(runner.order, [3, 7, 0])
    np.testing.assert_array_equal(runner.noise[0][0], [[6.0, 7.0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout is 0; expected seconds above 0"),
        ({"transport": "pigeon"}, "transport is 'pigeon'; expected one of auto, nccl"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        MPIOptions(**options)


def test_distributed_is_something_else():
    x = np.zeros((4, 2))
    with pytest.raises(
        ValueError, match="distributed is 'spark'; expected None, 'mpi' or MPIOptions"
    ):
        Network(2, [2]).fit(x, [0, 1, 0, 1], distributed="spark")
    with pytest.raises(ValueError, match="The 'distributed' parameter of MLPClassifier must be"):
        MLPClassifier(distributed="spark").fit(x, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="gradient_accumulation_steps is 0; expected a positive"):
        Network(2, [2]).fit(x, [0, 1, 0, 1], gradient_accumulation_steps=0)


def test_without_mpi4py_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "mpi4py"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r'pip install "xpnn\[mpi\]"'):
        process_group(MPIOptions(timeout=17.0))


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 1),
        ({"PMI_SIZE": "4", "PMI_RANK": "0"}, 4),
        ({"OMPI_COMM_WORLD_SIZE": "3"}, 3),
        ({"PMIX_RANK": "1", "SLURM_NTASKS": "5"}, 5),
        ({"SLURM_NTASKS": "5"}, 1),  # a batch script's own commands
    ],
)
def test_processes_are_counted(monkeypatch, variables, count):
    for name in ("PMI_SIZE", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS",
                 "MPI_LOCALNRANKS"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert started_by_mpi() == count


def test_a_model_file_does_not_say_where_its_training_ran(tmp_path):
    model = MLPClassifier((4,), solver="lbfgs", max_iter=300, random_state=0)
    model.fit(np.arange(20.0).reshape(10, 2), np.arange(10) % 2)
    model.distributed = MPIOptions(timeout=5.0)
    save(model, tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").distributed is None


def test_a_single_process_reduces_and_hands_out_its_own():
    group, vector, out = ProcessGroup(), np.arange(3.0), np.zeros(3)
    assert group.single_process
    assert group.is_main
    assert group(vector) is group.broadcast_array(vector) is group.broadcast(vector) is vector
    group.into(vector, out)
    np.testing.assert_array_equal(out, vector)
    assert group.all_reduce_numbers([1.0, 2.0]) == [1.0, 2.0]
    assert group.all_gather("a") == group.all_to_all(["a"]) == ["a"]
    assert group.map_rows(lambda x: x + 1, vector).tolist() == [1.0, 2.0, 3.0]
    check_single_process(True, group)
    group.size = 2
    assert not group.single_process
    with pytest.raises(ValueError, match="deterministic is True, and the batches are sharded"):
        check_single_process(True, group)


def test_a_source_with_fewer_rows_than_it_says_is_an_error():
    source = stream(np.ones((10, 2)), np.ones(10))
    source.unit_rows = lambda block_rows: [12]
    windows = ShardedWindows(source, 4, "float32", ProcessGroup())
    with pytest.raises(ValueError, match="has fewer rows than it says"):
        list(windows.go())
