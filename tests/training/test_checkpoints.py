"""Checkpoints of `Network.fit`: going on from one gives the bytes of one training in one go."""

import errno
import math
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

import sealing
from xpnn import Callback, EarlyStopping, Network, backends
from xpnn.layers import CustomActivation, Dropout
from xpnn.optimizers import (
    SGD,
    AdamW,
    CosineWarmup,
    ReduceOnPlateau,
    chain,
    clip_by_global_norm,
)
from xpnn.training import Checkpoint, CheckpointError, CheckpointWarning
from xpnn.training.checkpoint import describe, read_checkpoint

KEY = "xpnn-checkpoint"
GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(50, 3))
T = (X[:, 0] * X[:, 1] > 0).astype("int64")
OPTIONS = {"epochs": 6, "batch_size": 16, "validation_fraction": 0.2, "learning_rate": 0.05}


class Stop(Callback):
    """Ends a training from inside, as a crash or Ctrl-C would."""

    def __init__(self, epoch, error=None):
        self.epoch, self.error = epoch, error or RuntimeError("crash")

    def on_epoch_end(self, run):
        if run.history.epochs == self.epoch:
            raise self.error


def network(backend=None, seed=3):
    return Network(3, [8, "tanh", Dropout(0.3), 2], seed=seed, backend=backend)


def data(backend):
    return backend.asarray(X), backend.asarray(T, "int64")


def theta(net):
    return backends.to_host(net.theta).tobytes()


def without_time(history):
    return {k: v for k, v in history.to_dict().items() if k != "seconds"}


def crash_and_resume(path, x, t, make, at=3, **options):
    with pytest.raises(RuntimeError, match="crash"):
        make().fit(x, t, checkpoint=path, callbacks=[Stop(at)], **options)
    found = make()
    return found, found.fit(x, t, checkpoint=path, resume=True, **options)


HELD = {"validation_fraction": None, "X_val": X[:9], "y_val": T[:9]}
CASES = {
    "plain": {},
    "adamw with a schedule": {"learning_rate": None, "optimizer": AdamW(CosineWarmup(0.05, 1))},
    "clipped momentum": {
        "optimizer": chain(clip_by_global_norm(1.0), SGD(0.05, 0.9, nesterov=True))
    },
    "early stopping": {"early_stopping": EarlyStopping(3, monitor="validation_accuracy")},
    "plateau": {"learning_rate": ReduceOnPlateau(0.05, patience=1, min_delta=0.1)},
    "no validation, weights": {
        "validation_fraction": None,
        "sample_weight": np.arange(50.0),
        "l2": 0.01,
    },
    "a seed of its own": {"seed": 8},
    "reports": {"report_every": 2},
    "one batch in order": {"batch_size": None, "shuffle": False} | HELD,
}


@pytest.mark.parametrize("case", CASES)
def test_a_crash_changes_no_byte(tmp_path, case):
    options = OPTIONS | CASES[case]
    expected = network()
    history = expected.fit(X, T, **options)
    found, again = crash_and_resume(tmp_path / "c", X, T, network, at=4, **options)
    assert theta(found) == theta(expected)
    assert without_time(again) == without_time(history)
    assert backends.generator_state(found.generator) == backends.generator_state(expected.generator)
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize("engine", ["auto", "plan", "kernels", "pure"])
def test_every_engine_goes_on_as_it_was(tmp_path, engine):
    if engine == "kernels":
        pytest.importorskip("numba", reason="engine='kernels' needs Numba")
    options = OPTIONS | {"engine": engine}
    expected = network()
    expected.fit(X, T, **options)
    found, _ = crash_and_resume(tmp_path / "c", X, T, network, **options)
    assert theta(found) == theta(expected)


def test_every_library(tmp_path, backend):
    options = OPTIONS | {"early_stopping": EarlyStopping(2)}
    x, t = data(backend)
    expected = network(backend)
    expected.fit(x, t, **options)
    found, _ = crash_and_resume(tmp_path / "c", x, t, lambda: network(backend), **options)
    assert theta(found) == theta(expected)
    assert backends.device_of(found.theta) == backends.device_of(expected.theta)


