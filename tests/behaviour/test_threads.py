"""Trainings and predictions in threads: each alone in what it gives, and none leaves a trace."""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
import threadpoolctl
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from small_models import KINDS, learn_more, make, rows, targets

from xpnn import MLPClassifier, MLPRegressor, Network, Perceptron

THREADS = 8


def settings():
    """What belongs to the process and not to a training; of warnings see below."""
    status = Path("/proc/self/status")  # where nobody can change the umask meanwhile
    return {
        "BLAS threads": {
            (lib["filepath"], lib["num_threads"])
            for lib in threadpoolctl.threadpool_info()
            if lib["user_api"] == "blas"
        },
        "NumPy's errors": np.geterr(),
        "showwarning": warnings.showwarning,
        "excepthook": sys.excepthook,
        "threading.excepthook": threading.excepthook,
        "switch interval": sys.getswitchinterval(),
        "umask": re.findall("Umask.*", status.read_text()) if status.exists() else None,
        "working directory": os.getcwd(),
        "environment": dict(os.environ),
        "recursion limit": sys.getrecursionlimit(),
    }


def set_blas_threads(number):
    """Set the number as somebody else would who is gone: threadpoolctl heeds one thread only."""

    def change():
        for library in threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers:
            library.set_num_threads(number)

    thread = threading.Thread(target=change)
    thread.start()
    thread.join()


@pytest.fixture(autouse=True)
def restless():
    """Threads change places as often as they can; BLAS has two threads to lose."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    set_blas_threads(2)
    yield
    set_blas_threads(1)  # as tests/conftest.py has it
    sys.setswitchinterval(before)


def answer(number):
    """Train one of several models and predict: the bytes of its parameters and predictions.

    A batch of one row is where the number of BLAS threads is changed; a last batch is smaller;
    and lengths differ, so that they begin and end across each other.
    """
    x = rows(150 + 37 * (number % THREADS), seed=number)
    kind = KINDS[number % 3]
    y = targets(kind, x)
    batch_size, epochs = 16 if number % 4 == 3 else 1, 3 + number % 5
    if kind == "Network":
        model = Network(3, [5, "relu", 3], seed=number)
        model.fit(x, y, epochs=epochs, batch_size=batch_size)
        learned = [model.theta]
    else:
        model = make(kind, batch_size=batch_size, max_iter=epochs, random_state=number).fit(x, y)
        learned = [*model.coefs_, *model.intercepts_]
    predicted = [model.predict(x[: 10 + i]) for i in (0, 0, 5)]
    return [np.asarray(array).tobytes() for array in (*learned, *predicted)]


def at_once(count):
    """Answers of trainings that run at the same time."""
    start = threading.Barrier(THREADS)

    def run(number):
        if number < THREADS:
            start.wait()
        return answer(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(count)))


@pytest.fixture
def no_convergence_warnings():
    # Once, around all threads: filters belong to the process.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def test_each_gets_the_answer_that_it_gets_alone(no_convergence_warnings):
    alone = [answer(number) for number in range(2 * THREADS)]
    assert at_once(2 * THREADS) == alone


def test_the_settings_of_the_process_stay(no_convergence_warnings):
    before = settings()
    assert {number for _, number in before["BLAS threads"]} == {2}
    for _ in range(3):
        at_once(2 * THREADS)
        assert settings() == before


def test_the_warning_filters_stay(no_convergence_warnings):
    """scikit-learn's checks change them for a moment, before Python 3.14 for all threads."""
    x = rows(30)
    y = targets("", x)
    model = make("MLPClassifier").fit(x, y)
    before = list(warnings.filters)

    def validate(_):
        make("MLPRegressor", max_iter=1).fit(x, x[:, 0])
        make("MLPClassifier", max_iter=2, early_stopping=True, class_weight="balanced").fit(x, y)
        model.predict(x.tolist())
        model.score(x, y)
        Perceptron(max_iter=2, tol=None).fit(x, y).score(x, y)

    for _ in range(20):
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(validate, range(40)))
        assert warnings.filters == before


@pytest.mark.parametrize("make_model", [MLPClassifier, MLPRegressor])
def test_a_search_in_threads_leaves_the_settings(make_model):
    x = rows(140)
    y = targets(make_model.__name__, x)
    # They stop before the last epoch: a warning of it would meet filters that scikit-learn's own
    # threads exchange.
    model = make_model(random_state=0, tol=1e9, n_iter_no_change=1)
    grid = {"hidden_layer_sizes": [(4,), (5,)], "max_iter": [4, 6], "batch_size": [1]}
    search = GridSearchCV(model, grid, cv=3, n_jobs=4)
    before = settings()
    with joblib.parallel_backend("threading"):
        search.fit(x, y)
    assert settings() == before
    alone = GridSearchCV(model, grid, cv=3).fit(x, y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )


PARTS = 40
WIDE = 5000  # an update that takes a while


@pytest.mark.parametrize("kind", KINDS)
def test_predicting_beside_learning_gives_a_state_that_was(kind):
    x, others = rows(32), rows(20, seed=1)
    y = targets(kind, x)

    def learner():
        """A model that has seen the rows once."""
        if kind == "Network":
            model = Network(3, [WIDE, "relu", 3], seed=0)
        else:
            model = make(kind, hidden_layer_sizes=(WIDE,), learning_rate_init=0.1)
        learn_more(model, x, y)
        return model

    def predicted(model):
        method = "predict" if kind == "MLPRegressor" else "predict_proba"
        return getattr(model, method)(others).tobytes()

    model = learner()
    states = [predicted(model)]
    for _ in range(PARTS):
        learn_more(model, x, y)
        states.append(predicted(model))
    assert len(set(states)) == PARTS + 1

    model, done, found = learner(), threading.Event(), set()

    def predict():
        while not done.is_set():
            found.add(predicted(model))
        found.add(predicted(model))

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(predict) for _ in range(2)]
        try:
            for _ in range(PARTS):
                learn_more(model, x, y)
        finally:
            done.set()
        for one in running:
            one.result()
    assert found <= set(states)
    assert predicted(model) == states[-1]
    assert states[-1] in found
