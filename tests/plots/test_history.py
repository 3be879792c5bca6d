"""Curves of trainings: what is drawn from which record, and what is refused."""

import json
import math

import numpy as np
import pytest
from drawn import check_layout, legend_names, lines

from xpnn import MLPClassifier, Network
from xpnn.plots import draw_history
from xpnn.plots.figure import new_figure
from xpnn.training import History

FULL = History([2.0, 1.0, 0.5], [2.1, 1.2, 0.9], [0.3, 0.6, 0.8], best_epoch=2)


def test_loss_and_accuracy_on_two_panels():
    figure = draw_history(FULL)
    check_layout(figure)
    left, right = figure.axes
    assert [axes.get_xlabel() for axes in (left, right)] == ["epoch", "epoch"]
    assert [axes.get_ylabel() for axes in (left, right)] == ["loss", "accuracy"]
    assert list(lines(left)) == ["training", "validation", "best: epoch 2"]
    assert lines(left)["training"].get_xydata().tolist() == [[1, 2.0], [2, 1.0], [3, 0.5]]
    assert lines(left)["validation"].get_ydata().tolist() == [2.1, 1.2, 0.9]
    assert lines(right)["validation"].get_ydata().tolist() == [0.3, 0.6, 0.8]
    assert list(lines(right)["best: epoch 2"].get_xdata()) == [2, 2]
    styles = [line.get_linestyle() for line in left.lines]
    assert len(set(styles)) == 3  # told apart in print
    assert lines(right)["validation"].get_linestyle() == styles[1]


def test_axes_of_the_users_own():
    figure, (left, right) = new_figure(1, 2)
    assert draw_history(FULL, ax=right) is figure
    assert not left.lines
    assert list(lines(right)) == ["training", "validation", "best: epoch 2"]
    figure, both = new_figure(1, 2)
    draw_history(FULL, ax=both)
    assert [axes.get_ylabel() for axes in both] == ["loss", "accuracy"]


@pytest.mark.parametrize("nested", [False, True])
def test_a_record_draws_the_same(nested):
    record = json.loads(json.dumps(FULL.to_dict()))
    found = draw_history({"history": record, "classes": ["a"]} if nested else record)
    for axes, other in zip(found.axes, draw_history(FULL).axes, strict=True):
        for name, line in lines(axes).items():
            assert np.array_equal(line.get_xydata(), lines(other)[name].get_xydata())


def test_losses_of_every_library(backend):
    for source in ([3.0, 2.0], backend.asarray([3.0, 2.0]), {"loss": backend.asarray([3.0, 2.0])}):
        figure = draw_history(source)
        assert lines(figure.axes[0])["training"].get_xydata().tolist() == [[1, 3.0], [2, 2.0]]
        assert legend_names(figure) == ["training"]


def test_the_lowest_validation_loss_is_marked_where_no_weights_were_kept():
    figure = draw_history(History([3.0, 2.0, 1.0, 0.5], [3.0, math.nan, 1.5, 2.5]))
    (axes,) = figure.axes
    assert list(lines(axes)["lowest validation loss: epoch 3"].get_xdata()) == [3, 3]


def test_reports_of_some_epochs_stand_where_they_were():
    figure = draw_history(History([3.0, 2.0, 1.0], epoch=[5, 10, 12]))
    assert lines(figure.axes[0])["training"].get_xdata().tolist() == [5, 10, 12]


def test_an_estimator_with_early_stopping():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    model = MLPClassifier((4,), early_stopping=True, max_iter=12, n_iter_no_change=4,
                          random_state=0, validation_fraction=0.3)  # fmt: skip
    model.fit(x, (x[:, 0] > 0).astype(int))
    figure = draw_history(model)
    left, right = figure.axes
    assert lines(left)["training"].get_ydata().tolist() == pytest.approx(model.loss_curve_)
    assert right.get_ylabel() == "score"
    scores = lines(right)["validation"].get_ydata().tolist()
    assert scores == pytest.approx(model.validation_scores_)
    best = int(np.argmax(model.validation_scores_)) + 1
    assert f"best score: epoch {best}" in legend_names(figure)
    # Validation curves of a fit that went on are of its end only, and have no place.
    model.loss_curve_ = [2.0, *model.loss_curve_]
    assert legend_names(draw_history(model)) == ["training"]


@pytest.mark.parametrize("epochs", [1, 2, 40, 15_000])
def test_epochs_are_whole_numbers(epochs):
    figure = draw_history(History(list(np.linspace(1e-5, 1e-7, epochs))))
    check_layout(figure)
    ticks = figure.axes[0].get_xticks()
    assert (ticks == np.round(ticks)).all()
    assert figure.axes[0].lines[0].get_marker() == ("o" if epochs < 40 else "None")


def test_a_wide_range_is_logarithmic():
    assert draw_history([1000.0, 10.0, 0.1]).axes[0].get_ylabel() == "loss (logarithmic)"
    for log, losses, scale in [
        (None, [1000.0, 10.0, 0.1], "log"), (False, [1000.0, 10.0, 0.1], "linear"),
        (True, [2.0, 1.0], "log"), (None, [1000.0, 10.0, -0.1], "linear"),
    ]:  # fmt: skip
        assert draw_history(losses, log=log).axes[0].get_yscale() == scale


def test_values_that_are_not_finite_are_marked():
    figure = draw_history(History([2.0, math.inf, math.nan, 1.0], [2.0, 1.9, -math.inf, 1.0]))
    (axes,) = figure.axes
    assert lines(axes)["not finite, or huge"].get_xdata().tolist() == [2, 3]
    assert np.isnan(lines(axes)["training"].get_ydata()).tolist() == [False, True, True, False]
    assert np.isfinite(axes.get_ylim()).all()


@pytest.mark.parametrize("loss", [[math.nan] * 3, [math.inf, -math.inf], [None], [1e308, -1e308]])
def test_nothing_that_can_be_drawn(loss):
    figure = draw_history({"loss": loss})
    check_layout(figure)
    assert "not finite, or huge" in legend_names(figure)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (History(), ValueError, "history holds no epoch; expected at least one"),
        ([], ValueError, "history holds no epoch; expected at least one"),
        ({"accuracy": [1]}, ValueError, "the record holds accuracy; expected loss"),
        ({}, ValueError, "the record holds nothing; expected loss"),
        ([1.0, "x"], ValueError, r"loss\[1\] is 'x'; expected a number"),
        ({"loss": [1.0, 2.0], "validation_loss": [1.0]}, ValueError, "validation_loss holds 1; "),
        ("loss", TypeError, "source is a str; expected a History, its record"),
        (Network(2, [2]), TypeError, "source is a Network; expected a History"),
    ],
)
def test_what_is_no_record(source, error, message):
    with pytest.raises(error, match=message):
        draw_history(source)