def test_another_engine_is_no_other_training(tmp_path):
    """It goes on as it began, so that its bytes do not change."""
    expected = network()
    expected.fit(X, T, engine="pure", **OPTIONS)
    with pytest.raises(RuntimeError, match="crash"):
        network().fit(X, T, checkpoint=tmp_path / "c", callbacks=Stop(3), engine="pure", **OPTIONS)
    found = network()
    found.fit(X, T, checkpoint=tmp_path / "c", resume=True, engine="plan", **OPTIONS)
    assert theta(found) == theta(expected)
    assert read_checkpoint(tmp_path / "c").values["engine"] == "pure"


def test_the_choice_of_kernels_is_kept(tmp_path, monkeypatch):
    """A longer training would choose them, and end with other digits."""
    pytest.importorskip("numba", reason="kernels need Numba")
    expected = network()
    expected.fit(X, T, **OPTIONS)
    with pytest.raises(RuntimeError, match="crash"):
        network().fit(X, T, checkpoint=tmp_path / "c", callbacks=[Stop(3)], **OPTIONS)
    monkeypatch.setattr("xpnn.engine.compile._WORTH", 0.0)
    assert read_checkpoint(tmp_path / "c").values["engine"] == "plan"
    found = network()
    found.fit(X, T, checkpoint=tmp_path / "c", resume=True, **OPTIONS)
    assert read_checkpoint(tmp_path / "c").values["engine"] == "plan"
    assert theta(found) == theta(expected)


def test_a_network_with_other_start_weights_goes_on_just_the_same(tmp_path):
    """What counts is in the file, also the generator that the validation rows come from."""
    expected = network()
    expected.fit(X, T, **OPTIONS)
    path = tmp_path / "c"
    with pytest.raises(RuntimeError, match="crash"):
        network().fit(X, T, checkpoint=path, callbacks=[Stop(3)], **OPTIONS)
    found = network(seed=99)
    found.fit(X, T, resume=path, **OPTIONS)
    assert theta(found) == theta(expected)


def test_resume_begins_anew_where_there_is_nothing(tmp_path):
    expected, found = network(), network()
    expected.fit(X, T, **OPTIONS)
    found.fit(X, T, checkpoint=tmp_path / "new" / "c", resume=True, **OPTIONS)
    assert theta(found) == theta(expected)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        network().fit(X, T, resume=tmp_path / "nowhere", **OPTIONS)


@pytest.mark.parametrize("early", [None, EarlyStopping(1, monitor="loss", min_delta=10.0)])
def test_a_finished_training_comes_back_as_it_ended(tmp_path, early):
    options = OPTIONS | {"early_stopping": early, "checkpoint": tmp_path / "c"}
    expected, found = network(), network()
    history = expected.fit(X, T, **options)
    again = found.fit(X, T, resume=True, **options)
    assert history.stopped == ("finished" if early is None else "early stopping")
    assert without_time(again) == without_time(history)
    assert theta(found) == theta(expected)


def test_more_epochs_go_on_from_the_end(tmp_path):
    expected, found = network(), network()
    expected.fit(X, T, **OPTIONS | {"epochs": 9})
    network().fit(X, T, checkpoint=tmp_path / "c", **OPTIONS)
    found.fit(X, T, resume=tmp_path / "c", **OPTIONS | {"epochs": 9})
    assert theta(found) == theta(expected)
    with pytest.raises(CheckpointError, match="4 epochs are asked for, the checkpoint is after 6"):
        network().fit(X, T, resume=tmp_path / "c", **OPTIONS | {"epochs": 4})


# When they are written


def written(path, monkeypatch, checkpoint, **options):
    """Epochs that checkpoints were written after."""
    epochs = []
    real = os.replace

    class Look(Callback):
        def on_train_end(self, run):
            epochs.append(read_checkpoint(path).history().epochs)

    def replace(self, target):
        real(self, target)
        epochs.append(read_checkpoint(path).history().epochs)

    monkeypatch.setattr(Path, "replace", replace)
    network().fit(X, T, checkpoint=checkpoint, **OPTIONS | options)
    return epochs


