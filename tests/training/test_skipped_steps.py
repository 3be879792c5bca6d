"""A history says how many steps a loss scale skipped; files without that are read as before."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from resuming import KEY, header
from safetensors.numpy import load_file

import sealing
import xpnn
from xpnn import MLPClassifier, Network, select
from xpnn.files import read_record
from xpnn.optimizers import SGD, Adam, LossScaler, RMSprop
from xpnn.training import CheckpointError, History

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(60, 5))
LABELS = (X @ GENERATOR.normal(size=(5, 3))).argmax(axis=1)
# Far too large: halved by each of the first steps until the gradients fit.
HALF = {"compute_dtype": "float16", "loss_scale": LossScaler(2.0**30, growth_interval=1000)}


def train(name="numpy", **options):
    here = select(name, dtype="float32")
    network = Network(5, [8, "tanh", 3], seed=3)
    options = {"epochs": 4, "batch_size": 20} | options
    return network, network.fit(here.asarray(X), here.asarray(LABELS), **options)


@pytest.mark.parametrize("name", ["numpy", "cupy", "torch", "jax"])
@pytest.mark.parametrize("engine", ["auto", "pure"])
def test_each_epoch_says_how_many_were_skipped(name, engine, use_library, tmp_path):
    use_library(name)
    path = tmp_path / "c"
    _, history = train(name, engine=engine, checkpoint=path, epochs=6, **HALF)
    assert len(history.skipped) == history.epochs == 6
    assert history.skipped[0] == 3  # all steps of the first epoch
    assert history.skipped[-1] == 0
    if name != "cupy":  # where the pure step rounds weights' gradients to 16 bits, it skips more
        assert sum(history.skipped) < 12
    # Nothing else changes the scale here: each skipped step halved it.
    scale = load_file(path)["carry.1"]
    assert sum(history.skipped) == round(np.log2(2.0**30 / scale))


def test_reports_of_several_epochs_add_up():
    _, one = train(**HALF)
    _, two = train(report_every=3, **HALF)
    assert two.epoch == [3, 4]
    assert two.skipped == [sum(one.skipped[:3]), one.skipped[3]]


@pytest.mark.parametrize("options", [{}, {"compute_dtype": "float16", "loss_scale": 8.0}])
def test_nothing_is_said_where_no_step_can_be_skipped(options):
    _, history = train(**options)
    assert history.skipped == []
    assert "skipped" not in history.to_dict()
    assert "skipped" not in repr(history) + history._repr_html_()


def test_skipped_steps_are_shown_where_there_are_any():
    _, history = train(**HALF)
    count = sum(history.skipped)
    assert f"{count} steps skipped" in repr(history)
    assert "steps skipped</th>" in history._repr_html_()
    assert json.loads(json.dumps(history.to_dict()))["skipped"] == history.skipped
    none = History(loss=[1.0], epoch=[1], skipped=[0])
    assert "skipped" not in repr(none) + none._repr_html_()
    assert none.to_dict()["skipped"] == [0]


def test_accumulated_batches_count_too():
    assert train(gradient_accumulation_steps=2, **HALF)[1].skipped[0] == 3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators(tmp_path):
    histories = []
    options = {"hidden_layer_sizes": (8,), "batch_size": 20, "random_state": 0} | HALF

    def keep(run):
        histories.append(run.history)

    def fit(epochs, **given):
        return MLPClassifier(max_iter=epochs, **options).fit(X, LABELS, callbacks=keep, **given)

    assert np.isfinite(fit(4).loss_)
    skipped = histories[-1].skipped
    assert skipped[0] == 3
    assert len(skipped) == 4
    fit(2, checkpoint=tmp_path / "c")
    fit(4, checkpoint=tmp_path / "c", resume=True)
    assert histories[-1].skipped == skipped
    # Each call of partial_fit has a history of its own, which goes on where the optimizer was.
    model = MLPClassifier(**options)
    for _ in range(2):
        model.partial_fit(X, LABELS, classes=[0, 1, 2], callbacks=keep)
        model = pickle.loads(pickle.dumps(model))
    assert [h.skipped for h in histories[-2:]] == [skipped[:1], skipped[1:2]]


# Files


@pytest.fixture
def path(tmp_path):
    train(checkpoint=tmp_path / "c", epochs=2, **HALF)
    return tmp_path / "c"


def test_a_checkpoint_without_the_list_is_read(path, tmp_path):
    def change(values):
        return values | {"history": {k: v for k, v in values["history"].items() if k != "skipped"}}

    expected, history = train(epochs=4, **HALF)
    assert header(path)["history"]["skipped"] == history.skipped[:2]
    before = sealing.edited(path, tmp_path / "before", change, key=KEY)
    network, again = train(epochs=4, resume=before, **HALF)
    assert network.theta.tobytes() == expected.theta.tobytes()
    assert again.skipped == [0, 0, *history.skipped[2:]]


@pytest.mark.parametrize("wrong", [[-1, 0], [0.5, 0], [1], "no", [True, 0], None])
def test_a_checkpoint_with_a_wrong_list_is_refused(path, tmp_path, wrong):
    def change(values):
        return values | {"history": values["history"] | {"skipped": wrong}}

    other = sealing.edited(path, tmp_path / "other", change, key=KEY)
    with pytest.raises(CheckpointError, match="its history is not what a checkpoint has there"):
        train(resume=other, **HALF)


def test_a_model_file_keeps_it(tmp_path):
    network, history = train(**HALF)
    xpnn.save(network, tmp_path / "m", history.to_dict())
    assert read_record(tmp_path / "m")["skipped"] == history.skipped


@pytest.mark.parametrize("optimizer", [SGD(0.01), Adam(0.01), RMSprop(0.01)], ids=repr)
def test_engines_count_the_same_skipped_steps(optimizer):
    """What only the count is made from is kept on a plan too."""
    options = HALF | {"optimizer": optimizer, "epochs": 6}
    pure, planned = (train(engine=engine, **options)[1].skipped for engine in ("pure", "plan"))
    assert planned == pure
    assert sum(pure) > 0
