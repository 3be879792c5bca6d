"""Confusion matrices and decision regions: numbers, names, and what is refused."""

import numpy as np
import pytest
from drawn import check_layout, contents, legend_names
from matplotlib.contour import QuadContourSet
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnn import Network, Perceptron
from xpnn.plots import draw_confusion, draw_regions
from xpnn.plots.figure import new_figure

LABELS, PREDICTED = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0]
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (60, 2))
LEFT = np.where(X[:, 0] < 0, "left", "right")


def counts(figure):
    return np.asarray(figure.axes[0].images[0].get_array()).tolist()


def names(figure):
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_counts_of_every_library(backend):
    figure = draw_confusion(backend.asarray(LABELS), backend.asarray(PREDICTED))
    check_layout(figure)
    assert counts(figure) == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert names(figure) == ["0", "1", "2"]
    axes = figure.axes[0]
    assert axes.get_title() == "accuracy 0.6667 (4 of 6)"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted label", "True label")


def test_shares_on_axes_of_the_users_own():
    figure, ax = new_figure()
    assert draw_confusion(LABELS, PREDICTED, normalize="true", ax=ax) is figure
    assert counts(figure) == [[2 / 3, 1 / 3, 0], [0, 1, 0], [1, 0, 0]]
    assert {text.get_text() for text in ax.texts} == {"0.67", "0.33", "0.00", "1.00"}
    assert counts(draw_confusion(LABELS, PREDICTED, normalize="pred"))[0] == [2 / 3, 1 / 3, 0]
    assert np.sum(counts(draw_confusion(LABELS, PREDICTED, normalize="all"))) == pytest.approx(1)
    with pytest.raises(ValueError, match="normalize is 'rows'; expected 'true', 'pred' or 'all'"):
        draw_confusion(LABELS, PREDICTED, normalize="rows")


def test_names_for_numbers_and_an_order_for_texts():
    figure = draw_confusion(LABELS, PREDICTED, classes=["cat", "dog", "cow"])
    assert names(figure) == ["cat", "dog", "cow"]
    assert counts(figure) == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    animals = np.asarray(["cat", "dog", "cow"])
    figure = draw_confusion(animals[LABELS], animals[PREDICTED], classes=["dog", "cow", "cat"])
    assert counts(figure) == [[2, 0, 0], [0, 0, 1], [1, 0, 2]]
    assert names(draw_confusion(animals[LABELS], animals[PREDICTED])) == ["cat", "cow", "dog"]


@pytest.mark.parametrize(
    ("labels", "predicted", "expected"),
    [
        ([True, False], [True, True], ["False", "True"]),
        (np.asarray([[1], [2]]), [1, 2], ["1", "2"]),
        ([1.0, 3.0], [3.0, 3.0], ["1.0", "3.0"]),
        (np.asarray(["a", 1], dtype=object), np.asarray([1, "a"], dtype=object), ["1", "a"]),
    ],
)
def test_labels_of_other_types(labels, predicted, expected):
    assert names(draw_confusion(labels, predicted)) == expected


@pytest.mark.parametrize("classes", [1, 2, 10, 30])
@pytest.mark.parametrize("long", [False, True])
def test_names_of_classes_have_room(classes, long):
    labels = RNG.integers(0, classes, 400)
    words = [f"the class ${i}$, which has a very long name" for i in range(classes)]
    figure = draw_confusion(labels, labels[::-1], classes=words if long else range(classes))
    check_layout(figure)
    assert np.sum(counts(figure)) == 400
    assert len(set(names(figure))) == classes


@pytest.mark.parametrize(
    ("labels", "predicted", "classes", "message"),
    [
        ([0], [0, 1], None, "labels holds 1 and predicted 2; expected as many of both"),
        ([], [], None, "labels holds 0 and predicted 0; .* at least one"),
        ([[0, 1]], [0], None, r"labels has shape \(1, 2\); expected \(n,\), one label"),
        ([0.5], [0], None, r"labels\[0\] is 0.5; expected labels of classes"),
        ([0, 3], [0, 1], ["a", "b"], "the label .* is not among|classes names 2 classes"),
        (["a"], ["b"], ["a"], "classes names 1 classes; expected 2"),
        (range(51), range(51), None, "there are 51 classes; expected at most 50"),
    ],
)
def test_confusion_that_is_refused(labels, predicted, classes, message):
    with pytest.raises(ValueError, match=message):
        draw_confusion(labels, predicted, classes=classes)


# Regions


class Stripes:
    """A model of as many classes as are wanted, in columns of equal width."""

    def __init__(self, classes, names=None):
        self.classes, self.names = classes, names

    def predict(self, x):
        x = np.asarray(x)
        codes = np.clip((x[:, 0] + 1) / 2 * self.classes, 0, self.classes - 1).astype(int)
        return codes if self.names is None else np.asarray(self.names)[codes]


def test_regions_borders_and_points():
    figure = draw_regions(Stripes(2, ["left", "right"]), X, LEFT, names=["width", "height"])
    check_layout(figure)
    axes = figure.axes[0]
    said = axes.images[0].get_array()
    assert said.shape == (240, 240)
    assert (said == (np.linspace(*axes.get_xlim(), 240) >= 0)).all()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width", "height")
    assert legend_names(figure) == ["left", "right"]
    *borders, left, right = axes.collections
    assert np.array_equal(left.get_offsets(), X[LEFT == "left"])
    assert np.array_equal(right.get_offsets(), X[LEFT == "right"])
    vertices = borders[0].get_paths()[0].vertices
    assert len(vertices) > 10
    assert np.abs(vertices[:, 0]).max() < 0.02


