"""The pictures of the README, and how they are made."""

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


def test_the_boundary_between_the_moons_is_drawn(tmp_path):
    path = pictures.moons(tmp_path)
    assert path.name == NAMES[1]
    assert path.stat().st_size < 60_000
