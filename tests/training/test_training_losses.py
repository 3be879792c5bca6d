"""Losses of the user's own, and targets and weights that a loss cannot take."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import Network
from xpnn.backends import to_host
from xpnn.data import stream
from xpnn.functional import CustomLoss, softmax
from xpnn.optimizers import SGD
from xpnn.training import Loss, as_loss

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(30, 3))
LABELS = (X @ GENERATOR.normal(size=(3, 3))).argmax(axis=1)
VALUES = np.tanh(X @ GENERATOR.normal(size=(3, 2)))
WEIGHT = GENERATOR.uniform(0.5, 2.0, 30)


def squared_error(scores, targets, *, xp):
    return 0.5 * xp.sum((scores - targets) ** 2, axis=1)


def squared_error_backward(scores, targets, *, xp):
    return scores - targets


def squares(scores, targets, *, xp):
    return 2.0 * squared_error(scores, targets, xp=xp)


def squares_backward(scores, targets, *, xp):
    return 2.0 * (scores - targets)


def cross_entropy(scores, targets, *, xp):
    shifted = scores - xp.max(scores, axis=1, keepdims=True)
    logs = shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    return -xp.sum(targets * logs, axis=1)


def cross_entropy_backward(scores, targets, *, xp):
    return softmax(scores, xp=xp) - targets


PAIR = (squared_error, squared_error_backward)
MULTICLASS = CustomLoss(cross_entropy, cross_entropy_backward, "multiclass", mean=softmax)
SAME = {  # two outputs: the mean over outputs is half their sum
    "a pair": (PAIR, "mean_squared_error", VALUES),
    "a sum": (CustomLoss(squares, squares_backward, reduction="sum"), "sum_squared_errors", VALUES),
    "classes": (MULTICLASS, "softmax_cross_entropy", LABELS),
    "shares of classes": (MULTICLASS, "softmax_cross_entropy", np.eye(3)[LABELS] * 0.8 + 0.2 / 3),
}


def train(loss, y, backend, weight=None):
    outputs = 3 if y is LABELS or y.shape[1] == 3 else 2
    network = Network(3, [5, "tanh", outputs], loss=loss, seed=1)
    x, t = backend.asarray(X), backend.asarray(y)
    history = network.fit(
        x, t, sample_weight=None if weight is None else backend.asarray(weight),
        X_val=x[:9, :], y_val=t[:9, ...], epochs=3, batch_size=8, optimizer=SGD(0.02), l2=1e-3,
    )  # fmt: skip
    return network, history


@pytest.mark.parametrize(
    ("name", "weight"), list(zip(SAME, (None, WEIGHT, WEIGHT, None), strict=True)), ids=list(SAME)
)
def test_a_loss_of_ones_own_is_as_good_as_the_librarys(name, weight, backend64):
    own, known, y = SAME[name]
    network, history = train(own, y, backend64, weight)
    expected, figures = train(known, y, backend64, weight)
    np.testing.assert_allclose(to_host(network.theta), to_host(expected.theta), rtol=1e-10)
    assert history.loss == pytest.approx(figures.loss, rel=1e-10)
    assert history.validation_loss == pytest.approx(figures.validation_loss, rel=1e-10)
    assert history.validation_accuracy == figures.validation_accuracy
    x = backend64.asarray(X)
    methods = ["predict", "predict_proba"] if own is MULTICLASS else ["predict"]
    for method in methods:
        found, other = (to_host(getattr(n, method)(x)) for n in (network, expected))
        np.testing.assert_allclose(found, other, rtol=1e-10)


def test_a_network_tells_its_own_loss_by_the_functions_name():
    network = Network(3, [2], loss=PAIR)
    assert repr(network).endswith("loss='squared_error')")
    assert as_loss(network.loss) is network.loss
    assert (network.loss.kind, network.loss.reduction) == ("regression", "mean")
    assert network.copy().loss.custom is network.loss.custom


def test_a_loss_without_a_meaning_of_its_scores_has_no_probabilities():
    network = Network(3, [3], loss=CustomLoss(*PAIR, kind="multiclass"), seed=0)
    assert network.predict(X).shape == (30,)
    with pytest.raises(ValueError, match="scores of the loss 'squared_error' do not stand for"):
        network.predict_proba(X)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((lambda s, t, xp: xp.sum(s), PAIR[1]), "forward .* returned the shape "),
        ((PAIR[0], lambda s, t, xp: s[:1]), "backward .* returned the shape "),
    ],
)
def test_a_loss_that_returns_another_shape_is_an_error(pair, message):
    with pytest.raises(ValueError, match=message):
        Network(3, [2], loss=pair).fit(X, VALUES, epochs=1)


@pytest.mark.parametrize("loss", [3, (squared_error,), (squared_error, "backward"), None])
def test_what_is_no_loss_is_refused(loss):
    with pytest.raises(TypeError, match="expected a name, a Loss, a CustomLoss, or a pair of func"):
        Network(3, [2], loss=loss)


# Targets and weights

BINARY = (LABELS > 0).astype("int64")
CE = "binary_cross_entropy"
EXPECTED = f"the loss '{CE}' expects labels 0 and 1, or probabilities"
REFUSED = [
    (CE, BINARY + 1, f"y holds 2; {EXPECTED}"),
    (CE, BINARY - 0.5, r"y holds -0\.5; the loss"),
    ("hinge", 2 * BINARY - 1, r"y holds -1; the loss 'hinge' expects labels 0 and 1 \(not -1 and"),
    ("hinge", 0.5 * BINARY, "y holds numbers between 0 and 1; 'hinge' exp"),
    ("poisson", BINARY - 1, "y holds -1; the loss 'poisson' expects counts, 0"),
    (
        "softmax_cross_entropy",
        2.0 * np.eye(3)[LABELS],
        "y holds 2; the loss 'softmax_cross_entropy' expects",
    ),
]


@pytest.mark.parametrize(("loss", "y", "message"), REFUSED)
def test_targets_that_a_loss_cannot_take(loss, y, message, backend64):
    """Of a source it says in which rows."""
    good = np.eye(3)[LABELS] if y.ndim == 2 else np.zeros_like(y)
    x, t = backend64.asarray(X), backend64.asarray(y)
    network = Network(3, [3 if y.ndim == 2 else 1], loss=loss, seed=0)
    for use in (network.fit, network.evaluate, network.loss_and_gradient):
        with pytest.raises(ValueError, match=message):
            use(x, t)
    with pytest.raises(ValueError, match="in the validation data .*" + message):
        network.fit(x, backend64.asarray(good), X_val=x, y_val=t)
    source = stream(np.concatenate([X, X]), np.concatenate([good, y]))
    with pytest.raises(ValueError, match=r"x, rows \d+ to \d+: " + message):
        network.fit(source, epochs=1)


@pytest.mark.parametrize(
    "y", [BINARY, BINARY.astype(bool), BINARY * 1.0, BINARY * 0.25 + 0.5], ids=str
)
def test_targets_that_a_binary_cross_entropy_takes(y):
    assert np.isfinite(Network(3, [1], loss=CE, seed=0).fit(X, y, epochs=1).loss[0])


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf, -np.inf])
def test_weights_that_no_loss_takes(wrong, backend64):
    weight = np.where(np.arange(30) == 17, wrong, 1.0)
    x, t, w = backend64.asarray(X), backend64.asarray(LABELS), backend64.asarray(weight)
    network = Network(3, [3], seed=0)
    message = "sample_weight holds a negative, infinite or NaN weight; expected 0 or more"
    for use in (network.fit, network.loss_and_gradient):
        with pytest.raises(ValueError, match=message):
            use(x, t, w)
    with pytest.raises(ValueError, match="in the validation data .*" + message):
        network.fit(x, t, X_val=x, y_val=t, sample_weight_val=w)
    with pytest.raises(ValueError, match=r"x, rows 0 to 29: " + message):
        network.fit(stream(X, LABELS, weight=weight), epochs=1, batch_size=30)


@pytest.mark.parametrize("source", [False, True], ids=["arrays", "source"])
def test_validation_rows_have_weights_of_their_own(backend64, source):
    """And those of the training rows do not count for them."""
    x, t = backend64.asarray(X), backend64.asarray(LABELS)
    network = Network(3, [5, "tanh", 3], seed=1)
    held = {"X_val": x, "y_val": t, "sample_weight_val": backend64.asarray(WEIGHT)}
    if source:
        held = {"X_val": stream(X, LABELS, weight=WEIGHT, memory="1 KiB")}
    history = network.fit(x, t, sample_weight=backend64.asarray(WEIGHT[::-1]), **held, epochs=2)
    expected = network.loss_and_gradient(x, t, backend64.asarray(WEIGHT))[0]
    assert history.validation_loss[-1] == pytest.approx(float(to_host(expected)), rel=1e-12)
    assert history.validation_accuracy[-1] == network.accuracy(x, t)


# NumPy's numbers


def test_numbers_of_numpy_are_numbers():
    """As they come out of a search over parameters."""
    plain, given = (Network(3, [4, "tanh", 3], seed=1) for _ in range(2))
    counts = {"epochs": 2, "batch_size": 8, "report_every": 2, "gradient_accumulation_steps": 2}
    counts |= {"early_stopping": 3, "seed": 4}
    floats = {"learning_rate": 0.25, "l2": 0.5, "validation_fraction": 0.25}
    expected = plain.fit(X, LABELS, **counts, **floats)
    numpys = {key: np.int64(value) for key, value in counts.items()}
    numpys |= {key: np.float32(value) for key, value in floats.items()}
    found = given.fit(X, LABELS, **numpys)
    assert given.theta.tobytes() == plain.theta.tobytes()
    assert (found.loss, found.validation_loss) == (expected.loss, expected.validation_loss)
    same = Network(np.int64(3), [np.int32(4), "tanh", np.int64(3)], seed=np.int64(1))
    assert same.theta.tobytes() == Network(3, [4, "tanh", 3], seed=1).theta.tobytes()


def test_losses_are_equal_where_their_options_are():
    assert Loss("huber", delta=2.0) == Loss("huber", delta=2.0) != Loss("huber")
