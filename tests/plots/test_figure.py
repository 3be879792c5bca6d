"""Figures: written whole, the same each time."""

import re
import subprocess
import sys

import pytest
from drawn import check_layout

from xpnn.plots.figure import new_figure, save_figure


def figure_with(text="some text"):
    figure, axes = new_figure()
    axes.plot([0, 1], [0, 1])
    axes.set_title(text)
    return figure


@pytest.mark.parametrize(
    ("ending", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")]
)
def test_the_same_figure_gives_the_same_bytes(tmp_path, ending, begins):
    first = save_figure(figure_with(), tmp_path / "new" / f"a.{ending}")
    second = save_figure(figure_with(), tmp_path / "new" / f"b.{ending}")
    assert first.read_bytes().startswith(begins)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in first.parent.iterdir()) == [f"a.{ending}", f"b.{ending}"]


@pytest.mark.parametrize("name", ["a", "a.txt", "a.jpg", "a.png.gz"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=re.escape(f"path is '{tmp_path / name}'; expected one")):
        save_figure(figure_with(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_old_picture_stays_where_drawing_fails(tmp_path, monkeypatch):
    path = save_figure(figure_with(), tmp_path / "a.png")
    old = path.read_bytes()
    figure = figure_with()

    def broken(*arguments, **options):
        raise OSError("the disk is full")

    monkeypatch.setattr(figure, "savefig", broken)
    with pytest.raises(OSError, match="the disk is full"):
        save_figure(figure, path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_the_check_sees_text_that_is_cut_off_or_overlaps():
    figure = figure_with()
    figure.axes[0].set_xticks([0.5, 0.51], ["one label", "another label"])
    with pytest.raises(AssertionError, match="one label"):
        check_layout(figure)
    figure = figure_with()
    figure.set_layout_engine("none")
    figure.axes[0].set_position((0.0, 0.0, 1.0, 1.0))
    with pytest.raises(AssertionError, match="is cut off"):
        check_layout(figure)


def test_no_window_is_asked_for():
    script = (
        "import sys; from xpnn.plots import draw; draw('loss', [2.0, 1.0]); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