@pytest.mark.parametrize(
    ("every", "options", "expected"),
    [
        ({}, {}, [1, 2, 3, 4, 5, 6]),
        ({"every_epochs": 4}, {}, [4, 6]),
        ({"every_epochs": 4}, {"report_every": 3}, [6]),
        ({"every_minutes": 1e9}, {}, [6]),
        ({"every_minutes": 1e-12}, {}, [1, 2, 3, 4, 5, 6]),
        ({"every_minutes": 1e9, "every_epochs": 5}, {}, [5, 6]),
    ],
)
def test_how_often(tmp_path, monkeypatch, every, options, expected):
    path = tmp_path / "c"
    assert written(path, monkeypatch, Checkpoint(path, **every), **options) == expected


def test_ctrl_c_writes_the_last_whole_epoch(tmp_path):
    expected, found = network(), network()
    expected.fit(X, T, **OPTIONS)
    checkpoint = Checkpoint(tmp_path / "c", every_epochs=100)
    stop = Stop(5, KeyboardInterrupt())
    history = network().fit(X, T, checkpoint=checkpoint, callbacks=[stop], **OPTIONS)
    assert history.stopped == "interrupted"
    saved = read_checkpoint(tmp_path / "c")
    assert (saved.stopped, saved.history().epochs) == ("interrupted", 4)
    again = found.fit(X, T, checkpoint=checkpoint, resume=True, **OPTIONS)
    assert (again.stopped, theta(found)) == ("finished", theta(expected))


@pytest.mark.parametrize("on_error", ["warn", "stop"])
def test_ctrl_c_while_a_checkpoint_is_written_writes_it_again(tmp_path, monkeypatch, on_error):
    real, calls = Path.replace, []

    def replace(self, target):
        calls.append(target)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    checkpoint = Checkpoint(tmp_path / "c", on_error=on_error)
    history = network().fit(X, T, checkpoint=checkpoint, **OPTIONS)
    assert (history.stopped, history.epochs) == ("interrupted", 3)
    assert read_checkpoint(tmp_path / "c").history().epochs == 3
    assert len(calls) == 4


@pytest.mark.parametrize("on_error", ["warn", "stop"])
def test_ctrl_c_on_a_full_disk_is_a_warning(tmp_path, monkeypatch, on_error):
    monkeypatch.setattr(Path, "write_bytes", full)
    checkpoint = Checkpoint(tmp_path / "c", every_epochs=100, on_error=on_error)
    with pytest.warns(CheckpointWarning, match="No space left"):
        network().fit(
            X, T, checkpoint=checkpoint, callbacks=[Stop(3, KeyboardInterrupt())], **OPTIONS
        )
    assert not list(tmp_path.iterdir())


def test_a_loss_that_runs_away_leaves_the_last_good_checkpoint(tmp_path):
    class Ruin(Callback):
        def on_epoch_end(self, run):
            if run.history.epochs == 3:
                x[:] = np.nan

    x, options = X.copy(), OPTIONS | {"validation_fraction": None}
    with pytest.raises(FloatingPointError):
        network().fit(x, T, checkpoint=tmp_path / "c", callbacks=[Ruin()], **options)
    assert read_checkpoint(tmp_path / "c").history().epochs == 3


# What goes wrong while writing


def full(self, content):
    with self.open("wb") as file:
        file.write(content[:50])
    raise OSError(errno.ENOSPC, "No space left on device")


class Full(Callback):
    """The disk is full after an epoch, and has room again after another."""

    def __init__(self, monkeypatch, first, last):
        self.patch, self.first, self.last = monkeypatch, first, last
        self.real = Path.write_bytes

    def on_epoch_end(self, run):
        on = self.first <= run.history.epochs < self.last
        self.patch.setattr(Path, "write_bytes", full if on else self.real)


