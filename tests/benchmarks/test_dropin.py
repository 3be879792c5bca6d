"""The estimators and scikit-learn's do the same work in `benchmarks/sklearn_dropin.py`."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn.bench import dropin, peers
from xpnn.bench.command import Settings
from xpnn.bench.library import NUMPY
from xpnn.bench.problems import PROBLEMS
from xpnn.bench.report import show
from xpnn.bench.rounds import Comparison, SkipError, Timing
from xpnn.bench.workloads import Workload
from xpnn.data import write_idx
from xpnn.estimators import MLPClassifier

SMALL = Workload("small", "small", (6, 8, 5, 3), 20, 50)
TINY = Settings(rounds=1, tiny=True, threads=1)
LOADED = [problem for problem in PROBLEMS if problem.name != "mnist"]


def named(name):
    return next(problem for problem in PROBLEMS if problem.name == name)


def by_name(comparison):
    return {timing.name: timing for timing in comparison.timings}


# A fit


@pytest.mark.parametrize("problem", LOADED, ids=lambda problem: problem.name)
def test_both_do_the_same_work(problem):
    split = problem.data(None, True)
    assert split.x.dtype == split.x_test.dtype == problem.dtype
    assert (len(split.x), len(split.x_test)) == (60, 30)
    made = dropin.fits(problem, split, TINY)
    fits = {name: made[name]() for name in (dropin.SKLEARN, NUMPY.name)}
    for fit in fits.values():
        fit()
        assert fit.model.n_iter_ == problem.epochs_in(True)
    own, other = fits[NUMPY.name], fits[dropin.SKLEARN]
    assert own.model.loss_curve_ == pytest.approx(other.model.loss_curve_, rel=1e-4)
    assert own.score() == pytest.approx(other.score(), rel=1e-4)


def test_a_fit_is_followed_by_its_score_and_its_memory():
    found = by_name(dropin.compare_fit(named("regression"), TINY))
    for name in (dropin.SKLEARN, NUMPY.name):
        assert found[name].facts.keys() == {"r2", "peak_bytes"}
        assert found[name].facts["peak_bytes"] > 10_000
        assert found[name].record()["r2"] == found[name].facts["r2"]


def test_mnist_is_left_out_with_its_reason():
    found = dropin.compare_fit(named("mnist"), TINY)
    (result,) = found.record()["results"]
    assert result.keys() == {"name", "skipped"}
    assert "--data names no folder" in result["skipped"]


def test_mnist_is_read_from_its_folder(tmp_path):
    rng = np.random.default_rng(0)
    for part, rows in (("train", 70), ("t10k", 40)):
        write_idx(
            tmp_path / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (rows, 28, 28), "uint8")
        )
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", rng.integers(0, 10, rows, "uint8"))
    whole = named("mnist").data(tmp_path, False)
    assert whole.x.shape == (70, 784)
    assert whole.x_test.shape == (40, 784)
    assert whole.x.dtype == "float32"
    assert whole.x.max() == 1.0
    split = named("mnist").data(tmp_path, True)
    assert (len(split.y), len(split.y_test)) == (60, 30)


def test_skorch_is_left_out_where_it_is_missing(monkeypatch):
    def missing(name):
        raise SkipError(f"{name} is not installed")

    monkeypatch.setattr(peers, "installed", missing)
    with pytest.raises(SkipError, match="is not installed"):
        peers.skorch_estimator((2, 3, 2), 1, 1, regression=False, double=False)


@pytest.mark.parametrize("name", ["digits-float32", "classification", "regression"])
def test_skorch_learns_for_as_many_epochs(name):
    problem = named(name)
    split = problem.data(None, True)
    try:
        fit = dropin.fits(problem, split, TINY)[dropin.SKORCH]()
    except SkipError as reason:
        pytest.skip(str(reason))
    fit()
    assert len(fit.model.history) == problem.epochs_in(True)
    assert fit.model.history[-1, "train_loss"] < fit.model.history[0, "train_loss"]
    assert fit.peak_bytes() is None
    assert np.isfinite(fit.score())


# An epoch


@pytest.mark.parametrize("variant", dropin.VARIANTS, ids=lambda variant: variant.options["engine"])
def test_a_held_fit_goes_on_as_a_fit_does(variant, monkeypatch):
    made = []

    def make(**options):
        made.append(MLPClassifier(**options))
        return made[-1]

    monkeypatch.setattr(dropin, "MLPClassifier", make)
    x, t = SMALL.data()
    try:
        epochs = dropin.fit_epochs(SMALL, x, t, variant)
    except SkipError as reason:
        pytest.skip(str(reason))
    for _ in range(3):
        epochs()
    epochs.close()
    (held,) = made
    assert held.n_iter_ == 3
    other = MLPClassifier(**peers.sklearn_parameters(SMALL), **variant.options, max_iter=4, tol=0.0)
    other.fit(x, t, callbacks=[lambda run: "enough" if run.network.n_iter_ == 3 else None])
    for own, expected in zip(held.coefs_, other.coefs_, strict=True):
        np.testing.assert_array_equal(own, expected)


def test_partial_fit_is_the_epoch_of_scikit_learn():
    x, t = SMALL.data()
    own = dropin._begun(SMALL, x, t, NUMPY)
    other = peers.sklearn_classifier(SMALL, x, t)
    for model in (own, other):
        model.partial_fit(x, t)
    assert own.t_ == other.t_ == 70
    for ours, theirs in zip(own.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_every_contender_of_an_epoch_is_listed_once():
    names = [timing.name for timing in dropin.compare_epoch(SMALL, TINY).timings]
    assert names[:2] == ["floor", "scikit-learn, partial_fit"]
    assert len(set(names)) == len(names) == 6


# Prediction


def test_both_predict_the_same():
    x = np.random.default_rng(0).random((5, 784), dtype="float32")
    probabilities = [model.predict_proba(x) for model in dropin.predictors().values()]
    np.testing.assert_allclose(*probabilities, atol=1e-5)
    bare = dropin.bare_probabilities(x)()
    assert bare.shape == (5, 10)
    np.testing.assert_allclose(bare.sum(axis=1), 1, rtol=1e-6)


def test_a_group_stands_for_its_tables():
    asked = Settings(rounds=1, tiny=True, threads=1, work=("predict",))
    found = list(dropin.compare(asked))
    assert [comparison.name for comparison in found] == ["row", "rows"]
    for comparison in found:
        assert comparison.timings[0].name.startswith("scikit-learn")


# The table


def test_the_table_shows_what_else_is_known(capsys):
    known = Timing("a", [1.0], [1.0], facts={"accuracy": 0.975, "peak_bytes": 2048})
    unknown = Timing("b", [2.0], [2.0], facts={"accuracy": 0.5, "peak_bytes": None})
    show(Comparison("n", "t", [known, unknown, Timing("c", skipped="gone")]))
    printed = capsys.readouterr().out
    rows = {words[1]: words for line in printed.splitlines() if len(words := line.split("│")) > 2}
    cells = {key.strip(): [cell.strip() for cell in row[5:7]] for key, row in rows.items()}
    assert cells == {"a": ["0.9750", "2 KiB"], "b": ["0.5000", "-"], "c": ["-", "-"]}
    assert "accuracy" in printed
    assert "peak memory" in printed
