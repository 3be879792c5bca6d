"""Sums over parts of a batch make the step of the whole batch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning

from xpnn import MLPClassifier, Network, backends
from xpnn.backends import on_device, scalar, to_host
from xpnn.estimators import learner
from xpnn.layers import Dropout
from xpnn.optimizers import Adam
from xpnn.training import make_step
from xpnn.training.summed import batch_sums, make_summed_step


def problem(backend, seed=0):
    rng = np.random.default_rng(seed)
    network = Network(4, [6, "tanh", Dropout(0.3), 3], seed=1, backend=backend)
    x, t = backend.asarray(rng.normal(size=(11, 4))), backend.asarray(rng.integers(0, 3, 11))
    weight = backend.asarray(rng.uniform(0.5, 2.0, 11))
    noise = (None, None, backend.asarray(rng.uniform(size=(11, 6))), None)
    return network, x, t, weight, noise


def take(tree, rows):
    return tuple(None if leaf is None else leaf[rows, ...] for leaf in tree)


class Other:
    """Adds what the other places have found."""

    single_process = False

    def __init__(self, sums):
        self.sums = sums

    def __call__(self, vector):
        return vector + self.sums


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("by_rows", [False, True], ids=["penalty", "penalty by rows"])
def test_sums_of_two_places_make_the_step_of_one(backend, weighted, by_rows):
    network, x, t, weight, noise = problem(backend)
    weight = weight if weighted else None
    xp, device = backend.xp, backend.device
    made = (network.layers, network.tree, network.loss)
    cut = [slice(0, 4), slice(4, 11)]
    one = backend.asarray([1.0])
    with on_device(device):
        whole = make_step(*made, Adam(), 0.03, xp=xp, l2_by_rows=by_rows)
        state = Adam().init(network.theta, xp=xp)
        count, rate = (scalar(v, xp, device, network.theta.dtype) for v in (1.0, 0.01))
        expected = whole(network.theta, state, x, t, weight, noise, rate, count)
        parts = [
            (x[c, ...], t[c, ...], None if weight is None else weight[c, ...], take(noise, c))
            for c in cut
        ]
        summed = batch_sums(*made, xp=xp)
        step = make_summed_step(
            *made, Adam(), 0.03, xp=xp, l2_by_rows=by_rows,
            exchange=Other(summed(network.theta, *parts[0], one)),
        )  # fmt: skip
        *own, drawn = parts[1]
        theta, _, value, weights, rows = step(network.theta, state, *own, (drawn, one), rate, count)
    tolerance = 2e-5 if backends.dtype_name(backend.dtype) == "float32" else 1e-11
    np.testing.assert_allclose(to_host(theta), to_host(expected[0]), rtol=0, atol=tolerance)
    np.testing.assert_allclose(to_host(value), to_host(expected[2]), rtol=tolerance)
    assert float(to_host(rows)) == 11.0
    total = 11.0 if weight is None else float(to_host(weight).sum())
    np.testing.assert_allclose(to_host(weights), total, rtol=1e-6)


@pytest.mark.parametrize("parts", [2, 3, 40])
def test_a_batch_in_parts_has_the_sums_of_the_whole(backend, parts):
    network, x, t, weight, noise = problem(backend)
    made = (network.layers, network.tree, network.loss)
    given_ = (network.theta, x, t, weight, noise, backend.asarray([1.0]))
    with on_device(backend.device):
        whole = batch_sums(*made, xp=backend.xp)(*given_)
        found = batch_sums(*made, parts, xp=backend.xp)(*given_)
    tolerance = 2e-5 if backends.dtype_name(backend.dtype) == "float32" else 1e-11
    np.testing.assert_allclose(to_host(found), to_host(whole), rtol=tolerance, atol=tolerance)


def test_rows_that_do_not_count_give_nothing(backend64):
    network, x, t, weight, noise = problem(backend64)
    summed = batch_sums(network.layers, network.tree, network.loss, xp=backend64.xp)
    with on_device(backend64.device):
        found = summed(network.theta, x, t, weight, noise, backend64.asarray([0.0]))
    np.testing.assert_array_equal(to_host(found), np.zeros(network.size + 3))


def test_accumulating_changes_nothing_but_memory(backend):
    rng = np.random.default_rng(0)
    x, t = backend.asarray(rng.normal(size=(50, 4))), backend.asarray(rng.integers(0, 3, 50))
    thetas = []
    for accumulate in (1, 4):
        network = Network(4, [6, "tanh", 3], seed=1)
        history = network.fit(x, t, epochs=2, batch_size=16, l2=0.01, accumulate=accumulate)
        thetas.append((to_host(network.theta), history.loss))
    tolerance = 1e-4 if backends.dtype_name(backend.dtype) == "float32" else 1e-10
    for a, b in zip(*thetas, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rows", [np.asarray, csr_matrix])
def test_an_estimator_accumulates(rows):
    rng = np.random.default_rng(0)
    x, t, weight = rng.normal(size=(50, 4)), rng.integers(0, 3, 50), rng.random(50)
    one, other = (
        MLPClassifier((6,), max_iter=3, batch_size=16, random_state=0, accumulate=n, dropout=0.2)
        for n in (1, 4)
    )
    whole, made = [], learner.make_summed_step
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        patch.setattr(
            learner, "make_summed_step", lambda *a, **k: whole.append(k["parts"]) or made(*a, **k)
        )
        for model in (one, other):
            model.fit(rows(x), t, sample_weight=weight)
    assert set(whole) == {4}
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-10)
    for a, b in zip(one.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
    with pytest.raises(ValueError, match=r"solver='lbfgs' has no steps .* go with accumulate;"):
        MLPClassifier(solver="lbfgs", accumulate=2).fit(rows(x), t)
    with pytest.raises(ValueError, match="'accumulate' parameter of MLPClassifier must be an int"):
        MLPClassifier(accumulate=0).fit(rows(x), t)
