"""Arrays of a kind that is not one of the libraries', and tensors that belong to a graph."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import KINDS, fit, learn_more, make, rows, targets

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class OnlyArray:
    """What computes its numbers when it is asked for them, and has nothing else."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)


class Lazy(OnlyArray):
    """The same with a shape and a dtype, as Dask's arrays have."""

    def __init__(self, values):
        super().__init__(values)
        self.shape, self.ndim, self.dtype = values.shape, values.ndim, values.dtype

    def __len__(self):
        return len(self.values)


@pytest.mark.parametrize("foreign", [OnlyArray, Lazy])
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_that_are_computed_when_asked_for(kind, foreign):
    x = rows()
    y = targets(kind, x)
    plain, model = fit(make(kind), x, y), fit(make(kind), foreign(x), foreign(y))
    expected = plain.predict(x)
    for one in (plain, model):
        np.testing.assert_array_equal(one.predict(foreign(x)), expected)
    np.testing.assert_array_equal(model.predict(x), expected)
    assert type(model.predict(foreign(x))) is np.ndarray
    if kind != "Network":
        parts = make(kind)
        for part in (slice(0, 40), slice(40, None)):
            learn_more(parts, foreign(x[part]), foreign(y[part]))
        assert parts.score(foreign(x), foreign(y)) == parts.score(x, y)


@pytest.fixture
def tensor(use_library):
    use_library("torch")
    import torch

    def make_tensor(values):
        return torch.tensor(np.asarray(values), dtype=torch.float32, requires_grad=True)

    return make_tensor


def labels_or_values(kind, x, tensor):
    """Targets beside a tensor."""
    y = tensor(targets(kind, x))
    return y if kind == "MLPRegressor" else y.detach().long()


METHODS = {
    "Network": ("predict", "predict_proba", "scores"),
    "MLPClassifier": ("predict", "predict_proba", "predict_log_proba"),
    "MLPRegressor": ("predict",),
}


@pytest.mark.parametrize("engine", ["planned", "pure"])
@pytest.mark.parametrize("kind", KINDS)
def test_neither_results_nor_parameters_have_gradients(kind, engine, tensor):
    """Each epoch's operations would hang on those of the epoch before."""
    x = rows()
    given, y = tensor(x), labels_or_values(kind, x, tensor)
    if kind == "Network":
        model = fit(make(kind), given, y, engine=engine)
        learned = [model.theta]
    else:
        model = fit(make(kind, engine=engine), given, y)
        learned = [*model.coefs_, *model.intercepts_]
    assert [p.grad_fn for p in learned] == [None] * len(learned)
    results = [getattr(model, method)(given) for method in METHODS[kind]]
    assert not any(array.requires_grad for array in (*learned, *results))
    for result in results:
        assert np.isfinite(np.asarray(result)).all()
    assert given.requires_grad
    assert given.grad is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_on_them_is_that_on_plain_ones(kind, tensor):
    x = rows()
    plain, y = tensor(x).detach(), labels_or_values(kind, x, tensor)
    weight = tensor(np.ones(len(x)))
    expected = fit(make(kind), plain, y.detach(), sample_weight=weight.detach())
    model = fit(make(kind), tensor(x), y, sample_weight=weight)
    np.testing.assert_array_equal(
        np.asarray(model.predict(plain)), np.asarray(expected.predict(plain))
    )