@pytest.mark.parametrize("classes", [2, 10, 20])
def test_as_many_classes_on_axes_of_the_users_own(classes):
    words = [f"_a long name of ${i}$" for i in range(classes)]
    model = Stripes(classes, words)
    figure, ax = new_figure(width=7, height=6)
    assert draw_regions(model, X, model.predict(X), resolution=80, ax=ax) is figure
    check_layout(figure)
    assert len(set(legend_names(figure))) == classes


def test_a_network(backend):
    x, y = backend.asarray(X), (X[:, 0] > 0).astype(int)
    net = Network(2, [4, "tanh", 2], seed=0)
    net.fit(x, y.tolist(), epochs=2)
    figure = draw_regions(net, x, y, classes=["no", "yes"], resolution=20)
    assert legend_names(figure) == ["no", "yes"]
    axes = figure.axes[0]
    sides = (np.linspace(*f, 20) for f in (axes.get_xlim(), axes.get_ylim()))
    grid = np.stack(np.meshgrid(*sides), -1).reshape(-1, 2)
    expected = backend.to_host(net.predict(backend.asarray(grid)))
    assert np.mean(axes.images[0].get_array() == expected.reshape(20, 20)) > 0.99


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(library):
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    frame = frames.DataFrame({"width": X[:, 0], "height of $": X[:, 1]})
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, LEFT)
    figure = draw_regions(model, frame, LEFT, resolution=30)
    assert "height of $" in contents(figure)
    check_layout(figure)


def test_lists_names_and_many_points():
    figure = draw_regions(Perceptron().fit(X, LEFT), X.tolist(), LEFT.tolist(), resolution=30)
    assert legend_names(figure) == ["left", "right"]
    model = LogisticRegression().fit(X, np.where(X[:, 0] > 0, 7, 3))
    figure = draw_regions(model, X, np.where(X[:, 0] > 0, 7, 3), classes=["three", "seven"])
    assert legend_names(figure) == ["three", "seven"]
    assert legend_names(draw_regions(model, X, resolution=20)) == ["3", "7"]
    figure = draw_regions(model, np.tile(X, (50, 1)), most=100, resolution=20)
    assert len(figure.axes[0].lines[0].get_xdata()) == 100
    assert figure.axes[0].get_title(loc="left") == "100 of 3,000 points"


def test_a_regression_has_contours_and_a_scale():
    values = 2.0 * X[:, 0] + X[:, 1]
    figure = draw_regions(LinearRegression().fit(X, values), X, values, resolution=40)
    axes, scale = figure.axes
    assert scale.get_ylabel() == "prediction (ground), value (points)"
    filled, drawn = [c for c in axes.collections if isinstance(c, QuadContourSet)]
    assert (filled.filled, drawn.filled) == (True, False)
    assert filled.norm.vmin <= values.min() < values.max() <= filled.norm.vmax
    net = Network(2, [1], loss="mean_squared_error", seed=0)
    assert "prediction" in contents(draw_regions(net, X, resolution=10))
    model = LinearRegression().fit(X, np.full(60, 3.0))
    model.coef_ = np.zeros(2)
    assert len(draw_regions(model, X, np.full(60, 3.0), resolution=10).axes) == 2


def test_points_on_a_line_and_a_single_point():
    line = np.stack([np.full(5, 3.0), np.arange(5.0)], axis=1)
    check_layout(draw_regions(Stripes(2), line, resolution=10))
    check_layout(draw_regions(Stripes(2), [[1e6, 0.0]], [1], resolution=10))


class Constant:
    def __init__(self, row):
        self.row = row

    def predict(self, x):
        return np.asarray([self.row] * len(x))


@pytest.mark.parametrize(
    ("model", "x", "options", "error", "message"),
    [
        (Stripes(2), np.ones((4, 3)), {}, ValueError, r"X has shape \(4, 3\); decision regions"),
        (Stripes(2), np.ones((0, 2)), {}, ValueError, r"X has shape \(0, 2\)"),
        (Stripes(2), [["a", "b"]], {}, ValueError, "X cannot be read as numbers"),
        (Stripes(2), [[0, 0], [1, np.nan]], {}, ValueError, r"X\[1\] is \[1.0, nan\]; expected"),
        (Stripes(2), X, {"y": [1]}, ValueError, "y holds 1; expected 60, as many as X has rows"),
        (Stripes(2), X, {"names": ["a"]}, ValueError, "names holds 1; expected 2"),
        (Stripes(2), X, {"resolution": 1}, ValueError, "resolution is 1; expected an integer"),
        (Stripes(2), X, {"most": 0}, ValueError, "most is 0; expected an integer from 1"),
        (Stripes(2), X, {"y": X[:, 0]}, ValueError, r"y\[0\] is .*; expected labels of classes"),
        (Stripes(30), X, {}, ValueError, "there are 30 classes; their regions can be told"),
        (Constant([0, 0, 0]), X, {}, ValueError, r"values of shape \(3,\) for each row"),
        (Constant(np.nan), X, {}, ValueError, "predicts values that are not finite"),
        (3, X, {}, TypeError, "model is a int without predict; expected a fitted model"),
    ],
)
def test_regions_that_are_refused(model, x, options, error, message):
    with pytest.raises(error, match=message):
        draw_regions(model, x, **options)
