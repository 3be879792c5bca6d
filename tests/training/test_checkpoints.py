"""Checkpoints of `Network.fit`: going on from one gives the bytes of one training in one go."""

from __future__ import annotations

import errno
import math
import os
import threading
import warnings
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from resuming import KEY, Stop, epochs, header, outcome

import sealing
from xpnn import Callback, EarlyStopping, MLPClassifier, Network, backends
from xpnn.data import BlockShuffle, stream
from xpnn.data.arrays_file import read_arrays, write_arrays
from xpnn.files import ModelFileError, load, save
from xpnn.layers import CustomActivation, Dropout, Layer
from xpnn.optimizers import SGD, AdamW, CosineWarmup, ReduceOnPlateau, chain, clip_by_global_norm
from xpnn.training import Checkpoint, CheckpointError, CheckpointWarning
from xpnn.training.checkpoint import CHECKPOINT

ROWS = 103
GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(ROWS, 3))
T = (X[:, 0] * X[:, 1] > 0).astype("int64")
OPTIONS = {"epochs": 6, "batch_size": 16, "learning_rate": 0.05}
FRACTION = {"validation_fraction": 0.2}
HELD = {"X_val": X[:9], "y_val": T[:9]}


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("xpnn")] == []


@pytest.fixture
def path(tmp_path):
    """Where a training writes its checkpoints."""
    return tmp_path / "c"


def network(backend=None, seed=3):
    return Network(3, [8, "tanh", Dropout(0.3), 2], seed=seed, backend=backend)


def train(*data, net=None, **options):
    """Train a network on (X, T), or on other data."""
    net = network() if net is None else net
    return net, net.fit(*(data or (X, T)), **OPTIONS | options)


def crash(path, *data, at=3, callbacks=(), **options):
    """Train until a crash in an epoch that no checkpoint is written after."""
    with pytest.raises(RuntimeError, match="crash"):
        train(*data, checkpoint=path, callbacks=[*callbacks, Stop(at)], **options)
    return path


def mixed(*data, seed=None):
    """A source with six windows an epoch; batches reach from one into the next."""
    return stream(*(data or (X, T)), shuffle=BlockShuffle(5, 4, seed))


CASES = {
    "plain": {},
    "adamw with a schedule": {"learning_rate": None, "optimizer": AdamW(CosineWarmup(0.05, 1))},
    "plateau": {
        "learning_rate": ReduceOnPlateau(0.05, patience=1, min_delta=0.1),
        "optimizer": SGD(0.05, 0.9),
    },
    "early stopping": {"early_stopping": EarlyStopping(3, monitor="validation_accuracy")},
    "a seed of its own": {"seed": 8},
    "reports": {"report_every": 2},
    "in order": {"shuffle": False, "l2": 0.01},
    **{f"engine {name}": {"engine": name} for name in ("planned", "native", "pure")},
}
OF_ARRAYS = {
    "clipped momentum": {
        "optimizer": chain(clip_by_global_norm(1.0), SGD(0.05, 0.9, nesterov=True))
    },
    "no validation, weights": {"validation_fraction": None, "sample_weight": np.arange(103.0)},
    "one batch": {"batch_size": None, "validation_fraction": None} | HELD,
}


@pytest.mark.parametrize(
    ("case", "source"),
    [*((case, False) for case in CASES | OF_ARRAYS), *((case, True) for case in CASES)],
)
def test_a_crash_changes_no_byte(path, case, source):
    """Also where other weights are there at first: what counts is in the file."""
    if case == "engine native":
        pytest.importorskip("llvmlite", reason="native code needs llvmlite")
    held = {"X_val": stream(X[:50] + 1, T[:50])} if source else FRACTION
    options = held | (CASES | OF_ARRAYS)[case]
    data = [mixed()] if source else []
    expected = outcome(*train(*data, **options))
    crash(path, *data, at=4, **options)
    assert epochs(path) == (2 if case == "reports" else 3)
    other = network(seed=3 if "seed" in options else 99)
    found = train(*data, net=other, checkpoint=path, resume=True, **options)
    assert outcome(*found) == expected
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("source", [False, True], ids=["arrays", "source"])
def test_every_library(path, backend, source):
    data = [mixed()] if source else [backend.asarray(X), backend.asarray(T, "int64")]
    options = {} if source else FRACTION | {"early_stopping": EarlyStopping(2)}
    expected = train(*data, net=network(backend), **options)
    crash(path, *data, net=network(backend), **options)
    found = train(*data, net=network(backend), checkpoint=path, resume=True, **options)
    assert outcome(*found) == outcome(*expected)
    assert backends.device_of(found[0].theta) == backends.device_of(expected[0].theta)


