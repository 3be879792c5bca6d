"""What a notebook shows of a training and of a network: well-formed, escaped, small."""

import math
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from xpnn import Dense, Network
from xpnn.layers import Chain, Layer
from xpnn.training import History

SVG = "{http://www.w3.org/2000/svg}"


def parsed(shown):
    """The HTML as a tree: as XML, it is stricter than a browser asks for."""
    return ElementTree.fromstring(shown._repr_html_())


def table(tree):
    """Heads, and rows of texts."""
    heads = ["".join(cell.itertext()) for cell in tree.iter("th")]
    rows = [["".join(cell.itertext()) for cell in row] for row in tree.find(".//tbody")]
    return heads, rows


def polylines(tree):
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in tree.iter(f"{SVG}polyline")
    ]


def test_the_last_reports_and_both_curves():
    history = History(
        [4.0, 3.0, 2.0, 1.5, 1.25, 1.0], [4.5, 3.5, 3.0, 2.75, 2.5, 2.625],
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.01] * 6, [0.5] * 6, 10, "early stopping", 5,
    )  # fmt: skip
    tree = parsed(history)
    heads, rows = table(tree)
    figures = ["loss", "validation loss", "validation accuracy", "learning rate", "seconds"]
    assert heads == ["epoch", *figures]
    assert [row[0] for row in rows] == ["2", "3", "4", "5", "6"]
    assert rows[-1] == ["6", "1", "2.625", "0.6", "0.01", "0.5"]
    caption = "".join(tree.find(".//caption").itertext())
    assert caption == f"{history!r}; 1 report before these; weights of epoch 5"
    training, validation = polylines(tree)
    assert [x for x, _ in training] == [x for x, _ in validation]
    # Down the page is down in loss, on the same scale.
    assert [y for _, y in training] == sorted(y for _, y in training)
    assert validation[0][1] == min(y for line in (training, validation) for _, y in line)
    label = tree.find(f"{SVG}svg").get("aria-label")
    assert label == "loss from 4.5 (top) to 1 (bottom); dashed: validation"
    dashes = [line.get("stroke-dasharray") for line in tree.iter(f"{SVG}polyline")]
    assert dashes[0] is None
    assert dashes[1]


@pytest.mark.parametrize("epochs", [2, 3, 120, 121, 1000, 50_000])
def test_a_long_training_stays_small(epochs):
    losses = np.exp(-np.linspace(0, 3, epochs)).tolist()
    history = History(losses, losses, losses, losses, losses)
    assert len(history._repr_html_()) < 6000
    line = polylines(parsed(history))[0]
    assert len(line) <= 120
    assert (line[0][0], line[-1][0]) == (6.0, 354.0)  # the first epoch and the last
    assert len({x for x, _ in line}) == len(line)
    for x, y in line:
        assert 0 <= x <= 360
        assert 0 <= y <= 90


def test_a_wide_range_is_logarithmic():
    tree = parsed(History([1000.0, 10.0, 0.1]))
    assert tree.find(f"{SVG}svg").get("aria-label").endswith("(bottom), logarithmic")
    ((_, top), (_, middle), (_, bottom)) = polylines(tree)[0]
    assert middle == pytest.approx((top + bottom) / 2, abs=0.1)


@pytest.mark.parametrize(
    ("loss", "lines"),
    [
        ([3.0, 2.0, math.nan, 1.0, 0.5], 2),
        ([3.0, math.inf, 2.0], 0),
        ([math.nan, math.inf], 0),
        ([1.0], 0),
        ([1.0, 1.0], 1),
        ([1e308, -1e308], 1),
        ([5e-324, 1e308], 1),
    ],
)
def test_values_that_are_not_finite(loss, lines):
    tree = parsed(History(loss))
    assert len(polylines(tree)) == lines
    assert len(table(tree)[1]) == len(loss)


def test_without_epochs():
    assert "".join(parsed(History()).itertext()) == "History(0 epochs)"


def test_texts_of_callbacks_are_escaped():
    history = History([2.0, 1.0], stopped="loss < 2 & <script>alert('x')</script>")
    assert "<script>" not in history._repr_html_()
    assert "<script>alert('x')</script>" in "".join(parsed(history).itertext())


class Named(Layer):
    """A layer with a name that is HTML."""

    def forward(self, params, x, noise, *, xp):
        return x, ()

    def backward(self, params, saved, dy, *, xp, input_gradient=True):
        return dy, ()

    def __repr__(self):
        return "<b onclick='x'>&amp;</b>"


def test_a_network_is_its_summary():
    net = Network(2, Chain((Dense(3), Named(), Dense(2, bias=False))), seed=0)
    tree = parsed(net)
    heads, rows = table(tree)
    assert heads == ["layer", "output", "parameters"]
    assert rows == [
        ["Dense(3)", "(n, 3)", "9"],
        ["<b onclick='x'>&amp;</b>", "(n, 3)", "0"],
        ["Dense(2, bias=False)", "(n, 2)", "6"],
    ]
    assert "<b" not in net._repr_html_().replace("<body", "")
    caption = "".join(tree.find("caption").itertext())
    assert caption == "2 inputs; " + net.summary().splitlines()[-1]
    assert len(net._repr_html_()) < 1500


def test_a_network_of_every_library(backend):
    net = Network(2, [3, "tanh", 2], seed=0).to(backend)
    assert backend.describe() in "".join(parsed(net).itertext())


def test_no_picture_library_is_imported():
    script = (
        "import sys; from xpnn import History, Network; "
        "History([2.0, 1.0])._repr_html_(), Network(2, [2])._repr_html_(); "
        "print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
