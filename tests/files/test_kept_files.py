"""Files that earlier versions wrote are read; `make_kept.py` says how they were made."""

from pathlib import Path

import make_kept
import numpy as np
import pytest

import xpnn
from xpnn.files import read_record
from xpnn.training.checkpoint import read_checkpoint

KEPT = sorted((Path(__file__).parent / "kept").iterdir())


@pytest.fixture(params=KEPT, ids=lambda folder: folder.name)
def folder(request):
    return request.param


def test_a_network(folder):
    path = folder / "network.safetensors"
    found = xpnn.load(path).scores(make_kept.X)
    assert np.allclose(found, read_record(path)["scores"], rtol=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_estimator(folder):
    path = folder / "classifier.safetensors"
    model, record = xpnn.load(path), read_record(path)
    assert model.classes_.tolist() == ["no", "perhaps", "yes"]
    assert np.allclose(model.predict_proba(make_kept.X), record["probabilities"], rtol=1e-9)
    assert model.loss_curve_ == record["loss"]
    assert model.set_params(warm_start=True).fit(make_kept.X, make_kept.LABELS).n_iter_ == 3


@pytest.mark.filterwarnings("ignore:.*written with:xpnn.training.CheckpointWarning")
def test_a_checkpoint(folder):
    path = folder / "checkpoint.safetensors"
    saved = read_checkpoint(path).history()
    history = make_kept.fit(make_kept.network(), 5, resume=path)
    assert history.loss[:3] == saved.loss
    assert history.epochs == 5
