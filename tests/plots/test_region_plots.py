"""Decision regions: what lies where, and which models and data can be drawn."""

import numpy as np
import pytest
from drawn import check_layout, contents, grey_pixels, legend_names
from matplotlib.contour import QuadContourSet
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnn import Network, Perceptron
from xpnn.plots.regions import draw_regions

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (60, 2))
LEFT = np.where(X[:, 0] < 0, "left", "right")


class Quadrants:
    """A model of as many classes as are wanted, in columns of equal width."""

    def __init__(self, classes, names=None):
        self.classes, self.names = classes, names

    def predict(self, x):
        x = np.asarray(x)
        codes = np.clip((x[:, 0] + 1) / 2 * self.classes, 0, self.classes - 1).astype(int)
        return codes if self.names is None else np.asarray(self.names)[codes]


def points(figure):
    """Markers and the points that they stand at."""
    axes = figure.axes[0]
    return {line.get_marker(): line.get_xydata() for line in axes.lines if len(line.get_xdata())}


def test_regions_and_points():
    figure = draw_regions(Quadrants(2, ["left", "right"]), X, LEFT, names=["width", "height"])
    check_layout(figure)
    axes = figure.axes[0]
    said = axes.images[0].get_array()
    assert said.shape == (240, 240)
    columns = np.linspace(*axes.get_xlim(), 240)
    assert (said == (columns >= 0)).all()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width", "height")
    assert legend_names(figure) == ["left", "right"]
    found = points(figure)
    assert set(found) == {"o", "s"}
    assert np.array_equal(found["o"], X[LEFT == "left"])
    assert np.array_equal(found["s"], X[LEFT == "right"])
    # Names stand in their regions.
    where = {text.get_text(): text.get_position()[0] for text in axes.texts}
    assert where["left"] < 0 < where["right"]
    assert any(isinstance(child, QuadContourSet) for child in axes.get_children())


def test_border_is_where_the_model_changes():
    figure = draw_regions(Quadrants(2), X, (X[:, 0] >= 0).astype(int))
    (contour, *_) = [c for c in figure.axes[0].collections if isinstance(c, QuadContourSet)]
    vertices = contour.get_paths()[0].vertices
    assert np.abs(vertices[:, 0]).max() < 0.02


@pytest.mark.parametrize("classes", [2, 3, 10, 20])
def test_as_many_classes(classes):
    names = [f"_a long name of ${i}$" for i in range(classes)]
    model = Quadrants(classes, names)
    figure = draw_regions(model, X, model.predict(X), resolution=80)
    check_layout(figure)
    assert len(legend_names(figure)) == classes
    assert len(set(legend_names(figure))) == classes


def test_regions_of_two_classes_differ_in_print():
    figure = draw_regions(Quadrants(2), X, resolution=60)
    pixels = grey_pixels(figure)
    box = figure.axes[0].get_window_extent()
    row = pixels[-int(box.y0 + 0.02 * box.height)]
    left = np.median(row[int(box.x0) + 5 : int(box.x0 + 0.4 * box.width)])
    right = np.median(row[int(box.x0 + 0.6 * box.width) : int(box.x1) - 5])
    assert abs(left - right) > 25


def test_a_network(backend):
    x = backend.asarray(X)
    net = Network(2, [4, "tanh", 2], seed=0)
    net.fit(x, (X[:, 0] > 0).astype(int).tolist(), epochs=2)
    figure = draw_regions(net, x, (X[:, 0] > 0).astype(int), classes=["no", "yes"], resolution=20)
    assert legend_names(figure) == ["no", "yes"]
    grid = np.stack(
        np.meshgrid(
            *(np.linspace(*f, 20) for f in (figure.axes[0].get_xlim(), figure.axes[0].get_ylim()))
        ),
        -1,
    )
    expected = backend.to_host(net.predict(backend.asarray(grid.reshape(-1, 2))))
    said = figure.axes[0].images[0].get_array()
    assert np.mean(said == expected.reshape(20, 20)) > 0.99


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(library):
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    frame = frames.DataFrame({"width": X[:, 0], "height of $": X[:, 1]})
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, LEFT)
    figure = draw_regions(model, frame, LEFT, resolution=30)
    assert figure.axes[0].get_ylabel() == "height of $"
    check_layout(figure)


def test_lists():
    figure = draw_regions(Perceptron().fit(X, LEFT), X.tolist(), LEFT.tolist(), resolution=30)
    assert legend_names(figure) == ["left", "right"]


