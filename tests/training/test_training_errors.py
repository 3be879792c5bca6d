"""Errors name the argument, say what came and what was expected."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import Loss, Network, select
from xpnn.backends import MixedArraysError

X, LABELS = np.ones((6, 4)), np.array([0, 1, 2, 0, 1, 2])


def network(loss="softmax_cross_entropy", outputs=3):
    return Network(4, [3, "tanh", outputs], loss=loss)


def fit(X=X, y=LABELS, loss="softmax_cross_entropy", **options):
    return network(loss).fit(X, y, **{"epochs": 1} | options)


VALUES = [
    # Shapes
    ({"X": np.ones((6, 3))}, r"X has shape \(6, 3\); expected \(n, 4\)"),
    ({"X": np.ones((6, 4, 1))}, r"X has shape \(6, 4, 1\); expected \(n, 4\)"),
    ({"X": np.asarray(3.0)}, r"X has shape \(\); expected \(n, 4\)"),
    ({"X": np.ones((0, 4)), "y": LABELS[:0]}, r"X has shape \(0, 4\); expected at least one row"),
    ({"y": LABELS[:5]}, r"y has shape \(5,\); expected 6 rows, as many as"),
    ({"y": np.asarray(1)}, r"y has shape \(\); expected 6 rows"),
    ({"y": np.ones((6, 5))}, r"y has shape \(6, 5\); expected \(6, 3\), or integer labels \(6,\)"),
    ({"y": np.ones((6, 2)), "loss": "huber"}, r"y has shape \(6, 2\); expected \(6, 3\)$"),
    ({"y": np.ones(6), "loss": "huber"}, r"y has shape \(6,\); expected \(6, 3\)$"),
    ({"sample_weight": np.ones(5)}, r"sample_weight has shape \(5,\); expected \(6,\)"),
    ({"sample_weight": np.ones((6, 1))}, r"sample_weight has shape \(6, 1\); expected"),
    (
        {"X_val": np.ones((2, 3)), "y_val": [0, 1]},
        r"in the validation data \(X_val, y_val\): X has shape \(2, 3\); expected \(n, 4",
    ),
    # Labels
    ({"y": LABELS + 1}, "y holds the label 3; expected labels 0 to 2, as the network has 3 output"),
    ({"y": LABELS - 1}, "y holds the label -1; expected labels 0 to 2"),
    (
        {"y": LABELS.astype(float)},
        r"y has shape \(6,\) and dtype float64; expected integer labels \(6,\) or probabilities \(",
    ),
    ({"X_val": X, "y_val": LABELS + 9}, "y holds the label 11; expected labels 0 to 2"),
    # Options
    ({"l2": -1.0}, r"l2 is -1\.0; expected 0 or more"),
    ({"validation_fraction": 0.0}, r"validation_fraction is 0\.0; expected a number above 0 and b"),
    ({"validation_fraction": 1}, "validation_fraction is 1; expected"),
    ({"validation_fraction": "a"}, "validation_fraction is 'a'; exp"),
    ({"validation_fraction": 0.01}, r"validation_fraction is 0\.01; .* both sides of 6"),
    (
        {"X_val": X, "y_val": LABELS, "validation_fraction": 0.5},
        "validation_fraction is given beside X_val; give one of them",
    ),
    ({"X_val": X}, r"in the validation data \(X_val, y_val\): y is None; expected"),
    ({"y_val": LABELS, "validation_fraction": 0.5}, "y_val is given without X_val"),
    ({"sample_weight_val": np.ones(6)}, "sample_weight_val is given without X_val"),
    ({"learning_rate": -1.0}, r"learning_rate is -1\.0; expected"),
    ({"seed": -1}, "seed is -1; expected 0 or more"),
    ({"loss": "mse"}, "loss='mse' is not known; expected one of sum_"),
    *(
        ({name: wrong}, f"{name} is .*; expected a positive integer")
        for name in ("epochs", "batch_size", "report_every")
        for wrong in (0, -1, 2.5, np.float64(2.0), True, np.bool_(True), "2")
    ),
]

TYPES = [
    ({"X": [["a"] * 4] * 6}, "X holds 'a'; expected numbers"),
    ({"X": [[1.0] * 4, [1.0] * 3]}, "X is not a rectangular table of numbers"),
    ({"y": ["a"] * 6}, "y holds 'a'; expected numbers"),
    ({"learning_rate": "fast"}, "learning_rate is 'fast'; expected a number or a Schedule"),
]

ROWLESS = np.ones((0, 4))
OTHERS = [
    (lambda: network().predict(ROWLESS), r"X has shape \(0, 4\); expected at least one row"),
    (lambda: network().predict(np.ones(5)), r"X has shape \(5,\); expected \(n, 4\)"),
    (lambda: network("poisson").predict_proba(X), "the loss 'poisson' has no probabilities; use p"),
    (lambda: network("huber").predict_proba(X), "the loss 'huber' has no probabilities; use predi"),
    (lambda: network("hinge").predict_proba(X), "scores of the loss 'hinge' do not stand for prob"),
    (
        lambda: network("huber").accuracy(X, X[:, :3]),
        "'huber' is a regression's: it has no accurac",
    ),
    (
        lambda: network().assign(**{"9.weights": [1.0]}),
        r"'9\.weights' is not a parameter; expected one of 0\.weights, 0\.",
    ),
    (lambda: network().assign(**{"0.bias": [1.0]}), r"0\.bias has shape \(1,\); expected \(3,\)"),
    (lambda: set_theta(np.zeros(26)), r"theta has shape \(26,\); expected \(27,\)"),
    (lambda: set_theta(np.zeros(27, int)), "theta has dtype int64; expected floating-point number"),
    (lambda: Network(0, [3]), "inputs is 0; expected a positive integer"),
    (lambda: Network(4.0, [3]), r"inputs is 4\.0; expected a positive integer"),
    (lambda: Network(4, [3], dtype="float8"), "dtype='float8' is not known; expected one"),
    (lambda: Network(4, [3], backend="np"), "name='np' is not a backend; expected auto"),
    (lambda: Network(4, ["tanh"]).fit(X, LABELS), "the network has no parameters to learn"),
    (lambda: Loss("softmax_cross_entropy", 1.0), r"label_smoothing is 1\.0; expected"),
    (lambda: Loss("huber", delta=0.0), r"delta is 0\.0; expected a number above 0"),
    (lambda: Loss("huber", 0.1), "label_smoothing goes with a cross-entropy, not with 'huber'"),
    (lambda: Loss("hinge", delta=2.0), "delta goes with 'huber', not with"),
]


def set_theta(values):
    network().theta = values


@pytest.mark.parametrize(
    ("error", "options", "message"),
    [*((ValueError, *row) for row in VALUES), *((TypeError, *row) for row in TYPES)],
)
def test_arguments_of_fit(error, options, message):
    with pytest.raises(error, match=message):
        fit(**options)


@pytest.mark.parametrize(("call", "message"), OTHERS)
def test_other_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_types_of_a_networks_arguments():
    with pytest.raises(TypeError, match=r"layers\[1\] is 2\.5; expected a Layer, a width"):
        Network(4, [3, 2.5])
    with pytest.raises(TypeError, match="seed is 'x'; expected an integer, a NumPy genera"):
        Network(4, [3], seed="x")


FAR = select("array_api_strict", "device1")
OWN = "and the network's parameters are of nump"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": FAR.asarray(LABELS)}, "X is an array of numpy and y of array_api_strict"),
        ({"sample_weight": FAR.asarray(np.ones(6))}, "X is an array of numpy and sample_weight of"),
        (
            {"X_val": FAR.asarray(X), "y_val": FAR.asarray(LABELS)},
            f"X is an array of array_api_strict on device1 {OWN}",
        ),
        (
            {"X": FAR.asarray(X), "y": select("array_api_strict").asarray(LABELS)},
            "X is on device device1 and y on CPU_DEVICE",
        ),
    ],
)
def test_two_libraries_or_devices_in_one_training(options, message):
    with pytest.raises(MixedArraysError, match=message):
        fit(**options)
