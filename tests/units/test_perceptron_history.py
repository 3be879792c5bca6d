"""What a perceptron's history shows, exports and leaves out."""

import csv
import io
from itertools import pairwise

import numpy as np
import pytest

from xpnn.units import NonConvergenceWarning, Perceptron
from xpnn.units import perceptron as module

SQUARE = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
AND = [0, 0, 0, 1]
XOR = [0, 1, 1, 0]
CORNERS = [[0.0, 0.0], [1.0, 0.0], [8.0, 0.0], [9.0, 1.0], [0.0, 9.0], [1.0, 8.0]]


def test_history_prints_as_the_tutorials_table(backend):
    unit = Perceptron().fit(backend.asarray([[1.0, 0.0], [0.0, 1.0]]), [0, 1])
    lines = str(unit.history_).splitlines()
    heads = [head.strip() for head in lines[0].split("  ") if head.strip()]
    assert heads == [
        "epoch", "example", "input", "target", "prediction", "error",
        "old weights", "old bias", "new weights", "new bias",
    ]  # fmt: skip
    body = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[2:6]]
    assert body == [
        ["1", "1", "[1, 0]", "0", "1", "-1", "[0, 0]", "0", "[-1, 0]", "-1"],
        ["1", "2", "[0, 1]", "1", "0", "1", "[-1, 0]", "-1", "[-1, 1]", "0"],
        ["2", "1", "[1, 0]", "0", "0", "0", "[-1, 1]", "0", "[-1, 1]", "0"],
        ["2", "2", "[0, 1]", "1", "1", "0", "[-1, 1]", "0", "[-1, 1]", "0"],
    ]
    assert lines[6] == "converged: epoch 2 changed nothing (2 updates in all)"
    assert len({len(line) for line in lines[:6]}) == 1


def test_history_exports_rows(backend):
    history = Perceptron().fit(backend.asarray([[1.0, 0.0], [0.0, 1.0]]), [0, 1]).history_
    rows = history.to_rows()
    assert len(rows) == 4
    assert rows[1] == {
        "epoch": 1,
        "example": 2,
        "unit": 1,
        "input": [0.0, 1.0],
        "target": 1,
        "prediction": 0,
        "error": 1,
        "old_weights": [-1.0, 0.0],
        "old_bias": -1.0,
        "new_weights": [-1.0, 1.0],
        "new_bias": 0.0,
    }
    for before, after in pairwise(rows):
        assert before["new_weights"] == after["old_weights"]
        assert before["new_bias"] == after["old_bias"]


def test_history_exports_csv():
    history = Perceptron().fit(SQUARE, AND).history_
    table = list(csv.DictReader(io.StringIO(history.to_csv())))
    assert len(table) == 24
    assert list(table[0])[:5] == ["epoch", "example", "unit", "input[0]", "input[1]"]
    assert table[-1]["new_weights[0]"] == "2.0"
    assert table[-1]["new_bias"] == "-3.0"
    assert table[3]["error"] == "1"


def test_history_iterates_by_epoch():
    history = Perceptron().fit(SQUARE, AND).history_
    assert [epoch.number for epoch in history] == [1, 2, 3, 4, 5, 6]
    assert [epoch.changed for epoch in history] == [True] * 5 + [False]
    assert len(history) == 6
    assert all(len(epoch.to_rows()) == 4 for epoch in history)


def test_history_of_several_classes_shows_each_unit():
    history = Perceptron().fit(CORNERS, list("aabbcc")).history_
    assert history.units == ("a", "b", "c")
    assert str(history).splitlines()[0].split()[:3] == ["epoch", "example", "unit"]
    rows = history.epochs[0].to_rows()
    assert [row["unit"] for row in rows[:3]] == ["a", "b", "c"]
    assert [row["target"] for row in rows[:3]] == [1, 0, 0]
    assert len(rows) == 18


def test_long_tables_leave_the_middle_out():
    with pytest.warns(NonConvergenceWarning):
        history = Perceptron(max_iter=50).fit(SQUARE, XOR).history_
    lines = history.table(5).splitlines()
    assert len(lines) == 2 + 5 + 1 + 1
    assert lines[5] == "... 195 more ..."
    assert lines[4].split()[:2] == ["1", "3"]
    assert lines[6].split()[:2] == ["50", "3"]
    assert len(history.table(None).splitlines()) == 2 + 200 + 1


def test_history_does_not_change_with_the_data():
    x = np.asarray(SQUARE)
    history = Perceptron().fit(x, AND).history_
    x[:] = 7.0
    assert history.to_rows()[0]["input"] == [0.0, 0.0]


def test_details_may_be_left_out(backend):
    history = Perceptron().fit(backend.asarray(SQUARE), AND, record=False).history_
    assert history.to_rows() == []
    assert history.to_csv() == ""
    assert history.updates == [2, 3, 3, 2, 1, 0]
    assert str(history).splitlines()[0] == "epoch 1: 2 updates"
    assert str(history).splitlines()[-1].startswith("converged: epoch 6")


def test_details_stop_at_the_limit(monkeypatch):
    # 4 rows of 2 inputs and 1 target, then 4 * (2 + 3) numbers for each epoch
    monkeypatch.setattr(module, "RECORD_LIMIT", 12 + 2 * 20)
    history = Perceptron().fit(SQUARE, AND).history_
    assert [epoch.details is not None for epoch in history] == [True] * 2 + [False] * 4
    assert "epochs 3 to 6: no details recorded" in str(history)
    assert history.updates == [2, 3, 3, 2, 1, 0]
    full = Perceptron().fit(SQUARE, AND, record=True).history_
    assert len(full.to_rows()) == 24
