"""What a perceptron's history shows, in text and in notebooks, exports and leaves out."""

import csv
import io
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
from scipy.sparse import csr_array
from tutorial import AND, CORNERS, SQUARE, XOR, tutorial

from xpnn import Perceptron
from xpnn.backends import to_host
from xpnn.units import perceptron as module
from xpnn.units.html import html_table


def in_notebook(history):
    """Headings, rows and the line below of the HTML table."""
    tree = ElementTree.fromstring(history._repr_html_())
    heads = ["".join(cell.itertext()) for cell in tree.iter("th")]
    rows = [["".join(cell.itertext()) for cell in row] for row in tree.find("tbody")]
    return heads, rows, "".join(tree.find("caption").itertext())


def test_the_tutorials_table(backend):
    history = tutorial().fit(backend.asarray([[1.0, 0.0], [0.0, 1.0]]), [0, 1]).history_
    lines = str(history).splitlines()
    heads = [
        "epoch", "example", "input", "target", "score", "prediction", "error",
        "old weights", "old bias", "new weights", "new bias",
    ]  # fmt: skip
    body = [
        ["1", "1", "[1, 0]", "0", "0", "1", "-1", "[0, 0]", "0", "[-1, 0]", "-1"],
        ["1", "2", "[0, 1]", "1", "-1", "0", "1", "[-1, 0]", "-1", "[-1, 1]", "0"],
        ["2", "1", "[1, 0]", "0", "-1", "0", "0", "[-1, 1]", "0", "[-1, 1]", "0"],
        ["2", "2", "[0, 1]", "1", "1", "1", "0", "[-1, 1]", "0", "[-1, 1]", "0"],
    ]
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    assert cells[0] == heads
    assert cells[2:6] == body
    assert lines[6] == "converged: epoch 2 changed nothing (2 updates in all)"
    assert len({len(line) for line in lines[:6]}) == 1
    assert in_notebook(history) == (heads, body, lines[6])


def test_rows(backend):
    history = tutorial().fit(backend.asarray([[1.0, 0.0], [0.0, 1.0]]), [0, 1]).history_
    rows = history.to_rows()
    assert len(rows) == 4
    assert rows[1] == {
        "epoch": 1, "example": 2, "unit": 1, "input": [0.0, 1.0], "target": 1, "score": -1.0,
        "prediction": 0, "error": 1, "old_weights": [-1.0, 0.0], "old_bias": -1.0,
        "new_weights": [-1.0, 1.0], "new_bias": 0.0,
    }  # fmt: skip
    for before, after in pairwise(rows):
        assert before["new_weights"] == after["old_weights"]
        assert before["new_bias"] == after["old_bias"]


def test_csv():
    history = tutorial().fit(SQUARE, AND).history_
    table = list(csv.DictReader(io.StringIO(history.to_csv())))
    assert len(table) == 24
    assert list(table[0])[:5] == ["epoch", "example", "unit", "input[0]", "input[1]"]
    assert table[-1]["new_weights[0]"] == "2.0"
    assert table[-1]["new_bias"] == "-3.0"
    assert table[3]["error"] == "1"


def test_it_iterates_by_epoch():
    history = tutorial().fit(SQUARE, AND).history_
    assert [epoch.number for epoch in history] == [1, 2, 3, 4, 5, 6]
    assert [epoch.updates for epoch in history] == [(2,), (3,), (3,), (2,), (1,), (0,)]
    assert len(history) == 6
    assert all(len(epoch.to_rows()) == 4 for epoch in history)


def test_several_classes_show_each_unit():
    history = tutorial().fit(CORNERS, list("aabbcc")).history_
    assert history.units == ("a", "b", "c")
    assert str(history).splitlines()[0].split()[:3] == ["epoch", "example", "unit"]
    rows = history.epochs[0].to_rows()
    assert [row["unit"] for row in rows[:3]] == ["a", "b", "c"]
    assert [row["target"] for row in rows[:3]] == [1, 0, 0]
    assert len(rows) == 18


def test_long_tables_leave_the_middle_out():
    history = tutorial(max_iter=50).fit(SQUARE, XOR).history_
    lines = history.table(5).splitlines()
    assert len(lines) == 2 + 5 + 1 + 1
    assert lines[5] == "... 195 more ..."
    assert lines[4].split()[:2] == ["1", "3"]
    assert lines[6].split()[:2] == ["50", "3"]
    assert len(history.table(None).splitlines()) == 2 + 200 + 1
    _, rows, _ = in_notebook(history)
    assert len(rows) == 41
    assert rows[20] == ["... 160 more ..."]
    assert (rows[0][0], rows[-1][0]) == ("1", "50")
    assert len(history._repr_html_()) < 12_000


def test_many_inputs_are_shortened_in_a_notebook():
    x = np.random.default_rng(0).normal(size=(6, 784))
    history = tutorial(max_iter=3).fit(x, [0, 1, 0, 1, 0, 1]).history_
    _, rows, _ = in_notebook(history)
    assert rows[0][2].endswith(", ... 776 more]")
    assert rows[0][2].count(",") == 8
    assert len(history._repr_html_()) < 12_000


def test_names_of_classes_are_escaped_in_a_notebook():
    history = tutorial(max_iter=2).fit(SQUARE, ["<i>", "<b>", "&amp;", "<i>"]).history_
    assert "<i>" not in history._repr_html_()
    heads, rows, _ = in_notebook(history)
    assert heads[2] == "unit"
    assert {row[2] for row in rows} == {"<i>", "<b>", "&amp;"}


