"""What scikit-learn's networks do not have: class weights, dropout, dtypes and more."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
import sklearn.neural_network
import small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils import compute_sample_weight
from small import COMMON, LABELS, SCORES, SEVERAL, TWO, WEIGHT, X, assert_same_bytes, classifier

import sealing
import xpnn
from xpnn import MLPClassifier, MLPRegressor, select
from xpnn.backends import dtype_name
from xpnn.export import ModelFileError
from xpnn.functional import ACTIVATIONS
from xpnn.layers import Activation
from xpnn.optimizers import LossScaler, RMSprop

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Weights of classes


@pytest.mark.parametrize("names", [[0, 1, 2], ["ant", "bee", "cow"]])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_class_weights_are_row_weights(names, weight):
    y, names = np.array(names)[LABELS], list(names)
    own = {names[0]: 2.0, names[1]: 0.5, names[2]: 1.0}
    for chosen in (own, "balanced"):
        rows = compute_sample_weight(chosen, y) * (1.0 if weight is None else weight)
        assert_same_bytes(classifier(y, weight, class_weight=chosen), classifier(y, rows))
    with pytest.raises(AssertionError):
        assert_same_bytes(classifier(y, weight, class_weight=own), classifier(y, weight))


def test_class_weights_of_several_labels():
    chosen, y = [{0: 1.0, 1: 3.0}, {0: 2.0, 1: 1.0}, {0: 1.0, 1: 1.0}], SEVERAL.astype(int)
    rows = compute_sample_weight(chosen, y)
    assert_same_bytes(classifier(y, class_weight=chosen), classifier(y, rows))


def test_class_weights_where_a_batch_lacks_a_class():
    some, own = LABELS > 0, {0: 9.0, 2: 3.0}
    model, expected = (MLPClassifier(**COMMON, class_weight=w) for w in (own, None))
    rows = np.where(LABELS[some] == 2, 3.0, 1.0)
    model.partial_fit(X[some], LABELS[some], classes=[0, 1, 2])
    expected.partial_fit(X[some], LABELS[some], rows, classes=[0, 1, 2])
    assert_same_bytes(model, expected)


# Dropout and activations


def test_dropout_for_each_layer_or_for_all():
    options = {"hidden_layer_sizes": (6, 5)}
    assert_same_bytes(classifier(dropout=(0.3, 0.3), **options), classifier(dropout=0.3, **options))
    assert_same_bytes(classifier(dropout=(0.0, 0.0), **options), classifier(**options))
    curves = [
        tuple(classifier(dropout=rates, **options).loss_curve_)
        for rates in (0.0, (0.3, 0.0), (0.0, 0.3), (0.3, 0.3))
    ]
    assert len(set(curves)) == 4
    model = classifier(dropout=0.9)
    assert_array_equal(model.predict_proba(X), model.predict_proba(X))


def test_an_activation_for_each_layer():
    options = {"hidden_layer_sizes": (6, 5), "activation": ["tanh", Activation("elu", alpha=0.5)]}
    model = classifier(**options)
    first = np.tanh(X @ model.coefs_[0] + model.intercepts_[0])
    z = first @ model.coefs_[1] + model.intercepts_[1]
    assert_allclose(model.transform(X, layer=0), first)
    assert_allclose(model.transform(X), np.where(z > 0, z, 0.5 * np.expm1(z)))
    for name in ("relu", "logistic"):
        several = options | {"activation": [name, name]}
        assert_same_bytes(classifier(**several), classifier(**options | {"activation": name}))


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_every_activation_of_the_library(name):
    model = classifier(activation=name)
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def gudermann(z, *, xp):
    return xp.atan(xp.sinh(z))


def gudermann_slope(z, a, da, *, xp):
    return da / xp.cosh(z)


def test_an_activation_of_ones_own():
    """Neither function has a rule in the engine: the pure step runs."""
    model = classifier(activation=(gudermann, gudermann_slope), hidden_layer_sizes=(6, 5))
    z = X @ model.coefs_[0] + model.intercepts_[0]
    assert_allclose(model.transform(X, layer=0), np.arctan(np.sinh(z)))
    mine = [("tanh"), (lambda z, *, xp: xp.tanh(z), lambda z, a, da, *, xp: da * (1.0 - a * a))]
    assert_same_bytes(classifier(activation=mine[1]), classifier(activation=mine[0]))


def test_partial_fit_sees_new_rows_where_the_engine_has_no_rule():
    """A copy makes a new runner for them; the model itself goes on with the one that it has."""
    model = MLPClassifier(**COMMON, activation=(gudermann, gudermann_slope))
    model.partial_fit(X[:20], LABELS[:20], classes=[0, 1, 2])
    again = copy.deepcopy(model)
    for one in (model, again):
        one.partial_fit(X[20:], LABELS[20:])
    assert_same_bytes(model, again)


# Dtypes, hidden layers, start


BOTH = [(MLPClassifier, LABELS), (MLPRegressor, SCORES)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "options", [{}, {"solver": "sgd"}, {"optimizer": RMSprop(0.01)}, {"solver": "lbfgs"}], ids=str
)
@pytest.mark.parametrize(("make", "y"), BOTH)
def test_a_dtype_that_was_chosen(make, y, dtype, options):
    options = COMMON | options | {"max_iter": 20}
    model, full = make(**options, dtype=dtype).fit(X, y), make(**options).fit(X, y)
    assert {w.dtype.name for w in small.weights(model)} == {dtype}
    if make is MLPClassifier:
        assert model.predict_proba(X).dtype == ("float32" if dtype == "float16" else dtype)
    else:
        assert model.predict(X).dtype == dtype
    if model.solver == "lbfgs":
        assert model.score(X, y) == pytest.approx(full.score(X, y), abs=0.1)
    else:
        assert model.loss_curve_[-1] < 0.99 * model.loss_curve_[0]
        assert model.loss_curve_ == pytest.approx(full.loss_curve_, rel=0.05)


@pytest.mark.parametrize("engine", ["planned", "pure"])
def test_the_engine_changes_nothing(engine):
    for options in ({}, {"solver": "sgd", "dropout": 0.3}, {"weight_decay": 0.1, "clip_norm": 0.1}):
        assert_same_bytes(classifier(engine=engine, **options), classifier(**options))


def test_half_precision_keeps_the_digits_of_targets_and_weights():
    weight = np.where(np.arange(40) % 2, 1e6, 3e6)
    half = small.regressor(SCORES, weight, dtype="float16", early_stopping=True, max_iter=20)
    full = small.regressor(SCORES, weight, early_stopping=True, max_iter=20)
    assert half.loss_curve_ == pytest.approx(full.loss_curve_, rel=0.01)
    assert half.validation_loss_curve_ == pytest.approx(full.validation_loss_curve_, rel=0.01)


def test_transform_gives_the_activations_of_a_layer():
    model = classifier(hidden_layer_sizes=(6, 5, 3))
    layers = [X]
    for w, b in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        layers.append(np.maximum(layers[-1] @ w + b, 0))
    for number, expected in enumerate(layers[1:]):
        assert_allclose(model.transform(X, layer=number), expected)
        assert_allclose(model.transform(X, layer=number - 3), expected)
    assert_allclose(model.transform(X), layers[-1])
    assert list(model.get_feature_names_out()) == [f"mlpclassifier{i}" for i in range(3)]
    for wrong in (3, -4):
        with pytest.raises(ValueError, match=f"layer is {wrong}; expected one of the model.s 3"):
            model.transform(X, layer=wrong)
    with pytest.raises(ValueError, match="the model's 0 hidden layers"):
        classifier(hidden_layer_sizes=()).transform(X)


def test_a_start_without_learning():
    """The weights are those that a fit begins with, and everything else goes on from there."""
    model = MLPClassifier(**COMMON).initialize(X, LABELS)
    still = classifier(solver="sgd", learning_rate_init=1e-300, max_iter=1)
    assert_same_bytes(model, still)
    assert (model.n_iter_, model.t_, model.loss_curve_) == (0, 0, [])
    assert model.predict_proba(X).shape == (40, 3)
    sizes = [np.abs(w).max() for w in model.coefs_]
    model.partial_fit(X, LABELS)
    expected = MLPClassifier(**COMMON).partial_fit(X, LABELS, classes=[0, 1, 2])
    assert [w.shape for w in small.weights(model)] == [w.shape for w in small.weights(expected)]
    assert (model.t_, len(model.loss_curve_)) == (40, 1)
    warm = MLPClassifier(**COMMON, warm_start=True).initialize(X, LABELS).fit(X, LABELS)
    for a, b, size in zip(warm.coefs_, still.coefs_, sizes, strict=True):
        assert 0 < np.abs(a - b).max() < size


def test_fitting_again_begins_again():
    model = classifier(dropout=0.2, early_stopping=True, validation_fraction=0.25)
    before = [w.tobytes() for w in small.weights(model)]
    model.partial_fit(X, LABELS, X_val=X, y_val=LABELS)
    model.fit(X, LABELS)
    assert [w.tobytes() for w in small.weights(model)] == before
    assert len(model.loss_curve_) == len(model.validation_scores_) == 3


def test_longer_training_from_the_same_start_goes_on_the_same_way():
    curves = [classifier(dropout=0.2, max_iter=n).loss_curve_ for n in (2, 4, 6)]
    for short, long in pairwise(curves):
        assert short == long[: len(short)]


def test_lists_of_weights_stay_the_models():
    """As scikit-learn's: they are assigned to again and again, and read between."""
    found = []
    for kind in (MLPClassifier, sklearn.neural_network.MLPClassifier):
        model = kind((5, 5), max_iter=5, random_state=0).fit(X, TWO)
        weights = model.coefs_
        for i in range(3):
            weights[i] = weights[i] * 0.5
            model.predict(X)
        model.partial_fit(X, TWO)
        weights[0] = weights[0] * 2.0
        found.append(model.predict_proba(X))
    assert_allclose(found[0], found[1], rtol=1e-10)


