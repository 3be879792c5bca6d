"""The pictures of the README, and the command that makes them."""

from pathlib import Path

import matplotlib.image
import pytest

from xpnn.demos import pictures

KEPT = Path(__file__).parents[2] / pictures.FOLDER
NAMES = ["digit-weights.png", "moons.png"]


def test_the_kept_pictures_are_small():
    if not KEPT.is_dir():
        pytest.skip(f"no {pictures.FOLDER}: the tests run without the repository")
    for name in NAMES:
        assert 1000 < (KEPT / name).stat().st_size < 60_000
        assert matplotlib.image.imread(KEPT / name).std() > 0.05


def test_the_border_between_the_moons_is_made(tmp_path):
    path = pictures.moons(tmp_path)
    assert path.name == NAMES[1]
    assert path.stat().st_size < 60_000


def test_the_command(tmp_path, monkeypatch, capsys):
    seen = []
    for name in ("digit_weights", "moons"):
        monkeypatch.setattr(pictures, name, lambda folder, name=name: seen.append(folder) or name)
    assert pictures.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == ["digit_weights", "moons"]
    assert pictures.main([]) == 0
    assert seen == [tmp_path] * 2 + [pictures.FOLDER] * 2
    assert pictures.main(["a", "b"]) == 2
    assert pictures.main(["--help"]) == 2
    assert "usage: python -m xpnn.demos.pictures [FOLDER]" in capsys.readouterr().err
