"""Errors name the argument, say what came and what was expected."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import Loss, Network, select
from xpnn.backends import MixedArraysError

X, LABELS = np.ones((6, 4)), np.array([0, 1, 2, 0, 1, 2])


def fit(X=X, y=LABELS, loss="softmax_cross_entropy", outputs=3, **options):
    return Network(4, [3, "tanh", outputs], loss=loss).fit(X, y, epochs=1, **options)


SHAPES = {
    "wrong width": (lambda: fit(np.ones((6, 3))), r"X has shape \(6, 3\); expected \(n, 4\)"),
    "three axes": (lambda: fit(np.ones((6, 4, 1))), r"X has shape \(6, 4, 1\); expected \(n, 4\)"),
    "a number": (lambda: fit(np.asarray(3.0)), r"X has shape \(\); expected \(n, 4\)"),
    "no rows": (
        lambda: fit(np.ones((0, 4)), np.zeros(0, int)),
        r"X has shape \(0, 4\); expected at least one row",
    ),
    "no rows to predict": (
        lambda: Network(4, [3]).predict(np.ones((0, 4))),
        r"X has shape \(0, 4\); expected at least one row",
    ),
    "one row for many": (
        lambda: Network(4, [3]).predict(np.ones(5)), r"X has shape \(5,\); expected \(n, 4\)"
    ),
    "fewer labels": (lambda: fit(y=LABELS[:5]), r"y has shape \(5,\); expected 6 rows, as many as"),
    "one label": (lambda: fit(y=np.asarray(1)), r"y has shape \(\); expected 6 rows"),
    "label too high": (
        lambda: fit(y=LABELS + 1),
        "y holds the label 3; expected labels 0 to 2, as the network has 3 outputs",
    ),
    "label below 0": (lambda: fit(y=LABELS - 1), "y holds the label -1; expected labels 0 to 2"),
    "float labels": (
        lambda: fit(y=LABELS.astype(float)),
        r"y has shape \(6,\) and dtype float64; expected integer labels \(6,\) or probabilities \(",
    ),
    "wide targets": (
        lambda: fit(y=np.ones((6, 5))),
        r"y has shape \(6, 5\); expected \(6, 3\), or integer labels \(6,\)",
    ),
    "wide values": (
        lambda: fit(y=np.ones((6, 2)), loss="huber"), r"y has shape \(6, 2\); expected \(6, 3\)$"
    ),
    "values without columns": (
        lambda: fit(y=np.ones(6), loss="huber"), r"y has shape \(6,\); expected \(6, 3\)$"
    ),
    "too few weights": (
        lambda: fit(sample_weight=np.ones(5)), r"sample_weight has shape \(5,\); expected \(6,\)"
    ),
    "weights as a column": (
        lambda: fit(sample_weight=np.ones((6, 1))), r"sample_weight has shape \(6, 1\); expected"
    ),
    "validation width": (
        lambda: fit(X_val=np.ones((2, 3)), y_val=[0, 1]),
        r"in the validation data \(X_val, y_val\): X has shape \(2, 3\); expected \(n, 4",
    ),
    "validation labels": (
        lambda: fit(X_val=X, y_val=LABELS + 9), "y holds the label 11; expected labels 0 to 2"
    ),
}  # fmt: skip

VALUES = {
    "epochs": (lambda: Network(4, [3]).fit(X, LABELS, epochs=0), "epochs is 0; expected a posit"),
    "batch size": (lambda: fit(batch_size=0), "batch_size is 0; expected a positive integer"),
    "float batch size": (lambda: fit(batch_size=2.5), r"batch_size is 2\.5; expected a positive"),
    "l2": (lambda: fit(l2=-1.0), r"l2 is -1\.0; expected 0 or more"),
    "fraction of 0": (
        lambda: fit(validation_fraction=0.0),
        r"validation_fraction is 0\.0; expected a number above 0 and below 1",
    ),
    "fraction of 1": (lambda: fit(validation_fraction=1), "validation_fraction is 1; expected"),
    "fraction in words": (lambda: fit(validation_fraction="a"), "validation_fraction is 'a'; exp"),
    "fraction too small": (
        lambda: fit(validation_fraction=0.01), r"validation_fraction is 0\.01; .* both sides of 6"
    ),
    "fraction beside rows": (
        lambda: fit(X_val=X, y_val=LABELS, validation_fraction=0.5),
        "validation_fraction is given beside X_val; give one of them",
    ),
    "X_val alone": (
        lambda: fit(X_val=X), r"in the validation data \(X_val, y_val\): y is None; expected"
    ),
    "y_val alone": (
        lambda: fit(y_val=LABELS, validation_fraction=0.5), "y_val is given without X_val"
    ),
    "weights alone": (
        lambda: fit(sample_weight_val=np.ones(6)), "sample_weight_val is given without X_val"
    ),
    "rate": (lambda: fit(learning_rate=-1.0), r"learning_rate is -1\.0; expected"),
    "seed": (lambda: fit(seed=-1), "seed is -1; expected 0 or more"),
    "inputs": (lambda: Network(0, [3]), "inputs is 0; expected a positive integer"),
    "float inputs": (lambda: Network(4.0, [3]), r"inputs is 4\.0; expected a positive integer"),
    "loss": (lambda: Network(4, [3], loss="mse"), "loss='mse' is not known; expected one of sum_"),
    "dtype": (lambda: Network(4, [3], dtype="float8"), "dtype='float8' is not known; expected one"),
    "backend": (lambda: Network(4, [3], backend="np"), "name='np' is not a backend; expected auto"),
    "no parameters": (
        lambda: Network(4, ["tanh"]).fit(X, LABELS), "the network has no parameters to learn"
    ),
    "smoothing": (lambda: Loss("softmax_cross_entropy", 1.0), r"label_smoothing is 1\.0; expected"),
    "delta": (lambda: Loss("huber", delta=0.0), r"delta is 0\.0; expected a number above 0"),
    "smoothing of values": (
        lambda: Loss("huber", 0.1), "label_smoothing goes with a cross-entropy, not with 'huber'"
    ),
    "delta of labels": (lambda: Loss("hinge", delta=2.0), "delta goes with 'huber', not with"),
}  # fmt: skip

TYPES = {
    "text": (lambda: fit([["a"] * 4] * 6), "X holds 'a'; expected numbers"),
    "uneven rows": (lambda: fit([[1.0] * 4, [1.0] * 3]), "X is not a rectangular table of numbers"),
    "text labels": (lambda: fit(y=["a"] * 6), "y holds 'a'; expected numbers"),
    "layer": (lambda: Network(4, [3, 2.5]), r"layers\[1\] is 2\.5; expected a Layer, a width"),
    "learning_rate": (
        lambda: fit(learning_rate="fast"),
        "learning_rate is 'fast'; expected a number or a Schedule",
    ),
    "seed": (lambda: Network(4, [3], seed="x"), "seed is 'x'; expected an integer, a NumPy genera"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name):
    call, message = SHAPES[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", VALUES)
def test_values(name):
    call, message = VALUES[name]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", TYPES)
def test_types(name):
    call, message = TYPES[name]
    with pytest.raises(TypeError, match=message):
        call()


FAR = select("array_api_strict", "device1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": FAR.asarray(LABELS)}, "X is an array of numpy and y of array_api_strict"),
        (
            {"sample_weight": FAR.asarray(np.ones(6))},
            "X is an array of numpy and sample_weight of array_api_strict",
        ),
        (
            {"X_val": FAR.asarray(X), "y_val": FAR.asarray(LABELS)},
            "X is an array of array_api_strict on device1 and the network's parameters are of nump",
        ),
    ],
)
def test_two_libraries_in_one_training(options, message):
    with pytest.raises(MixedArraysError, match=message):
        fit(**options)


def test_two_devices_in_one_training():
    near = select("array_api_strict")
    with pytest.raises(MixedArraysError, match="X is on device device1 and y on CPU_DEVICE"):
        fit(FAR.asarray(X), near.asarray(LABELS))


def test_a_refused_training_leaves_the_network_as_it_was():
    network = Network(4, [3], seed=0)
    start = np.array(network.theta)
    with pytest.raises(ValueError, match="y holds the label 3"):
        network.fit(X, LABELS + 1)
    np.testing.assert_array_equal(network.theta, start)