def test_a_full_disk_is_a_warning_and_the_last_good_checkpoint_survives(tmp_path, monkeypatch):
    path, expected, found = tmp_path / "c", network(), network()
    expected.fit(X, T, **OPTIONS)
    disk = Full(monkeypatch, 3, math.inf)
    message = r"c could not be written: .*No space left.* The training goes on"
    with pytest.warns(CheckpointWarning, match=message) as caught:
        found.fit(X, T, checkpoint=path, callbacks=[disk], **OPTIONS)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert theta(found) == theta(expected)
    assert read_checkpoint(path).history().epochs == 2
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    again = network()
    again.fit(X, T, checkpoint=path, resume=True, **OPTIONS)
    assert theta(again) == theta(expected)


def test_room_on_the_disk_is_used_again(tmp_path, monkeypatch):
    path = tmp_path / "c"
    with pytest.warns(CheckpointWarning):
        network().fit(X, T, checkpoint=path, callbacks=[Full(monkeypatch, 1, 4)], **OPTIONS)
    assert read_checkpoint(path).history().epochs == 6


def test_on_error_stop_ends_the_training_cleanly(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "c", on_error="stop")
    net = network()
    disk = Full(monkeypatch, 3, math.inf)
    history = net.fit(X, T, checkpoint=checkpoint, callbacks=[disk], **OPTIONS)
    assert history.epochs == 3
    assert "c could not be written: " in history.stopped
    assert np.isfinite(net.theta).all()
    assert read_checkpoint(tmp_path / "c").history().epochs == 2


def test_a_folder_that_nobody_may_write_to(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.warns(CheckpointWarning, match="Permission denied"):
        network().fit(X, T, checkpoint=folder / "c", **OPTIONS)


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(CheckpointWarning, match="file.c could not be written: "):
        network().fit(X, T, checkpoint=tmp_path / "file" / "c", **OPTIONS)
    with pytest.raises(CheckpointError, match="a folder; expected a checkpoint"):
        network().fit(X, T, resume=tmp_path, **OPTIONS)


def test_a_folder_that_is_removed_is_made_again(tmp_path):
    class Remove(Callback):
        def on_epoch_end(self, run):
            if run.history.epochs == 3:
                (folder / "c").unlink()
                folder.rmdir()

    folder = tmp_path / "folder"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network().fit(X, T, checkpoint=folder / "c", callbacks=[Remove()], **OPTIONS)
    assert read_checkpoint(folder / "c").history().epochs == 6


# What is refused


@pytest.fixture
def path(tmp_path):
    with pytest.raises(RuntimeError, match="crash"):
        network().fit(X, T, checkpoint=tmp_path / "c", callbacks=[Stop(3)], **OPTIONS)
    return tmp_path / "c"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2": 0.5}, r"l2 is 0\.5, the checkpoint has 0\.0$"),
        ({"batch_size": 8}, "batch_size is 8, the checkpoint has 16$"),
        (
            {"optimizer": SGD(), "learning_rate": None},
            r"learning_rate is Constant\(learning_rate=0\.01\), .*; optimizer is SGD\(",
        ),
        ({"validation_fraction": None}, "X_val is None, .*; rows is 50, the checkpoint has 40"),
        ({"early_stopping": 3}, r"early_stopping is EarlyStopping\(patience=3"),
        ({"seed": 4}, "seed is 4, the checkpoint has None"),
        ({"shuffle": False}, "shuffle is False"),
        ({"sample_weight": np.ones(50)}, "sample_weight is float64 40 [0-9a-f]{16}, the .* None"),
    ],
)
def test_other_options_are_refused_with_what_differs(path, options, message):
    net = network()
    before, start = net.theta.copy(), backends.generator_state(net.generator)
    with pytest.raises(CheckpointError, match="c: a checkpoint of another training: .*" + message):
        net.fit(X, T, checkpoint=path, resume=True, **OPTIONS | options)
    assert (net.theta == before).all()
    assert backends.generator_state(net.generator) == start