WAYS = ["pure", "planned", "native", "auto"]


@pytest.mark.parametrize("engines", list(permutations(WAYS, 2)))
def test_another_engine_is_no_other_training(path, engines):
    """On NumPy the bytes are the same, so it goes on as it is asked to."""
    if "native" in engines:
        pytest.importorskip("llvmlite", reason="native code needs llvmlite")
    expected = outcome(*train(engine="pure"))
    crash(path, engine=engines[0])
    assert outcome(*train(checkpoint=path, resume=True, engine=engines[1])) == expected
    assert header(path)["engine"] == engines[1]


def test_other_kernels_or_threads_are_said(path):
    crash(path)
    values, arrays = read_arrays(path, CHECKPOINT)
    write_arrays(path, CHECKPOINT, values | {"rounding": "NumPy 1.0, on paper"}, arrays)
    with pytest.warns(CheckpointWarning, match=r"written with NumPy 1.0, on paper; here is NumPy"):
        train(checkpoint=path, resume=True)


def test_on_other_libraries_the_engine_is_that_of_the_beginning(path, use_library):
    """There its digits may be others."""
    use_library("torch")
    torch = backends.select("torch")
    data = [torch.asarray(X), torch.asarray(T, "int64")]
    expected = outcome(*train(*data, net=network(torch), engine="pure"))
    crash(path, *data, net=network(torch), engine="pure")
    found = train(*data, net=network(torch), checkpoint=path, resume=True)
    assert outcome(*found) == expected
    assert header(path)["engine"] == "pure"


def test_resume_begins_anew_where_there_is_nothing(tmp_path):
    found = train(checkpoint=tmp_path / "new" / "c", resume=True)
    assert outcome(*found) == outcome(*train())
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train(resume=tmp_path / "nowhere")


@pytest.mark.parametrize("early", [None, EarlyStopping(1, monitor="loss", min_delta=10.0)])
def test_a_finished_training_comes_back_as_it_ended(path, early):
    options = {"early_stopping": early, "checkpoint": path}
    expected = train(**options)
    assert expected[1].stopped == ("finished" if early is None else "early stopping")
    assert outcome(*train(resume=True, **options)) == outcome(*expected)


def test_more_epochs_go_on_from_the_end(path):
    train(checkpoint=path)
    assert outcome(*train(resume=path, epochs=9)) == outcome(*train(epochs=9))
    with pytest.raises(CheckpointError, match="4 epochs are asked for, the checkpoint is after 6"):
        train(resume=path, epochs=4)


# Sources


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
    table = pandas.DataFrame(X, columns=list("abc")).assign(t=T)
    table.to_parquet(folder / "x" / "t.parquet", row_group_size=30)
    return mixed(folder / "x" / "t.parquet", "t", seed=seed)


def batches():
    for start in range(0, ROWS, 30):
        yield X[start : start + 30], T[start : start + 30]


def unknown_length(folder, seed):
    return mixed(batches, seed=seed)


class StopInEpoch(Callback):
    """Ends a training after so many steps, of which an epoch has seven."""

    def __init__(self, steps, error):
        self.left, self.error = steps, error

    def on_batch_end(self, run):
        self.left -= 1
        if self.left == 0:
            raise self.error


@pytest.mark.parametrize("make", [arrays, npy_files, parquet, unknown_length])
@pytest.mark.parametrize("seed", [None, 7])
def test_every_source_in_the_middle_of_an_epoch(path, tmp_path, make, seed):
    folder = tmp_path / "data"
    for name in ("x", "t"):
        (folder / name).mkdir(parents=True)
    expected = outcome(*train(make(folder, seed)))
    stop = StopInEpoch(2 * 7 + 3, RuntimeError("crash"))
    with pytest.raises(RuntimeError, match="crash"):
        train(make(folder, seed), checkpoint=path, callbacks=[stop])
    assert epochs(path) == 2
    # As another process would: with a source of its own.
    assert outcome(*train(make(folder, seed), checkpoint=path, resume=True)) == expected


def test_a_source_that_fails_while_it_is_read(path):
    """The thread that reads ahead is windows before the step when the disk gives up."""
    passes = []

    def failing():
        passes.append(1)
        for count, batch in enumerate(batches()):
            if len(passes) > 4 and count == 3:
                raise OSError("the disk is gone")
            yield batch

    expected = outcome(*train(mixed(batches)))
    with pytest.raises(OSError, match="the disk is gone"):
        train(mixed(failing), checkpoint=path)
    assert 0 < epochs(path) < OPTIONS["epochs"]
    assert outcome(*train(mixed(batches), checkpoint=path, resume=True)) == expected


