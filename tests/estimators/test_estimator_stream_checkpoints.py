"""An estimator's training from a source goes on to the bytes of one never interrupted."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from small import COMMON, LABELS, SCORES, X, assert_same_bytes

from xpnn import Callback, MLPClassifier, MLPRegressor
from xpnn.data import BlockShuffle, stream
from xpnn.optimizers import RMSprop, StepDecay
from xpnn.training import CheckpointError
from xpnn.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CURVES = ("n_iter_", "t_", "loss_curve_", "best_loss_", "validation_scores_", "stopped_")


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("xpnn")] == []


class Stop(Callback):
    """Ends a training after a batch; each run has one, as it makes losses be summed by batch."""

    def __init__(self, epoch=0, batch=-1, error=None):
        self.epoch, self.batch, self.error, self.seen = epoch, batch, error, 0

    def on_batch_end(self, run):
        self.seen += run.history.epochs == self.epoch - 1
        if self.seen == self.batch:
            raise self.error


def files(folder, y, seed):
    for name, array in (("x", X), ("y", y)):
        np.save(folder / f"{name}.npy", array)
    return mixed(folder / "x.npy", folder / "y.npy", seed=seed)


def mixed(*data, seed=None):
    return stream(*data, shuffle=BlockShuffle(4, 4, seed))


CASES = {
    "classifier": (MLPClassifier, LABELS, {"dropout": 0.3}),
    "words": (
        MLPClassifier, np.array(["no", "maybe", "yes"])[LABELS], {"class_weight": "balanced"},
    ),
    "adaptive": (
        MLPRegressor, SCORES, {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05,
                               "n_iter_no_change": 1},
    ),
    "own optimizer": (MLPClassifier, LABELS, {"optimizer": RMSprop(StepDecay(0.05, 0.5, 2))}),
    "early stopping": (MLPRegressor, SCORES[:, 0], {"early_stopping": True, "monitor": "loss"}),
}  # fmt: skip


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("case", CASES)
def test_a_crash_in_an_epoch_changes_no_byte(tmp_path, case, batch):
    kind, y, options = CASES[case]
    path = tmp_path / "c"

    def fitted(stop, **given):
        held = {"X_val": mixed(X, y)} if "early_stopping" in options else {}
        model = kind(**COMMON | {"max_iter": 6, "batch_size": 7} | options)
        return model.fit(mixed(X, y), **held, callbacks=[stop], **given)

    expected = fitted(Stop())
    stop = Stop(4, batch, RuntimeError("crash"))
    with pytest.raises(RuntimeError, match="crash"):
        fitted(stop, checkpoint=path)
    assert stop.seen == batch
    assert read_checkpoint(path).history().epochs == 3
    found = fitted(Stop(), checkpoint=path, resume=True)
    assert_same_bytes(found, expected)
    assert [getattr(found, name) for name in CURVES] == [getattr(expected, name) for name in CURVES]


@pytest.mark.parametrize("seed", [None, 7])
def test_ctrl_c_while_files_are_read(tmp_path, seed):
    path, options = tmp_path / "c", COMMON | {"max_iter": 6, "batch_size": 7}

    def fitted(stop, **given):
        source = files(tmp_path, LABELS, seed)
        return MLPClassifier(**options).fit(source, callbacks=[stop], **given)

    expected = fitted(Stop())
    with pytest.warns(UserWarning, match="interrupted by user"):
        fitted(Stop(3, 5, KeyboardInterrupt()), checkpoint=path)
    assert read_checkpoint(path).history().epochs == 2
    found = fitted(Stop(), checkpoint=path, resume=True)
    assert_same_bytes(found, expected)
    assert found.loss_curve_ == expected.loss_curve_


def test_another_source_is_refused(tmp_path):
    path, model = tmp_path / "c", MLPClassifier(**COMMON)
    model.fit(mixed(X, LABELS), checkpoint=path)
    for other, message in (
        (mixed(X, LABELS, seed=1), "source is BlockShuffle"),
        (mixed(X[:-1], LABELS[:-1]), "rows is 39, the checkpoint has 40"),
        (mixed(X + 1, LABELS), "X is float64 1x4"),
    ):
        with pytest.raises(CheckpointError, match=message):
            MLPClassifier(**COMMON).fit(other, checkpoint=path, resume=True)
