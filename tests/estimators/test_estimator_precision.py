"""`compute_dtype`, `loss_scale` and `precision` of the estimators."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from small import COMMON, LABELS, WEIGHT, X, assert_same_bytes, classifier, regressor, weights

import sealing
import xpnn
from xpnn import MLPClassifier
from xpnn.backends import dtype_name, select
from xpnn.export import ModelFileError
from xpnn.optimizers import LossScaler
from xpnn.training import Callback, CheckpointError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

HALF = {"compute_dtype": "float16", "loss_scale": LossScaler(2.0**22, growth_interval=4)}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_16_bits_learn_what_float64_learns(dtype, solver):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 on NumPy needs ml_dtypes")
    options = {"solver": solver, "max_iter": 30, "learning_rate_init": 0.02, "weight": WEIGHT}
    for make in (classifier, regressor):
        full, half = make(**options), make(**options, compute_dtype=dtype, loss_scale=2.0**8)
        assert all(w.dtype == "float64" for w in weights(half))
        assert half.loss_ == pytest.approx(full.loss_, rel=0.05)
        assert not np.array_equal(half.coefs_[0], full.coefs_[0])


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_other_libraries(name, use_library):
    use_library(name)
    x = select(name, dtype="float32").asarray(X)
    model = MLPClassifier(**COMMON, compute_dtype="bfloat16").fit(x, LABELS)
    assert dtype_name(model.coefs_[0].dtype) == "float32"
    assert model.loss_ == pytest.approx(classifier().loss_, rel=0.05)


def step(model):
    return model.partial_fit(X, LABELS, classes=[0, 1, 2])


def test_partial_fit_goes_on_with_the_scale(tmp_path):
    expected, model = MLPClassifier(**COMMON, **HALF), MLPClassifier(**COMMON, **HALF)
    step(step(model))
    step(step(step(expected)))
    loaded = xpnn.load(xpnn.save(model, tmp_path / "m.safetensors"))
    unpickled = pickle.loads(pickle.dumps(model))
    for other in (model, loaded, unpickled):
        # The scale came down in the first calls; from the start it would skip these steps.
        assert_same_bytes(step(other), expected)
    assert not np.array_equal(model.coefs_[0], step(MLPClassifier(**COMMON, **HALF)).coefs_[0])


def test_a_file_whose_parts_contradict_each_other(tmp_path):
    def in_full_precision(header):
        fields = header["estimator"]["solver"]["precision"]["fields"]
        fields.update(compute_dtype=None, loss_scale=None)
        return header

    path = xpnn.save(step(MLPClassifier(**COMMON, **HALF)), tmp_path / "m.safetensors")
    other = sealing.edited(path, tmp_path / "n.safetensors", in_full_precision)
    with pytest.raises(ModelFileError, match=r"state\.\d"):
        xpnn.load(other)


class Crash(Callback):
    def on_epoch_end(self, run):
        if run.history.epochs == 2:
            raise RuntimeError("crash")


def test_a_crash_changes_no_byte(tmp_path):
    def fit(**more):
        return MLPClassifier(**COMMON | HALF | {"max_iter": 5}).fit(X, LABELS, **more)

    path = tmp_path / "c"
    with pytest.raises(RuntimeError, match="crash"):
        fit(checkpoint=path, callbacks=Crash())
    assert_same_bytes(fit(checkpoint=path, resume=True), fit())
    with pytest.raises(CheckpointError, match="compute_dtype is None, the checkpoint has 'float1"):
        MLPClassifier(**COMMON).fit(X, LABELS, resume=path)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_precision_of_products_reaches_every_solver(solver, use_library):
    use_library("torch")
    import torch

    def looking(z, *, xp):
        seen.add(torch.get_float32_matmul_precision())
        return xp.tanh(z)

    seen, before = set(), torch.get_float32_matmul_precision()
    activation = (looking, lambda z, a, da, *, xp: da * (1.0 - a * a))
    options = {"solver": solver, "precision": "medium", "engine": "pure", "activation": activation}
    MLPClassifier(**COMMON | options).fit(select("torch", dtype="float32").asarray(X), LABELS)
    assert seen == {"medium"}
    assert torch.get_float32_matmul_precision() == before


def test_parameters_that_are_half_themselves_are_not_computed_in_half_precision():
    with pytest.raises(ValueError, match="the parameters are float16; expected"):
        regressor(compute_dtype="float16", dtype="float16")