def test_names_of_a_models_classes():
    model = LogisticRegression().fit(X, np.where(X[:, 0] > 0, 7, 3))
    figure = draw_regions(model, X, np.where(X[:, 0] > 0, 7, 3), classes=["three", "seven"])
    assert legend_names(figure) == ["three", "seven"]
    assert legend_names(draw_regions(model, X, resolution=20)) == ["3", "7"]


def test_a_model_with_probabilities_only():
    class Sure:
        def predict_proba(self, x):
            p = (np.asarray(x)[:, 0] > 0).astype(float)
            return np.stack([1 - p, p], axis=1)

    figure = draw_regions(Sure(), X, resolution=20)
    assert set(np.unique(figure.axes[0].images[0].get_array())) == {0, 1}


def test_many_points_are_thinned_evenly():
    x = RNG.uniform(-1, 1, (5000, 2))
    figure = draw_regions(Quadrants(2), x, Quadrants(2).predict(x), most=100, resolution=20)
    assert sum(len(xy) for xy in points(figure).values()) == 100
    assert figure.axes[0].get_title(loc="left") == "100 of 5,000 points"


def test_a_regression_has_contours_and_a_scale():
    values = 2.0 * X[:, 0] + X[:, 1]
    figure = draw_regions(LinearRegression().fit(X, values), X, values, resolution=40)
    check_layout(figure, overlaps=False)
    axes, scale = figure.axes
    assert scale.get_ylabel() == "prediction (ground), value (points)"
    filled, drawn = [c for c in axes.collections if isinstance(c, QuadContourSet)]
    assert filled.filled
    assert not drawn.filled
    low, high = filled.norm.vmin, filled.norm.vmax
    assert low <= values.min() < values.max() <= high
    assert "prediction" in contents(draw_regions(LinearRegression().fit(X, values), X))


def test_a_constant_regression():
    model = LinearRegression().fit(X, np.full(60, 3.0))
    model.coef_ = np.zeros(2)
    check_layout(draw_regions(model, X, np.full(60, 3.0), resolution=10), overlaps=False)


def test_a_network_of_values_is_a_regression():
    net = Network(2, [1], loss="mean_squared_error", seed=0)
    assert len(draw_regions(net, X, resolution=10).axes) == 2  # the plane and the scale
    assert len(draw_regions(net, X, (X[:, 0] > 0) * 1.0, resolution=10).axes) == 2


def test_points_on_a_line_and_a_single_point():
    line = np.stack([np.full(5, 3.0), np.arange(5.0)], axis=1)
    check_layout(draw_regions(Quadrants(2), line, resolution=10))
    check_layout(draw_regions(Quadrants(2), [[1e6, 0.0]], [1], resolution=10))


class Several:
    def predict(self, x):
        return np.zeros((len(x), 3))


class Broken:
    def predict(self, x):
        return np.full(len(x), np.nan)


@pytest.mark.parametrize(
    ("model", "x", "options", "error", "message"),
    [
        (Quadrants(2), np.ones((4, 3)), {}, ValueError, r"X has shape \(4, 3\); decision regions"),
        (Quadrants(2), np.ones((0, 2)), {}, ValueError, r"X has shape \(0, 2\)"),
        (Quadrants(2), [1.0, 2.0], {}, ValueError, r"X has shape \(2,\)"),
        (Quadrants(2), [["a", "b"]], {}, ValueError, "X cannot be read as numbers"),
        (Quadrants(2), [[0, 0], [1, np.nan]], {}, ValueError, r"X\[1\] is \[1.0, nan\]; expected"),
        (Quadrants(2), X, {"y": [1]}, ValueError, "y holds 1; expected 60, as many as X has rows"),
        (Quadrants(2), X, {"names": ["a"]}, ValueError, "names holds 1; expected 2"),
        (Quadrants(2), X, {"task": "guess"}, ValueError, "task is 'guess'; expected 'classify'"),
        (Quadrants(2), X, {"resolution": 1}, ValueError, "resolution is 1; expected an integer"),
        (Quadrants(2), X, {"most": 0}, ValueError, "most is 0; expected an integer from 1"),
        (Quadrants(2), X, {"y": X[:, 0]}, ValueError, r"y\[0\] is .*; expected labels of classes"),
        (Quadrants(30), X, {}, ValueError, "there are 30 classes; their regions can be told"),
        (Several(), X, {}, ValueError, r"predicts values of shape \(3,\) for each row"),
        (Broken(), X, {}, ValueError, "predicts values that are not finite"),
        (3, X, {}, TypeError, "model is a int without predict; expected a fitted model"),
    ],
)
def test_what_is_refused(model, x, options, error, message):
    with pytest.raises(error, match=message):
        draw_regions(model, x, **options)
