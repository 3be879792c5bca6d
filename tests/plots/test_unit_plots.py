"""Pictures of units: what is drawn, and what is refused."""

import numpy as np
import pytest
from drawn import check_layout

from xpnn import Perceptron
from xpnn.plots import neuron as neuron_plots
from xpnn.plots import perceptron as perceptron_plots
from xpnn.plots.neuron import plot_bias_shift
from xpnn.plots.perceptron import plot_boundaries
from xpnn.units import Neuron

SQUARE = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


def tutorial(**options):
    """In the order of the rows, until nothing changes; threshold units."""
    return Perceptron(**{"shuffle": False, "tol": None, "fires_at_zero": True} | options)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    figures = []
    for module in (neuron_plots, perceptron_plots):
        original = module.save_figure
        monkeypatch.setattr(
            module,
            "save_figure",
            lambda figure, path, save=original: figures.append(figure) or save(figure, path),
        )
    return figures


def test_bias_shift(backend, tmp_path, drawn):
    neurons = [Neuron(backend.asarray([1.0]), bias, "sigmoid") for bias in (-4.0, 0.0, 4.0)]
    path = plot_bias_shift(neurons, tmp_path / "folder" / "shift.png", low=-6, high=6)
    assert path.read_bytes().startswith(b"\x89PNG")
    (axes,) = drawn[0].axes
    lines = axes.get_lines()
    assert [line.get_label() for line in lines] == ["bias -4", "bias 0", "bias 4"]
    assert len({line.get_linestyle() for line in lines}) == 3
    assert axes.get_xlabel() == "input"
    assert axes.get_ylabel() == "output (sigmoid)"
    x = np.asarray(lines[0].get_xdata())
    assert (x[0], x[-1]) == (-6, 6)
    assert lines[0].get_ydata() == pytest.approx(1 / (1 + np.exp(4 - x)), abs=1e-6)


def test_bias_shift_wants_one_input(tmp_path):
    for neurons in ([], [Neuron([1.0, 2.0])]):
        with pytest.raises(ValueError, match="expected neurons with one input each"):
            plot_bias_shift(neurons, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_boundaries(tmp_path, drawn):
    x = np.asarray(SQUARE)
    unit = tutorial().fit(x, ["no", "no", "no", "yes"])
    path = plot_boundaries(unit, x, ["no", "no", "no", "yes"], tmp_path / "and.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    panels = [axes for axes in drawn[0].axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [
        f"epoch {i + 1}: {n} update{'' if n == 1 else 's'}"
        for i, n in enumerate([2, 3, 3, 2, 1, 0])
    ]
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == [
        "class no", "class yes", "misclassified", "boundary", "the unit fires (class yes)"
    ]  # fmt: skip
    lines = {line.get_label(): line for line in panels[-1].get_lines()}
    assert len(lines["misclassified"].get_xdata()) == 0
    assert lines["class no"].get_marker() != lines["class yes"].get_marker()
    # After the last epoch the boundary is 2 x + y = 3.
    assert all(2 * a + b == pytest.approx(3) for a, b in [lines["boundary"].get_xy1()])
    first = {line.get_label(): line for line in panels[0].get_lines()}
    assert len(first["misclassified"].get_xdata()) == 3


def test_many_epochs_show_eight(tmp_path, drawn):
    unit = tutorial(max_iter=40).fit(SQUARE, [0, 1, 1, 0])
    plot_boundaries(unit, SQUARE, [0, 1, 1, 0], tmp_path / "xor.png")
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert len(titles) == 8
    assert titles[0].startswith("epoch 1:")
    assert titles[-1].startswith("epoch 40:")


def test_one_update_back_to_zero_weights_has_no_boundary(tmp_path, drawn):
    unit = tutorial(fit_intercept=False, max_iter=1).fit([[1.0, 0.0], [1.0, 0.0]], [0, 1])
    assert unit.history_.verdict().startswith("did not converge in 1 epoch ")
    plot_boundaries(unit, [[1.0, 0.0], [1.0, 0.0]], [0, 1], tmp_path / "none.png")
    assert "boundary" not in {line.get_label() for line in drawn[0].axes[0].get_lines()}


def test_a_boundary_needs_two_features_classes_and_details(tmp_path):
    path = tmp_path / "a.png"
    line = tutorial().fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(ValueError, match="X has 1 features and y 2 classes"):
        plot_boundaries(line, [[0.0], [1.0]], [0, 1], path)
    corners = [[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]]
    three = tutorial().fit(corners, [0, 1, 2])
    with pytest.raises(ValueError, match="X has 2 features and y 3 classes"):
        plot_boundaries(three, corners, [0, 1, 2], path)
    plain = tutorial().fit(SQUARE, [0, 0, 0, 1], record=False)
    with pytest.raises(ValueError, match="no details; fit with record=True"):
        plot_boundaries(plain, SQUARE, [0, 0, 0, 1], path)
    assert not path.exists()


def test_names_of_classes_are_no_formulas(tmp_path, drawn):
    names = ["$", "cost in $\\frac"]
    unit = tutorial().fit(SQUARE, [names[i] for i in (0, 0, 0, 1)])
    plot_boundaries(unit, SQUARE, [names[i] for i in (0, 0, 0, 1)], tmp_path / "and.png")
    check_layout(drawn[0])
    assert "class cost in $\\frac" in [t.get_text() for t in drawn[0].legends[0].get_texts()]
