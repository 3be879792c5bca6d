"""One door to the pictures of trainings and models: `draw(kind, source, ...)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from xpnn.backends import InputError, is_array
from xpnn.plots.confusion import draw_confusion
from xpnn.plots.curves import curves_of, draw_history
from xpnn.plots.diagram import draw_network
from xpnn.plots.labels import label_column
from xpnn.plots.model import dense_views, last_step
from xpnn.plots.regions import draw_regions
from xpnn.plots.weights import draw_weights
from xpnn.training import Network


@dataclass(frozen=True)
class Kind:
    """A kind of picture.

    Parameters
    ----------
    shows : str
        What is seen.
    source : str
        What it is drawn from.
    needs : tuple of str
        Data that must come along: ``'X'``, ``'y'``.
    options : tuple of str
        What else `draw` takes for it.
    make : callable
        ``make(source, X, y, **options) -> Figure``.
    missing : callable
        ``missing(source, X) -> str`` says what the source lacks; ``''`` for nothing.
    """

    shows: str
    source: str
    needs: tuple[str, ...]
    options: tuple[str, ...]
    make: Callable[..., Figure]
    missing: Callable[[Any, Any], str]


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
            "the record of its model file (xpnn.export.read_record)"
        )
    return _complaint(curves_of, source)


def _no_weights(source: Any, X: Any) -> str:
    return "" if is_array(source) else _complaint(dense_views, source)


def _no_layers(source: Any, X: Any) -> str:
    return _complaint(dense_views, source)


def _no_classes(source: Any, X: Any) -> str:
    if not hasattr(source, "predict"):
        return f"a {type(source).__name__} predicts nothing; hand in a fitted model"
    inner = last_step(source)
    if isinstance(inner, Network) and inner.loss.kind == "regression":
        return f"the network's loss {inner.loss.name!r} is about values; there are no classes"
    if not isinstance(inner, Network) and not hasattr(inner, "classes_"):
        return f"a {type(inner).__name__} has no classes_; it is no fitted classifier"
    return ""


def _no_plane(source: Any, X: Any) -> str:
    if not hasattr(source, "predict") and not hasattr(source, "predict_proba"):
        return f"a {type(source).__name__} predicts nothing; hand in a fitted model"
    inputs = getattr(source, "inputs", None) or getattr(source, "n_features_in_", None)
    if inputs is None and getattr(X, "ndim", 0) == 2:
        inputs = X.shape[1]
    if inputs not in (None, 2):
        return f"the model has {inputs} inputs; decision regions need exactly two"
    return ""


def _confusion(source: Any, X: Any, y: Any, **options: Any) -> Figure:
    inner = last_step(source)
    if options.get("classes") is None and hasattr(inner, "classes_"):
        options["classes"] = list(inner.classes_)
    predicted = label_column("the prediction", source.predict(X))
    return draw_confusion(y, predicted, **options)


KINDS: dict[str, Kind] = {
    "loss": Kind(
        "loss and accuracy, epoch by epoch",
        "a History, its record, a list of losses, or a fitted estimator with a loss_curve_",
        (),
        ("log",),
        lambda source, X, y, **options: draw_history(source, **options),
        _no_curves,
    ),
    "weights": Kind(
        "the first layer's weights, as pictures or as a heat map",
        "a Network, a fitted estimator with coefs_ or coef_, or an array (inputs, units)",
        (),
        ("names", "shape", "most"),
        lambda source, X, y, **options: draw_weights(source, **options),
        _no_weights,
    ),
    "confusion": Kind(
        "what was there and what was read, as a table",
        "a fitted classifier, with rows and their labels",
        ("X", "y"),
        ("classes",),
        _confusion,
        _no_classes,
    ),
    "regions": Kind(
        "what a model of two inputs says, over their plane",
        "a fitted model of exactly two inputs, with rows, and labels or values if there are any",
        ("X",),
        ("names", "classes", "task", "resolution", "most"),
        draw_regions,
        _no_plane,
    ),
    "network": Kind(
        "units and weights, as a diagram",
        "a Network, or a fitted estimator with coefs_ or coef_",
        (),
        ("names", "classes"),
        lambda source, X, y, **options: draw_network(source, **options),
        _no_layers,
    ),
}
"""Every kind of picture: what it shows, what it is drawn from, what it needs."""


def lacks(kind: str, source: Any, X: Any = None, y: Any = None) -> str:
    """Say what is missing for a picture.

    Parameters
    ----------
    kind : str
        A name in `KINDS`.
    source, X, y : object
        As for `draw`.

    Returns
    -------
    str
        ``''`` where the picture can be drawn.

    Raises
    ------
    ValueError
        There is no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    found = KINDS[kind].missing(source, X)
    if found:
        return found
    given = {"X": X is not None, "y": y is not None}
    absent = [name for name in KINDS[kind].needs if not given[name]]
    return f"{' and '.join(absent)} not given: the data to look at" if absent else ""


def fitting(source: Any, X: Any = None, y: Any = None) -> list[str]:
    """List the kinds of pictures that can be drawn.

    Parameters
    ----------
    source, X, y : object
        As for `draw`.

    Returns
    -------
    list of str
        Names in `KINDS`.
    """
    return [kind for kind in KINDS if not lacks(kind, source, X, y)]


def draw(kind: str, source: Any, X: Any = None, y: Any = None, **options: Any) -> Figure:
    """Draw a picture of a training or of a model.

    Parameters
    ----------
    kind : str
        A name in `KINDS`, which says what each shows and is drawn from.
    source : object
        A History or its record, a Network, or a fitted estimator.
    X : array_like or frame, optional
        Rows, for 'confusion' and 'regions', as the model takes them.
    y : array_like, optional
        Their labels or values.
    **options
        `KINDS` lists those of each kind; the functions that draw describe them. None
        counts as not given.

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
    missing = lacks(kind, source, X, y)
    if missing:
        raise InputError(f"cannot draw {kind!r}: {missing}. It is drawn from {KINDS[kind].source}")
    given = {name: value for name, value in options.items() if value is not None}
    strange = [name for name in given if name not in KINDS[kind].options]
    if strange:
        allowed = ", ".join(KINDS[kind].options)
        raise InputError(f"{kind!r} takes no {', '.join(strange)}; its options are {allowed}")
    return KINDS[kind].make(source, X, y, **given)
