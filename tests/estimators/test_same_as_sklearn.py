"""The same random_state, data and parameters give scikit-learn's numbers."""

import beside_sklearn as beside
import numpy as np
import pytest
from beside_sklearn import TASKS, assert_same, assert_same_fit, classes_of, each, pair, problem
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.preprocessing import StandardScaler, scale

from depth import examples

LONG = {"max_iter": 25, "n_iter_no_change": 30}
# Rates at which they learn; a penalty makes L-BFGS's course one that rounding does not change.
SOLVERS = {"adam": {"solver": "adam", "learning_rate_init": 0.01}}
for mode in ("constant", "invscaling", "adaptive"):
    SOLVERS[mode] = {"solver": "sgd", "learning_rate": mode, "learning_rate_init": 0.05}
STOCHASTIC = list(SOLVERS)
SOLVERS["lbfgs"] = {"solver": "lbfgs", "alpha": 0.5}


def weights_of(x, weighted=True):
    return np.random.default_rng(1).uniform(0.1, 3.0, len(x)) if weighted else None


@pytest.mark.parametrize(
    ("activation", "weighted"),
    [("identity", False), ("logistic", False), ("tanh", False), ("relu", False), ("relu", True)],
)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("task", TASKS)
def test_solvers_activations_and_weights_of_rows(task, solver, activation, weighted):
    x, y = problem(task)
    weight = weights_of(x, weighted)
    options = {"activation": activation} | SOLVERS[solver] | LONG
    model = assert_same_fit(task, x, y, weight, **options)[0]
    if solver != "lbfgs":
        assert len(model.loss_curve_) == 25
        assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.parametrize("batch_size", [3, 40, "auto", 1000])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_rows_and_batches(task, early_stopping, weighted, shuffle, batch_size):
    x, y = problem(task)
    weight = weights_of(x, weighted)
    solver = "sgd" if task in ("binary", "words", "values") else "adam"
    model = assert_same_fit(
        task, x, y, weight, solver=solver, learning_rate_init=0.01, batch_size=batch_size,
        early_stopping=early_stopping, validation_fraction=0.2, shuffle=shuffle,
        activation="tanh", **LONG,
    )[0]  # fmt: skip
    assert model.n_iter_ == 25
    assert (model.validation_scores_ is not None) == early_stopping


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [40, 41])
def test_a_batch_larger_than_the_data_is_clipped_with_a_warning(task, size):
    x, y = problem(task)
    models = pair(task, batch_size=size, max_iter=1)
    said = [message for _, message in each(models, lambda m: m.fit(x, y))]
    assert [text.endswith("It is going to be clipped") for text in said] == (
        [True, False] if size > 40 else [False]
    )
    assert_same(models, x, y)


