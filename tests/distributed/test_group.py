"""Parts of batches, options and the choice of a transport: all that needs one process."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnn import MLPClassifier, Network, load, save
from xpnn.backends import HOST_NAMESPACE, cuda
from xpnn.data import stream
from xpnn.distributed import (
    MPIOptions,
    ProcessGroup,
    Shard,
    ShardedWindows,
    group,
    process_group,
    shard_bounds,
    started_by_mpi,
)
from xpnn.distributed.shard import shard_ranks

# Parts of batches


@given(st.integers(0, 200), st.integers(1, 17))
def test_bounds_cover_all_rows_and_sizes_differ_by_one_at_most(rows, size):
    bounds = [shard_bounds(rows, rank, size) for rank in range(size)]
    assert [start for start, _ in bounds] == [0, *(stop for _, stop in bounds[:-1])]
    assert bounds[-1][1] == rows
    sizes = [stop - start for start, stop in bounds]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 60), st.integers(1, 25), st.integers(1, 7), st.booleans())
def test_the_shards_of_each_batch_are_the_batch(rows, batch_size, size, shuffled):
    permutation = np.random.default_rng(rows).permutation(rows) if shuffled else None
    whole = np.arange(rows) if permutation is None else permutation
    of_ranks = [Shard(rank, size).batches(rows, batch_size, permutation) for rank in range(size)]
    ranks = shard_ranks(rows, batch_size, size)
    for number, first in enumerate(range(0, rows, batch_size)):
        batch = whole[first : first + batch_size]
        indices, places, batch_rows = zip(*(of_rank[number] for of_rank in of_ranks), strict=True)
        counts = [place.stop - place.start for place in places]
        own = [part for part, count in zip(indices, counts, strict=True) if count]
        np.testing.assert_array_equal(np.concatenate(own), batch)
        assert set(batch_rows) == {len(batch)}
        assert all(i.tolist() == [0] for i, n in zip(indices, counts, strict=True) if not n)
        expected = np.repeat(range(size), counts)
        np.testing.assert_array_equal(ranks[first : first + batch_size], expected)


@given(st.integers(1, 60), st.integers(1, 25), st.integers(1, 7))
def test_sharded_data_is_read_row_after_row(rows, batch_size, size):
    for rank in range(size):
        ignored = np.arange(rows // 2)
        batches = Shard(rank, size).batches(rows, batch_size, ignored, sharded=True)
        assert [whole for _, _, whole in batches] == [
            len(range(rows)[i : i + batch_size]) for i in range(0, rows, batch_size)
        ]
        own = [indices for indices, place, _ in batches if place.stop > place.start]
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
    Shard(3, 4).run(runner, 9, 4, None, [0.1] * 3, noise, 1)
    assert drawn == [4, 4, 1]  # the noise is that of the whole batch
    assert [float(present[0]) for _, present in runner.noise] == [1.0, 1.0, 0.0]
    np.testing.assert_array_equal(runner.order, [3, 7, 0])
    np.testing.assert_array_equal(runner.noise[0][0], [[6.0, 7.0]])


class Alike(ProcessGroup):
    """A group whose other processes do what this one does; without MPI."""

    is_main, rank = True, 0

    def __init__(self, size, transport="auto"):
        self.size, self.options, self._rings = size, MPIOptions(transport=transport), {}

    def barrier(self, *_, **__):
        pass

    def broadcast(self, value, **_):
        return value

    def all_to_all(self, values):
        return values

    def into(self, vector, out):
        out[...] = self.size * vector


def test_a_source_with_fewer_rows_than_it_says_is_an_error():
    source = stream(np.ones((10, 2)), np.ones(10))
    source.unit_rows = lambda block_rows: [12]
    with pytest.raises(ValueError, match="has fewer rows than it says"):
        list(ShardedWindows(source, 4, "float32", Alike(1)).go())


# What a user may ask for


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: MPIOptions(timeout=0), "timeout is 0; expected seconds above 0"),
        (lambda x: MPIOptions(transport="pigeon"), "transport is 'pigeon'; expected one of auto,"),
        (
            lambda x: Network(2, [2]).fit(x, [0, 1, 0, 1], distributed="spark"),
            "distributed is 'spark'; expected None, 'mpi' or MPIOptions",
        ),
        (
            lambda x: MLPClassifier(distributed="spark").fit(x, [0, 1, 0, 1]),
            "The 'distributed' parameter of MLPClassifier must be",
        ),
        (
            lambda x: Network(2, [2]).fit(x, [0, 1, 0, 1], gradient_accumulation_steps=0),
            "gradient_accumulation_steps is 0; expected a positive",
        ),
    ],
)
def test_options_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((4, 2)))


def test_a_single_process_is_no_group(monkeypatch):
    assert process_group(None) is None
    monkeypatch.setattr(group, "_world", [SimpleNamespace(Get_size=lambda: 1)])
    assert process_group("mpi", deterministic=True) is None


def test_several_processes_are_not_deterministic(monkeypatch):
    monkeypatch.setattr(group, "_world", [SimpleNamespace(Get_size=lambda: 2)])
    with pytest.raises(ValueError, match="deterministic is True, and the batches are sharded"):
        Network(2, [2]).fit(np.zeros((4, 2)), [0, 1, 0, 1], distributed="mpi", deterministic=True)


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


# How vectors on a GPU are summed: with stand-ins for GPUs and ranks


class Gpu(nullcontext):
    waited = 0

    def synchronize(self):
        self.waited += 1


@pytest.fixture
def gpus(monkeypatch):
    """``gpus(missing)``: a GPU, and NCCL, which may be missing; its sum is a hundred times one."""
    device, rings = Gpu(), []

    class Ring:
        new_id = staticmethod(lambda: (1, 2))
        place = staticmethod(lambda array: "gpu 0")

        def __init__(self, size, unique, rank, like):
            assert (size, unique, rank) == (2, (1, 2), 0)
            rings.append(self)

        def sum(self, vector):
            return 100 * vector

    def install(missing):
        Ring.missing = staticmethod(lambda: missing)
        return device, rings

    monkeypatch.setattr(cuda, "NcclRing", Ring)
    monkeypatch.setattr(group, "library_name", lambda xp: "cupy")
    monkeypatch.setattr(group, "placement", lambda x: (HOST_NAMESPACE, device))
    return install


@pytest.mark.parametrize(
    ("transport", "missing", "other", "said", "factor"),
    [
        ("auto", "", "gpu 1", "by NCCL", 100),
        ("auto", "", "gpu 0", "through host memory (two ranks have the same GPU)", 2),
        ("auto", "NCCL is not there: no", "gpu 1", "through host memory (NCCL is not there", 2),
        ("nccl", "", "gpu 1", "by NCCL", 100),
        ("staged", "", "gpu 1", "", 2),
        ("cuda-aware", "", "gpu 1", "", 2),
    ],
)
def test_the_way_of_sums_is_chosen_once_and_said(
    transport, missing, other, said, factor, gpus, caplog
):
    (device, rings), alike = gpus(missing), Alike(2, transport)
    alike.all_gather = lambda value: [value, (other, value[1])]
    vector = np.arange(3.0)
    with caplog.at_level(logging.INFO, "xpnn.distributed"):
        for _ in range(2):
            np.testing.assert_array_equal(alike.all_reduce(vector), factor * vector)
    assert said in caplog.text
    assert len(caplog.records) == bool(said)
    assert len(rings) == (factor == 100)
    assert device.waited == (2 if transport == "cuda-aware" else 0)


def test_nccl_that_was_asked_for_and_cannot_be_is_an_error(gpus):
    gpus("")
    alike = Alike(2, "nccl")
    alike.all_gather = lambda value: [value, value]
    with pytest.raises(RuntimeError, match="transport='nccl' cannot be used: two ranks have"):
        alike.all_reduce(np.zeros(3))


def test_nccl_that_is_missing_is_said_once(monkeypatch):
    """CuPy warns of it when its module is imported, which would be an error here."""

    def imported(name):
        assert name == "cupy.cuda.nccl"
        warnings.warn("nccl library could not be loaded", stacklevel=1)
        return SimpleNamespace(available=False)

    monkeypatch.setattr(cuda.importlib, "import_module", imported)
    assert cuda.NcclRing.missing() == "NCCL is not installed"
