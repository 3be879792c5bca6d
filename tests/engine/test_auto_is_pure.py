"""However a step is made fast, it must stay the same step."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import Network
from xpnn.backends import scalar, to_host
from xpnn.layers import Activation, Dropout, chain, draw, place, walk
from xpnn.optimizers import SGD, Adam, Clipped, CosineWarmup
from xpnn.training import Loss, make_step

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(23, 5))
LABELS = GENERATOR.integers(3, size=23)
WEIGHT = GENERATOR.uniform(0.5, 2.0, 23)
CASES = {
    "plain": ([4, "gelu", 3], {"optimizer": SGD(0.1)}),
    "partial batch, changing rate": (
        [4, "elu", 3],
        {"optimizer": Adam(CosineWarmup(0.05, warmup=1)), "batch_size": 7},
    ),
    "weights, dropout, decay": (
        [Dropout(0.2), 4, Activation("leaky_relu", 0.1), Dropout(0.5), 3],
        {"optimizer": Clipped(SGD(0.1, momentum=0.9), 0.5), "sample_weight": WEIGHT, "l2": 0.01},
    ),
    "one row at a time": ([3], {"optimizer": SGD(0.1), "batch_size": 1, "shuffle": False}),
}


@pytest.mark.skip_backend("jax", reason="slow step by step; training/test_agreement covers it")
@pytest.mark.parametrize("name", CASES)
def test_a_fast_training_is_the_pure_training(name, backend, assert_close):
    layers, options = CASES[name]
    options = {
        key: backend.asarray(value) if isinstance(value, np.ndarray) else value
        for key, value in options.items()
    }
    networks, histories = [], []
    for engine in ("auto", "pure"):
        network = Network(5, layers, seed=1)
        x, t = backend.asarray(X), backend.asarray(LABELS)
        histories.append(network.fit(x, t, **{"epochs": 2, "engine": engine} | options))
        networks.append(network)
    assert_close(networks[0].theta, to_host(networks[1].theta), backend)
    assert histories[0].loss == pytest.approx(histories[1].loss, rel=1e-4)


def test_the_step_is_the_same_on_every_library(backend, assert_close):
    layer, loss, optimizer = chain([4, "gelu", 3]), Loss("softmax_cross_entropy"), Adam(0.1)
    tree = place(layer.parameters(5))
    theta = draw(tree, np.random.default_rng(1))

    def step(asarray, number, xp):
        parameters = asarray(theta)
        state = optimizer.init(parameters, xp=xp)
        return make_step(layer, tree, loss, optimizer, 0.01, xp=xp)(
            parameters, state, asarray(X), asarray(LABELS), asarray(WEIGHT), None,
            number(0.1), number(1.0),
        )  # fmt: skip

    expected = step(np.asarray, np.asarray, np)
    found = step(
        backend.asarray,
        lambda v: scalar(v, backend.xp, backend.device, backend.dtype),
        backend.xp,
    )
    for array, reference in zip(walk(found), walk(expected), strict=True):
        assert_close(array, reference, backend)
