"""Checkpoints of the estimators' `fit`: going on from one changes no byte."""

import threading
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from small import COMMON, LABELS, SCORES, SEVERAL, TWO, WEIGHT, X, assert_same_bytes, is_on

import sealing
from xpnn import Callback, Checkpoint, MLPClassifier, MLPRegressor
from xpnn.data import BlockShuffle, stream
from xpnn.optimizers import LossScaler, RMSprop, StepDecay
from xpnn.training import CheckpointError, CheckpointWarning

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CURVES = (
    "n_iter_", "t_", "loss_", "best_loss_", "loss_curve_", "validation_loss_curve_",
    "validation_scores_", "best_validation_score_", "stopped_",
)  # fmt: skip
WORDS = np.array(["no", "maybe", "yes"])[LABELS]


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("xpnn")] == []


class Stop(Callback):
    """Raises after an epoch, and knows the first that it saw."""

    def __init__(self, epoch=0, error=None):
        self.epoch, self.error, self.first = epoch, error or RuntimeError("crash"), None

    def on_epoch_end(self, run):
        self.first = self.first or run.history.epochs
        if run.history.epochs == self.epoch:
            raise self.error


class StopInEpoch(Stop):
    """Raises after a batch; each run has one, as it makes losses be summed by batch."""

    def __init__(self, epoch=0, batch=-1, error=None):
        super().__init__(epoch, error)
        self.batch, self.seen = batch, 0

    def on_batch_end(self, run):
        self.seen += run.history.epochs == self.epoch - 1
        if self.seen == self.batch:
            raise self.error


def mixed(*data, seed=None):
    return stream(*data, shuffle=BlockShuffle(4, 4, seed))


def new(kind=MLPClassifier, **options):
    return kind(**COMMON | {"max_iter": 6} | options)


def training(x=X, y=LABELS, given=(), **options):
    """A function that trains anew, and hands what it is given to `fit`."""
    return lambda **more: new(**options).fit(x, y, **dict(given), **more)


def crash_and_resume(path, train, stop=Stop, at=(4,)):
    crash, again = stop(*at), stop()
    with pytest.raises(RuntimeError, match="crash"):
        train(checkpoint=path, callbacks=crash)
    found = train(checkpoint=path, resume=True, callbacks=again)
    assert again.first == 4
    return found


def same(model, expected):
    assert_same_bytes(model, expected)
    for name in CURVES:
        assert getattr(model, name) == getattr(expected, name)
    return True


EARLY = {"early_stopping": True, "n_iter_no_change": 2, "learning_rate_init": 0.1}
CASES = {
    "adam": (LABELS, {}),
    "dropout and early stopping": (LABELS, EARLY | {"dropout": 0.3, "n_iter_no_change": 5}),
    "words, balanced": (WORDS, {"class_weight": "balanced", "dropout": 0.3}),
    "adaptive": (
        TWO, {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1},
    ),
    "inverse scaling": (SCORES, {"solver": "sgd", "learning_rate": "invscaling"}),
    "own optimizer": (SEVERAL, {"optimizer": RMSprop(StepDecay(0.05, 2, 0.5))}),
    "decay, clipped": (SCORES[:, 0], {"weight_decay": 0.1, "clip_norm": 0.1}),
    "half precision": (
        LABELS,
        {"compute_dtype": "float16", "loss_scale": LossScaler(2.0**22, growth_interval=4)},
    ),
    "in order": (SCORES, {"shuffle": False}),
    "loss monitored": (SCORES, EARLY | {"monitor": "loss"}),
}  # fmt: skip


@pytest.mark.parametrize("batch", [None, 1, 4])
@pytest.mark.parametrize("name", CASES)
def test_a_crash_changes_no_byte(tmp_path, name, batch):
    """After an epoch on arrays, or after a batch while the rows of a source are read."""
    y, options = CASES[name]
    kind, options = (
        MLPRegressor if y.dtype.kind == "f" else MLPClassifier,
        options | {"max_iter": 9},
    )

    def train(**more):
        if batch is None:
            return new(kind, **options).fit(X, y, **more)
        if "early_stopping" in options:
            more["X_val"] = mixed(X, y)
        return new(kind, **options | {"batch_size": 7}).fit(mixed(X, y), **more)

    stop, at = (Stop, (4,)) if batch is None else (StopInEpoch, (4, batch))
    expected = train(callbacks=stop())
    assert expected.n_iter_ > 4
    assert same(crash_and_resume(tmp_path / "c", train, stop, at), expected)


