"""The one door to the pictures: what fits which source, and what the errors say."""

import numpy as np
import pytest
from drawn import contents, legend_names
from matplotlib.figure import Figure
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnn import Network
from xpnn.files import read_record, save
from xpnn.plots import KINDS, draw, fitting, lacks, save_figure
from xpnn.plots.figure import new_figure
from xpnn.training import History

X = np.random.default_rng(0).normal(size=(30, 2))
Y = (X[:, 0] > 0).astype(int)
WIDE = np.random.default_rng(1).normal(size=(30, 5))


@pytest.fixture
def net():
    return Network(2, [3, "tanh", 2], seed=0)


@pytest.mark.parametrize(
    ("make", "data", "expected"),
    [
        (lambda: History([1.0]), (), ["loss"]),
        (lambda: np.ones((4, 2)), (), ["weights"]),
        (lambda: Network(2, [2]), (X,), ["weights", "regions", "network"]),
        (lambda: Network(2, [2]), (X, Y), ["weights", "confusion", "regions", "network"]),
        (lambda: Network(5, [2]), (WIDE, Y), ["weights", "confusion", "network"]),
        (lambda: Network(2, [1], loss="huber"), (X, Y), ["weights", "regions", "network"]),
        (lambda: LinearRegression().fit(WIDE, Y), (WIDE, Y), ["weights", "network"]),
        (
            lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y),
            (X, Y),
            ["weights", "confusion", "regions", "network"],
        ),
        (lambda: "a text", (X, Y), []),
    ],
)
def test_what_fits(make, data, expected):
    source = make()
    assert fitting(source, *data) == expected
    for kind in expected:
        assert lacks(kind, source, *data) == ""
        assert isinstance(draw(kind, source, *data), Figure)


def test_options_go_to_the_picture(net):
    figure = draw("confusion", net, X, Y, classes=["no", "yes"])
    assert {"no", "yes"} <= set(contents(figure))
    figure = draw("network", net, names=["width", "height"], classes=None)
    assert "height" in contents(figure)
    assert draw("loss", [2.0, 1.0], log=True).axes[0].get_yscale() == "log"


def test_confusion_takes_the_models_classes():
    model = LogisticRegression().fit(X, np.where(Y, "yes", "no"))
    found = contents(draw("confusion", model, X[:1], ["yes"]))
    assert {"yes", "no", "accuracy 1.0000 (1 of 1)"} <= set(found)


def test_a_models_record(net, tmp_path):
    history = net.fit(X, Y, epochs=3, validation_fraction=0.2)
    path = save(net, tmp_path / "m.safetensors", record=history.to_dict())
    figure = draw("loss", read_record(path))
    assert legend_names(figure)[:2] == ["training", "validation"]


@pytest.mark.parametrize(
    ("kind", "make", "data", "message"),
    [
        ("curves", lambda: History([1.0]), (), "kind is 'curves'; expected one of loss, weights"),
        ("loss", lambda: Network(2, [2]), (), "a Network holds no record of its training; hand"),
        ("loss", History, (), "cannot draw 'loss': history holds no epoch"),
        ("weights", lambda: History([1.0]), (), "model is a History without weights"),
        ("network", lambda: np.ones((2, 2)), (), "model is a ndarray without weights"),
        ("confusion", lambda: Network(2, [2]), (), "X and y not given: the data to look at"),
        ("confusion", lambda: Network(2, [1], loss="huber"), (X, Y), "'huber' is a regression's"),
        ("confusion", lambda: LinearRegression().fit(X, Y), (X, Y), "has no classes_; it is no"),
        ("confusion", lambda: [1.0], (X, Y), "a list predicts nothing; hand in a fitted model"),
        ("regions", lambda: Network(5, [2]), (WIDE,), "the model has 5 inputs; decision regions "
         "need exactly two"),
        ("regions", lambda: {"loss": [1.0]}, (X,), "a dict predicts nothing; hand in a fitted"),
    ],
)  # fmt: skip
def test_errors_say_what_is_missing(kind, make, data, message):
    with pytest.raises(ValueError, match=message):
        draw(kind, make(), *data)


def test_a_strange_option(net):
    with pytest.raises(
        ValueError, match="'network' takes no size; its options are names, classes, ax"
    ):
        draw("network", net, size=3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_takes_axes_of_the_users_own_and_is_a_small_file(kind, net, tmp_path):
    figure, ax = new_figure()
    assert draw(kind, [2.0, 1.0] if kind == "loss" else net, X, Y, ax=ax) is figure
    assert ax.has_data() or ax.images
    assert save_figure(figure, tmp_path / "a.svg").stat().st_size < 200_000
