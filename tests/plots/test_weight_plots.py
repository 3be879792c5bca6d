"""Pictures of a first layer's weights."""

import numpy as np
import pytest
from drawn import check_layout, contents
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnn import Dense, MLPClassifier, Network
from xpnn.layers import Chain, Layer
from xpnn.layers.base import Parameter
from xpnn.plots.figure import SIGNED
from xpnn.plots.model import dense_views, input_names
from xpnn.plots.weights import draw_weights

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(int)


def images(figure):
    return [axes.images[0] for axes in figure.axes if axes.images]


def title(figure):
    return next(axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left"))


# What a model's layers are


def test_layers_of_a_network(backend):
    net = Network(3, [4, "tanh", Dense(2, bias=False), "relu", 2], seed=0).to(backend)
    first, second, third = dense_views(net)
    assert first.weights.tolist() == backend.to_host(net.parameters()["0.weights"]).tolist()
    assert first.bias.tolist() == [0.0] * 4
    assert second.bias is None
    assert [v.activation for v in (first, second, third)] == ["tanh", "relu", "softmax"]
    assert [v.size for v in (first, second, third)] == [16, 8, 6]


def test_layers_inside_chains():
    net = Network(3, Chain((Chain((Dense(4),)), Chain((Dense(2), Dense(1))))), loss="huber")
    assert [v.weights.shape for v in dense_views(net)] == [(3, 4), (4, 2), (2, 1)]
    assert [v.activation for v in dense_views(net)] == ["", "", ""]


def test_layers_of_estimators():
    model = MLPClassifier((4, 2), activation=["tanh", "gelu"], max_iter=1, random_state=0)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        model.fit(X, Y)
    views = dense_views(model)
    assert [v.activation for v in views] == ["tanh", "gelu", "logistic"]
    assert np.array_equal(views[1].weights, model.coefs_[1])
    line = LogisticRegression().fit(X, Y)
    (view,) = dense_views(make_pipeline(StandardScaler(), line).fit(X, Y))
    assert view.weights.shape == (3, 1)
    assert view.bias.shape == (1,)
    assert dense_views(line)[0].weights[:, 0].tolist() == line.coef_[0].tolist()


def test_names_of_inputs():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    line = LogisticRegression().fit(frame, Y)
    assert input_names(line) == ["a", "b", "c"]
    assert input_names(make_pipeline(StandardScaler(), line).fit(frame, Y)) == ["a", "b", "c"]
    assert input_names(Network(3, [2])) is None


class Odd(Layer):
    """A layer with weights of its own."""

    def parameters(self, inputs):
        return (Parameter("scale", (inputs,), lambda generator: np.ones(inputs)),)

    def forward(self, params, x, noise, *, xp):
        return x * params[0], (x,)

    def backward(self, params, saved, dy, *, xp, input_gradient=True):
        return dy * params[0], (xp.sum(dy * saved[0], axis=0),)

    def __repr__(self):
        return "Odd()"


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (3, TypeError, "model is a int without weights; expected a Network, or a fitted"),
        (MLPClassifier(), TypeError, "model is a MLPClassifier without weights"),
        (Network(3, ["tanh"]), ValueError, "the network has no dense layer"),
        (Network(3, Chain((Dense(2), Odd()))), ValueError, r"the layer Odd\(\) is not dense"),
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


# Pictures


@pytest.mark.parametrize(("inputs", "units"), [(64, 16), (784, 3), (25, 1), (25, 30)])
def test_square_inputs_are_pictures(inputs, units):
    net = Network(inputs, [units, "relu", 2], seed=0)
    weights = net.parameters()["0.weights"]
    figure = draw_weights(net)
    check_layout(figure)
    shown = images(figure)
    side = int(inputs**0.5)
    assert len(shown) == units
    for k, image in enumerate(shown):
        assert np.array_equal(image.get_array(), weights[:, k].reshape(side, side))
        assert image.get_cmap().name == SIGNED
        assert image.norm.vmax == -image.norm.vmin == np.abs(weights).max()
    assert title(figure) == f"first layer: weights of {units} unit{'' if units == 1 else 's'}"
    assert "weight" in contents(figure)  # the scale's name


def test_many_units_show_the_first():
    figure = draw_weights(np.ones((25, 150)), most=7)
    assert len(images(figure)) == 7
    assert title(figure) == "first layer: weights of the first 7 of 150 units"


def test_pictures_of_a_given_shape():
    weights = RNG.normal(size=(24, 2))
    shown = images(draw_weights(weights, shape=(3, 8)))
    assert np.array_equal(shown[1].get_array(), weights[:, 1].reshape(3, 8))
    check_layout(draw_weights(weights, shape=(24, 1)))
    check_layout(draw_weights(weights, shape=(1, 24)))


@pytest.mark.parametrize("inputs", [1, 2, 4, 13, 16])
def test_other_inputs_are_a_heat_map_with_names_and_values(inputs):
    weights = RNG.normal(size=(inputs, 3))
    words = [f"a feature with ${i}$ in its long name" for i in range(inputs)]
    figure = draw_weights(weights, names=words)
    check_layout(figure)
    (image,) = images(figure)
    assert np.array_equal(image.get_array(), weights)
    axes = image.axes
    assert len(axes.texts) == weights.size
    assert {text.get_text() for text in axes.texts} == {f"{w:.2g}" for w in weights.ravel()}
    assert axes.get_yticklabels()[0].get_text().startswith("a feature")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("unit", "input")


def test_names_ask_for_a_heat_map():
    figure = draw_weights(RNG.normal(size=(25, 2)), names=[f"x{i}" for i in range(25)])
    assert len(images(figure)) == 1


@pytest.mark.parametrize(("inputs", "units"), [(1000, 30), (30, 100), (61, 1), (2, 200)])
def test_large_heat_maps(inputs, units):
    figure = draw_weights(RNG.normal(size=(inputs, units)))
    check_layout(figure)
    assert not images(figure)[0].axes.texts or inputs * units <= 150
    assert max(figure.get_size_inches()) < 20


def test_weights_of_every_library(backend):
    weights = RNG.normal(size=(4, 2)).astype("float32")
    (image,) = images(draw_weights(backend.asarray(weights)))
    assert np.array_equal(image.get_array(), weights)


@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e300])
def test_weights_of_any_size(scale):
    check_layout(draw_weights(scale * np.asarray([[1.0, -0.5], [0.25, 1.0]])))


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (np.ones(4), {}, r"source has shape \(4,\); expected \(inputs, units\)"),
        (np.ones((0, 4)), {}, r"source has shape \(0, 4\)"),
        (np.full((2, 2), np.nan), {}, "source holds weights that are not finite"),
        (np.ones((4, 2)), {"names": ["a"]}, "names holds 1; expected 4, one for each input"),
        (np.ones((4, 2)), {"shape": (3, 2)}, r"shape is \(3, 2\); expected height and width with"),
        (np.ones((4, 2)), {"most": 0}, "most is 0; expected a positive integer"),
    ],
)
def test_what_is_refused(source, options, message):
    with pytest.raises(ValueError, match=message):
        draw_weights(source, **options)
