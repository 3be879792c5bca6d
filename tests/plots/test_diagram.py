"""The diagram of a network: units, lines, biases, names."""

import numpy as np
import pytest
from drawn import check_layout, contents, legend_names

from xpnn import Dense, MLPClassifier, Network
from xpnn.plots import draw_network
from xpnn.plots.diagram import NEGATIVE, POSITIVE, _number
from xpnn.plots.figure import new_figure

WEIGHTS = {
    "0.weights": [[0.5, -1.0, 0.25], [-0.125, 2.0, 0.0625]],
    "0.bias": [0.1, -0.2, 0.3],
    "2.weights": [[1.0], [-0.5], [0.75]],
    "2.bias": [-4.0],
}


def units(figure):
    return np.asarray([line.get_xydata()[0] for line in figure.axes[0].lines])


def test_units_lines_and_biases():
    net = Network(2, [3, "tanh", 1], loss="mean_squared_error").assign(**WEIGHTS)
    figure, ax = new_figure()
    assert draw_network(net, ax=ax) is figure
    check_layout(figure)
    places = units(figure)
    assert len(places) == 2 + 3 + 1
    positive, negative = ax.collections[:2]  # of the first layer
    assert len(positive.get_segments()) == 4
    assert len(negative.get_segments()) == 2
    # The widest is 2.0, from input 1 to hidden unit 1: the second and the fourth unit.
    assert positive.get_linewidths()[0] == max(positive.get_linewidths()) == pytest.approx(3.4)
    assert positive.get_segments()[0] == pytest.approx(places[[1, 3]])
    assert {"hidden\n3\ntanh", "-4.00", "0.10", "-0.20", "0.30"} <= set(contents(figure))
    assert legend_names(figure) == [
        "positive weight", "negative weight", "largest weight: 2.00",
        "weights: 9; biases, in the units: 4",
    ]  # fmt: skip
    handles = ax.get_legend().legend_handles
    assert [handle.get_color() for handle in handles[:2]] == [POSITIVE[0], NEGATIVE[0]]
    assert handles[0].get_linestyle() != handles[1].get_linestyle()


def test_names_and_activations():
    net = Network(3, [Dense(2, bias=False), "sigmoid", 2], seed=0)
    words = ["$a$", "_b", "a name that is long, much too long"]
    figure = draw_network(net, names=words, classes=["no", "yes"])
    check_layout(figure)
    written = contents(figure)
    assert {"$a$", "_b", "no", "yes", "hidden\n2\nsigmoid", "output\n2\nsoftmax"} <= set(written)
    assert written.count("0") == 2  # biases of the last layer only


def test_an_estimator_names_its_classes_and_features():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"width": [0.0, 1.0, 2.0], "height": [1.0, 0.0, 1.0]})
    model = MLPClassifier((3,), solver="lbfgs", max_iter=50, random_state=0)
    model.fit(frame, ["a", "b", "c"])
    assert {"width", "height", "a", "b", "c"} <= set(contents(draw_network(model)))


@pytest.mark.parametrize("widths", [(1, 1), (4, 5, 4, 3), (784, 100, 10), (12, 13, 1)])
def test_large_layers_show_some_of_their_units(backend, widths):
    net = Network(widths[0], list(widths[1:]), seed=0).to(backend)
    figure = draw_network(net)
    check_layout(figure)
    assert len(units(figure)) == sum(n if n <= 12 else 9 for n in widths)
    written = contents(figure)
    for width in widths:
        assert (f"{width - 9:,} more" in written) == (width > 12)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1.00"), (-0.095, "-0.10"), (0.0625, "0.062"), (12.345, "12.35"),
     (1e5, "1e5"), (-1.2e-9, "-1.2e-9"), (-123.4, "-123"), (5e300, "5e300")],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert _number(value) == text


def test_names_that_are_too_few_or_too_many_and_weights_of_any_size():
    net = Network(2, [2])
    with pytest.raises(ValueError, match="names holds 1; expected 2"):
        draw_network(net, names=["a"])
    with pytest.raises(ValueError, match="classes holds 3; expected 2"):
        draw_network(net, classes=["a", "b", "c"])
    for size in (0.0, 1e300):
        net.theta = np.full(6, size)
        check_layout(draw_network(net))
