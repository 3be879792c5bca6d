"""One door to the pictures of trainings and models: `draw(kind, source, ...)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from xpnn.backends import InputError, is_array
from xpnn.plots.confusion import draw_confusion
from xpnn.plots.curves import curves_of, draw_history
from xpnn.plots.diagram import draw_network
from xpnn.plots.model import dense_views, last_step
from xpnn.plots.regions import draw_regions
from xpnn.plots.weights import draw_weights
from xpnn.training import Network


@dataclass(frozen=True)
class Kind:
    """A kind of picture: the function that draws it, the data it needs, what may be missing."""

    function: Callable[..., Figure]
    missing: Callable[[Any, Any], str]  # of a source and X: '' for nothing
    needs: tuple[str, ...] = ()  # 'X', 'y'

    @property
    def options(self) -> list[str]:
        """What else `draw` takes for it."""
        parameters = inspect.signature(self.function).parameters.values()
        return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def _complaint(check: Callable[[Any], Any], source: Any) -> str:
    try:
        check(source)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def _no_curves(source: Any, X: Any) -> str:
    if isinstance(source, Network):
        return (
            "a Network holds no record of its training; hand in the History that fit gave, or "
            "the record of its model file (xpnn.files.read_record)"
        )
    return _complaint(curves_of, source)


def _no_weights(source: Any, X: Any) -> str:
    return "" if is_array(source) else _complaint(dense_views, source)


def _no_layers(source: Any, X: Any) -> str:
    return _complaint(dense_views, source)


def _no_classes(source: Any, X: Any) -> str:
    inner = last_step(source)
    if not hasattr(source, "predict"):
        return f"a {type(source).__name__} predicts nothing; hand in a fitted model"
    if isinstance(inner, Network):
        values = inner.loss.kind == "regression"
        return f"the loss {inner.loss.name!r} is a regression's: no classes" if values else ""
    if not hasattr(inner, "classes_"):
        return f"a {type(inner).__name__} has no classes_; it is no fitted classifier"
    return ""


def _no_plane(source: Any, X: Any) -> str:
    if not hasattr(source, "predict"):
        return f"a {type(source).__name__} predicts nothing; hand in a fitted model"
    inputs = getattr(source, "inputs", None) or getattr(source, "n_features_in_", None)
    if inputs is None and getattr(X, "ndim", 0) == 2:
        inputs = X.shape[1]
    if inputs in (None, 2):
        return ""
    return f"the model has {inputs} inputs; decision regions need exactly two"


KINDS: dict[str, Kind] = {
    "loss": Kind(draw_history, _no_curves),
    "weights": Kind(draw_weights, _no_weights),
    "confusion": Kind(draw_confusion, _no_classes, ("X", "y")),
    "regions": Kind(draw_regions, _no_plane, ("X",)),
    "network": Kind(draw_network, _no_layers),
}
"""Every kind of picture."""


def lacks(kind: str, source: Any, X: Any = None, y: Any = None) -> str:
    """Say what is missing for a picture; arguments are as for `draw`, ``''`` is nothing."""
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    found = KINDS[kind].missing(source, X)
    given = {"X": X is not None, "y": y is not None}
    absent = [name for name in KINDS[kind].needs if not given[name]]
    return found or (f"{' and '.join(absent)} not given: the data to look at" if absent else "")


def fitting(source: Any, X: Any = None, y: Any = None) -> list[str]:
    """List the kinds of pictures that can be drawn; arguments are as for `draw`."""
    return [kind for kind in KINDS if not lacks(kind, source, X, y)]


def draw(kind: str, source: Any, X: Any = None, y: Any = None, **options: Any) -> Figure:
    """Draw a picture of a training or of a model.

    Parameters
    ----------
    kind : {'loss', 'weights', 'confusion', 'regions', 'network'}
        Loss and accuracy by epoch; the first layer's weights; true and predicted classes;
        what a model of two inputs predicts over their plane; units and weights as a diagram.
    source : object
        For 'loss' a History, its record, a list of losses or a fitted estimator; else a
        Network or a fitted estimator; for 'weights' an array of shape (inputs, units) too.
    X : array_like or frame, optional
        Rows, for 'confusion' and 'regions', as the model takes them.
    y : array_like, optional
        Their labels or values.
    **options
        Those of the function that draws: `draw_history`, `draw_weights`, `draw_confusion`,
        `draw_regions` or `draw_network`; `ax` is one of each. None counts as not given.

    Returns
    -------
    matplotlib.figure.Figure
        `save_figure` writes it.

    Raises
    ------
    ValueError
        There is no such kind or option, or something is missing for it; the text says what.

    Examples
    --------
    >>> from xpnn.plots import draw
    >>> figure = draw("loss", [0.9, 0.5, 0.3])
    >>> figure.axes[0].get_ylabel()
    'loss'
    """
    if missing := lacks(kind, source, X, y):
        raise InputError(f"cannot draw {kind!r}: {missing}")
    chosen = KINDS[kind]
    given = {name: value for name, value in options.items() if value is not None}
    unknown = [name for name in given if name not in chosen.options]
    if unknown:
        allowed = ", ".join(chosen.options)
        raise InputError(f"{kind!r} takes no {', '.join(unknown)}; its options are {allowed}")
    if kind == "confusion":
        known = getattr(last_step(source), "classes_", None)
        if known is not None:
            given = {"classes": list(known), **given}
        return draw_confusion(y, source.predict(X), **given)
    return chosen.function(source, *((X, y) if chosen.needs else ()), **given)
