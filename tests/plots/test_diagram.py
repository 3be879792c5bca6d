"""The diagram of a network: units, lines, values, and blocks for what is larger."""

import numpy as np
import pytest
from drawn import check_layout, contents, legend_names
from matplotlib.patches import Circle, FancyBboxPatch

from xpnn import Dense, MLPClassifier, Network
from xpnn.plots.diagram import NEGATIVE, POSITIVE, _number, draw_network

WEIGHTS = {
    "0.weights": [[0.5, -1.0, 0.25], [-0.125, 2.0, 0.0625]],
    "0.bias": [0.1, -0.2, 0.3],
    "2.weights": [[1.0], [-0.5], [0.75]],
    "2.bias": [-4.0],
}


@pytest.fixture
def small():
    return Network(2, [3, "tanh", 1], loss="mean_squared_error").assign(**WEIGHTS)


def circles(figure):
    return [p for p in figure.axes[0].patches if isinstance(p, Circle)]


def random_network(*widths, **options):
    net = Network(widths[0], list(widths[1:]), seed=0, **options)
    net.theta = np.random.default_rng(0).normal(size=net.size)
    return net


def test_units_lines_and_values(small):
    figure = draw_network(small)
    check_layout(figure)
    assert len(circles(figure)) == 2 + 3 + 1
    lines = figure.axes[0].lines
    assert len(lines) == 2 * 3 + 3 * 1
    written = contents(figure)
    for name, values in WEIGHTS.items():
        for value in np.ravel(values):
            assert _number(float(value)) in written, name
    assert "hidden\ntanh" in written
    assert {"input", "output"} <= set(written)
    assert legend_names(figure) == [
        "positive weight", "negative weight", "widest: 2.00 in size; 9 weights, 4 biases",
        "in a unit: its bias",
    ]  # fmt: skip


def test_sign_and_size_of_each_line(small):
    figure = draw_network(small)
    weights = np.concatenate([np.ravel(WEIGHTS["0.weights"]), np.ravel(WEIGHTS["2.weights"])])
    lines = figure.axes[0].lines
    positive = [line for line in lines if line.get_color() == POSITIVE[0]]
    negative = [line for line in lines if line.get_color() == NEGATIVE[0]]
    assert (len(positive), len(negative)) == (sum(weights > 0), sum(weights < 0))
    assert {line.get_linestyle() for line in positive} == {"-"}
    assert {line.get_linestyle() for line in negative} == {"--"}
    widths = sorted((line.get_linewidth() for line in lines if line), reverse=True)
    sizes = sorted(np.abs(weights), reverse=True)
    assert np.argsort(widths).tolist() == np.argsort(sizes).tolist()
    assert widths[0] / widths[-1] > 4


def test_a_line_goes_from_its_input_to_its_unit(small):
    figure = draw_network(small)
    (widest,) = [line for line in figure.axes[0].lines if line.get_linewidth() == 4.0]
    centres = np.asarray([circle.center for circle in circles(figure)])
    # The weight 2.0 goes from input 1 to hidden unit 1: circles 1 and 3.
    assert widest.get_xydata() == pytest.approx(centres[[1, 3]])


def test_names_biases_and_activations():
    net = Network(3, [Dense(2, bias=False), "sigmoid", 2], seed=0)
    figure = draw_network(net, names=["$a$", "_b", "a name that is long, much too long"],
                          classes=["no", "yes"])  # fmt: skip
    check_layout(figure)
    written = contents(figure)
    assert {"$a$", "_b", "no", "yes", "hidden\nsigmoid", "output\nsoftmax"} <= set(written)
    assert written.count("0") == 2  # biases of the last layer only
    bare = draw_network(Network(2, [Dense(1, bias=False)], loss="huber"))
    assert "in a unit: its bias" not in legend_names(bare)
    assert "2 weights, 0 biases" in legend_names(bare)[2]


def test_an_estimator_names_its_classes_and_features():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"width": [0.0, 1.0, 2.0], "height": [1.0, 0.0, 1.0]})
    model = MLPClassifier((3,), solver="lbfgs", max_iter=50, random_state=0)
    model.fit(frame, ["a", "b", "c"])
    assert {"width", "height", "a", "b", "c"} <= set(contents(draw_network(model)))


def test_a_network_of_every_library(backend):
    net = random_network(2, 3, 2).to(backend)
    assert len(circles(draw_network(net))) == 7


@pytest.mark.parametrize("widths", [(1, 1), (2, 3, 1), (4, 5, 4, 3), (12, 8, 3), (3, 1, 3, 1, 3)])
def test_nothing_is_cut_off_and_values_keep_clear(widths):
    figure = draw_network(random_network(*widths))
    check_layout(figure)
    axes = figure.axes[0]
    # Points along each written weight: far from every circle, and from the lines of others.
    values = [t for t in axes.texts if t.get_bbox_patch() is not None]
    assert values
    centres = np.asarray([circle.center for circle in circles(figure)])
    places = np.asarray([text.get_position() for text in values])
    assert np.linalg.norm(places[:, None] - centres, axis=-1).min() > 0.21
    if len(places) > 1:
        gaps = np.linalg.norm(places[:, None] - places, axis=-1) + 10 * np.eye(len(places))
        assert gaps.min() > 0.08


@pytest.mark.parametrize(
    "widths", [(784, 100, 10), (2, 13, 1), (12, 12, 2), (2, 3, 3, 3, 3, 3, 3, 1)]
)
def test_larger_networks_are_blocks(widths):
    net = random_network(*widths)
    figure = draw_network(net)
    check_layout(figure)
    assert not circles(figure)
    blocks = [p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    assert len(blocks) == len(widths)
    written = contents(figure)
    assert f"{widths[0]:,}\ninput" + ("" if widths[0] == 1 else "s") in written
    first = net.parameters()["0.weights"]
    size = _number(float(np.abs(first).mean()))
    assert f"{first.size:,} weights\nabout {size} in size" in written
    assert f"{widths[1]:,} bias{'' if widths[1] == 1 else 'es'}" in written
    biases = sum(widths[1:])
    assert any(t.startswith(f"{net.size - biases:,} weights, {biases:,} biases") for t in written)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1.00"), (-0.095, "-0.10"), (0.0625, "0.062"), (12.345, "12.35"),
     (1e5, "1e5"), (-1.2e-9, "-1.2e-9"), (-123.4, "-123"), (1e-12, "1e-12"), (5e300, "5e300")],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert _number(value) == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["a"]}, "names holds 1; expected 2"),
        ({"classes": ["a", "b"]}, "classes holds 2; expected 1"),
    ],
)
def test_what_is_refused(small, options, message):
    with pytest.raises(ValueError, match=message):
        draw_network(small, **options)


def test_weights_that_are_all_zero_or_huge():
    net = Network(2, [2])
    net.theta = np.zeros(6)
    check_layout(draw_network(net))
    net.theta = np.full(6, 1e300)
    check_layout(draw_network(net))