def test_tables_of_html_are_well_formed():
    tree = ElementTree.fromstring(html_table(["a < b", "c"], [["&", 1], [None, 2.5]], "x > y"))
    assert ["".join(cell.itertext()) for cell in tree.iter("td")] == ["&", "1", "None", "2.5"]
    assert tree.find("caption").text == "x > y"
    assert ElementTree.fromstring(html_table([], [])).find("caption") is None


def test_it_does_not_change_with_the_data():
    x = np.asarray(SQUARE)
    history = tutorial().fit(x, AND).history_
    x[:] = 7.0
    assert history.to_rows()[0]["input"] == [0.0, 0.0]


def test_without_details_the_epochs_are_counted(backend):
    history = tutorial().fit(backend.asarray(SQUARE), AND, record=False).history_
    assert history.to_rows() == []
    assert history.to_csv() == ""
    assert history.updates == [2, 3, 3, 2, 1, 0]
    lines = str(history).splitlines()
    assert [line.split() for line in lines[:4:3]] == [["epoch", "updates"], ["2", "3"]]
    assert lines[-1].startswith("converged: epoch 6")
    heads, rows, verdict = in_notebook(history)
    assert (heads, verdict) == (["epoch", "updates"], lines[-1])
    assert [int(row[1]) for row in rows] == history.updates


def test_details_stop_at_the_limit(monkeypatch):
    # 4 examples of 2 weights, bias, score and error in each epoch
    monkeypatch.setattr(module, "RECORD_LIMIT", 2 * 20)
    history = tutorial().fit(SQUARE, AND).history_
    assert [bool(epoch.details) for epoch in history] == [True] * 2 + [False] * 4
    assert "4 of 6 epochs have no recorded details" in str(history)
    assert history.updates == [2, 3, 3, 2, 1, 0]
    full = tutorial().fit(SQUARE, AND, record=True).history_
    assert len(full.to_rows()) == 24


def test_predictions_are_those_of_predict(backend):
    """At a score of 0 the unit does not fire, and yet learns; a note says so."""
    x = backend.asarray(SQUARE)
    unit = tutorial(fires_at_zero=False).fit(x, AND)
    rows = unit.history_.to_rows()
    assert [(r["score"], r["prediction"], r["error"]) for r in rows[:4]] == [
        (0.0, 0, -1), (-1.0, 0, 0), (-1.0, 0, 0), (-1.0, 0, 1),
    ]  # fmt: skip
    note = "a score of 0 is an error for either class (fires_at_zero=False)"
    assert str(unit.history_).splitlines()[-2] == note
    assert note in unit.history_._repr_html_()
    assert note not in str(tutorial().fit(x, AND).history_)
    for row in rows:
        changed = row["old_weights"] + [row["old_bias"]] != row["new_weights"] + [row["new_bias"]]
        assert changed == (row["error"] != 0)
    last = [row["prediction"] for row in rows[-4:]]
    assert last == to_host(unit.predict(x)).tolist() == AND


def test_each_unit_has_its_own_order(backend):
    unit = Perceptron(tol=None, max_iter=30).fit(backend.asarray(CORNERS), list("aabbcc"))
    first = unit.history_.epochs[0].to_rows()
    shown = {u: [row["example"] for row in first if row["unit"] == u] for u in "abc"}
    assert all(sorted(order) == [1, 2, 3, 4, 5, 6] for order in shown.values())
    assert len({tuple(order) for order in shown.values()}) > 1
    for row in unit.history_.to_rows():
        assert row["input"] == CORNERS[row["example"] - 1]
        assert row["target"] == int("aabbcc"[row["example"] - 1] == row["unit"])
        score = sum(w * v for w, v in zip(row["old_weights"], row["input"], strict=True))
        assert row["score"] == score + row["old_bias"]
        assert row["prediction"] == int(row["score"] > 0)


def test_units_that_stopped_are_no_longer_shown():
    # A unit for the middle of a line against both ends cannot exist.
    unit = tutorial(max_iter=100).fit([[0.0], [1.0], [2.0]], ["low", "mid", "top"])
    assert not unit.converged_
    history = unit.history_
    assert history.epochs[0].units == ("low", "mid", "top")
    assert history.epochs[-1].units == ("mid",)
    assert history.still_changing == ("mid",)
    assert "; still changing: mid)" in history.verdict()
    assert {row["unit"] for row in history.epochs[-1].to_rows()} == {"mid"}


def test_partial_fit_adds_epochs(backend):
    unit = tutorial()
    for _ in range(6):
        unit.partial_fit(backend.asarray(SQUARE), AND, classes=[0, 1])
    assert str(unit.history_) == str(tutorial().fit(backend.asarray(SQUARE), AND).history_)


def test_a_penalty_stops_without_an_error():
    unit = tutorial(penalty="l2", alpha=1e-9, max_iter=9).fit(SQUARE, AND)
    assert not unit.converged_
    assert unit.history_.verdict().startswith("stopped after 9 epochs, the last without an error (")


def test_sparse_rows_are_shown_as_they_are():
    dense, sparse = (
        tutorial(fit_intercept=False, max_iter=3).fit(x, AND).history_
        for x in (SQUARE, csr_array(np.asarray(SQUARE)))
    )
    assert str(sparse) == str(dense)