@pytest.mark.parametrize("steps", [3, 2 * 7 + 3])
def test_ctrl_c_within_an_epoch_of_a_source(path, steps):
    expected = outcome(*train(mixed()))
    stop = StopInEpoch(steps, KeyboardInterrupt())
    _, history = train(mixed(), checkpoint=path, callbacks=[stop])
    assert history.stopped == "interrupted"
    assert path.exists() == (steps > 7)
    assert outcome(*train(mixed(), checkpoint=path, resume=True)) == expected


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: mixed(seed=1), "source is BlockShuffle"),
        (lambda: mixed(X[:-1], T[:-1]), "rows is 102, the checkpoint has 103"),
        (lambda: mixed(X + 1, T), "X is float64 1x3 [0-9a-f]*, the checkpoint has float64 1x3"),
    ],
)
def test_another_source_is_refused(path, other, message):
    crash(path, mixed())
    with pytest.raises(CheckpointError, match=f"a checkpoint of another training: .*{message}"):
        train(other(), checkpoint=path, resume=True)


# When they are written


class Look(Callback):
    """Notes which checkpoints it comes across."""

    def __init__(self, path):
        self.path, self.epochs = path, set()

    def on_epoch_end(self, run):
        if self.path.exists():
            self.epochs.add(epochs(self.path))

    on_train_end = on_epoch_end


@pytest.mark.parametrize(
    ("every", "options", "expected"),
    [
        ({}, {}, {1, 2, 3, 4, 5, 6}),
        ({"every_epochs": 4}, {}, {4, 6}),
        ({"every_epochs": 4}, {"report_every": 3}, {6}),
        ({"every_minutes": 1e9}, {}, {6}),
        ({"every_minutes": 1e-12}, {}, {1, 2, 3, 4, 5, 6}),
        ({"every_minutes": 1e9, "every_epochs": 5}, {}, {5, 6}),
    ],
)
def test_how_often(path, every, options, expected):
    look = Look(path)
    train(checkpoint=Checkpoint(path, **every), callbacks=look, **options)
    assert look.epochs == expected


def test_ctrl_c_writes_the_last_whole_epoch(path):
    expected = outcome(*train(**FRACTION))
    options = FRACTION | {"checkpoint": Checkpoint(path, every_epochs=100)}
    _, history = train(callbacks=[Stop(5, KeyboardInterrupt())], **options)
    assert history.stopped == "interrupted"
    assert header(path)["history"]["stopped"] == "interrupted"
    assert epochs(path) == 4
    assert outcome(*train(resume=True, **options)) == expected


@pytest.mark.parametrize("on_error", ["warn", "stop"])
def test_ctrl_c_while_a_checkpoint_is_written_writes_it_again(path, monkeypatch, on_error):
    real, calls = Path.replace, []

    def replace(self, target):
        calls.append(target)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    _, history = train(checkpoint=Checkpoint(path, on_error=on_error))
    assert (history.stopped, history.epochs) == ("interrupted", 3)
    assert epochs(path) == 3
    assert len(calls) == 4


def test_a_loss_that_runs_away_leaves_the_last_good_checkpoint(path):
    def ruin(run):
        if run.history.epochs == 3:
            x[:] = np.nan

    x = X.copy()
    with pytest.raises(FloatingPointError):
        train(x, T, checkpoint=path, callbacks=[ruin])
    assert epochs(path) == 3


# What goes wrong while writing


def full(self, content):
    with self.open("wb") as file:
        file.write(content[:50])
    raise OSError(errno.ENOSPC, "No space left on device")


class Full(Callback):
    """The disk is full after an epoch, and has room again after another."""

    def __init__(self, monkeypatch, first, last=math.inf):
        self.patch, self.first, self.last = monkeypatch, first, last
        self.real = Path.write_bytes

    def on_epoch_end(self, run):
        on = self.first <= run.history.epochs < self.last
        self.patch.setattr(Path, "write_bytes", full if on else self.real)


@pytest.mark.parametrize("on_error", ["warn", "stop"])
def test_ctrl_c_on_a_full_disk_is_a_warning(path, monkeypatch, on_error):
    checkpoint = Checkpoint(path, every_epochs=100, on_error=on_error)
    with pytest.warns(CheckpointWarning, match="No space left"):
        train(checkpoint=checkpoint, callbacks=[Full(monkeypatch, 1), Stop(3, KeyboardInterrupt())])
    assert not list(path.parent.iterdir())


