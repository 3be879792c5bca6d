"""Curves of trainings: what is drawn from which record, and what is refused."""

import json
import math

import numpy as np
import pytest
from drawn import check_layout, contents, legend_names, lines

from xpnn import MLPClassifier, Network
from xpnn.plots.curves import draw_history, plot_history
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
    assert legend_names(figure) == ["training", "validation", "best: epoch 2"]


@pytest.mark.parametrize(
    "source",
    [
        FULL.to_dict(),
        {"history": FULL.to_dict(), "classes": ["a"]},
        json.loads(json.dumps(FULL.to_dict())),
        {k: np.asarray(v) for k, v in FULL.to_dict().items() if k.startswith(("loss", "val"))}
        | {"best_epoch": 2},
    ],
    ids=["record", "nested", "json", "arrays"],
)
def test_a_record_draws_the_same(source):
    found, expected = draw_history(source), draw_history(FULL)
    for axes, other in zip(found.axes, expected.axes, strict=True):
        assert list(lines(axes)) == list(lines(other))
        for name, line in lines(axes).items():
            assert np.array_equal(line.get_xydata(), lines(other)[name].get_xydata())


@pytest.mark.parametrize("source", [[3.0, 2.0], (3, 2), np.asarray([3.0, 2.0])])
def test_a_list_is_the_training_loss(source):
    figure = draw_history(source)
    assert contents(figure).count("loss") == 1
    assert lines(figure.axes[0])["training"].get_xydata().tolist() == [[1, 3.0], [2, 2.0]]
    assert legend_names(figure) == ["training"]


def test_losses_of_every_library(backend):
    figure = draw_history({"loss": backend.asarray([3.0, 2.0])})
    assert lines(figure.axes[0])["training"].get_ydata().tolist() == [3.0, 2.0]


def test_the_lowest_validation_loss_is_marked_where_no_weights_were_kept():
    figure = draw_history(History([3.0, 2.0, 1.0, 0.5], [3.0, math.nan, 1.5, 2.5]))
    assert len(figure.axes) == 1
    assert list(lines(figure.axes[0]))[-1] == "lowest validation loss: epoch 3"
    assert list(lines(figure.axes[0])["lowest validation loss: epoch 3"].get_xdata()) == [3, 3]
    check_layout(figure)


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
    assert lines(right)["validation"].get_ydata().tolist() == pytest.approx(
        model.validation_scores_
    )
    best = int(np.argmax(model.validation_scores_)) + 1
    assert f"best score: epoch {best}" in legend_names(figure)
    check_layout(figure)


def test_curves_differ_in_print_without_colours():
    figure = draw_history(History([1.0] * 40, [2.0] * 40, [0.5] * 40, best_epoch=1))
    for axes in figure.axes:
        styles = [line.get_linestyle() for line in axes.lines]
        assert len(set(styles)) == len(styles)
    left, right = (lines(axes)["validation"] for axes in figure.axes)
    assert left.get_linestyle() == right.get_linestyle()


def test_a_single_epoch_can_be_seen():
    figure = draw_history(History([3.0], [2.0], [0.5]))
    check_layout(figure)
    assert [line.get_marker() for line in figure.axes[0].lines][:2] == ["o", "s"]


@pytest.mark.parametrize("epochs", [1, 2, 3, 40, 1000, 15_000])
def test_epochs_are_whole_numbers(epochs):
    figure = draw_history(History(list(np.linspace(1e-5, 1e-7, epochs))))
    check_layout(figure)
    ticks = figure.axes[0].get_xticks()
    assert (ticks == np.round(ticks)).all()


def test_a_wide_range_is_logarithmic():
    figure = draw_history([1000.0, 10.0, 0.1])
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[0].get_ylabel() == "loss (logarithmic)"
    assert draw_history([1000.0, 10.0, 0.1], log=False).axes[0].get_yscale() == "linear"
    assert draw_history([2.0, 1.0], log=True).axes[0].get_yscale() == "log"
    assert draw_history([1000.0, 10.0, -0.1]).axes[0].get_yscale() == "linear"
    for log in (True, False):
        check_layout(draw_history([1000.0, 10.0, 0.1], log=log))


def test_values_that_are_not_finite_are_marked():
    figure = draw_history(History([2.0, math.inf, math.nan, 1.0], [2.0, 1.9, -math.inf, 1.0]))
    (left,) = figure.axes
    assert lines(left)["not finite"].get_xdata().tolist() == [2, 3]
    assert np.isnan(lines(left)["training"].get_ydata()).tolist() == [False, True, True, False]
    assert np.isfinite(left.get_ylim()).all()
    check_layout(figure)


@pytest.mark.parametrize(
    "loss", [[math.nan] * 3, [math.inf, -math.inf], [None, None], [1e308, -1e308], [1e300, 1.0]]
)
def test_nothing_finite_or_beyond_all_bounds(loss, tmp_path):
    figure = draw_history({"loss": loss})
    check_layout(figure)
    assert any(name.startswith("not finite") for name in legend_names(figure))
    assert plot_history({"loss": loss}, tmp_path / "a.png").exists()


def test_the_file_holds_the_picture(tmp_path):
    path = plot_history(FULL, tmp_path / "new" / "a.svg")
    assert path.read_text().startswith("<?xml")
    assert [p.name for p in path.parent.iterdir()] == ["a.svg"]


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
        (3, TypeError, "source is a int; expected a History"),
    ],
)
def test_what_is_no_record(source, error, message, tmp_path):
    with pytest.raises(error, match=message):
        plot_history(source, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
