"""A custom activation: what it says, and trainings with it; the rest is tested with all layers."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import CUSTOM, centred_backward, softsign, softsign_backward

from xpnn import Network
from xpnn.layers import CustomActivation

every_pair = pytest.mark.parametrize("layer", CUSTOM.values(), ids=list(CUSTOM))
INPUTS, OUTPUTS = 5, 3


@every_pair
def test_they_are_equal_where_their_functions_are(layer):
    assert [other == layer for other in CUSTOM.values()].count(True) == 1


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(("tanh", softsign_backward), "forward"), ((softsign, None), "backward")],
)
def test_both_have_to_be_functions(arguments, name):
    with pytest.raises(TypeError, match=f"{name} is .*; expected a function"):
        CustomActivation(*arguments)


def test_it_says_what_it_is():
    layer = CustomActivation(forward=np.cos, backward=centred_backward)
    assert repr(layer).startswith("CustomActivation(<ufunc 'cos'>, <function centred_backward at ")


TRAINING = {"epochs": 3, "batch_size": 8, "seed": 2}
X = np.random.default_rng(4).normal(size=(22, INPUTS))
LABELS = np.random.default_rng(5).integers(OUTPUTS, size=22)


@every_pair
@pytest.mark.parametrize("engine", ["auto", "planned", "native"])
def test_the_engine_traces_it(layer, engine):
    network, pure = (Network(INPUTS, [6, layer, OUTPUTS], seed=1) for _ in range(2))
    history = network.fit(X, LABELS, engine=engine, **TRAINING)
    expected = pure.fit(X, LABELS, engine="pure", **TRAINING)
    np.testing.assert_array_equal(network.theta, pure.theta)
    assert history.loss == expected.loss
    np.testing.assert_array_equal(network.scores(X), pure.scores(X))


@every_pair
def test_a_training_ends_where_numpys_does(layer, backend, assert_close):
    network, expected = (Network(INPUTS, [6, layer, OUTPUTS], seed=1) for _ in range(2))
    network.fit(backend.asarray(X), backend.asarray(LABELS), **TRAINING)
    expected.fit(X, LABELS, **TRAINING)
    assert_close(network.theta, expected.theta, backend)
