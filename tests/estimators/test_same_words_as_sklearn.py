"""What is printed, warned, kept on an interrupt and assigned: as in scikit-learn."""

import re
import warnings

import numpy as np
import pytest
from beside_sklearn import TASKS, assert_same, assert_same_use, each, fitted, pair, problem
from sklearn.exceptions import ConvergenceWarning
from small import assert_same_bytes

from xpnn.training import Callback

ADAPTIVE = {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 1}
PRINTING = {
    "converges": ({"tol": 0.05, "n_iter_no_change": 2}, "Training loss did not improve more"),
    "early": (
        {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 3, "tol": 0.1},
        "Validation score did not improve more than tol=0.100000 for 3 consecutive epochs. Stop",
    ),
    "adaptive": (ADAPTIVE, "Setting learning rate to 0.000200"),
    "adaptive to its end": (
        ADAPTIVE | {"learning_rate_init": 1e-5}, "Learning rate too small. Stopping.",
    ),
    "early and adaptive": (
        ADAPTIVE | {"early_stopping": True},
        "Validation score did not improve more than tol=0.100000 for 1 consecutive epochs. Sett",
    ),
    "a number for verbose": ({"verbose": 3, "max_iter": 2}, "Iteration 2, loss = "),
    "no end": ({"max_iter": 4, "n_iter_no_change": np.inf}, "Iteration 4, loss = "),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", [*PRINTING, "nothing"])
@pytest.mark.parametrize("task", ["multiclass", "several values"])
def test_verbose_prints_the_same(task, name, capsys):
    parameters, expected = PRINTING.get(name, ({"verbose": False}, ""))
    x, y = problem(task)
    printed = []
    for model in pair(task, **({"verbose": True, "max_iter": 60} | parameters)):
        model.fit(x, y)
        printed.append(capsys.readouterr())
    assert printed[0] == printed[1]
    assert printed[1].err == ""
    assert expected in printed[1].out
    assert bool(printed[1].out) == bool(expected)


def test_verbose_prints_the_same_in_partial_fit(capsys):
    x, y = problem("values")
    printed = []
    for model in pair("values", verbose=True, tol=1.0, n_iter_no_change=2):
        for _ in range(5):
            model.partial_fit(x, y)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert printed[1].count("Iteration 1, loss") == 5
    assert "Stopping." in printed[1]


@pytest.mark.parametrize(
    ("solver", "start"),
    [
        ("adam", "Stochastic Optimizer: Maximum iterations (5) reached"),
        ("sgd", "Stochastic Optimizer: Maximum iterations (5) reached"),
        ("lbfgs", "lbfgs failed to converge after 5 iteration(s) (status=1)"),
    ],
)
@pytest.mark.parametrize("task", TASKS)
def test_a_training_that_does_not_converge_warns(task, solver, start):
    x, y = problem(task)
    said = each(pair(task, solver=solver, max_iter=5, tol=0.0), lambda m: m.fit(x, y))
    assert [category for category, _ in said] == [ConvergenceWarning]
    assert said[0][1].startswith(start)


def test_lbfgs_that_runs_out_of_calls_warns():
    x, y = problem("values")
    said = each(pair("values", solver="lbfgs", max_fun=3), lambda m: m.fit(x, y))
    assert "TOTAL NO. OF F,G EVALUATIONS EXCEEDS LIMIT" in said[0][1]


def test_a_warning_points_at_the_line_that_called_fit():
    x, y = problem("values")
    for model in (pair("values", max_iter=1)[1], pair("values", max_iter=1, batch_size=99)[1]):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(x, y)
        assert {w.filename for w in caught} == {__file__}


@pytest.mark.parametrize("task", ["binary", "values"])
def test_a_column_of_targets_warns(task):
    x, y = problem(task)
    said = each(pair(task, max_iter=25), lambda m: m.fit(x, y[:, None]))
    assert "A column-vector y was passed when a 1d array was expected" in said[0][1]


class Interrupting(np.random.RandomState):
    """Draws as NumPy does; somebody presses the keys before the given epoch."""

    def __init__(self, seed, epoch):
        super().__init__(seed)
        self.left = epoch

    def shuffle(self, x):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        super().shuffle(x)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("task", TASKS)
def test_an_interrupt_keeps_what_was_learned(task, solver):
    x, y = problem(task)
    models = pair(task, solver=solver, learning_rate_init=0.01)
    each(models, lambda m: m.set_params(random_state=Interrupting(0, 22)))
    said = each(models, lambda m: m.fit(x, y))
    assert said == [(UserWarning, "Training interrupted by user.")]
    assert models[1].n_iter_ == 21
    assert_same(models, x, y)


def test_an_interrupt_with_early_stopping_restores_the_best_weights():
    x, y = problem("several values")
    models = pair(
        "several values", early_stopping=True, learning_rate_init=0.3, n_iter_no_change=99
    )
    # The split draws a permutation, which is no shuffle.
    each(models, lambda m: m.set_params(random_state=Interrupting(0, 22)))
    each(models, lambda m: m.fit(x, y))
    assert models[1].validation_scores_[-1] < models[1].best_validation_score_
    assert_same(models, x, y)


class Third(Callback):
    """Does something after the second step of the third epoch."""

    def __init__(self, act):
        self.act = act

    def on_batch_end(self, run):
        if run.history.epochs == 2 and run.batch == 1:
            self.act(run)


def press(run):
    raise KeyboardInterrupt


@pytest.mark.parametrize("engine", ["planned", "pure"])
def test_an_interrupt_within_an_epoch_keeps_its_steps(engine):
    def train(act):
        model = pair("values", batch_size=10, max_iter=9)[1].set_params(engine=engine)
        return model.fit(*problem("values"), callbacks=Third(act))

    with pytest.warns(UserWarning, match=r"Training interrupted by user\."):
        stopped = train(press)
    assert (stopped.n_iter_, stopped.t_) == (2, 80)
    assert_same_bytes(stopped, train(lambda run: run.stop("enough")))


def halve(model):
    model.coefs_ = [0.5 * w for w in model.coefs_]
    model.intercepts_ = [b + 0.1 for b in model.intercepts_]


def put_an_element(model):
    model.coefs_[0] = np.full_like(model.coefs_[0], 0.25)
    model.intercepts_[-1] = np.zeros_like(model.intercepts_[-1])


def write_in_place(model):
    model.coefs_[1] *= -1.0
    model.coefs_[0][1, 2] = 7.0
    model.intercepts_[0][:] = 1.0


def put_strided(model):
    model.coefs_ = [np.asfortranarray(w[:, ::-1]) for w in model.coefs_]


def put_column_order(model):
    model.coefs_[0] = model.coefs_[0].T.copy().T


ASSIGNMENTS = [halve, put_an_element, write_in_place, put_strided, put_column_order]


@pytest.mark.parametrize("assign", ASSIGNMENTS)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("task", TASKS)
def test_assigned_weights_count(task, solver, assign):
    x, y = problem(task)
    models = fitted(task, x, y, solver=solver, max_iter=8, alpha=0.5)
    assert_same_use(models, x, y)
    before = models[1].predict(x)
    each(models, assign)
    assert_same_use(models, x, y)
    if assign in ASSIGNMENTS[:3] and task.endswith(("values", "counts")):
        assert not np.allclose(before, models[1].predict(x))
    # A second time, and after another kind of change.
    each(models, write_in_place)
    assert_same_use(models, x, y)


@pytest.mark.parametrize("assign", ASSIGNMENTS)
@pytest.mark.parametrize("how", ["partial_fit", "warm start"])
@pytest.mark.parametrize("task", ["multiclass", "values"])
def test_learning_goes_on_from_assigned_weights(task, how, assign):
    x, y = problem(task)
    models = fitted(task, x, y, max_iter=5)
    each(models, assign)

    def go_on(model):
        if how == "warm start":
            return model.set_params(warm_start=True, max_iter=20).fit(x, y)
        return [model.partial_fit(x, y) for _ in range(20)]

    each(models, go_on)
    assert_same(models, x, y)


@pytest.mark.parametrize(
    ("name", "i", "shape", "expected"),
    [("coefs_", 0, (3, 5), (4, 5)), ("intercepts_", 1, (4,), (3,))],
)
def test_weights_of_a_wrong_shape_are_refused(name, i, shape, expected):
    x, y = problem("multiclass")
    model = fitted("multiclass", x, y, max_iter=2)[1]
    getattr(model, name)[i] = np.zeros(shape)
    text = f"{name}[{i}] has shape {shape}; expected {expected}"
    with pytest.raises(ValueError, match=re.escape(text)):
        model.predict(x)
