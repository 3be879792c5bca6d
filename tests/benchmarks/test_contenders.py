"""Like with like: all contenders of a benchmark do the same arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import contenders
import online
import predict
import sklearn_dropin
from contenders import ENDLESS, Paused, Workload
from rounds import SkipError
from tutorials import INPUTS, TARGETS, TutorialDigits, TutorialLayer
from xpnn import SGD, Adam, Network
from xpnn.layers import RawErrorDense

# One batch an epoch, so that the order of rows does not matter.
SMALL = Workload("small", "small", (6, 8, 5, 3), 50, 50)
TASKS = [
    SMALL,
    replace(SMALL, widths=(6, 8, 5, 1), task="binary"),
    replace(SMALL, widths=(6, 8, 5, 1), task="regression"),
]
KINDS = pytest.mark.parametrize("work", TASKS, ids=lambda work: work.task)


def our_losses(work, epochs):
    """The losses of this library's own training."""
    x, t = work.data()
    targets = t if work.task == "multiclass" else t.reshape(-1, 1).astype("float32")
    network = contenders.network_of(work)
    return network.fit(
        x, targets, epochs=epochs, batch_size=work.batch, optimizer=Adam(0.001), engine="pure"
    ).loss


@KINDS
@pytest.mark.parametrize("peer", ["torch", "jax"])
def test_a_peer_learns_as_this_library_does(work, peer):
    x, t = work.data()
    try:
        if peer == "torch":
            epoch = contenders.torch_epoch(work, x, t, threads=1)
        else:
            epoch = contenders.jax_scan_epoch(work, x, t)
    except SkipError as reason:
        pytest.skip(str(reason))
    assert [epoch() for _ in range(4)] == pytest.approx(our_losses(work, 4), rel=1e-4)


def test_dropout_clipping_and_weights_reach_pytorch():
    work = replace(SMALL, dropout=0.5, clip_norm=1e-3, weighted=True)
    try:
        training = contenders.TorchTraining(work, *work.data())
    except SkipError as reason:
        pytest.skip(str(reason))
    assert [type(layer).__name__ for layer in training.model].count("Dropout") == 2
    training.model.eval()
    rows, labels, _ = training.columns
    losses = training.row_loss(training.model(rows), labels).detach().numpy()
    loss = training.step(training.loss_of, training.torch.arange(work.rows))
    assert loss.item() == pytest.approx((losses * work.sample_weight()).mean())
    norms = [parameter.grad.norm() for parameter in training.model.parameters()]
    assert training.torch.stack(norms).norm().item() <= 1.001e-3


@KINDS
def test_scikit_learn_and_the_estimator_do_the_same(work):
    x, t = work.data()
    losses = []
    for make in (contenders.sklearn_estimator, contenders.our_estimator):
        model = make(work)
        losses.append([contenders.begun(model, work, x, t).loss_ for _ in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


# A training that is paused between epochs


def test_a_paused_training_goes_on_where_the_last_epoch_ended():
    x, t = SMALL.data()
    network, other = contenders.network_of(SMALL), contenders.network_of(SMALL)
    options = {"batch_size": 20, "seed": 3, "engine": "pure"}
    paused = Paused(lambda turns: network.fit(x, t, epochs=ENDLESS, callbacks=[turns], **options))
    for _ in range(3):
        paused()
    paused.close()
    other.fit(x, t, epochs=3, **options)
    np.testing.assert_array_equal(network.theta, other.theta)


def test_an_error_in_a_paused_training_arrives():
    x, t = SMALL.data()
    with pytest.raises(ValueError, match="batch_size"):
        contenders.network_epoch(replace(SMALL, batch=0), x, t)()


# Tutorials and predictions


def test_the_digit_tutorials_code_and_the_library_agree():
    x, t = online.digits(20, None)
    text = TutorialDigits(784, 30, 10, 0.1, seed=1)
    network = Network(784, [RawErrorDense(30), RawErrorDense(10)], loss="sum_squared_errors")
    network.assign(**{"0.weights": text.wih.T, "1.weights": text.who.T})
    network.to("numpy", dtype="float64")
    for inputs, targets in zip(x, t, strict=True):
        text.train(inputs, targets)
    network.fit(x, t, epochs=1, batch_size=1, shuffle=False, optimizer=SGD(0.05))
    np.testing.assert_allclose(network.parameters()["0.weights"], text.wih.T, atol=1e-10)


def test_the_one_layer_tutorials_code_and_the_library_agree():
    text = TutorialLayer()
    text.train(INPUTS, TARGETS, 15_000)
    assert text.synaptic_weights[:, 0] == pytest.approx([10.08740896, -0.20695366, -4.83757835])
    few = TutorialLayer()
    few.train(INPUTS, TARGETS, 200)
    network = online.our_layer(200, "auto")()
    np.testing.assert_allclose(network.theta, few.synaptic_weights[:, 0], atol=1e-10)


def test_predictions_are_those_of_the_bare_arithmetic():
    x = np.random.default_rng(0).random((3, 784), dtype="float32")
    scores = predict.bare_arithmetic(x)()
    calls = predict.predictors(x)
    np.testing.assert_allclose(calls["xpnn Network.scores"]()(), scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(calls["xpnn Network.predict"]()(), scores.argmax(1))
    theirs = calls["scikit-learn predict_proba"]()()
    ours = calls["xpnn MLPClassifier.predict_proba"]()()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


# Whole fits


@pytest.mark.parametrize("name", [name for name in sklearn_dropin.PROBLEMS if name != "mnist"])
def test_both_fits_do_the_same_work(name):
    problem = sklearn_dropin.PROBLEMS[name]
    split = problem.data(None, tiny=True)
    assert [len(part) for part in split] == [60, 30, 60, 30]
    assert split[0].dtype == split[1].dtype == problem.dtype
    theirs, ours = sklearn_dropin.fits(problem, split, tiny=True).values()
    for fit in (theirs, ours):
        fit()
    if name == "perceptron":
        np.testing.assert_allclose(ours.model.coef_, theirs.model.coef_)
    else:
        assert ours.model.n_iter_ == theirs.model.n_iter_
        assert ours.model.loss_ == pytest.approx(theirs.model.loss_, rel=1e-3)
    assert ours.score() == pytest.approx(theirs.score(), rel=1e-3)
    assert ours.peak_bytes() > 10_000
