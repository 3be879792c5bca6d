"""Pictures of units: what is drawn, and what is refused."""

import numpy as np
import pytest
from drawn import check_layout, legend_names, lines

from xpnn import Perceptron
from xpnn.plots.figure import new_figure
from xpnn.plots.units import draw_bias_shift, draw_boundaries
from xpnn.units import Neuron

SQUARE = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def fitted(x, y, fit=None, **options):
    """The tutorial's rule: in the order of the rows, until nothing changes; threshold units."""
    rules = {"shuffle": False, "tol": None, "fires_at_zero": True}
    return Perceptron(**rules | options).fit(x, y, **fit or {})


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def test_bias_shift(backend):
    neurons = [Neuron(backend.asarray([1.0]), bias, "sigmoid") for bias in (-4.0, 0.0, 4.0)]
    figure, axes = new_figure()
    assert draw_bias_shift(neurons, low=-6, high=6, ax=axes) is figure
    check_layout(figure)
    assert list(lines(axes)) == ["bias -4", "bias 0", "bias 4"]
    assert len({line.get_linestyle() for line in axes.lines}) == 3
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("input", "output (sigmoid)")
    x, y = axes.lines[0].get_data()
    assert (x[0], x[-1]) == (-6, 6)
    assert y == pytest.approx(1 / (1 + np.exp(4 - x)), abs=1e-6)


@pytest.mark.parametrize("neurons", [[], [Neuron([1.0, 2.0])]])
def test_bias_shift_wants_one_input(neurons):
    with pytest.raises(ValueError, match="expected neurons with one input each"):
        draw_bias_shift(neurons)


def test_boundaries():
    y = ["no", "no", "no", "yes"]
    figure = draw_boundaries(fitted(SQUARE, y), SQUARE, y)
    check_layout(figure)
    assert titles(figure) == [
        f"epoch {i + 1}: {n} update{'' if n == 1 else 's'}"
        for i, n in enumerate([2, 3, 3, 2, 1, 0])
    ]
    assert legend_names(figure) == [
        "class no", "class yes", "misclassified", "boundary", "the unit fires (class yes)"
    ]  # fmt: skip
    assert [axes.get_xlabel() != "" for axes in figure.axes] == [False] * 2 + [True] * 4
    first, last = lines(figure.axes[0]), lines(figure.axes[-1])
    assert len(first["misclassified"].get_xdata()) == 3
    assert len(last["misclassified"].get_xdata()) == 0
    assert last["class no"].get_marker() != last["class yes"].get_marker()
    # After the last epoch the boundary is 2 x + y = 3.
    assert last["boundary"].get_xy1() @ np.asarray([2, 1]) == pytest.approx(3)


def test_many_epochs_show_eight_or_as_many_as_there_are_axes():
    unit = fitted(SQUARE, [0, 1, 1, 0], max_iter=40)
    shown = titles(draw_boundaries(unit, SQUARE, [0, 1, 1, 0]))
    assert len(shown) == 8
    assert (shown[0][:8], shown[-1][:9]) == ("epoch 1:", "epoch 40:")
    figure, axes = new_figure(1, 2)
    assert draw_boundaries(unit, SQUARE, [0, 1, 1, 0], ax=axes) is figure
    assert [title[:8] for title in titles(figure)] == ["epoch 1:", "epoch 40"]
    check_layout(figure)
    assert len(legend_names(figure)) == 5
    assert [(a.get_xlabel(), a.get_ylabel()) for a in axes] == [("input[0]", "input[1]")] * 2
    figure, axes = new_figure()
    draw_boundaries(unit, SQUARE, [0, 1, 1, 0], ax=axes)
    assert titles(figure)[0].startswith("epoch 40:")


def test_one_update_back_to_zero_weights_has_no_boundary():
    x, y = [[1.0, 0.0], [1.0, 0.0]], [0, 1]
    unit = fitted(x, y, fit_intercept=False, max_iter=1)
    assert unit.history_.verdict().startswith("did not converge in 1 epoch ")
    assert "boundary" not in lines(draw_boundaries(unit, x, y).axes[0])


@pytest.mark.parametrize(
    ("x", "y", "fit", "message"),
    [
        ([[0.0], [1.0]], [0, 1], {}, "X has 1 features and y 2 classes"),
        ([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], [0, 1, 2], {}, "X has 2 features and y 3 classes"),
        (SQUARE, [0, 0, 0, 1], {"record": False}, "no details; fit with record=True"),
    ],
)
def test_a_boundary_needs_two_features_classes_and_details(x, y, fit, message):
    with pytest.raises(ValueError, match=message):
        draw_boundaries(fitted(x, y, fit), x, y)


def test_names_of_classes_are_no_formulas():
    y = ["$a$", "$a$", "$a$", "cost in $\\frac$"]
    figure = draw_boundaries(fitted(SQUARE, y), SQUARE, y)
    check_layout(figure)
    assert "class cost in $\\frac$" in legend_names(figure)
