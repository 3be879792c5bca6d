"""Which rows are whose, and sums over several places: all that needs no other process."""

from __future__ import annotations

import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning

from xpnn import MLPClassifier, Network, backends, load, save
from xpnn.backends import cuda, on_device, scalar, to_host
from xpnn.distributed import MPI, Group, Share, as_group, share_of, started_by_mpi, sums
from xpnn.estimators import learner
from xpnn.layers import Dropout
from xpnn.optimizers import Adam
from xpnn.training import make_step
from xpnn.training.summed import batch_sums, make_summed_step


@given(st.integers(0, 200), st.integers(1, 17))
def test_shares_are_all_rows_and_differ_by_one_at_most(rows, ranks):
    shares = [share_of(rows, rank, ranks) for rank in range(ranks)]
    assert [start for start, _ in shares] == [0, *(stop for _, stop in shares[:-1])]
    assert shares[-1][1] == rows
    sizes = [stop - start for start, stop in shares]
    assert max(sizes) - min(sizes) <= 1


def of_ranks(ranks):
    found = []
    for rank in range(ranks):
        group = Group(MPI())
        group.rank, group.size = rank, ranks
        found.append(Share(group))
    return found


@given(st.integers(1, 60), st.integers(1, 25), st.integers(1, 7), st.booleans())
def test_each_batch_is_shared_out_whole(rows, size, ranks, shuffled):
    order = np.random.default_rng(rows).permutation(rows) if shuffled else None
    parts = [share.numbers(rows, size, order) for share in of_ranks(ranks)]
    whole = np.arange(rows) if order is None else order
    for number, start in enumerate(range(0, rows, size)):
        joined = np.concatenate([part[number] for part in parts])
        np.testing.assert_array_equal(joined, whole[start : start + size])


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
    of_ranks(4)[3].run(runner, 9, 4, None, [0.1] * 3, noise, 1)
    assert drawn == [4, 4, 1]  # the noise is that of the whole batch
    assert [float(present[0]) for _, present in runner.noise] == [1.0, 1.0, 0.0]
    np.testing.assert_array_equal(runner.order, [3, 7, 0])
    np.testing.assert_array_equal(runner.noise[0][0], [[6.0, 7.0]])


def problem(backend, seed=0):
    rng = np.random.default_rng(seed)
    network = Network(4, [6, "tanh", Dropout(0.3), 3], seed=1, backend=backend)
    x, t = backend.asarray(rng.normal(size=(11, 4))), backend.asarray(rng.integers(0, 3, 11))
    weight = backend.asarray(rng.uniform(0.5, 2.0, 11))
    noise = (None, None, backend.asarray(rng.uniform(size=(11, 6))), None)
    return network, x, t, weight, noise


def take(tree, rows):
    return tuple(None if leaf is None else leaf[rows, ...] for leaf in tree)


class Other:
    """Adds what the other places have found."""

    alone = False

    def __init__(self, sums):
        self.sums = sums

    def __call__(self, vector):
        return vector + self.sums


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("by_rows", [False, True], ids=["penalty", "penalty by rows"])
def test_sums_of_two_places_make_the_step_of_one(backend, weighted, by_rows):
    network, x, t, weight, noise = problem(backend)
    weight = weight if weighted else None
    xp, device = backend.xp, backend.device
    made = (network.layers, network.tree, network.loss)
    cut = [slice(0, 4), slice(4, 11)]
    one = backend.asarray([1.0])
    with on_device(device):
        whole = make_step(*made, Adam(), 0.03, xp=xp, l2_by_rows=by_rows)
        state = Adam().init(network.theta, xp=xp)
        count, rate = (scalar(v, xp, device, network.theta.dtype) for v in (1.0, 0.01))
        expected = whole(network.theta, state, x, t, weight, noise, rate, count)
        parts = [
            (x[c, ...], t[c, ...], None if weight is None else weight[c, ...], take(noise, c))
            for c in cut
        ]
        summed = batch_sums(*made, xp=xp)
        step = make_summed_step(
            *made, Adam(), 0.03, xp=xp, l2_by_rows=by_rows,
            exchange=Other(summed(network.theta, *parts[0], one)),
        )  # fmt: skip
        *own, drawn = parts[1]
        theta, _, value, weights, rows = step(network.theta, state, *own, (drawn, one), rate, count)
    tolerance = 2e-5 if backends.dtype_name(backend.dtype) == "float32" else 1e-11
    np.testing.assert_allclose(to_host(theta), to_host(expected[0]), rtol=0, atol=tolerance)
    np.testing.assert_allclose(to_host(value), to_host(expected[2]), rtol=tolerance)
    assert float(to_host(rows)) == 11.0
    total = 11.0 if weight is None else float(to_host(weight).sum())
    np.testing.assert_allclose(to_host(weights), total, rtol=1e-6)


@pytest.mark.parametrize("parts", [2, 3, 40])
def test_a_batch_in_parts_has_the_sums_of_the_whole(backend, parts):
    network, x, t, weight, noise = problem(backend)
    made = (network.layers, network.tree, network.loss)
    given_ = (network.theta, x, t, weight, noise, backend.asarray([1.0]))
    with on_device(backend.device):
        whole = batch_sums(*made, xp=backend.xp)(*given_)
        found = batch_sums(*made, parts, xp=backend.xp)(*given_)
    tolerance = 2e-5 if backends.dtype_name(backend.dtype) == "float32" else 1e-11
    np.testing.assert_allclose(to_host(found), to_host(whole), rtol=tolerance, atol=tolerance)