def test_a_subclass_is_scored_by_its_own_predict():
    class Careful(MLPClassifier):
        def predict(self, X):
            return np.zeros(len(X), int)

    assert Careful((3,), max_iter=5).fit(X, TWO).score(X, TWO) == (TWO == 0).mean()


# Compute dtype, loss scale, precision

HALF = {"compute_dtype": "float16", "loss_scale": LossScaler(2.0**22, growth_interval=4)}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_16_bits_learn_what_float64_learns(dtype, solver):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 on NumPy needs ml_dtypes")
    options = {"solver": solver, "max_iter": 30, "learning_rate_init": 0.02, "weight": WEIGHT}
    for make in (classifier, small.regressor):
        full, half = make(**options), make(**options, compute_dtype=dtype, loss_scale=2.0**8)
        assert all(w.dtype == "float64" for w in small.weights(half))
        assert half.loss_ == pytest.approx(full.loss_, rel=0.05)
        assert not np.array_equal(half.coefs_[0], full.coefs_[0])


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_other_libraries(name, use_library):
    use_library(name)
    x = select(name, dtype="float32").asarray(X)
    model = MLPClassifier(**COMMON, compute_dtype="bfloat16").fit(x, LABELS)
    assert dtype_name(model.coefs_[0].dtype) == "float32"
    assert model.loss_ == pytest.approx(classifier().loss_, rel=0.05)


