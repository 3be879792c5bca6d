"""What the tests of pictures look for in a figure."""

from __future__ import annotations

import numpy as np
from matplotlib.cbook import is_math_text
from matplotlib.text import Text


def texts(figure):
    """Every text that is seen, with tick labels only where the axes reach."""
    figure.draw_without_rendering()
    found = list(figure.texts)
    for axes in figure.axes:
        found += [child for child in axes.get_children() if isinstance(child, Text)]
        if axes.get_legend() is not None:
            found += axes.get_legend().get_texts()
        if axes.axison:
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                places = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False)
                found += [axis.label, *(label for at, label in places if low <= at <= high)]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def written(text):
    """What a reader sees of a text, which is no formula."""
    assert not is_math_text(text.get_text())
    return text.get_text().replace(r"\$", "$")


def contents(figure):
    return [written(text) for text in texts(figure)]


def check_layout(figure):
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
    low, high = (np.asarray([getattr(b, end) for _, b in level]) for end in ("min", "max"))
    both = (low[:, None] < high).all(-1) & (low < high[:, None]).all(-1)
    pairs = [
        (level[i][0].get_text(), level[j][0].get_text())
        for i, j in zip(*both.nonzero(), strict=True)
        if i < j
    ]
    assert not pairs, pairs


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def legend_names(figure):
    legends = [axes.get_legend() for axes in figure.axes] + figure.legends
    return [written(text) for legend in legends if legend for text in legend.get_texts()]
