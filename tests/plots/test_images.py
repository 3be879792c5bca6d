"""Images of digits and of weights; the dense layers that a model has."""

import numpy as np
import pytest
from drawn import check_layout, contents
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnn import Dense, MLPClassifier, Network
from xpnn.layers import Chain
from xpnn.plots import draw_digits, draw_misclassified, draw_weights
from xpnn.plots.figure import SIGNED, new_figure
from xpnn.plots.model import dense_views, input_names

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 784)).astype("uint8")
LABELS = RNG.integers(0, 10, 60)
X = RNG.normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(int)


def shown(figure):
    return [image for axes in figure.axes for image in axes.images]


def titles(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def misclassified(count):
    predicted = LABELS.copy()
    predicted[60 - count :] = (predicted[60 - count :] + 1) % 10
    return predicted


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (10, 1), (23, 3)])
def test_digits_in_rows(count, rows):
    figure = draw_digits(IMAGES[:count], LABELS[:count])
    check_layout(figure)
    assert titles(figure) == [str(label) for label in LABELS[:count]]
    tops = {image.get_extent()[3] for image in shown(figure)}
    assert len(tops) == rows
    for i, image in enumerate(shown(figure)):
        assert (image.get_array() == IMAGES[i].reshape(28, 28)).all()
        assert image.get_cmap().name == "gray_r"


def test_digits_of_other_shapes_and_libraries(backend):
    values = np.arange(48.0, dtype="float32").reshape(4, 3, 4)
    figure = draw_digits(backend.asarray(values), columns=3)
    check_layout(figure)
    assert [image.get_array().shape for image in shown(figure)] == [(3, 4)] * 4
    assert (shown(figure)[3].get_array() == values[3]).all()
    lefts = [image.get_extent()[0] for image in shown(figure)]
    assert lefts[3] == lefts[0] < lefts[1] < lefts[2]
    check_layout(draw_digits(values, ["an image with much to say about it"] * 4))


@pytest.mark.parametrize("count", [1, 7, 20])
def test_misclassified_digits(backend, count):
    predicted = misclassified(count)
    figure = draw_misclassified(*(backend.asarray(a) for a in (IMAGES, LABELS, predicted)))
    check_layout(figure)
    places = range(60 - count, 60)
    assert titles(figure) == [f"{LABELS[i]} → {predicted[i]}" for i in places]
    for i, image in zip(places, shown(figure), strict=True):
        assert (image.get_array() == IMAGES[i].reshape(28, 28)).all()
    assert figure.axes[0].get_title() == f"{count} of 60 misclassified: true → predicted"


def test_the_first_misclassified_digits_or_none():
    figure = draw_misclassified(IMAGES, LABELS, misclassified(30), most=3)
    check_layout(figure)
    assert len(titles(figure)) == 3
    assert "30 of 60 misclassified; the first 3: true → predicted" in contents(figure)
    figure, ax = new_figure()
    assert draw_misclassified(IMAGES, LABELS, LABELS, ax=ax) is figure
    assert contents(figure) == ["0 of 60 misclassified"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: draw_digits(IMAGES[0]), r"images has shape \(784,\); expected \(n, height, width"),
        (lambda: draw_digits(IMAGES[:, :5]), r"images has shape \(60, 5\); expected"),
        (lambda: draw_digits(IMAGES[:2], ["one"]), "titles holds 1; expected 2, as many as images"),
        (lambda: draw_digits(IMAGES[:2], columns=0), "columns is 0; expected a positive integer"),
        (
            lambda: draw_misclassified(IMAGES, LABELS, LABELS[1:]),
            r"and predicted \(59,\); expected",
        ),
        (lambda: draw_misclassified(IMAGES, LABELS, LABELS, most=0), "most is 0; expected a pos"),
    ],
)
def test_wrong_images(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


# What a model's layers are


def test_layers_of_a_network(backend):
    net = Network(3, [4, "tanh", Dense(2, bias=False), "relu", 2], seed=0).to(backend)
    first, second, third = dense_views(net)
    assert first.weights.tolist() == backend.to_host(net.parameters()["0.weights"]).tolist()
    assert first.bias.tolist() == [0.0] * 4
    assert second.bias is None
    assert [v.activation for v in (first, second, third)] == ["tanh", "relu", "softmax"]
    nested = Network(3, Chain((Chain((Dense(4),)), Chain((Dense(2), Dense(1))))), loss="huber")
    assert [v.weights.shape for v in dense_views(nested)] == [(3, 4), (4, 2), (2, 1)]


def test_layers_of_estimators():
    model = MLPClassifier((4, 2), activation=["tanh", "gelu"], max_iter=1, random_state=0)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        model.fit(X, Y)
    views = dense_views(model)
    assert [v.activation for v in views] == ["tanh", "gelu", "logistic"]
    assert np.array_equal(views[1].weights, model.coefs_[1])
    line = LogisticRegression().fit(X, Y)
    (view,) = dense_views(make_pipeline(StandardScaler(), line).fit(X, Y))
    assert (view.weights.shape, view.bias.shape) == ((3, 1), (1,))


def test_names_of_inputs():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    line = LogisticRegression().fit(frame, Y)
    assert input_names(line) == ["a", "b", "c"]
    assert input_names(make_pipeline(StandardScaler(), line).fit(frame, Y)) == ["a", "b", "c"]
    assert input_names(Network(3, [2])) is None


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (3, TypeError, "model is a int without weights; expected a Network, or a fitted"),
        (MLPClassifier(), TypeError, "model is a MLPClassifier without weights"),
        (Network(3, ["tanh"]), ValueError, "the network has no dense layer"),
        (
            Network(3, [2]).assign(**{"0.bias": [0.0, np.inf]}),
            ValueError,
            "the bias of dense layer 1 hold values that are not finite",
        ),
    ],
)
def test_what_has_no_dense_layers(model, error, message):
    with pytest.raises(error, match=message):
        dense_views(model)