def step(model):
    return model.partial_fit(X, LABELS, classes=[0, 1, 2])


def test_partial_fit_goes_on_with_the_scale(tmp_path):
    expected, model = MLPClassifier(**COMMON, **HALF), MLPClassifier(**COMMON, **HALF)
    step(step(model))
    step(step(step(expected)))
    loaded = xpnn.load(xpnn.save(model, tmp_path / "m.safetensors"))
    unpickled = pickle.loads(pickle.dumps(model))
    for other in (model, loaded, unpickled):
        # The scale came down in the first calls; from the start it would skip these steps.
        assert_same_bytes(step(other), expected)
    assert not np.array_equal(model.coefs_[0], step(MLPClassifier(**COMMON, **HALF)).coefs_[0])


def test_a_file_whose_parts_contradict_each_other(tmp_path):
    def in_full_precision(header):
        fields = header["estimator"]["solver"]["precision"]["fields"]
        fields.update(compute_dtype=None, loss_scale=None)
        return header

    path = xpnn.save(step(MLPClassifier(**COMMON, **HALF)), tmp_path / "m.safetensors")
    other = sealing.edited(path, tmp_path / "n.safetensors", in_full_precision)
    with pytest.raises(ModelFileError, match=r"state\.\d"):
        xpnn.load(other)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_precision_of_products_reaches_every_solver(solver, use_library):
    use_library("torch")
    import torch

    def looking(z, *, xp):
        seen.add(torch.get_float32_matmul_precision())
        return xp.tanh(z)

    seen, before = set(), torch.get_float32_matmul_precision()
    activation = (looking, lambda z, a, da, *, xp: da * (1.0 - a * a))
    options = {"solver": solver, "precision": "medium", "engine": "pure", "activation": activation}
    MLPClassifier(**COMMON | options).fit(select("torch", dtype="float32").asarray(X), LABELS)
    assert seen == {"medium"}
    assert torch.get_float32_matmul_precision() == before