def test_other_data_and_networks_are_refused(path):
    other = X.copy()
    other[:, 0] += 1
    with pytest.raises(CheckpointError, match=r"X is float64 40x3 .*, the checkpoint has float64"):
        network().fit(other, T, resume=path, **OPTIONS)
    wide = Network(3, [9, "tanh", Dropout(0.3), 2], seed=3)
    with pytest.raises(CheckpointError, match=r"layers is Chain\(layers=\[Dense\(width=9"):
        wide.fit(X, T, resume=path, **OPTIONS)
    single = network(backends.select("numpy", dtype="float32"))
    with pytest.raises(CheckpointError, match="dtype is 'float32', the checkpoint has 'float64'"):
        single.fit(X, T, resume=path, **OPTIONS)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"every_epochs": 0}, ValueError, "every_epochs is 0; expected a positive integer"),
        ({"every_epochs": 1.5}, ValueError, "every_epochs is 1.5; expected a positive integer"),
        ({"every_minutes": -1}, ValueError, "every_minutes is -1; expected a number above 0"),
        ({"every_minutes": math.nan}, ValueError, "every_minutes is nan; expected a number"),
        ({"on_error": "ignore"}, ValueError, "on_error is 'ignore'; expected 'warn' or 'stop'"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Checkpoint("c", **arguments)


def test_wrong_arguments_of_fit():
    with pytest.raises(ValueError, match=r"resume=True goes on from the file of checkpoint"):
        network().fit(X, T, resume=True)
    with pytest.raises(TypeError, match="resume is 3; expected True, False or a path"):
        network().fit(X, T, resume=3)
    with pytest.raises(TypeError, match="checkpoint is 3; expected a Checkpoint or a path"):
        network().fit(X, T, checkpoint=3)


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
def test_a_checkpoint_that_contradicts_itself(path, tmp_path, change, arrays, message):
    other = sealing.edited(path, tmp_path / "other", change, arrays, KEY)
    with pytest.raises(CheckpointError, match=message) as error:
        network().fit(X, T, resume=other, **OPTIONS)
    assert str(error.value).startswith(f"{other}: ")


def test_model_files_and_checkpoints_are_not_mixed_up(path, tmp_path):
    from xpnn.files import ModelFileError, load, save

    with pytest.raises(ModelFileError, match="but not a model file that xpnn wrote"):
        load(path)
    with pytest.raises(CheckpointError, match="but not a checkpoint that xpnn wrote"):
        network().fit(X, T, resume=save(network(), tmp_path / "net"))


def test_a_callback_of_the_users_own_can_keep_something(tmp_path):
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

    whole, first, second = Sum(), Sum(), Sum()
    network().fit(X, T, callbacks=[whole], **OPTIONS)
    with pytest.raises(RuntimeError, match="crash"):
        network().fit(X, T, checkpoint=tmp_path / "c", callbacks=[first, Stop(3)], **OPTIONS)
    network().fit(X, T, resume=tmp_path / "c", callbacks=[second], **OPTIONS)
    assert second.losses == whole.losses
    assert (second.thetas == whole.thetas).all()


def test_descriptions_are_the_same_in_every_process():
    layer = CustomActivation(math.sin, network)
    expected = f"CustomActivation(forward_function=math.sin, backward_function={__name__}.network)"
    assert describe(layer) == expected
    assert describe(np.float64(0.5)) == "0.5"
    assert describe({"a": [1, None]}) == "{'a': [1, None]}"
    assert describe(EarlyStopping(2)).startswith("EarlyStopping(patience=2, min_delta=0.0")
    assert describe(np.zeros((2, 0))) == "float64 2x0"
    assert describe(object()) == "object"


def test_other_weights_of_validation_rows_are_another_training(path):
    weighted = HELD | {"sample_weight_val": np.linspace(0.5, 1.5, 9)}
    network().fit(X, T, **OPTIONS | HELD | {"epochs": 3}, checkpoint=path)
    message = "training: sample_weight_val is float64 9 [0-9a-f]{16}, the checkpoint has None$"
    with pytest.raises(CheckpointError, match=message):
        network().fit(X, T, **OPTIONS | weighted, resume=path)
