"""Sums over parts of a batch make the step of the whole batch."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning

from xpnn import MLPClassifier, Network, backends
from xpnn.backends import on_device, scalar, to_host
from xpnn.layers import Dropout
from xpnn.optimizers import Adam
from xpnn.training.step import Batch, Step


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

    def __init__(self, sums):
        self.sums = sums

    def __call__(self, vector):
        return vector + self.sums


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("per_row", [False, True], ids=["penalty", "penalty per row"])
def test_sums_of_two_places_make_the_step_of_one(backend, weighted, per_row):
    network, x, t, weight, noise = problem(backend)
    weight = weight if weighted else None
    xp, device = backend.xp, backend.device
    step = Step(network.layers, network.tree, network.loss, Adam(), 0.03, per_row)
    cut = [slice(0, 4), slice(4, 11)]
    one = backend.asarray([1.0])
    with on_device(device):
        state = Adam().init(network.theta, xp=xp)
        zero, rate = (scalar(v, xp, device, network.theta.dtype) for v in (0.0, 0.01))
        carry, totals = (network.theta, state, zero), (zero,) * step.count_totals(weighted)
        batch = (x, t, weight, noise, rate)
        (expected, _, _), expected_totals = step.update(xp)(carry, totals, batch)
        parts = [
            (x[c, ...], t[c, ...], None if weight is None else weight[c, ...], take(noise, c))
            for c in cut
        ]
        sums = step.sums(xp)(network.theta, Batch(*parts[0], one))
        packed = xp.concat([xp.reshape(part, (-1,)) for part in sums])
        *own, drawn = parts[1]
        update = step.update(xp, Other(packed))
        (theta, _, _), totals = update(carry, totals, (*own, (drawn, one), rate))
    tolerance = 2e-5 if backends.dtype_name(backend.dtype) == "float32" else 1e-11
    np.testing.assert_allclose(to_host(theta), to_host(expected), rtol=0, atol=tolerance)
    for found, wanted in zip(totals, expected_totals, strict=True):
        np.testing.assert_allclose(to_host(found), to_host(wanted), rtol=tolerance)


@pytest.mark.parametrize("parts", [2, 3, 40])
def test_a_batch_in_parts_has_the_sums_of_the_whole(backend, parts):
    network, x, t, weight, noise = problem(backend)
    step = Step(network.layers, network.tree, network.loss, Adam())
    cut = replace(step, gradient_accumulation_steps=parts)
    batch = Batch(x, t, weight, noise, backend.asarray([1.0]))
    with on_device(backend.device):
        whole, found = (s.sums(backend.xp)(network.theta, batch) for s in (step, cut))
    tolerance = 2e-5 if backends.dtype_name(backend.dtype) == "float32" else 1e-11
    for a, b in zip(found, whole, strict=True):
        np.testing.assert_allclose(to_host(a), to_host(b), rtol=tolerance, atol=tolerance)


def test_rows_that_do_not_count_give_nothing(backend64):
    network, x, t, weight, noise = problem(backend64)
    sums = Step(network.layers, network.tree, network.loss, Adam()).sums(backend64.xp)
    with on_device(backend64.device):
        found = sums(network.theta, Batch(x, t, weight, noise, backend64.asarray([0.0])))
    for part in found:
        assert not to_host(part).any()


def test_accumulating_changes_nothing_but_memory(backend):
    rng = np.random.default_rng(0)
    x, t = backend.asarray(rng.normal(size=(50, 4))), backend.asarray(rng.integers(0, 3, 50))
    thetas = []
    for accumulate in (1, 4):
        network = Network(4, [6, "tanh", 3], seed=1)
        history = network.fit(
            x, t, epochs=2, batch_size=16, l2=0.01, gradient_accumulation_steps=accumulate
        )
        thetas.append((to_host(network.theta), history.loss))
    tolerance = 1e-4 if backends.dtype_name(backend.dtype) == "float32" else 1e-10
    for a, b in zip(*thetas, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rows", [np.asarray, csr_matrix])
def test_an_estimator_accumulates(rows):
    rng = np.random.default_rng(0)
    x, t, weight = rng.normal(size=(50, 4)), rng.integers(0, 3, 50), rng.random(50)
    options = {"max_iter": 3, "batch_size": 16, "random_state": 0, "dropout": 0.2}
    models = [MLPClassifier((6,), gradient_accumulation_steps=n, **options) for n in (1, 4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        one, other = (model.fit(rows(x), t, sample_weight=weight) for model in models)
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-10)
    for a, b in zip(one.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"solver": "lbfgs", "gradient_accumulation_steps": 2},
            r"solver='lbfgs' has no steps .* go with gradient_accumulation_steps;",
        ),
        (
            {"gradient_accumulation_steps": 0},
            "'gradient_accumulation_steps' parameter of MLPClassifier must be an int",
        ),
    ],
)
def test_an_estimator_that_cannot_accumulate_says_so(options, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**options).fit(np.eye(4), [0, 1, 0, 1])