def test_parameters_that_are_half_themselves_are_not_computed_in_half_precision():
    with pytest.raises(ValueError, match="the parameters are float16; expected"):
        small.regressor(compute_dtype="float16", dtype="float16")


# Warm starts and partial fits: with other parameters, after a training that ran away

WARM = {"hidden_layer_sizes": (5,), "random_state": 0, "warm_start": True}


@pytest.mark.parametrize("names", [("tanh", "logistic"), ("relu", "identity")])
@pytest.mark.parametrize("way", ["fit", "partial_fit"])
def test_a_new_activation_counts_from_the_next_fit_on(way, names):
    curves = []
    for kind in (sklearn.neural_network.MLPClassifier, MLPClassifier):
        model = kind(**WARM, max_iter=5, activation=names[0]).fit(X, TWO)
        for name in (names[1], names[0]):
            getattr(model.set_params(activation=name), way)(X, TWO)
        curves.append(model.loss_curve_)
    assert_allclose(curves[1], curves[0], rtol=1e-12)


def test_new_dropout_counts_from_the_next_fit_on():
    def curve(dropout):
        model = MLPClassifier(**WARM, max_iter=3).fit(X, TWO)
        return model.set_params(dropout=dropout).fit(X, TWO).loss_curve_

    assert curve(0.0)[:3] == curve(0.5)[:3]
    assert curve(0.0)[3:] != curve(0.5)[3:]


@pytest.mark.parametrize("changed", [{"dtype": "float32"}, {"backend": "array_api_strict"}])
def test_moving_in_silence_is_refused(changed):
    model = MLPClassifier(**WARM, max_iter=3).fit(X, TWO)
    with pytest.raises(ValueError, match=r"go on with \(None, None, None\) of"):
        model.set_params(**changed).fit(X, TWO)
    model.set_params(**dict.fromkeys(changed)).fit(X, TWO)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"solver": "lbfgs"}, {"solver": "adam"}),
        ({}, {"early_stopping": True}),
        ({"early_stopping": True}, {"early_stopping": False}),
    ],
    ids=str,
)
def test_a_warm_start_goes_on_with_another_solver_or_way_to_stop(before, after):
    model = MLPClassifier(**WARM, max_iter=4, **before).fit(X, TWO)
    model.set_params(**after).fit(X, TWO)
    assert len(model.loss_curve_) >= 4
    assert (model.validation_scores_ is None) is not model.early_stopping
    assert (model.best_loss_ is None) is model.early_stopping


TEXT = r"became (inf|nan) in epoch 1; the model keeps the weights"


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_training_that_ran_away_can_go_on(solver):
    options = {"solver": solver, "learning_rate_init": 1e-3, "random_state": 0}
    model = MLPRegressor(hidden_layer_sizes=(6,), **options).partial_fit(X, SCORES)
    before = copy.deepcopy(model)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=TEXT):
        model.partial_fit(X * 1e200, SCORES)
    assert_same_bytes(model, before)
    losses = [model.partial_fit(X, SCORES).loss_ for _ in range(3)]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_scalars_of_numpy_are_taken_as_numbers(kind):
    """As they come out of a search over parameters."""
    floats = {"learning_rate_init": 0.25, "dropout": 0.5, "alpha": 0.125, "clip_norm": 2.0}
    counts = {"max_iter": 2, "batch_size": 16, "n_iter_no_change": 4, "random_state": 3}
    counts |= {"gradient_accumulation_steps": 2}
    scalars = {key: kind(value) for key, value in floats.items()}
    scalars |= {key: np.int64(value) for key, value in counts.items()}
    one = MLPClassifier((5,), **floats, **counts).fit(X, TWO)
    other = MLPClassifier(np.array([5]), **scalars).fit(X, TWO)
    assert one.loss_curve_ == other.loss_curve_
    assert_same_bytes(one, other)