def test_a_full_disk_is_a_warning_and_the_last_good_checkpoint_survives(path, monkeypatch):
    expected = outcome(*train())
    message = r"c could not be written: .*No space left.* The training goes on"
    with pytest.warns(CheckpointWarning, match=message) as caught:
        found = train(checkpoint=path, callbacks=[Full(monkeypatch, 3)])
    assert [warning.filename for warning in caught] == [__file__]
    assert outcome(*found) == expected
    assert epochs(path) == 2
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.undo()
    assert outcome(*train(checkpoint=path, resume=True)) == expected


def test_room_on_the_disk_is_used_again(path, monkeypatch):
    with pytest.warns(CheckpointWarning):
        train(checkpoint=path, callbacks=[Full(monkeypatch, 1, 4)])
    assert epochs(path) == 6


def test_on_error_stop_ends_the_training_cleanly(path, monkeypatch):
    checkpoint = Checkpoint(path, on_error="stop")
    net, history = train(checkpoint=checkpoint, callbacks=[Full(monkeypatch, 3)])
    assert history.epochs == 3
    assert "c could not be written: " in history.stopped
    assert np.isfinite(net.theta).all()
    assert epochs(path) == 2


def test_places_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(CheckpointWarning, match="file.c could not be written: "):
        train(checkpoint=tmp_path / "file" / "c")
    with pytest.raises(CheckpointError, match="a folder; expected a checkpoint"):
        train(resume=tmp_path)
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.warns(CheckpointWarning, match="Permission denied"):
        train(checkpoint=folder / "c")


def test_a_folder_that_is_removed_is_made_again(tmp_path):
    def remove(run):
        if run.history.epochs == 3:
            path.unlink()
            path.parent.rmdir()

    path = tmp_path / "folder" / "c"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(checkpoint=path, callbacks=[remove])
    assert epochs(path) == 6


# What is refused


@pytest.fixture
def crashed(path):
    return crash(path, **FRACTION)


WEIGHTS = np.linspace(0.5, 1.5, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2": 0.5}, r"l2 is 0\.5, the checkpoint has 0\.0$"),
        ({"batch_size": 8}, "batch_size is 8, the checkpoint has 16$"),
        (
            {"optimizer": SGD(), "learning_rate": None},
            r"learning_rate is Constant\(learning_rate=0\.01\), .*; optimizer is SGD\(",
        ),
        ({"validation_fraction": None}, "X_val is None, .*; rows is 103, the checkpoint has 82"),
        ({"early_stopping": 3}, r"early_stopping is EarlyStopping\(patience=3"),
        ({"seed": 4}, "seed is 4, the checkpoint has None"),
        ({"shuffle": False}, "shuffle is False"),
        ({"sample_weight": np.ones(103)}, "sample_weight is float64 82 [0-9a-f]{16}, the .* None"),
        (
            HELD | {"validation_fraction": None, "sample_weight_val": WEIGHTS},
            "sample_weight_val is float64 9 [0-9a-f]{16}, the checkpoint has None;",
        ),
    ],
)
def test_other_options_are_refused_with_what_differs(crashed, options, message):
    net = network()
    before, start = net.theta.copy(), backends.generator_state(net.generator)
    with pytest.raises(CheckpointError, match="c: a checkpoint of another training: .*" + message):
        train(net=net, resume=crashed, **FRACTION | options)
    assert (net.theta == before).all()
    assert backends.generator_state(net.generator) == start


