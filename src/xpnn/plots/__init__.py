"""Pictures, drawn without a window: trainings, models, images of digits.

Each function draws on the axes `ax`, or on a figure of its own, and returns the figure.
`draw` is one door to those of trainings and models; `save_figure` writes a figure to a file.
"""

from xpnn.plots.confusion import draw_confusion
from xpnn.plots.curves import draw_history
from xpnn.plots.diagram import draw_network
from xpnn.plots.figure import save_figure
from xpnn.plots.images import draw_digits, draw_misclassified
from xpnn.plots.kinds import KINDS, draw, fitting, lacks
from xpnn.plots.regions import draw_regions
from xpnn.plots.weights import draw_weights

__all__ = [
    "KINDS",
    "draw",
    "draw_confusion",
    "draw_digits",
    "draw_history",
    "draw_misclassified",
    "draw_network",
    "draw_regions",
    "draw_weights",
    "fitting",
    "lacks",
    "save_figure",
]
