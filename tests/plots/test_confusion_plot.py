"""The picture of a confusion matrix: its numbers, its names, and what is refused."""

import numpy as np
import pytest
from drawn import check_layout, contents, grey_pixels

from xpnn.plots.confusion import _percent, draw_confusion

LABELS = [0, 0, 0, 1, 1, 2]
READ = [0, 0, 1, 1, 1, 0]


def cells(figure):
    """Texts in the cells by (row, column)."""
    return {
        (int(text.get_position()[1]), int(text.get_position()[0])): text.get_text()
        for text in figure.axes[0].texts
    }


def names(figure):
    axes = figure.axes[0]
    return (
        [label.get_text() for label in axes.get_yticklabels()],
        [label.get_text() for label in axes.get_xticklabels()],
    )


def random_labels(classes, rows=4000):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows)
    return labels, np.where(rng.random(rows) < 0.8, labels, rng.integers(0, classes, rows))


def test_counts_and_shares():
    figure = draw_confusion(LABELS, READ)
    assert cells(figure) == {
        (0, 0): "2\n67%", (0, 1): "1\n33%", (1, 1): "2\n100%", (2, 0): "1\n100%",
    }  # fmt: skip
    assert names(figure) == (["0  (3)", "1  (2)", "2  (1)"], ["0", "1", "2"])
    axes, scale = figure.axes
    assert axes.get_title(loc="left") == "4 of 6 right (67%)"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class (rows)")
    assert scale.get_ylabel() == "share of the row"
    assert axes.images[0].get_array().tolist() == [[2 / 3, 1 / 3, 0], [0, 1, 0], [1, 0, 0]]


def test_counts_of_every_library(backend):
    figure = draw_confusion(backend.asarray(LABELS), backend.asarray(READ))
    assert cells(figure) == cells(draw_confusion(LABELS, READ))


def test_names_for_numbers_and_an_order_for_texts():
    figure = draw_confusion(LABELS, READ, classes=["cat", "dog", "cow"])
    assert names(figure)[1] == ["cat", "dog", "cow"]
    assert cells(figure) == cells(draw_confusion(LABELS, READ))
    animals = np.asarray(["cat", "dog", "cow"])
    figure = draw_confusion(animals[LABELS], animals[READ], classes=["dog", "cow", "cat"])
    assert cells(figure) == {
        (2, 2): "2\n67%", (2, 0): "1\n33%", (0, 0): "2\n100%", (1, 2): "1\n100%",
    }  # fmt: skip
    assert names(draw_confusion(animals[LABELS], animals[READ]))[1] == ["cat", "cow", "dog"]


@pytest.mark.parametrize(
    ("labels", "predicted", "expected"),
    [
        ([True, False], [True, True], ["False", "True"]),
        (np.asarray([[1], [2]]), [1, 2], ["1", "2"]),
        ([1.0, 3.0], [3.0, 3.0], ["1.0", "3.0"]),
        (["a", "1"], [1, 1], ["1", "a"]),
        (np.asarray(["a", 1], dtype=object), np.asarray([1, "a"], dtype=object), ["1", "a"]),
    ],
)
def test_labels_of_other_types(labels, predicted, expected):
    assert names(draw_confusion(labels, predicted))[1] == expected


def test_a_class_without_rows_says_so():
    figure = draw_confusion([0, 0], [1, 0])
    assert cells(figure)[0, 0] == "1\n50%"
    assert "no rows" in contents(figure)
    assert names(figure)[0] == ["0  (2)", "1  (0)"]


def test_shares_are_not_rounded_to_nothing_or_all():
    assert [_percent(s) for s in (0.0, 0.001, 0.005, 0.5, 0.996, 1.0)] == [
        "0%", "<1%", "0%", "50%", ">99%", "100%",
    ]  # fmt: skip


@pytest.mark.parametrize("classes", [1, 2, 3, 10, 20])
@pytest.mark.parametrize("long", [False, True])
def test_nothing_is_cut_off_and_nothing_overlaps(classes, long):
    words = [f"the class ${i}$, which has a very long name" for i in range(classes)]
    figure = draw_confusion(*random_labels(classes), classes=words if long else None)
    check_layout(figure)
    counted = sum(int(t.split("\n")[0].replace(",", "")) for t in cells(figure).values())
    assert counted == 4000
    assert all("%" in text for text in cells(figure).values())
    assert len(set(names(figure)[1])) == classes


def test_many_classes_show_counts_only():
    figure = draw_confusion(*random_labels(21, rows=400))
    check_layout(figure)
    assert not any("%" in text for text in cells(figure).values())


def test_numbers_are_seen_without_colours():
    labels, predicted = np.repeat([0, 1], 500), np.repeat([0, 1, 0, 1], [450, 50, 275, 225])
    figure = draw_confusion(labels, predicted)
    pixels = grey_pixels(figure)
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        inside = pixels[-int(box.y1) : -int(box.y0), int(box.x0) : int(box.x1)].astype(int)
        assert inside.max() - inside.min() > 110, text.get_text()


@pytest.mark.parametrize(
    ("arguments", "classes", "message"),
    [
        (([0, 1], [0]), None, "labels holds 2 and predicted 1; expected as many of both"),
        (([], []), None, "expected as many of both, at least one"),
        (([[0, 1]], [[0, 1]]), None, r"labels has shape \(1, 2\); expected \(n,\)"),
        (([0, 1], [0.2, 1.0]), None, r"predicted\[0\] is 0.2; expected labels of classes"),
        (([0, 1], [np.nan, 1.0]), None, r"predicted\[0\] is nan; expected labels of classes"),
        (([0, 2], [0, 1]), ["a", "b"], "the label 0 is not among the classes a, b"),
        ((["a", "c"], ["a", "b"]), ["a", "b"], "the label 'c' is not among the classes a, b"),
        ((range(51), range(51)), None, "there are 51 classes; a picture can be read up to 50"),
    ],
)
def test_what_is_refused(arguments, classes, message):
    with pytest.raises(ValueError, match=message):
        draw_confusion(*map(list, arguments), classes=classes)
