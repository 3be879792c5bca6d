"""Networks: shapes in and out, parameters, and text for people."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from xpnn import Network, select
from xpnn.backends import MixedArraysError, backend_of, to_host
from xpnn.layers import Dropout, Layer
from xpnn.training import Loss

X = np.random.default_rng(0).normal(size=(7, 4))
LABELS = [0, 1, 2, 0, 1, 2, 0]

# loss, outputs -> shape of predict for many rows, for one row
SHAPES = [
    ("softmax_cross_entropy", 3, (7,), ()),
    ("binary_cross_entropy", 1, (7,), ()),
    ("binary_cross_entropy", 3, (7, 3), (3,)),
    ("hinge", 1, (7,), ()),
    ("mean_squared_error", 1, (7,), ()),
    ("mean_squared_error", 3, (7, 3), (3,)),
    ("poisson", 2, (7, 2), (2,)),
]


def make(loss="softmax_cross_entropy", outputs=3, **options):
    return Network(4, [5, "tanh", outputs], **{"loss": loss, "seed": 0} | options)


@pytest.mark.parametrize(("loss", "outputs", "many", "one"), SHAPES)
def test_shapes_for_many_rows_and_for_one(loss, outputs, many, one, backend64):
    network, x = make(loss, outputs), backend64.asarray(X)
    assert tuple(network.scores(x).shape) == (7, outputs)
    assert tuple(network.scores(x[0, :]).shape) == (outputs,)
    assert tuple(network.predict(x).shape) == many
    assert tuple(network.predict(x[0, :]).shape) == one
    assert tuple(network.predict(x[:1, :]).shape) == (1, *many[1:])
    assert backend_of(network.predict(x)).device == backend64.device
    if loss in ("softmax_cross_entropy", "binary_cross_entropy"):
        assert tuple(network.predict_proba(x).shape) == (7, outputs)
        assert tuple(network.predict_proba(x[0, :]).shape) == (outputs,)


@pytest.mark.parametrize(("loss", "outputs"), [row[:2] for row in SHAPES])
def test_what_predict_means(loss, outputs):
    network = make(loss, outputs)
    scores = network.scores(X)
    rules = {
        "softmax_cross_entropy": lambda: scores.argmax(axis=1),
        "poisson": lambda: np.exp(scores),
        "mean_squared_error": lambda: scores,
    }
    expected = rules.get(loss, lambda: (scores > 0).astype(int))()
    np.testing.assert_allclose(network.predict(X).reshape(expected.shape), expected, rtol=1e-14)
    assert network.predict(X[2]) == pytest.approx(network.predict(X)[2])


def test_probabilities_add_up_to_one():
    np.testing.assert_allclose(make().predict_proba(X).sum(axis=1), 1.0)


@pytest.mark.parametrize("rows", [255, 256, 257, 600])
def test_many_rows_go_through_in_chunks(rows):
    """Of so wide a layer 256 rows go through at once."""
    network = Network(4, [4096, "tanh", 3], seed=0)
    x = np.random.default_rng(1).normal(size=(600, 4))
    expected = np.vstack([network.scores(x[i : i + 60]) for i in range(0, 600, 60)])[:rows]
    np.testing.assert_allclose(network.scores(x[:rows]), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(network.predict(x[:rows]), expected.argmax(axis=1))


def test_predictions_do_not_remember_earlier_ones():
    """A number of rows that comes again runs in buffers of its own; nobody may see them."""
    network, generator = make(), np.random.default_rng(3)
    rows = [generator.normal(size=(14, 4)) for _ in range(4)]
    views = [rows[0][:7], rows[1][::2], np.asfortranarray(rows[2][:7]), rows[3][7:, ::-1]]
    expected = [make().scores(x) for x in views]
    found = [network.scores(x) for x in views]
    for scores, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(scores, reference, rtol=1e-13)
    network.theta = np.zeros(43)
    assert not network.scores(views[0]).any()


def test_lists_are_numpy_and_go_where_the_network_is():
    network = make()
    assert isinstance(network.scores(X.tolist()), np.ndarray)
    strict = select("array_api_strict", "device1")
    found = make(backend=strict).scores(X.tolist())
    assert backend_of(found).device == strict.device


def test_backward_gives_gradients_by_name(backend64, assert_close):
    network, x = make(), backend64.asarray(X)
    scores, saved = network.forward(x)
    dx, gradients = network.backward(saved, scores)
    assert tuple(dx.shape) == (7, 4)
    assert {name: tuple(g.shape) for name, g in gradients.items()} == {
        "0.weights": (4, 5), "0.bias": (5,), "2.weights": (5, 3), "2.bias": (3,),
    }  # fmt: skip
    host = to_host(scores)
    assert_close(gradients["2.bias"], host.sum(axis=0), backend64)


def test_evaluate_and_accuracy(backend64):
    network, labels = make(), np.array(LABELS)
    x, t = backend64.asarray(X), backend64.asarray(labels)
    loss, accuracy = network.evaluate(x, t)
    right = np.mean(to_host(network.predict(x)) == labels)
    assert to_host(accuracy) == pytest.approx(right)
    assert network.accuracy(x, t) == pytest.approx(right)
    assert to_host(loss) == pytest.approx(to_host(network.loss_and_gradient(x, t)[0]))
    one_hot = backend64.asarray(np.eye(3)[labels])
    assert network.accuracy(x, one_hot) == pytest.approx(right)


@pytest.mark.parametrize("outputs", [1, 2])
def test_accuracy_of_binary_labels(outputs):
    network = make("binary_cross_entropy", outputs)
    labels = network.predict(X)
    assert network.accuracy(X, labels) == 1.0
    assert network.accuracy(X, 1 - labels) == 0.0


def test_repr_and_summary():
    network = Network(4, [5, "relu", Dropout(0.1), 3], loss=Loss("huber", delta=2.0))
    assert repr(network) == (
        "Network(4, [Dense(5, init='he_uniform'), Activation('relu'), Dropout(0.1), Dense(3)], "
        "loss='huber')"
    )
    lines = network.summary().splitlines()
    assert [line.split()[-1] for line in lines[2:6]] == ["25", "0", "0", "18"]
    assert "(n, 5)" in lines[2]
    assert lines[-1] == "43 parameters, loss huber, not placed yet"
    network.to("array_api_strict", "device1", "float32")
    assert network.summary().endswith("on device1, float32")


def test_parameters_are_slices_of_one_vector(backend64):
    network = make(backend=backend64)
    assert (network.inputs, network.outputs, network.size) == (4, 3, 43)
    joined = [to_host(array).reshape(-1) for array in network.parameters().values()]
    np.testing.assert_array_equal(np.concatenate(joined), to_host(network.theta))


def test_assign(backend64, assert_close):
    network = make(backend=backend64)
    before = to_host(network.parameters()["2.weights"])
    weights = np.arange(20.0).reshape(4, 5)
    bias = backend64.asarray(np.ones(5))
    assert network.assign(**{"0.weights": weights.tolist(), "0.bias": bias}) is network
    assert_close(network.parameters()["0.weights"], weights, backend64)
    assert_close(network.parameters()["0.bias"], np.ones(5), backend64)
    assert_close(network.parameters()["2.weights"], before, backend64)


def test_theta_can_be_set_whole():
    network = make()
    network.theta = [0.0] * 43
    assert network.theta.dtype == np.float64
    assert not network.scores(X).any()


def test_networks_move_between_libraries(backend64, assert_close):
    network = make()
    scores = network.scores(X)
    network.to(backend64)
    assert_close(network.scores(backend64.asarray(X)), scores, backend64)
    network.to("numpy")
    np.testing.assert_allclose(network.scores(X), scores, rtol=1e-14)


def test_parameters_follow_the_first_data():
    for dtype in ("float32", "float64"):
        network = make()
        network.scores(X.astype(dtype))
        assert network.theta.dtype == dtype
    network = make(dtype="float32")
    assert network.scores(X).dtype == np.float32
    assert make(backend="numpy", dtype="float32").theta.dtype == np.float32


def test_data_elsewhere_than_the_network_is_an_error_that_names_both():
    network = make(backend="array_api_strict")
    message = (
        r"X is an array of numpy on cpu and the network's parameters are of array_api_strict on "
        r"CPU_DEVICE; move the network with network\.to"
    )
    with pytest.raises(MixedArraysError, match=message):
        network.predict(X)
    far = select("array_api_strict", "device1").asarray(X)
    with pytest.raises(MixedArraysError, match=r"X is an array of array_api_strict on device1 and"):
        network.predict(far)


def test_copies_and_pickles_are_independent():
    """And draw what the network would draw: neither moves the generator of the other."""
    network = Network(4, [5, Dropout(0.5), 3], seed=0)
    network.fit(X, LABELS, epochs=1, batch_size=2)
    scores = network.scores(X)
    others = [network.copy(), pickle.loads(pickle.dumps(network)), network.copy()]
    for other in others:
        np.testing.assert_array_equal(other.scores(X), scores)
        other.fit(X, LABELS, epochs=2, batch_size=2)
        np.testing.assert_array_equal(network.scores(X), scores)
        assert (other.scores(X) != scores).any()
    network.fit(X, LABELS, epochs=2, batch_size=2)
    for other in others:
        np.testing.assert_array_equal(other.theta, network.theta)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64"])
def test_labels_may_be_narrower_than_the_classes(dtype):
    network = Network(2, [300], seed=0)
    network.theta = np.where(np.arange(900) == 600 + 261, 100.0, 0.0)
    assert network.predict(np.zeros((4, 2))).tolist() == [261] * 4
    assert network.accuracy(np.zeros((4, 2)), np.full(4, 5, dtype)) == 0.0


class Sorted(Layer):
    """A layer whose operations depend on its data, which the engine has no rule for."""

    def forward(self, params, x, noise, *, xp):
        return xp.sort(x) if bool(xp.all(x == x)) else x, ()

    def backward(self, params, saved, dy, *, xp, input_gradient=True):
        return dy, ()


def test_steps_that_have_no_plan(backend64):
    network = Network(4, [5, Sorted(), 3], seed=0)
    x, t = backend64.asarray(X), backend64.asarray(LABELS, "int64")
    before = to_host(network.theta).copy()
    planned = backend64.name in ("numpy", "torch", "cupy")
    message = "the step has no plan: .* no rule for bool"
    with pytest.raises(ValueError, match=message if planned else "only steps on arrays of NumPy"):
        network.plan_step(x, t)
    np.testing.assert_array_equal(to_host(network.theta), before)