@pytest.mark.parametrize(
    "parameters",
    [
        {"beta_1": 0.0, "beta_2": 0.0},
        {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.1},
        {"alpha": 0.0},
        {"alpha": 10.0},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": 7},
        {"hidden_layer_sizes": [4, 3]},
        {"hidden_layer_sizes": np.array([3, 2, 3])},
        {"random_state": 2**32 - 1},
        {"power_t": 0.0, "learning_rate": "invscaling", "solver": "sgd"},
        {"power_t": 1.5, "learning_rate": "invscaling", "solver": "sgd"},
        {"solver": "lbfgs", "max_fun": 5},
        *(
            {"solver": "sgd", "learning_rate_init": 0.01, "momentum": m, "nesterovs_momentum": n}
            for m in (0.0, 0.5, 1.0)
            for n in (True, False)
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("task", ["multilabel", "several values"])
def test_other_parameters(task, parameters):
    assert_same_fit(task, *problem(task), **({"activation": "tanh"} | parameters | LONG))


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("task", TASKS)
def test_warm_start(task, solver, early_stopping):
    x, y = problem(task)
    models = pair(
        task, warm_start=True, early_stopping=early_stopping, max_iter=12, n_iter_no_change=99,
        activation="logistic", **SOLVERS[solver],
    )  # fmt: skip
    for part in (slice(0, 30), slice(5, 40), slice(0, 40)):
        each(models, lambda m, part=part: m.fit(x[part], y[part]))
    if solver != "lbfgs":
        assert len(models[1].loss_curve_) == 36
    assert_same(models, x, y)


def test_a_warm_start_that_gets_worse_keeps_its_last_weights():
    x, y = problem("values")
    models = pair(
        "values", warm_start=True, early_stopping=True, max_iter=20, n_iter_no_change=30,
        learning_rate_init=0.05,
    )  # fmt: skip
    each(models, lambda m: m.fit(x, y))
    best = models[1].best_validation_score_
    each(models, lambda m: m.fit(x, -y))
    assert models[1].best_validation_score_ == best
    assert_same(models, x, y)


def in_parts(x, y, weight, task, rounds=7):
    def learn(model):
        for part in [slice(0, 15), slice(15, 31), slice(31, 40)] * rounds:
            rows = None if weight is None else weight[part]
            model.partial_fit(x[part], y[part], rows, **classes_of(task, y))

    return learn


@pytest.mark.parametrize(
    ("solver", "weighted"), [*((s, False) for s in STOCHASTIC), ("adam", True)]
)
@pytest.mark.parametrize("task", TASKS)
def test_partial_fit(task, solver, weighted):
    x, y = problem(task)
    weight = weights_of(x, weighted)
    parameters = SOLVERS[solver] | {"learning_rate_init": 0.01}
    models = pair(task, batch_size=6, tol=0.01, n_iter_no_change=3, **parameters)
    assert each(models, in_parts(x, y, weight, task)) == []
    assert len(models[1].loss_curve_) == 21
    assert models[1].t_ == 7 * 40
    assert_same(models, x, y, weight)


@pytest.mark.parametrize("solver", STOCHASTIC)
@pytest.mark.parametrize("task", TASKS)
def test_fit_and_partial_fit_in_turn(task, solver):
    x, y = problem(task)
    models, parts = pair(task, max_iter=12, **SOLVERS[solver]), in_parts(x, y, None, task, 2)
    each(models, parts)
    each(models, lambda m: m.fit(x, y))
    each(models, parts)
    assert_same(models, x, y)
    each(models, lambda m: m.set_params(warm_start=True).fit(x, y).set_params(warm_start=False))
    each(models, parts)
    assert_same(models, x, y)


def test_a_generator_goes_on_from_fit_to_fit():
    x, y = problem("multiclass")
    models = pair("multiclass", early_stopping=True, **LONG)
    each(models, lambda m: m.set_params(random_state=np.random.RandomState(3)))
    each(models, lambda m: m.fit(x, y))
    first = models[1].coefs_[0].copy()
    each(models, lambda m: m.fit(x, y))
    assert not np.allclose(first, models[1].coefs_[0])
    assert_same(models, x, y)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("rate", ["constant", "adaptive"])
@pytest.mark.parametrize("tol", [0.0, 1e-2])
def test_rules_for_stopping(early_stopping, rate, tol):
    models = assert_same_fit(
        "multiclass", *problem("multiclass", rows=60), solver="sgd", learning_rate=rate,
        learning_rate_init=0.2, tol=tol,
        early_stopping=early_stopping, validation_fraction=0.3, n_iter_no_change=2, max_iter=120,
    )  # fmt: skip
    if tol:
        assert models[1].n_iter_ < 120


@st.composite
def trainings(draw):
    """A task, its data, an estimator's parameters and what is done with it."""
    choose = lambda *values: draw(st.sampled_from(values))  # noqa: E731
    parameters = {
        "solver": choose("sgd", "adam", "lbfgs"),
        "activation": choose("identity", "logistic", "tanh", "relu"),
        "learning_rate": choose("constant", "invscaling", "adaptive"),
        "learning_rate_init": choose(0.001, 0.02),
        "hidden_layer_sizes": choose((), (3,), (4, 2)),
        "alpha": choose(0.0, 1e-4, 0.1),
        "batch_size": choose("auto", 1, 5, 16),
        "shuffle": draw(st.booleans()),
        "early_stopping": draw(st.booleans()),
        "warm_start": draw(st.booleans()),
        "momentum": choose(0.0, 0.9),
        "nesterovs_momentum": draw(st.booleans()),
        "tol": choose(0.0, 1e-4, 0.05),
        "n_iter_no_change": choose(1, 3, 10, np.inf),
        "max_iter": choose(1, 4, 10),
        "random_state": draw(st.integers(0, 100)),
    }
    shape = {"rows": draw(st.integers(20, 30)), "features": draw(st.integers(1, 3))}
    steps = draw(st.lists(st.sampled_from(["fit", "partial_fit"]), min_size=1, max_size=3))
    if parameters["early_stopping"]:
        steps = ["fit"] * len(steps)
    if parameters["solver"] == "lbfgs":
        parameters["alpha"], steps = 0.5, ["fit"]
    return choose(*TASKS), shape, draw(st.integers(0, 9)), draw(st.booleans()), parameters, steps


@examples(40)
@given(trainings())
def test_any_parameters(training):
    task, shape, seed, weighted, parameters, steps = training
    x, y = problem(task, **shape, seed=seed)
    weight = np.random.default_rng(seed).uniform(0.5, 2.0, len(x)) if weighted else None
    models = pair(task, **parameters)
    for step in steps:
        more = classes_of(task, y) if step == "partial_fit" else {}
        each(models, lambda m, step=step, more=more: getattr(m, step)(x, y, weight, **more))
    assert_same(models, x, y, weight)


DATA = {
    "binary": lambda: load_breast_cancer(return_X_y=True),
    "multiclass": lambda: load_digits(return_X_y=True),
    "values": lambda: load_diabetes(return_X_y=True),
}


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}], ids=["plain", "early"])
@pytest.mark.parametrize("task", list(DATA))
def test_full_fits_with_default_parameters(task, parameters):
    x, y = DATA[task]()
    x = scale(x)
    theirs, ours = assert_same_fit(task, x, y, hidden_layer_sizes=(100,), **parameters)
    assert ours.n_iter_ > 10
    assert ours.score(x, y) == pytest.approx(theirs.score(x, y), rel=1e-9)


