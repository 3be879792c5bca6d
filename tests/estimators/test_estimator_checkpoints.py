"""Checkpoints of the estimators' `fit`: going on from one changes no byte."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from small import COMMON, LABELS, SCORES, SEVERAL, TWO, WEIGHT, X, assert_same_bytes

import sealing
from xpnn import MLPClassifier, MLPRegressor, backends
from xpnn.optimizers import RMSprop, StepDecay
from xpnn.training import Checkpoint, CheckpointError, CheckpointWarning
from xpnn.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CURVES = (
    "n_iter_", "t_", "loss_", "best_loss_", "loss_curve_", "validation_loss_curve_",
    "validation_scores_", "best_validation_score_", "stopped_",
)  # fmt: skip


def crash_at(epoch, error=RuntimeError):
    def call(run):
        if run.history.epochs == epoch:
            raise error("crash")

    return call


def same(model, expected):
    assert_same_bytes(model, expected)
    for name in CURVES:
        assert getattr(model, name) == getattr(expected, name)
    return True


def crash_and_resume(path, make, x, y, at=4, **given):
    with pytest.raises(RuntimeError, match="crash"):
        make().fit(x, y, checkpoint=path, callbacks=[crash_at(at)], **given)
    return make().fit(x, y, checkpoint=path, resume=True, **given)


EARLY = {"early_stopping": True, "n_iter_no_change": 2, "learning_rate_init": 0.1}
CASES = {
    "adam": (MLPClassifier, LABELS, {}),
    "dropout and early stopping": (
        MLPClassifier,
        LABELS,
        EARLY | {"dropout": 0.3, "n_iter_no_change": 5},
    ),
    "adaptive": (
        MLPClassifier,
        TWO,
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1},
    ),
    "inverse scaling": (MLPRegressor, SCORES, {"solver": "sgd", "learning_rate": "invscaling"}),
    "own optimizer": (MLPClassifier, SEVERAL, {"optimizer": RMSprop(StepDecay(0.05, 2, 0.5))}),
    "decay, clipped": (MLPRegressor, SCORES[:, 0], {"weight_decay": 0.1, "clip_norm": 0.1}),
    "in order": (MLPRegressor, SCORES, {"shuffle": False}),
    "loss monitored": (MLPRegressor, SCORES, EARLY | {"monitor": "loss"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_crash_changes_no_byte(tmp_path, case):
    kind, y, options = CASES[case]

    def make():
        return kind(**COMMON | {"max_iter": 9} | options)

    expected = make().fit(X, y)
    assert expected.n_iter_ > 4
    assert same(crash_and_resume(tmp_path / "c", make, X, y), expected)


@pytest.mark.parametrize(
    "given", [{"X_val": X[:9], "y_val": LABELS[:9]}, {"sample_weight": WEIGHT}]
)
def test_data_beside_the_rows(tmp_path, given):
    def make():
        return MLPClassifier(**COMMON | {"max_iter": 6})

    expected = make().fit(X, LABELS, **given)
    assert same(crash_and_resume(tmp_path / "c", make, X, LABELS, **given), expected)


def test_sparse_rows_and_words(tmp_path):
    x, y = csr_array(X * (X > 0)), np.asarray(["a", "b", "c"])[LABELS]

    def make():
        return MLPClassifier(**COMMON | {"max_iter": 6})

    found = crash_and_resume(tmp_path / "c", make, x, y)
    assert same(found, make().fit(x, y))
    assert found.classes_.tolist() == ["a", "b", "c"]


def test_every_library(tmp_path, backend):
    x = backend.asarray(X)

    def make():
        return MLPClassifier(**COMMON | {"max_iter": 6, "dropout": 0.2, "early_stopping": True})

    expected, found = make().fit(x, LABELS), crash_and_resume(tmp_path / "c", make, x, LABELS)
    for a, b in zip(found.coefs_, expected.coefs_, strict=True):
        assert backends.device_of(a) == backend.device
        assert backends.to_host(a).tobytes() == backends.to_host(b).tobytes()


@pytest.mark.parametrize("state", [None, "instance"])
def test_generators_that_are_not_seeds(tmp_path, state):
    def make(seed):
        source = np.random.RandomState(seed) if state else None
        if source is None:
            np.random.seed(seed)
        return MLPClassifier(**COMMON | {"max_iter": 6, "random_state": source, "dropout": 0.3})

    expected = make(3).fit(X, LABELS)
    with pytest.raises(RuntimeError, match="crash"):
        make(3).fit(X, LABELS, checkpoint=tmp_path / "c", callbacks=[crash_at(4)])
    other = make(99)
    place = np.random.get_state()[1].copy()
    assert same(other.fit(X, LABELS, resume=tmp_path / "c"), expected)
    assert (np.random.get_state()[1] == place).all()


def test_what_was_resumed_goes_on_with_partial_fit(tmp_path):
    def make():
        return MLPClassifier(**COMMON | {"max_iter": 6})

    expected = make().fit(X, LABELS).partial_fit(X, LABELS)
    found = crash_and_resume(tmp_path / "c", make, X, LABELS).partial_fit(X, LABELS)
    assert_same_bytes(found, expected)


@pytest.mark.parametrize("options", [{}, EARLY | {"max_iter": 50}])
def test_a_finished_training_comes_back_as_it_ended(tmp_path, options):
    def make():
        return MLPClassifier(**COMMON | options)

    expected = make().fit(X, LABELS, checkpoint=tmp_path / "c")
    assert expected.stopped_ == bool(options)
    assert same(make().fit(X, LABELS, checkpoint=tmp_path / "c", resume=True), expected)


def test_more_iterations_go_on(tmp_path):
    MLPClassifier(**COMMON).fit(X, LABELS, checkpoint=tmp_path / "c")
    longer = MLPClassifier(**COMMON | {"max_iter": 7})
    expected = MLPClassifier(**COMMON | {"max_iter": 7}).fit(X, LABELS)
    assert same(longer.fit(X, LABELS, resume=tmp_path / "c"), expected)


def test_ctrl_c_writes_the_last_whole_epoch(tmp_path):
    checkpoint = Checkpoint(tmp_path / "c", every_epochs=100)
    stop = crash_at(4, KeyboardInterrupt)
    with pytest.warns(UserWarning, match="interrupted by user"):
        MLPClassifier(**COMMON | {"max_iter": 6}).fit(
            X, LABELS, checkpoint=checkpoint, callbacks=[stop]
        )
    saved = read_checkpoint(tmp_path / "c")
    assert (saved.stopped, saved.history().epochs) == ("interrupted", 3)
    model = MLPClassifier(**COMMON | {"max_iter": 6})
    found = model.fit(X, LABELS, checkpoint=checkpoint, resume=True)
    assert same(found, MLPClassifier(**COMMON | {"max_iter": 6}).fit(X, LABELS))


def no_room(self, content):
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_a_warning(tmp_path, monkeypatch):
    expected = MLPClassifier(**COMMON).fit(X, LABELS)
    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.warns(CheckpointWarning, match="c could not be written: .*No space") as caught:
        found = MLPClassifier(**COMMON).fit(X, LABELS, checkpoint=tmp_path / "c")
    (warning,) = (w for w in caught if w.category is CheckpointWarning)
    assert warning.filename == __file__
    assert same(found, expected)
    assert not list(tmp_path.iterdir())


def saved(path, **options):
    MLPClassifier(**COMMON | options).fit(X, LABELS, checkpoint=path)
    return path


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
        ({"max_iter": 1}, X, LABELS, "1 epochs are asked for, the checkpoint is after 3"),
    ],
)
def test_another_training_is_refused_with_what_differs(tmp_path, options, x, y, message):
    path = saved(tmp_path / "c")
    with pytest.raises(CheckpointError, match="c: a checkpoint of another training: .*" + message):
        MLPClassifier(**COMMON | options).fit(x, y, checkpoint=path, resume=True)


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
    path = saved(tmp_path / "c")
    other = sealing.edited(path, tmp_path / "other", change, arrays, "xpnn-checkpoint")
    with pytest.raises(CheckpointError, match=message):
        MLPClassifier(**COMMON).fit(X, LABELS, resume=other)


def test_a_solver_without_epochs_has_no_checkpoints(tmp_path):
    model = MLPClassifier(**COMMON, solver="lbfgs")
    with pytest.raises(ValueError, match="does not go with checkpoint, resume; take solver='adam'"):
        model.fit(X, LABELS, checkpoint=tmp_path / "c", resume=True)
