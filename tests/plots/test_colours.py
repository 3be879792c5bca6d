"""Colours that are used together: for colour-blind readers, and on a black-and-white printer.

The matrices are those of Machado, Oliveira & Fernandes (2009), "A physiologically-based model
for simulation of color vision deficiency", IEEE TVCG 15(6), for a severity of 1.0; they apply
to linear RGB. Distances are CIE 1976, Delta E* in CIELAB, with the white of D65.
"""

from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from xpnn.plots.diagram import NEGATIVE, POSITIVE
from xpnn.plots.figure import (
    AMOUNT,
    COLOURS,
    FILLS,
    LINES,
    MARKERS,
    SIGNED,
    short_names,
)
from xpnn.plots.regions import tint

VISION = {
    "all colours": np.eye(3),
    "protanopia": np.reshape([
        0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998,
    ], (3, 3)),
    "deuteranopia": np.reshape([
        0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881,
    ], (3, 3)),
}  # fmt: skip
TO_XYZ = np.reshape([
    0.4124564, 0.3575761, 0.1804375, 0.2126729, 0.7151522, 0.0721750, 0.0193339, 0.1191920,
    0.9503041,
], (3, 3))  # fmt: skip


def linear(colour):
    rgb = np.asarray(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(colour, vision="all colours"):
    seen = np.clip(VISION[vision] @ linear(colour), 0.0, 1.0)
    scaled = TO_XYZ @ seen / (TO_XYZ @ np.ones(3))
    f = np.where(scaled > (6 / 29) ** 3, np.cbrt(scaled), scaled / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def lightness(colour):
    return lab(colour)[0]


def apart(one, other, vision):
    return float(np.linalg.norm(lab(one, vision) - lab(other, vision)))


def contrast(colour):
    """Contrast ratio against white paper, as WCAG 2.2 defines it."""
    return 1.05 / (linear(colour) @ [0.2126, 0.7152, 0.0722] + 0.05)


def test_the_simulation_merges_what_is_confused():
    assert lab("#808080", "protanopia")[1:] == pytest.approx([0.0, 0.0], abs=0.05)
    # A red and a green that differ much for most, and little for those who confuse them.
    assert apart("#B45A5A", "#7D7D50", "all colours") > 40
    assert apart("#B45A5A", "#7D7D50", "deuteranopia") < 20


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("palette", [COLOURS, FILLS], ids=["lines", "fills"])
def test_every_two_colours_differ(palette, vision):
    assert len(set(palette)) == len(palette)
    for one, other in combinations(palette, 2):
        assert apart(one, other, vision) >= 20, (one, other)


def test_lines_are_seen_on_paper_and_the_first_differ_in_lightness():
    assert all(contrast(colour) >= 3.0 for colour in COLOURS)
    for one, other in combinations(COLOURS[:3], 2):
        assert abs(lightness(one) - lightness(other)) >= 20


def test_every_two_lines_differ_without_colours():
    for i, j in combinations(range(len(COLOURS)), 2):
        styled = LINES[i % len(LINES)] != LINES[j % len(LINES)]
        assert styled or abs(lightness(COLOURS[i]) - lightness(COLOURS[j])) >= 10, (i, j)


def test_every_two_of_twenty_classes_differ_without_colours():
    looks = [(MARKERS[k % len(MARKERS)], FILLS[k % len(FILLS)]) for k in range(20)]
    for (marker, fill), (other, second) in combinations(looks, 2):
        assert marker != other or abs(lightness(fill) - lightness(second)) >= 12


def test_neighbouring_regions_differ_in_print():
    # Regions are lighter than their markers; of two and three classes all differ.
    for one, other in combinations(FILLS[:3], 2):
        assert abs(lightness(tint(one)) - lightness(tint(other))) >= 8
    for one, other in pairwise(FILLS):
        assert abs(lightness(one) - lightness(other)) >= 12
    assert all(lightness(tint(fill)) > 60 for fill in FILLS)  # black names can be read


def test_signs_differ_in_line_and_lightness():
    assert POSITIVE[1] != NEGATIVE[1]
    assert abs(lightness(POSITIVE[0]) - lightness(NEGATIVE[0])) >= 20
    for vision in VISION:
        assert apart(POSITIVE[0], NEGATIVE[0], vision) >= 30


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(("name", "direction"), [(SIGNED, 1), (AMOUNT, -1)])
def test_maps_go_one_way_in_lightness(name, direction, vision):
    shades = [lab(colour[:3], vision)[0] for colour in colormaps[name](np.linspace(0, 1, 33))]
    assert all(direction * (b - a) > 0 for a, b in pairwise(shades))
    assert abs(shades[-1] - shades[0]) > 60


def test_short_names():
    assert short_names(["a", "b\n c", "", 3, None]) == ["a", "b c", "(empty)", "3", "None"]
    long = short_names(["a name with many letters: cat", "a name with many letters: dog"], 12)
    assert long == ["a name…: cat", "a name…: dog"]
    same = short_names(["the same beginning, x, the end", "the same beginning, y, the end"], 12)
    assert [name[-2:] for name in same] == ["#1", "#2"]
