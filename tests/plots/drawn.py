"""What the tests of pictures look for in a figure."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.text import Text


def texts(figure):
    """Every text that is seen, with tick labels only where the axes reach."""
    figure.draw_without_rendering()
    found = list(figure.texts)
    for legend in figure.legends:
        found += legend.get_texts()
    for axes in figure.axes:
        found += [child for child in axes.get_children() if isinstance(child, Text)]
        if axes.get_legend() is not None:
            found += axes.get_legend().get_texts()
        if axes.axison:
            for axis in (axes.xaxis, axes.yaxis):
                found += [axis.label, *tick_labels(axis)]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def tick_labels(axis):
    """Labels of the ticks inside the view."""
    low, high = sorted(axis.get_view_interval())
    labels = []
    for minor in (False, True):
        places = axis.get_ticklocs(minor=minor)
        for place, label in zip(places, axis.get_ticklabels(minor=minor), strict=False):
            if low <= place <= high and label.get_text():
                labels.append(label)
    return labels


def contents(figure):
    return [text.get_text() for text in texts(figure)]


def check_layout(figure, overlaps=True):
    """No text leaves the picture, and no two level ones lie on each other."""
    boxes = [(text, text.get_window_extent()) for text in texts(figure)]
    edge = 0.51  # of a pixel: where a letter's smooth edge ends
    for text, box in boxes:
        name = text.get_text()
        assert figure.bbox.x0 - edge <= box.x0, f"{name!r} is cut off on the left"
        assert box.x1 <= figure.bbox.x1 + edge, f"{name!r} is cut off on the right"
        assert figure.bbox.y0 - edge <= box.y0, f"{name!r} is cut off below"
        assert box.y1 <= figure.bbox.y1 + edge, f"{name!r} is cut off above"
    level = [(t, b) for t, b in boxes if t.get_rotation() in (0.0, 90.0)]
    if overlaps:
        low, high = (np.asarray([getattr(b, end) for _, b in level]) for end in ("min", "max"))
        both = (low[:, None] < high).all(-1) & (low < high[:, None]).all(-1)
        pairs = [
            (level[i][0].get_text(), level[j][0].get_text())
            for i, j in zip(*both.nonzero(), strict=True)
            if i < j
        ]
        assert not pairs, pairs


def grey_pixels(figure):
    """The figure as a printer without colours sees it: (rows, columns) of 0 to 255."""
    from PIL import Image

    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("L"))


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def legend_names(figure):
    legends = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]
