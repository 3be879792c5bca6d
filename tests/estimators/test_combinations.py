"""Parameters that do not go together are refused, and nothing is ignored in silence."""

import pytest
from small import COMMON, LABELS, SCORES, SEVERAL, X, assert_same_bytes, classifier

from xpnn import MLPClassifier, MLPRegressor
from xpnn.optimizers import (
    SGD,
    AdamW,
    StepDecay,
    add_decayed_weights,
    chain,
    clip_by_global_norm,
)
from xpnn.training import Callback, Loss

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SCHEDULE = StepDecay(0.1)


def no_scorer(model, x, y):
    raise AssertionError("is never asked")


LBFGS = {
    "weight_decay": {"weight_decay": 0.1},
    "dropout": {"dropout": 0.1},
    "clip_norm": {"clip_norm": 1.0},
    "a schedule as learning_rate": {"learning_rate": SCHEDULE},
    "optimizer": {"optimizer": SGD(0.1)},
    "monitor": {"monitor": no_scorer, "early_stopping": True},
    "progress": {"progress": True},
    "compute_dtype": {"compute_dtype": "float16"},
}
OF_BOTH = [
    (options | {"solver": "lbfgs"}, f"solver='lbfgs' .* does not go with {name}; take")
    for name, options in LBFGS.items()
] + [
    ({"optimizer": SGD(0.1), "learning_rate": "adaptive"}, "belongs to solver='sgd'"),
    ({"optimizer": SGD(0.1), "learning_rate": "invscaling"}, "an optimizer takes a schedule"),
    ({"optimizer": SGD(SCHEDULE), "learning_rate": SCHEDULE}, "are both schedules"),
    ({"optimizer": AdamW(), "weight_decay": 0.1}, "weight_decay is 0.1 beside an optimizer"),
    (
        {"optimizer": chain(clip_by_global_norm(1.0), AdamW()), "weight_decay": 0.1},
        "with a weight_decay of its own",
    ),
    (
        {"optimizer": chain(add_decayed_weights(0.01), SGD()), "weight_decay": 0.1},
        "with a weight_decay of its own",
    ),
    ({"dropout": 0.5, "hidden_layer_sizes": ()}, "dropout is 0.5; the model has no hidden"),
    ({"dropout": (0.5, 0.1)}, "dropout has 2 entries; expected one, or 1 hidden ones"),
    ({"dropout": (1.0,)}, "rate is 1.0; expected 0 <= rate < 1"),
    ({"monitor": "loss"}, "monitor is 'loss'; it needs early_stopping=True"),
    ({"monitor": no_scorer}, "it needs early_stopping=True"),
    ({"monitor": "guess", "early_stopping": True}, "'guess' is not a valid scoring value"),
    ({"activation": ["relu", "tanh"]}, "activation has 2 entries; expected one, or 1 hidden"),
    ({"activation": "reLU"}, "reLU"),
    ({"activation": [3]}, "activation holds 3; expected a name"),
    ({"device": "cuda:0"}, "device='cuda:0' is not a device of numpy"),
    ({"backend": "abacus"}, "'abacus' is not a backend"),
    ({"dtype": "bfloat16"}, "The 'dtype' parameter .* must be"),
    ({"optimizer": "adam"}, "The 'optimizer' parameter .* must be"),
    ({"engine": "steam"}, "The 'engine' parameter .* must be"),
    ({"weight_decay": -0.1}, "The 'weight_decay' parameter .* must be"),
    ({"clip_norm": 0.0}, "The 'clip_norm' parameter .* must be"),
    ({"dropout": 1.0}, "The 'dropout' parameter .* must be"),
    ({"compute_dtype": "float32"}, "The 'compute_dtype' parameter .* must be"),
    ({"compute_dtype": "float16", "loss_scale": 0}, "The 'loss_scale' parameter .* must be"),
    ({"precision": "low"}, "The 'precision' parameter .* must be"),
    ({"loss_scale": "dynamic"}, "loss_scale is 'dynamic'; it needs compute_dtype='float16'"),
]
OF_CLASSIFIERS = [
    ({"loss": "hinge", "label_smoothing": 0.1}, "goes with a cross-entropy, not with 'hinge'"),
    ({"loss": Loss("hinge"), "label_smoothing": 0.1}, "label_smoothing is 0.1 beside Loss"),
    (
        {"loss": Loss("softmax_cross_entropy"), "label_smoothing": 0.1},
        "label_smoothing is 0.1 beside Loss.*; give it to the Loss",
    ),
    ({"loss": Loss("huber")}, "loss is Loss.*; expected one of binary_cross_entropy, hinge"),
    ({"loss": "huber"}, "The 'loss' parameter of MLPClassifier must be"),
    ({"label_smoothing": 1.0}, "The 'label_smoothing' parameter .* must be"),
]
OF_REGRESSORS = [
    ({"delta": 0.5}, "delta goes with 'huber', not with 'mean_squared_error'"),
    ({"delta": 0.5, "loss": "absolute_error"}, "not with 'mean_absolute_error'"),
    ({"delta": 0.5, "loss": Loss("huber")}, "delta is 0.5 beside Loss.*; give it to the Loss"),
    ({"loss": Loss("hinge")}, "loss is Loss.*; expected one of absolute_error, huber"),
    ({"loss": "hinge"}, "The 'loss' parameter of MLPRegressor must be"),
    ({"loss": "poisson"}, "y holds values below 0; loss='poisson' needs counts"),
    ({"loss": Loss("poisson")}, "y holds values below 0; loss='poisson' needs counts"),
]
REFUSED = [(MLPClassifier, *case) for case in OF_BOTH + OF_CLASSIFIERS]
REFUSED += [(MLPRegressor, *case) for case in OF_BOTH + OF_REGRESSORS]


