"""One door to the pictures of trainings and models: `draw(kind, source, ...)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
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

KINDS: dict[str, Callable[..., Figure]] = {
    "loss": draw_history,
    "weights": draw_weights,
    "confusion": draw_confusion,
    "regions": draw_regions,
    "network": draw_network,
}
"""Every kind of picture, and the function that draws it."""

_NEEDS: dict[str, tuple[str, ...]] = {"confusion": ("X", "y"), "regions": ("X",)}


def _check(kind: str, source: Any, X: Any) -> None:
    """Refuse a source that such a picture cannot be drawn of."""
    inner = last_step(source)
    if kind == "loss":
        if isinstance(source, Network):
            raise InputError(
                "a Network holds no record of its training; hand in the History that fit gave, or "
                "the record of its model file (xpnn.files.read_record)"
            )
        curves_of(source)
    elif kind == "network" or (kind == "weights" and not is_array(source)):
        dense_views(source)
    elif kind == "weights":
        return
    elif not hasattr(source, "predict"):
        raise InputError(f"a {type(source).__name__} predicts nothing; hand in a fitted model")
    elif kind == "regions":
        inputs = getattr(source, "inputs", None) or getattr(source, "n_features_in_", None)
        if inputs is None and getattr(X, "ndim", 0) == 2:
            inputs = X.shape[1]
        if inputs not in (None, 2):
            raise InputError(f"the model has {inputs} inputs; decision regions need exactly two")
    elif isinstance(inner, Network):
        if inner.loss.kind == "regression":
            raise InputError(f"the loss {inner.loss.name!r} is a regression's: no classes")
    elif not hasattr(inner, "classes_"):
        raise InputError(f"a {type(inner).__name__} has no classes_; it is no fitted classifier")


def lacks(kind: str, source: Any, X: Any = None, y: Any = None) -> str:
    """Say what is missing for a picture; arguments are as for `draw`, ``''`` is nothing."""
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    try:
        _check(kind, source, X)
    except (TypeError, ValueError) as error:
        return str(error)
    given = {"X": X is not None, "y": y is not None}
    absent = [name for name in _NEEDS.get(kind, ()) if not given[name]]
    return f"{' and '.join(absent)} not given: the data to look at" if absent else ""


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
    parameters = inspect.signature(KINDS[kind]).parameters.values()
    allowed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    given = {name: value for name, value in options.items() if value is not None}
    if unknown := [name for name in given if name not in allowed]:
        raise InputError(
            f"{kind!r} takes no {', '.join(unknown)}; its options are {', '.join(allowed)}"
        )
    if kind == "confusion":
        known = getattr(last_step(source), "classes_", None)
        if known is not None:
            given = {"classes": list(known), **given}
        return draw_confusion(y, source.predict(X), **given)
    return KINDS[kind](source, *((X, y) if kind == "regions" else ()), **given)
