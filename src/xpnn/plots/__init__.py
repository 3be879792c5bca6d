"""Pictures, drawn without a window: trainings, models, digits, units.

`draw` is the door to those of trainings and models; `save_figure` writes what it gives.
"""

from xpnn.plots.confusion import draw_confusion
from xpnn.plots.curves import draw_history
from xpnn.plots.diagram import draw_network
from xpnn.plots.figure import save_figure
from xpnn.plots.kinds import KINDS, draw, fitting, lacks
from xpnn.plots.regions import draw_regions
from xpnn.plots.weights import draw_weights

__all__ = [
    "KINDS",
    "draw",
    "draw_confusion",
    "draw_history",
    "draw_network",
    "draw_regions",
    "draw_weights",
    "fitting",
    "lacks",
    "save_figure",
]
