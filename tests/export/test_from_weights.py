"""Networks made of lists of arrays, as Keras gives them."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import backends
from xpnn.export import NetworkImportError, from_weights
from xpnn.functional import ACTIVATIONS, activation_rule
from xpnn.layers import Activation, Chain, Dense

SOURCE = np.random.default_rng(0)
W1, B1 = SOURCE.normal(size=(5, 4)), SOURCE.normal(size=4)
W2, B2 = SOURCE.normal(size=(4, 3)), SOURCE.normal(size=3)
X = SOURCE.normal(size=(7, 5))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    network = from_weights([(W1, B1), (W2, B2)], [name, None])
    hidden = activation_rule(name).forward(X @ W1 + B1)
    np.testing.assert_allclose(network.scores(X), hidden @ W2 + B2, rtol=1e-12, atol=1e-14)


def test_forms_of_the_lists():
    expected = np.tanh(X @ W1 + B1) @ W2 + B2
    for weights in (
        [W1, B1, W2, B2],
        (W1, B1, W2, B2),
        [(W1, B1), (W2, B2)],
        [[W1, B1], [W2, B2]],
        [(W1.tolist(), B1.tolist()), (W2.tolist(), B2.tolist())],
    ):
        for activations in ("tanh", ["tanh", None], ("tanh", "linear"), [Activation("tanh"), None]):
            network = from_weights(weights, activations, loss="huber", seed=1)
            assert network.layers == Chain((Dense(4), Activation("tanh"), Dense(3)))
            np.testing.assert_allclose(network.scores(X), expected, rtol=1e-12)
            assert network.loss.name == "huber"


def test_layers_without_a_bias():
    for weights in ([W1, W2, B2], [(W1, None), (W2, B2)], [(W1,), (W2, B2)]):
        network = from_weights(weights, "relu")
        assert network.layers.layers[0] == Dense(4, bias=False)
        np.testing.assert_allclose(network.scores(X), np.maximum(X @ W1, 0) @ W2 + B2)


def test_names_and_slopes_of_keras():
    network = from_weights([W1, B1, W2, B2], ["swish", Activation("leaky_relu", 0.2)])
    assert network.layers.layers[1:] == (
        Activation("silu"), Dense(3), Activation("leaky_relu", 0.2),
    )  # fmt: skip
    assert from_weights([W1], None).layers == Chain((Dense(4, bias=False),))
    assert from_weights([W1], "relu").layers == Chain((Dense(4, bias=False),))


def test_every_library_gives_every_bit(backend):
    arrays = [backend.asarray(a) for a in (W1, B1, W2, B2)]
    network = from_weights(arrays, "tanh")
    dtype = backends.dtype_name(backend.dtype)
    assert network.dtype == dtype
    scores = network.scores(backend.asarray(X))
    assert backends.backend_of(scores).name == backend.name
    found = network.parameters()
    for name, given in zip(("0.weights", "0.bias", "2.weights", "2.bias"), arrays, strict=True):
        assert backends.to_host(found[name]).tobytes() == backends.to_host(given).tobytes()


def test_dtypes():
    assert from_weights([W1.astype("float16")], None).dtype == "float16"
    assert from_weights([W1.astype("float32"), B1], None).dtype == "float64"
    assert from_weights([np.ones((2, 2), int)], None).dtype == "float64"
    assert from_weights([W1.astype(">f4")], None).dtype == "float32"
    read_only = W1.copy()
    read_only.flags.writeable = False
    assert from_weights([read_only], None).dtype == "float64"


@pytest.mark.parametrize(
    ("weights", "activations", "message"),
    [
        ([W1, B1, W1, B1], "relu", r"1 have shape \(5, 4\); expected \(4, outputs\); transposed"),
        ([W1, B1, W1[:3, :3]], "relu", r"1 have shape \(3, 3\); expected \(4, outputs\)$"),
        ([W1, B2], None, r"the bias of layer 0 has shape \(3,\); expected \(4,\)"),
        ([(W1, B1[None])], None, r"the bias of layer 0 has shape \(1, 4\); expected \(4,\)"),
        ([(B1, W1)], None, r"the weights of layer 0 have shape \(4,\); expected \(inputs, outputs"),
        ([W1[:, :0]], None, r"the weights of layer 0 have shape \(5, 0\); expected"),
        ([B1, W1], None, r"weights\[0\] has shape \(4,\); expected the weights of a layer"),
        ([W1, B1, B1], None, r"weights\[2\] has shape \(4,\); expected the weights of a layer"),
        ([W1, 3], None, r"weights\[1\] is int; expected an array of one or two axes"),
        ([W1[None]], None, r"weights\[0\] is \(1, 5, 4\); expected an array of one or two axes"),
        ([(W1, B1, B1)], None, r"weights\[0\] is a tuple of 3; expected a pair"),
        (["ab"], None, r"weights\[0\] is 'ab'; expected a pair"),
        ([([[1, 2], [3]], None)], None, "the weights of layer 0 is no array of numbers"),
        ([(W1.astype(str), None)], None, "the weights of layer 0 has dtype <U.*; expected floats"),
        ([(W1 * 1j, None)], None, "the weights of layer 0 has dtype complex128; expected floats"),
        ([], None, "weights is a list; expected a list of pairs"),
        (W1, None, "weights is a ndarray; expected a list of pairs"),
        ({"a": W1}, None, "weights is a dict; expected a list of pairs"),
        ([W1, B1], ["relu", "relu"], "activations has 2 entries; expected 1, one for each layer"),
        ([W1, B1], [], "activations has 0 entries; expected 1"),
        ([W1, B1], ["hard_sigmoid"], r"activations\[0\] is 'hard_sigmoid'; expected None, a Layer"),
        ([W1, B1], [3], r"activations\[0\] is 3; expected None, a Layer, or one of identity, "),
    ],
)  # fmt: skip
def test_what_is_refused(weights, activations, message):
    with pytest.raises(NetworkImportError, match=message):
        from_weights(weights, activations)
