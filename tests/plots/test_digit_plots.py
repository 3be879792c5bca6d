import matplotlib.image
import numpy as np
import pytest
from drawn import check_layout, contents

from xpnn.plots import digits
from xpnn.plots.digits import plot_digits, plot_misread

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (60, 784)).astype("uint8")
LABELS = GENERATOR.integers(0, 10, 60)


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, once they are drawn."""
    seen = []
    save = digits.save_figure
    monkeypatch.setattr(
        digits, "save_figure", lambda figure, path: seen.append(figure) or save(figure, path)
    )
    return seen


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def shown(figure):
    return [axes.images[0] for axes in figure.axes if axes.images]


def is_picture(path):
    return matplotlib.image.imread(path).std() > 0


# Grids of digits


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (7, 1), (10, 1), (23, 3)])
def test_digits_in_rows(tmp_path, figures, count, rows):
    path = plot_digits(IMAGES[:count], tmp_path / "new" / "a.png", titles=LABELS[:count])
    assert path == tmp_path / "new" / "a.png"
    assert is_picture(path)
    (figure,) = figures
    check_layout(figure)
    assert titles(figure) == [str(label) for label in LABELS[:count]]
    assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == (rows, min(count, 10))
    for i, image in enumerate(shown(figure)):
        assert (image.get_array() == IMAGES[i].reshape(28, 28)).all()
        assert image.get_cmap().name == "gray_r"


def test_digits_of_other_shapes_and_without_titles(tmp_path, figures):
    plot_digits(np.arange(48.0).reshape(4, 3, 4), tmp_path / "a.svg", columns=3)
    (figure,) = figures
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert titles(figure) == []
    assert [image.get_array().shape for image in shown(figure)] == [(3, 4)] * 4
    assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == (2, 3)
    assert not any(axes.axison for axes in figure.axes)


def test_long_titles_have_room(tmp_path, figures):
    plot_digits(IMAGES[:4], tmp_path / "a.png", ["a digit with much to say about it"] * 4)
    check_layout(figures[0])


def test_digits_of_every_library(backend, tmp_path, figures):
    plot_digits(backend.asarray(IMAGES[:3]), tmp_path / "a.png")
    images = [np.asarray(image.get_array()) for image in shown(figures[0])]
    np.testing.assert_array_equal(images, IMAGES[:3].reshape(3, 28, 28))
    assert is_picture(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGES[0],), r"images has shape \(784,\); expected \(n, h, w\) or"),
        ((IMAGES[:0],), r"images has shape \(0, 784\); .*n at least 1"),
        ((IMAGES[:, :5],), r"image has shape \(5,\); expected"),
        ((IMAGES[:2], ["one"]), "titles holds 1; expected 2, as many as images"),
        ((IMAGES[:2], None, 0), "columns is 0; expected a positive integer"),
    ],
)
def test_wrong_digits(tmp_path, arguments, message):
    images, *rest = arguments
    with pytest.raises(ValueError, match=message):
        plot_digits(images, tmp_path / "a.png", *rest)
    assert not list(tmp_path.iterdir())


# Misread digits


def misread(count):
    predicted = LABELS.copy()
    places = np.arange(60)[::-1][:count]
    predicted[places] = (predicted[places] + 1) % 10
    return predicted


@pytest.mark.parametrize("count", [1, 5, 7, 20])
def test_misread_digits(tmp_path, figures, count):
    predicted = misread(count)
    path = plot_misread(IMAGES, LABELS, predicted, tmp_path / "a.png")
    assert is_picture(path)
    (figure,) = figures
    check_layout(figure)
    places = range(60 - count, 60)
    assert titles(figure) == [f"{LABELS[i]} read as {predicted[i]}" for i in places]
    for i, image in zip(places, shown(figure), strict=True):
        assert (image.get_array() == IMAGES[i].reshape(28, 28)).all()
    assert figure.get_suptitle() == f"{count} of 60 digits misread"


def test_only_the_first_misread_digits_are_drawn(tmp_path, figures):
    predicted = misread(30)
    plot_misread(IMAGES, LABELS, predicted, tmp_path / "a.png", most=3)
    check_layout(figures[0])
    assert figures[0].get_suptitle() == "30 of 60 digits misread; the first 3 of them"
    assert titles(figures[0]) == [f"{LABELS[i]} read as {predicted[i]}" for i in (30, 31, 32)]


def test_nothing_misread_is_said(tmp_path, figures):
    assert is_picture(plot_misread(IMAGES, LABELS, LABELS, tmp_path / "a.png"))
    check_layout(figures[0])
    assert contents(figures[0]) == ["None of the 60 digits was misread."]


def test_misread_digits_of_every_library(backend, tmp_path, figures):
    images, labels, predicted = (backend.asarray(a) for a in (IMAGES, LABELS, misread(2)))
    plot_misread(images, labels, predicted, tmp_path / "a.png")
    assert len(titles(figures[0])) == 2


def test_wrong_misread_digits(tmp_path):
    with pytest.raises(ValueError, match=r"\(60, 784\), labels \(60,\) and predicted \(59,\)"):
        plot_misread(IMAGES, LABELS, LABELS[1:], tmp_path / "a.png")
    with pytest.raises(ValueError, match="most is 0; expected a positive integer"):
        plot_misread(IMAGES, LABELS, LABELS, tmp_path / "a.png", most=0)
    assert not list(tmp_path.iterdir())


def test_real_digits(shared_data, tmp_path, figures):
    from xpnn.data import read_digits_csv

    images, labels = read_digits_csv(shared_data / "mnist_csv" / "mnist_test_10.csv")
    plot_digits(images, tmp_path / "a.png", labels)
    assert titles(figures[0]) == list("7210414959")