OTHERS = {
    "validation rows": training(given={"X_val": X[:9], "y_val": LABELS[:9]}),
    "weights": training(given={"sample_weight": WEIGHT}),
    "sparse rows": training(csr_array(X * (X > 0)), WORDS),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_data(tmp_path, name):
    found, expected = crash_and_resume(tmp_path / "c", OTHERS[name]), OTHERS[name]()
    assert same(found, expected)
    assert found.classes_.tolist() == expected.classes_.tolist()


def test_every_library(tmp_path, backend):
    train = training(backend.asarray(X), dropout=0.2, early_stopping=True)
    expected, found = train(), crash_and_resume(tmp_path / "c", train)
    assert is_on(found.coefs_[0], backend)
    assert_same_bytes(found, expected)


@pytest.mark.parametrize("state", [None, "instance"])
def test_generators_that_are_not_seeds(tmp_path, state):
    def make(seed):
        rng = np.random.RandomState(seed) if state else None
        if rng is None:
            np.random.seed(seed)
        return new(random_state=rng, dropout=0.3)

    expected = make(3).fit(X, LABELS)
    with pytest.raises(RuntimeError, match="crash"):
        make(3).fit(X, LABELS, checkpoint=tmp_path / "c", callbacks=Stop(4))
    other = make(99)
    place = np.random.get_state()[1].copy()
    assert same(other.fit(X, LABELS, resume=tmp_path / "c"), expected)
    assert (np.random.get_state()[1] == place).all()


def test_what_was_resumed_goes_on_with_partial_fit(tmp_path):
    found, expected = crash_and_resume(tmp_path / "c", training()), training()()
    assert_same_bytes(found.partial_fit(X, LABELS), expected.partial_fit(X, LABELS))


@pytest.mark.parametrize("options", [{}, EARLY | {"max_iter": 50}])
def test_a_finished_training_comes_back_as_it_ended(tmp_path, options):
    train = training(**options)
    expected = train(checkpoint=tmp_path / "c")
    assert expected.stopped_ == bool(options)
    assert same(train(checkpoint=tmp_path / "c", resume=True), expected)


def test_more_iterations_go_on(tmp_path):
    training(max_iter=3)(checkpoint=tmp_path / "c")
    assert same(training()(resume=tmp_path / "c"), training()())


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("source", [False, True])
def test_ctrl_c_leaves_the_last_whole_epoch(tmp_path, source, seed):
    checkpoint, again = Checkpoint(tmp_path / "c", every_epochs=100), StopInEpoch()
    for name, array in (("x", X), ("y", LABELS)):
        np.save(tmp_path / f"{name}.npy", array)

    def train(callbacks, **more):
        data = (X, LABELS)
        if source:
            data = (mixed(tmp_path / "x.npy", tmp_path / "y.npy", seed=seed),)
        return new(batch_size=7).fit(*data, callbacks=callbacks, **more)

    with pytest.warns(UserWarning, match="interrupted by user"):
        train(StopInEpoch(4, 5, KeyboardInterrupt()), checkpoint=checkpoint)
    found = train(again, checkpoint=checkpoint, resume=True)
    assert again.first == 4
    assert same(found, train(StopInEpoch()))


def no_room(self, content):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_a_warning(tmp_path, monkeypatch):
    expected = training()()
    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.warns(CheckpointWarning, match="c could not be written: .*No space") as caught:
        found = new().fit(X, LABELS, checkpoint=tmp_path / "c")
    (warning,) = (w for w in caught if w.category is CheckpointWarning)
    assert warning.filename == __file__
    assert same(found, expected)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "x", "y", "message"),
    [
        ({"alpha": 0.5}, X, LABELS, r"alpha is 0\.5, the checkpoint has 0\.0001$"),
        ({"random_state": 2}, X, LABELS, "random_state is 2, the checkpoint has 1$"),
        ({"dtype": "float32"}, X, LABELS, "dtype is 'float32', the checkpoint has 'float64'"),
        ({}, X + 1, LABELS, "X is float64 40x4 [0-9a-f]*, the checkpoint has float64 40x4"),
        ({}, X, LABELS + 1, r"classes is \[1, 2, 3\], the checkpoint has \[0, 1, 2\]$"),
        ({}, X, LABELS[::-1], "y is int32 40 [0-9a-f]*, the checkpoint has int32 40"),
        ({"early_stopping": True}, X, LABELS, "X_val is float64 4x4.* has None"),
        ({"compute_dtype": "float16"}, X, LABELS, "compute_dtype is 'float16', .* has None"),
        ({"max_iter": 1}, X, LABELS, "1 epochs are asked for, the checkpoint is after 6"),
    ],
)
def test_another_training_is_refused_with_what_differs(tmp_path, options, x, y, message):
    training()(checkpoint=tmp_path / "c")
    with pytest.raises(CheckpointError, match="c: a checkpoint of another training: .*" + message):
        new(**options).fit(x, y, checkpoint=tmp_path / "c", resume=True)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: mixed(X, LABELS, seed=1), "source is BlockShuffle"),
        (lambda: mixed(X[:-1], LABELS[:-1]), "rows is 39, the checkpoint has 40"),
        (lambda: mixed(X + 1, LABELS), "X is float64 1x4"),
    ],
)
def test_another_source_is_refused(tmp_path, other, message):
    new().fit(mixed(X, LABELS), checkpoint=tmp_path / "c")
    with pytest.raises(CheckpointError, match=message):
        new().fit(other(), checkpoint=tmp_path / "c", resume=True)


INDICES = "sampler.indices"


def rules(header, **changed):
    """The header with another state of the fitted attributes."""
    (state,) = header["callbacks"]
    return header | {"callbacks": [state | {"values": state["values"] | changed}]}


@pytest.mark.parametrize(
    ("change", "arrays", "message"),
    [
        (lambda h: {**h, "kind": "network"}, None, "it is of the kind 'network'; this training"),
        (lambda h: {**h, "callbacks": []}, None, "it has the states of other callbacks than"),
        (lambda h: rules(h, n_iter_=None), None, "cannot be restored: it has no n_iter_"),
        (lambda h: rules(h, learning_rate="a"), None, "its learning_rate is 'a'"),
        (lambda h: rules(h, n_iter_=2), None, "its n_iter_ is not the number of its epochs"),
        (None, lambda a: a.update({INDICES: a[INDICES] * 2}), "its indices are not a permutation"),
        (
            None,
            lambda a: a.update({"callback.0.best_theta": np.zeros(2)}),
            r"best_theta is array.*; expected shape \(51,\)",
        ),
    ],
)
def test_a_checkpoint_that_contradicts_itself(tmp_path, change, arrays, message):
    training()(checkpoint=tmp_path / "c")
    other = sealing.edited(tmp_path / "c", tmp_path / "d", change, arrays, "xpnn-checkpoint")
    with pytest.raises(CheckpointError, match=message):
        training()(resume=other)