def test_lbfgs_to_its_end():
    x, y = load_digits(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    models = beside.fitted("multiclass", x, y, solver="lbfgs", hidden_layer_sizes=(20,), tol=1e-3)
    assert models[0].n_iter_ > 10
    assert models[0].n_iter_ == models[1].n_iter_
    beside.assert_same_use(models, x, y, limit=1e-4)


@pytest.mark.parametrize("iterations", [3, 20, 200])
@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_lbfgs_where_probabilities_are_0_and_1(load, iterations):
    x, y = load(return_X_y=True)  # not scaled
    models = beside.fitted(
        "multiclass", x, y, solver="lbfgs", hidden_layer_sizes=(100,), max_iter=iterations
    )
    assert models[0].n_iter_ == models[1].n_iter_
    if iterations <= 20:
        with np.errstate(divide="ignore"):  # of probabilities that are 0
            assert_same(models, x, y)
    assert models[0].score(x, y) == pytest.approx(models[1].score(x, y), abs=0.01)


@pytest.mark.parametrize("iterations", [1, 3, 4])
def test_lbfgs_where_rates_are_infinite(iterations):
    x, y = problem("counts", rows=300)
    models = pair("counts", solver="lbfgs", max_iter=iterations)
    with np.errstate(all="ignore"):
        each(models, lambda m: m.fit(100 * x, y))
    assert models[0].loss_ == pytest.approx(models[1].loss_, rel=1e-6)
    beside.assert_same_use(models, x, y)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_losses_of_hopeless_rows_are_capped_as_scikit_learn_caps_them(solver):
    x, y = load_wine(return_X_y=True)  # not scaled: the first scores are in the hundreds
    models = assert_same_fit("multiclass", x, y, solver=solver, **LONG)
    assert models[0].loss_curve_[0] > 3.0
