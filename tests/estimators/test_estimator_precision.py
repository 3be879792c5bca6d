"""`compute_dtype`, `loss_scale` and `precision` of the estimators."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from small import COMMON, LABELS, SCORES, WEIGHT, X, assert_same_bytes, classifier, regressor
from small import weights as weights_of

import xpnn
from xpnn import MLPClassifier
from xpnn.backends import dtype_name, select
from xpnn.estimators.files import estimator_content, estimator_from
from xpnn.estimators.plain import write
from xpnn.export import ModelFileError
from xpnn.optimizers import LossScaler
from xpnn.training import Callback, CheckpointError
from xpnn.training.options import Precision

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SCALE = LossScaler(2.0**22, growth_interval=4)
HALF = {"compute_dtype": "float16", "loss_scale": SCALE}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_16_bits_learn_what_float64_learns(dtype, solver):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 on NumPy needs ml_dtypes")
    options = {"solver": solver, "max_iter": 30, "learning_rate_init": 0.02, "weight": WEIGHT}
    for make in (classifier, regressor):
        full, half = make(**options), make(**options, compute_dtype=dtype, loss_scale=2.0**8)
        assert all(w.dtype == "float64" for w in weights_of(half))
        assert half.loss_ == pytest.approx(full.loss_, rel=0.05)
        assert not np.array_equal(half.coefs_[0], full.coefs_[0])


def test_other_libraries(use_library):
    for name in ("torch", "jax"):
        use_library(name)
        here = select(name, dtype="float32")
        model = MLPClassifier(**COMMON, compute_dtype="bfloat16")
        model.fit(here.asarray(X), LABELS)
        assert dtype_name(model.coefs_[0].dtype) == "float32"
        assert model.loss_ == pytest.approx(classifier().loss_, rel=0.05)


def test_partial_fit_goes_on_with_the_scale(tmp_path):
    def step(model):
        return model.partial_fit(X, LABELS, classes=[0, 1, 2])

    expected = MLPClassifier(**COMMON, **HALF)
    model = step(step(MLPClassifier(**COMMON, **HALF)))
    for _ in range(3):
        step(expected)
    loaded = xpnn.load(xpnn.save(model, tmp_path / "m.safetensors"))
    unpickled = pickle.loads(pickle.dumps(model))
    for other in (model, loaded, unpickled):
        # The scale came down in the first calls; from the start it would skip these steps.
        assert_same_bytes(step(other), expected)
    assert not np.array_equal(model.coefs_[0], step(MLPClassifier(**COMMON, **HALF)).coefs_[0])


def test_a_file_whose_parts_contradict_each_other():
    model = MLPClassifier(**COMMON, **HALF).partial_fit(X, LABELS, classes=[0, 1, 2])
    content, arrays = estimator_content(model)
    content["solver"]["precision"] = write(Precision(), "precision", {})
    with pytest.raises(ModelFileError, match=r"state\.\d"):
        estimator_from(content, arrays)


class Crash(Callback):
    def on_epoch_end(self, run):
        if run.history.epochs == 2:
            raise RuntimeError("crash")


def test_a_crash_changes_no_byte(tmp_path):
    options = COMMON | HALF | {"max_iter": 5}
    expected = MLPClassifier(**options).fit(X, LABELS)
    path = tmp_path / "c"
    with pytest.raises(RuntimeError, match="crash"):
        MLPClassifier(**options).fit(X, LABELS, checkpoint=path, callbacks=[Crash()])
    found = MLPClassifier(**options).fit(X, LABELS, checkpoint=path, resume=True)
    assert_same_bytes(found, expected)
    with pytest.raises(CheckpointError, match="compute_dtype is None, the checkpoint has 'float1"):
        MLPClassifier(**COMMON).fit(X, LABELS, resume=path)


def test_the_precision_of_products_reaches_every_solver(monkeypatch):
    seen = []
    for module in (sys.modules["xpnn.estimators.lbfgs"], sys.modules["xpnn.training.options"]):
        own = module.matmul_precision
        monkeypatch.setattr(
            module,
            "matmul_precision",
            lambda asked, xp, own=own: seen.append(asked) or own(asked, xp),
        )
    classifier(precision="medium", max_iter=1)
    assert seen == ["medium"]
    classifier(precision="high", solver="lbfgs")
    assert seen == ["medium", "high"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute_dtype": "float32"}, "'compute_dtype' parameter of MLPRegressor must be"),
        ({"compute_dtype": "float16", "loss_scale": 0}, "'loss_scale' parameter of MLPRegressor"),
        ({"precision": "low"}, "'precision' parameter of MLPRegressor must be"),
        ({"loss_scale": "dynamic"}, "loss_scale is 'dynamic'; it needs compute_dtype='float16'"),
        ({"compute_dtype": "float16", "solver": "lbfgs"}, "does not go with compute_dtype; take"),
        ({"compute_dtype": "float16", "dtype": "float16"}, "the parameters are float16; expected"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        regressor(SCORES, **options)