# Weights


@pytest.mark.parametrize(("inputs", "units"), [(64, 16), (25, 1), (25, 30)])
def test_square_inputs_are_images(inputs, units):
    net = Network(inputs, [units, "relu", 2], seed=0)
    weights = net.parameters()["0.weights"]
    figure = draw_weights(net)
    check_layout(figure)
    images = shown(figure)[:units]
    for k, image in enumerate(images):
        assert np.array_equal(image.get_array().ravel(), weights[:, k])
        assert image.get_cmap().name == SIGNED
        assert image.norm.vmax == -image.norm.vmin == np.abs(weights).max()
    unit = "unit" if units == 1 else "units"
    assert figure.axes[0].get_title(loc="left") == f"first layer: weights of {units} {unit}"
    assert "weight" in contents(figure)  # the scale's name


@pytest.mark.parametrize("inputs", [1, 4, 16])
def test_other_inputs_are_a_heat_map_with_names(backend, inputs):
    weights = RNG.normal(size=(inputs, 3)).astype("float32")
    words = [f"a feature with ${i}$ in its long name" for i in range(inputs)]
    figure = draw_weights(backend.asarray(weights), names=words)
    check_layout(figure)
    axes = figure.axes[0]
    assert np.array_equal(axes.images[0].get_array(), weights)
    assert axes.get_yticklabels()[0].get_text().startswith("a feature")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("unit", "input")


def test_shapes_sizes_and_axes_of_weights():
    weights = RNG.normal(size=(24, 2))
    assert np.array_equal(
        shown(draw_weights(weights, shape=(3, 8)))[1].get_array(), weights[:, 1].reshape(3, 8)
    )
    figure, ax = new_figure()
    assert draw_weights(np.ones((25, 150)), most=7, ax=ax) is figure
    assert len(ax.images) == 7
    assert ax.get_title(loc="left") == "first layer: weights of the first 7 of 150 units"
    for shape in ((1000, 30), (61, 1), (2, 200)):
        check_layout(draw_weights(RNG.normal(size=shape)))
    for scale in (0.0, 1e-300, 1e300):
        check_layout(draw_weights(scale * np.asarray([[1.0, -0.5], [0.25, 1.0]])))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (np.ones(4), {}, r"source has shape \(4,\); expected \(inputs, units\)"),
        (np.full((2, 2), np.nan), {}, "source holds weights that are not finite"),
        (np.ones((4, 2)), {"names": ["a"]}, "names holds 1; expected 4, one for each input"),
        (np.ones((4, 2)), {"shape": (3, 2)}, r"shape is \(3, 2\); expected height and width with"),
        (np.ones((4, 2)), {"most": 0}, "most is 0; expected a positive integer"),
    ],
)
def test_weights_that_are_refused(source, options, message):
    with pytest.raises(ValueError, match=message):
        draw_weights(source, **options)
