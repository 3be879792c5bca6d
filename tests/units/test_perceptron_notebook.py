"""What a notebook shows of a perceptron's learning."""

from xml.etree import ElementTree

import numpy as np

from xpnn import Perceptron
from xpnn.units.html import html_table

SQUARE = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


def shown(unit):
    tree = ElementTree.fromstring(unit.history_._repr_html_())
    heads = ["".join(cell.itertext()) for cell in tree.iter("th")]
    rows = [["".join(cell.itertext()) for cell in row] for row in tree.find("tbody")]
    return heads, rows, "".join(tree.find("caption").itertext())


def tutorial(**options):
    return Perceptron(**{"shuffle": False, "tol": None, "fires_at_zero": True} | options)


def test_the_table_of_the_tutorial(backend):
    unit = tutorial().fit(backend.asarray([[1.0, 0.0], [0.0, 1.0]]), [0, 1])
    heads, rows, verdict = shown(unit)
    assert heads == [
        "epoch", "example", "input", "target", "score", "prediction", "error",
        "old weights", "old bias", "new weights", "new bias",
    ]  # fmt: skip
    assert rows == [
        ["1", "1", "[1, 0]", "0", "0", "1", "-1", "[0, 0]", "0", "[-1, 0]", "-1"],
        ["1", "2", "[0, 1]", "1", "-1", "0", "1", "[-1, 0]", "-1", "[-1, 1]", "0"],
        ["2", "1", "[1, 0]", "0", "-1", "0", "0", "[-1, 1]", "0", "[-1, 1]", "0"],
        ["2", "2", "[0, 1]", "1", "1", "1", "0", "[-1, 1]", "0", "[-1, 1]", "0"],
    ]
    assert verdict == unit.history_.verdict()


def test_long_tables_leave_the_middle_out():
    unit = tutorial(max_iter=30).fit(SQUARE, [0, 1, 1, 0])  # 120 rows
    _, rows, _ = shown(unit)
    assert len(rows) == 41
    assert rows[20] == ["... 80 more ..."]
    assert (rows[0][0], rows[-1][0]) == ("1", "30")
    assert len(unit.history_._repr_html_()) < 12_000


def test_many_inputs_are_shortened():
    x = np.random.default_rng(0).normal(size=(6, 784))
    unit = tutorial(max_iter=3).fit(x, [0, 1, 0, 1, 0, 1])
    _, rows, _ = shown(unit)
    assert rows[0][2].endswith(", ... 776 more]")
    assert rows[0][2].count(",") == 8
    assert len(unit.history_._repr_html_()) < 12_000


def test_names_of_classes_are_escaped():
    unit = tutorial(max_iter=2).fit(SQUARE, ["<i>", "<b>", "&amp;", "<i>"])
    assert "<i>" not in unit.history_._repr_html_()
    heads, rows, _ = shown(unit)
    assert heads[2] == "unit"
    assert {row[2] for row in rows} == {"<i>", "<b>", "&amp;"}


def test_without_details_the_epochs_are_counted():
    unit = tutorial().fit(SQUARE, [0, 0, 0, 1], record=False)
    heads, rows, verdict = shown(unit)
    assert heads == ["epoch", "updates"]
    assert [int(row[1]) for row in rows] == unit.history_.updates
    assert verdict == unit.history_.verdict()


def test_tables_are_well_formed():
    tree = ElementTree.fromstring(html_table(["a < b", "c"], [["&", 1], [None, 2.5]], "x > y"))
    assert ["".join(cell.itertext()) for cell in tree.iter("td")] == ["&", "1", "None", "2.5"]
    assert tree.find("caption").text == "x > y"
    assert ElementTree.fromstring(html_table([], [])).find("caption") is None