def test_rows_that_do_not_count_give_nothing(backend64):
    network, x, t, weight, noise = problem(backend64)
    summed = batch_sums(network.layers, network.tree, network.loss, xp=backend64.xp)
    with on_device(backend64.device):
        found = summed(network.theta, x, t, weight, noise, backend64.asarray([0.0]))
    np.testing.assert_array_equal(to_host(found), np.zeros(network.size + 3))


def test_accumulating_changes_nothing_but_memory(backend):
    rng = np.random.default_rng(0)
    x, t = backend.asarray(rng.normal(size=(50, 4))), backend.asarray(rng.integers(0, 3, 50))
    thetas = []
    for accumulate in (1, 4):
        network = Network(4, [6, "tanh", 3], seed=1)
        history = network.fit(x, t, epochs=2, batch_size=16, l2=0.01, accumulate=accumulate)
        thetas.append((to_host(network.theta), history.loss))
    tolerance = 1e-4 if backends.dtype_name(backend.dtype) == "float32" else 1e-10
    for a, b in zip(*thetas, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rows", [np.asarray, csr_matrix])
def test_an_estimator_accumulates(rows):
    rng = np.random.default_rng(0)
    x, t, weight = rng.normal(size=(50, 4)), rng.integers(0, 3, 50), rng.random(50)
    one, other = (
        MLPClassifier((6,), max_iter=3, batch_size=16, random_state=0, accumulate=n, dropout=0.2)
        for n in (1, 4)
    )
    whole, made = [], learner.make_summed_step
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        patch.setattr(
            learner, "make_summed_step", lambda *a, **k: whole.append(k["parts"]) or made(*a, **k)
        )
        for model in (one, other):
            model.fit(rows(x), t, sample_weight=weight)
    assert set(whole) == {4}
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-10)
    for a, b in zip(one.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
    with pytest.raises(ValueError, match=r"solver='lbfgs' has no steps .* go with accumulate;"):
        MLPClassifier(solver="lbfgs", accumulate=2).fit(rows(x), t)
    with pytest.raises(ValueError, match="'accumulate' parameter of MLPClassifier must be an int"):
        MLPClassifier(accumulate=0).fit(rows(x), t)


# What a user says


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout is 0; expected seconds above 0"),
        ({"transport": "pigeon"}, "transport is 'pigeon'; expected one of auto, nccl"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        MPI(**options)


def test_distributed_is_something_else():
    x = np.zeros((4, 2))
    with pytest.raises(ValueError, match="distributed is 'spark'; expected None, 'mpi' or an MPI"):
        Network(2, [2]).fit(x, [0, 1, 0, 1], distributed="spark")
    with pytest.raises(ValueError, match="The 'distributed' parameter of MLPClassifier must be"):
        MLPClassifier(distributed="spark").fit(x, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="accumulate is 0; expected a positive integer"):
        Network(2, [2]).fit(x, [0, 1, 0, 1], accumulate=0)


def test_without_mpi4py_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "mpi4py"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r'pip install "xpnn\[mpi\]"'):
        as_group(MPI(timeout=17.0))


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
    model.distributed = MPI(timeout=5.0)
    save(model, tmp_path / "m.safetensors")
    assert load(tmp_path / "m.safetensors").distributed is None


# How sums of a GPU's arrays travel


class Stub:
    """A group of two whose other process is like this one."""

    size, first, rank = 2, True, 0

    def __init__(self, transport):
        self.settings = MPI(transport=transport)

    def tell(self, value, root):
        return value

    def collect(self, value):
        return [value, (self.other or value[0], value[1])]


@pytest.mark.parametrize(
    ("transport", "missing", "other", "expected"),
    [
        ("auto", "", "gpu 1", "over NCCL"),
        ("auto", "", None, "pinned memory of the host (two processes have the same GPU)"),
        ("auto", "NCCL is not there: no", "gpu 1", "pinned memory of the host (NCCL is not there"),
        ("nccl", "", "gpu 1", "over NCCL"),
        ("staged", "", "gpu 1", "pinned memory of the host"),
        ("cuda-aware", "", "gpu 1", "through the MPI"),
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
    monkeypatch.setattr(sums, "NcclRing", Ring)
    monkeypatch.setattr(sums, "PinnedPair", lambda like: None)
    monkeypatch.setattr(sums, "library_name", lambda xp: "cupy")
    group = Stub(transport)
    group.other = other
    assert expected in sums.sums_of(group, np.zeros(3)).text


def test_nccl_that_was_asked_for_and_cannot_be_is_an_error(monkeypatch):
    class Ring:
        place = staticmethod(lambda array: "gpu 0")
        missing = staticmethod(lambda: "")

    monkeypatch.setattr(sums, "NcclRing", Ring)
    monkeypatch.setattr(sums, "library_name", lambda xp: "cupy")
    group = Stub("nccl")
    group.other = None
    with pytest.raises(RuntimeError, match="transport='nccl' cannot be used: two processes have"):
        sums.sums_of(group, np.zeros(3))


def test_nccl_that_is_missing_is_said_once(monkeypatch):
    """CuPy warns of it when its module is imported, which would be an error here."""

    def imported(name):
        assert name == "cupy.cuda.nccl"
        warnings.warn("nccl library could not be loaded", stacklevel=1)
        return SimpleNamespace(available=False)

    monkeypatch.setattr(cuda.importlib, "import_module", imported)
    assert backends.NcclRing.missing() == "NCCL is not installed"


def test_a_process_that_is_alone_has_its_own_sums():
    group, vector, out = Group(MPI()), np.arange(3.0), np.zeros(3)
    assert group.alone
    assert group(vector) is vector
    group.into(vector, out)
    np.testing.assert_array_equal(out, vector)
    group.size = 2
    assert not group.alone
