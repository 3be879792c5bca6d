import matplotlib.image
import numpy as np
import pytest

from xpnn.plots import curves, digits
from xpnn.plots.curves import plot_history
from xpnn.plots.digits import plot_digits, plot_misread
from xpnn.training import History

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (60, 784)).astype("uint8")
LABELS = GENERATOR.integers(0, 10, 60)


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, once they are drawn."""
    seen = []
    for module in (curves, digits):
        save = module.save_figure

        def keep(figure, path, save=save):
            seen.append(figure)
            return save(figure, path)

        monkeypatch.setattr(module, "save_figure", keep)
    return seen


def texts(figure):
    found = list(figure.texts)
    for axes in figure.axes:
        if axes.axison:
            labels = [axes.xaxis.label, axes.yaxis.label]
            labels += [*axes.get_xticklabels(), *axes.get_yticklabels()]
            low, high = axes.get_xlim()
            found += [text for text in labels if text.get_text()]
            found = [
                t
                for t in found
                if t not in axes.get_xticklabels() or low <= t.get_position()[0] <= high
            ]
            low, high = axes.get_ylim()
            found = [
                t
                for t in found
                if t not in axes.get_yticklabels() or low <= t.get_position()[1] <= high
            ]
        found += [axes.title, *axes.texts]
    return [text for text in found if text.get_text()]


def check_layout(figure):
    """No text leaves the picture, and no two lie on each other."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    for name, box in boxes:
        assert figure.bbox.x0 <= box.x0, name
        assert box.x1 <= figure.bbox.x1, name
        assert figure.bbox.y0 <= box.y0, name
        assert box.y1 <= figure.bbox.y1, name
    for i, (name, box) in enumerate(boxes):
        for other, second in boxes[:i]:
            assert not box.overlaps(second), (name, other)


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
    assert [
        (i.get_array() == IMAGES[k].reshape(28, 28)).all() for k, i in enumerate(shown(figures[0]))
    ]
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
    assert [text.get_text() for text in texts(figures[0])] == ["None of the 60 digits was misread."]


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


# Curves of a training


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_loss_and_accuracy_on_two_panels(tmp_path, figures):
    history = History([2.0, 1.0, 0.5], [2.1, 1.2, 0.9], [0.3, 0.6, 0.8], best_epoch=2)
    assert is_picture(plot_history(history, tmp_path / "a.png"))
    (figure,) = figures
    check_layout(figure)
    left, right = figure.axes
    assert [axes.get_xlabel() for axes in (left, right)] == ["epoch", "epoch"]
    assert [axes.get_ylabel() for axes in (left, right)] == ["loss", "accuracy"]
    assert list(lines(left)) == ["training", "validation", "best: epoch 2"]
    assert lines(left)["training"].get_xydata().tolist() == [[1, 2.0], [2, 1.0], [3, 0.5]]
    assert lines(left)["validation"].get_ydata().tolist() == [2.1, 1.2, 0.9]
    assert lines(right)["validation"].get_ydata().tolist() == [0.3, 0.6, 0.8]
    assert list(lines(right)["best: epoch 2"].get_xdata()) == [2, 2]
    assert left.get_legend() is not None
    assert right.get_legend() is not None


def test_curves_differ_in_print_without_colours(tmp_path, figures):
    plot_history(History([1.0] * 40, [2.0] * 40, [0.5] * 40, best_epoch=1), tmp_path / "a.png")
    for axes in figures[0].axes:
        styles = [line.get_linestyle() for line in axes.lines]
        assert len(set(styles)) == len(styles)
    left, right = (lines(axes)["validation"] for axes in figures[0].axes)
    assert left.get_linestyle() == right.get_linestyle()


def test_one_panel_without_accuracy(tmp_path, figures):
    plot_history(History([3.0, 2.0], [3.0, 2.5]), tmp_path / "a.png")
    assert len(figures[0].axes) == 1
    assert list(lines(figures[0].axes[0])) == ["training", "validation"]


def test_a_single_epoch_can_be_seen(tmp_path, figures):
    plot_history(History([3.0]), tmp_path / "a.png")
    check_layout(figures[0])
    (line,) = figures[0].axes[0].lines
    assert line.get_marker() == "o"


@pytest.mark.parametrize("epochs", [1, 2, 3, 40, 15_000])
def test_epochs_are_whole_numbers(tmp_path, figures, epochs):
    plot_history(History(list(np.linspace(1e-5, 1e-7, epochs))), tmp_path / "a.png")
    check_layout(figures[0])
    ticks = figures[0].axes[0].get_xticks()
    assert (ticks == np.round(ticks)).all()


def test_a_history_without_epochs(tmp_path):
    with pytest.raises(ValueError, match="history holds no epoch; expected at least one"):
        plot_history(History(), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
