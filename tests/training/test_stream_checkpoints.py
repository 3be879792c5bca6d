"""A training from a source that was interrupted goes on to the bytes of one that was not."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from xpnn import Callback, Dropout, EarlyStopping, Network, backends
from xpnn.data import BlockShuffle, stream
from xpnn.optimizers import SGD, AdamW, CosineWarmup, ReduceOnPlateau
from xpnn.training import CheckpointError
from xpnn.training.checkpoint import read_checkpoint
from xpnn.training.dataset import StreamDataset

ROWS = 203
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 4)).astype("float32")
T = (X @ RNG.normal(size=(4, 3))).argmax(axis=1)
HELD = (X[:50] + 1, T[:50])
OPTIONS = {"epochs": 6, "batch_size": 16, "learning_rate": 0.05}
WINDOWS = 6  # of an epoch


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("xpnn")] == []


def mixed(*data, seed=None, **options):
    """Windows of 40 rows."""
    return stream(*data, shuffle=BlockShuffle(5, 8, seed), **options)


def arrays(folder, seed):
    return mixed(X, T, seed=seed)


def npy_files(folder, seed):
    for i, part in enumerate(np.array_split(np.arange(ROWS), 3)):
        np.save(folder / "x" / f"{i}.npy", X[part])
        np.save(folder / "t" / f"{i}.npy", T[part])
    return mixed(folder / "x", folder / "t", seed=seed)


def parquet(folder, seed):
    pandas = pytest.importorskip("pandas", reason="Parquet needs the extra 'tables'")
    pytest.importorskip("pyarrow", reason="Parquet needs the extra 'tables'")
    table = pandas.DataFrame(X, columns=list("abcd")).assign(t=T)
    table.to_parquet(folder / "x" / "t.parquet", row_group_size=30)
    return mixed(folder / "x" / "t.parquet", "t", seed=seed)


def batches():
    for start in range(0, ROWS, 30):
        yield X[start : start + 30], T[start : start + 30]


def unknown_length(folder, seed):
    return mixed(batches, seed=seed)


SOURCES = [arrays, npy_files, parquet, unknown_length]
CASES = {
    "plain": {},
    "adamw with a schedule": {"learning_rate": None, "optimizer": AdamW(CosineWarmup(0.05, 1))},
    "plateau": {
        "learning_rate": ReduceOnPlateau(0.05, patience=1, min_delta=0.1),
        "optimizer": SGD(0.05, 0.9),
    },
    "early stopping": {"early_stopping": EarlyStopping(3), "learning_rate": 0.2},
    "a seed of its own": {"seed": 8},
    "in order": {"shuffle": False, "l2": 0.01},
    "pure": {"engine": "pure"},
}


@pytest.fixture
def folder(tmp_path):
    """A place for a source's files, not the one of the checkpoint."""
    for name in ("x", "t"):
        (tmp_path / "data" / name).mkdir(parents=True)
    return tmp_path / "data"


def network(**options):
    return Network(4, [8, "tanh", Dropout(0.3), 3], seed=3, **options)


class Stop(Callback):
    """Ends a training after an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, run):
        if run.history.epochs == self.epoch:
            raise RuntimeError("crash")


def stop_in_window(monkeypatch, number, error):
    """End the next training when it gets a window of rows, which may be in mid-epoch."""
    real, seen = StreamDataset._sent, []

    def sent(self, window):
        seen.append(window)
        if len(seen) == number + 1:  # the first is the first row alone
            raise error
        return real(self, window)

    monkeypatch.setattr(StreamDataset, "_sent", sent)


def outcome(net, history):
    figures = {k: v for k, v in history.to_dict().items() if k != "seconds"}
    return net.theta.tobytes(), backends.generator_state(net.generator), figures


def trained(source, **options):
    net = network()
    return outcome(net, net.fit(source, **OPTIONS | options))


@pytest.mark.parametrize("case", CASES)
def test_a_crash_changes_no_byte(tmp_path, case):
    options = {"X_val": stream(*HELD)} | CASES[case]
    expected = trained(mixed(X, T), **options)
    path = tmp_path / "c"
    with pytest.raises(RuntimeError, match="crash"):
        trained(mixed(X, T), checkpoint=path, callbacks=[Stop(4)], **options)
    assert read_checkpoint(path).history().epochs == 3
    assert trained(mixed(X, T), checkpoint=path, resume=True, **options) == expected
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize("seed", [None, 7])
def test_every_source_in_the_middle_of_an_epoch(folder, monkeypatch, make, seed):
    path = folder.parent / "c"
    expected = trained(make(folder, seed))
    with monkeypatch.context() as patch:
        stop_in_window(patch, 2 * WINDOWS + 3, RuntimeError("crash"))
        with pytest.raises(RuntimeError, match="crash"):
            trained(make(folder, seed), checkpoint=path)
    assert read_checkpoint(path).history().epochs == 2
    # As another process would: with a source of its own.
    assert trained(make(folder, seed), checkpoint=path, resume=True) == expected


def test_a_source_that_fails_while_it_is_read(tmp_path):
    """The thread that reads ahead is windows before the step when the disk gives up."""
    passes = []

    def failing():
        passes.append(1)
        for count, batch in enumerate(batches()):
            if len(passes) > 4 and count == 5:
                raise OSError("the disk is gone")
            yield batch

    expected = trained(mixed(batches))
    with pytest.raises(OSError, match="the disk is gone"):
        trained(mixed(failing), checkpoint=tmp_path / "c")
    done = read_checkpoint(tmp_path / "c").history().epochs
    assert 0 < done < OPTIONS["epochs"]
    assert trained(mixed(batches), checkpoint=tmp_path / "c", resume=True) == expected


@pytest.mark.parametrize("window", [1, 2 * WINDOWS + 3])
def test_ctrl_c(tmp_path, monkeypatch, window):
    expected = trained(mixed(X, T))
    path = tmp_path / "c"
    with monkeypatch.context() as patch:
        stop_in_window(patch, window, KeyboardInterrupt())
        _, _, figures = trained(mixed(X, T), checkpoint=path)
    assert figures["stopped"] == "interrupted"
    assert path.exists() == (window > WINDOWS)
    assert trained(mixed(X, T), checkpoint=path, resume=True) == expected


def test_every_library(tmp_path, backend):
    def fitted(**options):
        net = network(backend=backend)
        return net, net.fit(mixed(X, T), **OPTIONS | options)

    expected, _ = fitted()
    path = tmp_path / "c"
    with pytest.raises(RuntimeError, match="crash"):
        fitted(checkpoint=path, callbacks=[Stop(3)])
    found, history = fitted(checkpoint=path, resume=True)
    assert history.epochs == OPTIONS["epochs"]
    assert backends.to_host(found.theta).tobytes() == backends.to_host(expected.theta).tobytes()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: mixed(X, T, seed=1), "source is BlockShuffle"),
        (lambda: mixed(X[:-1], T[:-1]), "rows is 202, the checkpoint has 203"),
        (lambda: mixed(X + 1, T), "X is float32 1x4 [0-9a-f]*, the checkpoint has float32 1x4"),
    ],
)
def test_another_source_is_refused(tmp_path, other, message):
    path = tmp_path / "c"
    with pytest.raises(RuntimeError, match="crash"):
        trained(mixed(X, T), checkpoint=path, callbacks=[Stop(3)])
    with pytest.raises(CheckpointError, match=f"a checkpoint of another training: .*{message}"):
        trained(other(), checkpoint=path, resume=True)
