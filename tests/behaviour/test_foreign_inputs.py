"""Arrays of a kind that is not one of the libraries', and tensors that belong to a graph."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import KINDS, fit, make, rows, targets

from xpnn import MLPClassifier, MLPRegressor

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


FOREIGN = pytest.mark.parametrize("foreign", [OnlyArray, Lazy])


@FOREIGN
@pytest.mark.parametrize("kind", KINDS)
def test_arrays_that_are_computed_when_asked_for(kind, foreign):
    x = rows()
    y = targets(kind, x)
    expected = fit(make(kind), x, y).predict(x)
    model = fit(make(kind), foreign(x), foreign(y))
    np.testing.assert_array_equal(model.predict(foreign(x)), expected)
    np.testing.assert_array_equal(model.predict(x), expected)
    assert type(model.predict(foreign(x))) is np.ndarray
    # The same by turns.
    np.testing.assert_array_equal(fit(make(kind), x, y).predict(foreign(x)), expected)


@FOREIGN
@pytest.mark.parametrize("make_model", [MLPClassifier, MLPRegressor])
def test_they_can_be_scored_and_learned_from_in_parts(make_model, foreign):
    x = rows()
    y = targets(make_model.__name__, x)
    model = make_model(random_state=0)
    for part in (slice(0, 40), slice(40, None)):
        options = {"classes": [0, 1, 2]} if make_model is MLPClassifier else {}
        model.partial_fit(foreign(x[part]), foreign(y[part]), **options)
    assert model.score(foreign(x), foreign(y)) == model.score(x, y)


@pytest.fixture
def tensor(use_library):
    use_library("torch")
    import torch

    def make_tensor(values):
        return torch.tensor(np.asarray(values), dtype=torch.float32, requires_grad=True)

    return make_tensor


def labels_or_values(kind, x, tensor):
    """Targets beside a tensor."""
    y = targets(kind, x)
    return tensor(y) if kind == "MLPRegressor" else tensor(y).detach().long()


CALLS = [
    *(("Network", call) for call in ("predict", "predict_proba", "scores")),
    *(("MLPClassifier", call) for call in ("predict", "predict_proba", "predict_log_proba")),
    ("MLPRegressor", "predict"),
]


@pytest.mark.parametrize("engine", ["plan", "pure"])
@pytest.mark.parametrize(("kind", "call"), CALLS)
def test_results_have_no_gradients(kind, call, engine, tensor):
    x = rows()
    model = make(kind) if kind == "Network" else make(kind, engine=engine)
    options = {"engine": engine} if kind == "Network" else {}
    given = tensor(x)
    fit(model, given, labels_or_values(kind, x, tensor), **options)
    result = getattr(model, call)(given)
    assert not result.requires_grad
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


@pytest.mark.parametrize("engine", ["plan", "pure"])
@pytest.mark.parametrize("kind", KINDS)
def test_parameters_do_not_drag_a_graph_along(kind, engine, tensor):
    # Each epoch's operations would hang on those of the epoch before.
    x = rows()
    own = {} if kind == "Network" else {"engine": engine}
    model = make(kind, **own)
    y = labels_or_values(kind, x, tensor)
    fit(model, tensor(x), y, **({"engine": engine} if kind == "Network" else {}))
    learned = [model.theta] if kind == "Network" else [*model.coefs_, *model.intercepts_]
    assert [p.grad_fn for p in learned] == [None] * len(learned)
    assert not any(p.requires_grad for p in learned)