def test_other_data_and_networks_are_refused(crashed):
    options = FRACTION | {"resume": crashed}
    other = X + np.array([1.0, 0.0, 0.0])
    with pytest.raises(CheckpointError, match=r"X is float64 82x3 .*, the checkpoint has float64"):
        train(other, T, **options)
    wide = Network(3, [9, "tanh", Dropout(0.3), 2], seed=3)
    with pytest.raises(CheckpointError, match=r"layers is Chain\(layers=\[Dense\(width=9"):
        train(net=wide, **options)
    single = network(backends.select("numpy", dtype="float32"))
    with pytest.raises(CheckpointError, match="dtype is 'float32', the checkpoint has 'float64'"):
        train(net=single, **options)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: Checkpoint("c", 0), "every_epochs is 0; expected a positive integer"),
        (ValueError, lambda: Checkpoint("c", 1.5), "every_epochs is 1.5; expected a positive inte"),
        (ValueError, lambda: Checkpoint("c", None, -1), "every_minutes is -1; expected a number a"),
        (ValueError, lambda: Checkpoint("c", None, math.nan), "every_minutes is nan; expected a n"),
        (
            ValueError,
            lambda: Checkpoint("c", on_error="ignore"),
            "on_error is 'ignore'; expected 'warn' or 'stop'",
        ),
        (ValueError, lambda: train(resume=True), "resume=True goes on from the file of checkpoint"),
        (TypeError, lambda: train(resume=3), "resume is 3; expected True, False or a path"),
        (TypeError, lambda: train(checkpoint=3), "checkpoint is 3; expected a Checkpoint or a pat"),
    ],
)
def test_wrong_arguments(error, call, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("change", "arrays", "message"),
    [
        (lambda h: {**h, "format": 99}, None, "its format is 99, written by xpnn .* newer xpnn"),
        (lambda h: {**h, "kind": "estimator"}, None, "it is of the kind 'estimator'; this"),
        (lambda h: {**h, "kind": "x"}, None, "its kind is not what a checkpoint has there"),
        (lambda h: {k: h[k] for k in h if k != "generator"}, None, "its generator is not what"),
        (lambda h: {**h, "history": {**h["history"], "loss": []}}, None, "its history is not"),
        (lambda h: {**h, "engine": []}, None, "its engine is not what"),
        (lambda h: {**h, "steps": -1}, None, "its steps is not what"),
        (lambda h: {**h, "start": {}}, None, "the generator's state is incomplete"),
        (lambda h: {**h, "callbacks": [{}]}, None, "it has the states of other callbacks"),
        (lambda h: {**h, "identity": {}}, None, "of another training: .*batch_size is 16, the"),
        (None, lambda a: a.pop("carry.0"), "3 arrays of parameters and .*; expected 4"),
        (
            None,
            lambda a: a.update({"carry.0": np.zeros(3)}),
            r"carry\.0 is float64 of shape \(3,\); expected float64 of shape \(50,\)",
        ),
    ],
)
def test_a_checkpoint_that_contradicts_itself(crashed, tmp_path, change, arrays, message):
    other = sealing.edited(crashed, tmp_path / "other", change, arrays, KEY)
    with pytest.raises(CheckpointError, match=message) as error:
        train(resume=other, **FRACTION)
    assert str(error.value).startswith(f"{other}: ")


def test_model_files_and_checkpoints_are_not_mixed_up(crashed, tmp_path):
    with pytest.raises(ModelFileError, match="but not a model file that xpnn wrote"):
        load(crashed)
    with pytest.raises(CheckpointError, match="but not a checkpoint that xpnn wrote"):
        train(resume=save(network(), tmp_path / "net"))


def test_a_callback_of_the_users_own_can_keep_something(path):
    class Sum(Callback):
        def on_train_begin(self, run):
            self.losses, self.thetas = [], np.zeros(run.network.size)

        def on_epoch_end(self, run):
            self.losses.append(run.history.loss[-1])
            self.thetas += run.network.theta

        def save_state(self):
            return {"losses": list(self.losses), "thetas": self.thetas.copy()}

        def load_state(self, run, state):
            self.losses, self.thetas = state["losses"], state["thetas"]

    whole, again = Sum(), Sum()
    train(callbacks=[whole])
    train(resume=crash(path, callbacks=[Sum()]), callbacks=[again])
    assert again.losses == whole.losses
    assert (again.thetas == whole.thetas).all()


class Own(Layer):
    def forward(self, params, x, noise, *, xp):
        return x, ()

    def backward(self, params, saved, dy, *, xp, input_gradient=True):
        return dy, ()


def zeros(x, *rest, xp):
    return 0.0 * x


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_descriptions_are_the_same_in_every_process(path):
    """Functions by their names, and objects of unknown classes by their class."""
    net = Network(3, [4, CustomActivation(zeros, zeros), Own(), 2], seed=0)
    stop = EarlyStopping(2, np.asarray(0.0), monitor="loss")
    train(net=net, checkpoint=path, early_stopping=stop, l2=np.float64(0.5), epochs=1)
    was = header(path)["identity"]
    names = f"forward_function={__name__}.zeros, backward_function={__name__}.zeros"
    assert f"CustomActivation({names}), Own, Dense(" in was["layers"]
    assert was["early_stopping"].startswith("EarlyStopping(patience=2, min_delta=float64 , mon")
    assert (was["l2"], was["sample_weight"]) == ("0.5", "None")
    model = MLPClassifier((3,), max_iter=1, class_weight={0: 1.0, 1: 2.0})
    model.fit(X, T, checkpoint=path)
    assert header(path)["identity"]["class_weight"] == "{0: 1.0, 1: 2.0}"