@pytest.mark.parametrize(("make", "options", "message"), REFUSED)
def test_what_does_not_go_together(make, options, message):
    model = make(**COMMON | options)
    for start in (model.fit, model.initialize):
        with pytest.raises(ValueError, match=message):
            start(X, LABELS if make is MLPClassifier else SCORES)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("X_val", {"X_val": X, "y_val": LABELS}),
        ("callbacks", {"callbacks": [Callback()]}),
        ("callbacks", {"callbacks": iter([print])}),
        ("X_val, callbacks", {"X_val": X, "y_val": LABELS, "callbacks": [print]}),
        ("checkpoint, resume", {"checkpoint": "c", "resume": True}),
    ],
)
def test_lbfgs_has_no_epochs(name, given):
    with pytest.raises(ValueError, match=f"no epochs, and does not go with {name}; take"):
        MLPClassifier(**COMMON, solver="lbfgs").fit(X, LABELS, **given)


def test_what_scikit_learn_ignores_is_ignored():
    """Its own parameters keep its rules: 'lbfgs' knows nothing of early stopping or batches."""
    options = {"early_stopping": True, "learning_rate": "adaptive", "momentum": 0.5, "tol": 1e-4}
    expected = classifier(solver="lbfgs", batch_size=7)
    assert_same_bytes(classifier(solver="lbfgs", **options), expected)
    assert_same_bytes(classifier(learning_rate="adaptive", momentum=0.1), classifier())


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", Loss("softmax_cross_entropy")])
def test_several_labels_do_not_go_through_a_softmax(loss):
    with pytest.raises(ValueError, match="y has several labels for a row"):
        MLPClassifier(**COMMON, loss=loss).fit(X, SEVERAL.astype(int))


def test_weights_of_classes():
    with pytest.raises(ValueError, match="not in class_weight"):
        classifier(class_weight={0: 1.0, 7: 2.0})
    model = MLPClassifier(**COMMON, class_weight="balanced")
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        model.partial_fit(X, LABELS, classes=[0, 1, 2])
    assert not hasattr(model, "classes_")
