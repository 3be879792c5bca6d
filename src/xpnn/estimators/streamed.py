"""Rows from a source: labels found, windows checked in the reading thread, scores."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from xpnn.backends import (
    Array,
    Device,
    Feeder,
    Namespace,
    Part,
    dtype_name,
    feeder_for,
    on_device,
    to_float,
    to_host,
)
from xpnn.data.streams import Source, Window, Windows
from xpnn.distributed import DealtWindows, Group
from xpnn.estimators.inputs import bring, host_column, sender
from xpnn.estimators.labels import check_known

if TYPE_CHECKING:
    from xpnn.estimators.base import BaseMLP

CHUNK = 4096  # rows that are predicted at once


@dataclass
class Labelled(Window):
    """A window whose targets are what the loss wants, beside those of the source."""

    labels: Any = None


def first_labels(X: Any, y: Any) -> Any:
    """Return the labels that tell multi-label data: of a source, those of the first row."""
    return X.target_of(X.sample()) if isinstance(X, Source) else host_column(y)


def _finite(window: Window, source: Source) -> Window:
    # One infinity or NaN makes the sum one; a sum that overflows is looked at again.
    with np.errstate(over="ignore", invalid="ignore"):
        fine = np.isfinite(window.x.sum()) or np.isfinite(window.x).all()
    if not fine:
        last = window.first + window.rows - 1
        raise ValueError(
            f"{source.name}, rows {window.first} to {last}: Input X contains NaN, infinity or a "
            "value too large."
        )
    return window


def _check_features(model: BaseMLP, source: Source) -> None:
    if source.features != model.n_features_in_:
        raise ValueError(
            f"X has {source.features} features, but {type(model).__name__} is expecting "
            f"{model.n_features_in_} features as input."
        )


def _flat(t: Any) -> Any:
    """Make one column of a table that has one."""
    return t[:, 0] if t.ndim == 2 and t.shape[1] == 1 else t


def count_labels(source: Source) -> tuple[Any, Any]:
    """Go through the targets once: the labels, sorted, and how often each comes.

    Raises
    ------
    ValueError
        The targets are not labels.
    """
    seen: dict[Any, int] = {}
    names: Any = None
    for number, block in enumerate(source.targets()):
        labels = _flat(block)
        if number == 0:
            check_classification_targets(labels)
        found, counts = np.unique(labels, return_counts=True)
        names = found if names is None else np.union1d(names, found)
        for label, count in zip(found.tolist(), counts.tolist(), strict=True):
            seen[label] = seen.get(label, 0) + count
    check_classification_targets(names)
    return names, np.asarray([seen[name] for name in names.tolist()])


class _Targets:
    """Turns a source's targets into what the loss wants, window by window."""

    def __init__(self, model: BaseMLP, source: Source, class_weight: Any) -> None:
        self.model, self.source, self.class_weight = model, source, class_weight

    def __call__(self, window: Window) -> Labelled:
        _finite(window, self.source)
        model, where = self.model, f"{self.source.name}, from row {window.first} on"
        labels = _flat(self.source.target_of(window))
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise ValueError(f"{where}: Input y contains NaN or infinity")
        try:
            labels, t, _ = model._outputs(None, labels, True, False, held=True)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        weight = window.weight
        if self.class_weight is not None:
            own = self.class_weight[np.searchsorted(model.classes_, labels)]
            weight = own if weight is None else own * weight
        kept = (window.order, window.first, window.total, window.own)
        return Labelled(window.x, t, weight, *kept, labels=labels)


class StreamData:
    """Rows of a source; to a solver it is what `Data` is.

    Parameters
    ----------
    model : BaseMLP
        What learns.
    source : Source
        Where rows, targets and weights come from.
    xp, device
        Where the rows go.
    class_weight : numpy.ndarray, optional
        Weight of each class.
    group : Group, optional
        Processes that read a share each.

    Attributes
    ----------
    x, t, weight : array
        The first row; the weight stays on the host.
    rows : int
        Rows of a pass; 0 until they are known.
    """

    def __init__(
        self, model: BaseMLP, source: Source, xp: Namespace, device: Device,
        class_weight: Any = None, group: Group | None = None,
    ) -> None:  # fmt: skip
        self.group = group
        self.model, self.source, self.xp, self.device = model, source, xp, device
        self.prepare = _Targets(model, source, class_weight)
        self.feeder: Feeder | None = None  # the first row is not sent that way: it stays
        self.rows = source.rows or 0
        first = source.sample()
        window = self.prepare(Window(first.x, first.t, first.weight, None, 0))
        self.kinds: tuple[Any, Any] | None = None
        self.x, self.t, _ = self.bring(window)
        self.y, self.weight = window.labels, window.weight
        self.kinds = (self.t.shape[1:], self.weight is None)
        self.feeder = feeder_for(xp, device)

    def windows(self, batch: int, group: Group | None = None) -> Windows | DealtWindows:
        """Make the buffers for batches of that many rows."""
        self.group, dtype = group, np.dtype(self.model._dtype_name)
        if group is not None:
            return DealtWindows(self.source, batch, dtype, group, self.prepare)
        return Windows(self.source, batch, dtype, self.prepare)

    def bring(self, window: Window) -> tuple[Any, Any, Any]:
        """Bring a window's rows, targets and weights to the device."""
        xp, device, model = self.xp, self.device, self.model
        if self.kinds not in (None, (window.t.shape[1:], window.weight is None)):
            raise ValueError(
                f"{self.source.name}, from row {window.first} on: targets or weights unlike those "
                "of the first row"
            )
        numbers = model._numbers(xp)
        if self.feeder is not None:
            dtypes: list[Any] = [model._dtype_name, None, dtype_name(numbers)]
            dtypes[1] = dtypes[2] if window.t.dtype.kind == "f" else None
            columns = zip((window.x, window.t, window.weight), dtypes, strict=True)
            parts = [None if c is None else Part.of(c, dtype) for c, dtype in columns]
            x, t, weight = self.feeder.to_device(parts)
            return x, t, weight
        with on_device(device):
            x = bring(window.x, xp, device, getattr(xp, model._dtype_name))
            t = bring(window.t, xp, device, numbers if window.t.dtype.kind == "f" else None)
            weight = window.weight
            if weight is not None:
                weight = bring(weight, xp, device, numbers)
        return x, t, weight

    def loss(self) -> float:
        """Loss of all rows, without penalty and weights; a mean over the rows."""
        total, seen, objective = 0.0, 0.0, self.model._objective
        with closing(self.windows(CHUNK, self.group).go()) as windows:
            for window in windows:
                if not window.counted:
                    continue
                x, t, _ = self.bring(window)
                scores = self.model._scores_of(x)
                with on_device(self.device):
                    value = to_float(objective.forward(scores, t, None, xp=self.xp)[0])
                total += value * window.rows if objective.averages else value
                seen += window.rows
        if self.group is not None:
            total, seen = self.group.totals([total, seen])
        return total / seen


def take_source(
    model: BaseMLP,
    source: Source,
    y: Any,
    sample_weight: Any,
    incremental: bool,
    first: bool,
    group: Group | None = None,
) -> tuple[Any, int, Callable[[Namespace, Device], StreamData]]:
    """Check a source to learn from, and find its labels.

    Parameters
    ----------
    model : BaseMLP
        What is about to learn.
    source : Source
        Rows, targets and weights.
    y, sample_weight : None
        A source brings its own.
    incremental, first : bool
        Whether this is `partial_fit`; whether the model starts anew.

    Returns
    -------
    x : numpy.ndarray
        The first row.
    outputs : int
        Columns of the scores.
    bring_data : callable
        ``bring_data(xp, device)`` makes the data.

    Raises
    ------
    ValueError
        Something does not go with a source.
    """
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(f"{name} is given beside a source, which brings its own; leave it out")
    if model.solver == "lbfgs" and model.optimizer is None:
        raise ValueError(
            "solver='lbfgs' looks at all rows at once; a source goes with 'adam', 'sgd' or an "
            "optimizer"
        )
    source.check_once(1 if incremental else model.max_iter)
    row = source.sample()
    dtype = source.dtype if source.dtype in (np.float32, np.float64) else np.float64
    if first:
        model.n_features_in_ = source.features
        if hasattr(model, "feature_names_in_"):
            del model.feature_names_in_
    else:
        _check_features(model, source)
    labels = _flat(source.target_of(row))
    weights = (
        _find_classes(model, source, labels, incremental, group) if _classifies(model) else None
    )
    if not source.once:
        # Where nobody knows the number of rows, one process goes through them for all.
        source.rows = source.count() if group is None else group.by_first(source.count)
    _, _, outputs = model._outputs(None, labels, True, False, held=True)

    def bring_data(xp: Namespace, device: Device) -> StreamData:
        return StreamData(model, source, xp, device, weights, group)

    return row.x.astype(dtype), outputs, bring_data


def _classifies(model: Any) -> bool:
    return hasattr(model, "class_weight")


def _find_classes(
    model: Any, source: Source, first: Any, incremental: bool, group: Group | None
) -> Any:
    """Learn the labels, unless `partial_fit` knows them; return the classes' weights."""
    known, counts = source.classes, None
    balanced = isinstance(model.class_weight, str)
    if first.ndim == 2:
        if model.class_weight is not None:
            raise ValueError("class_weight does not go with a source of several labels a row")
        known = first
    elif not incremental and (known is None or balanced):
        if source.once:
            raise ValueError(
                f"{source.name} can be gone through once: say stream(..., classes=[...]), and "
                "class_weight as a dict"
            )
        if group is None:
            known, counts = count_labels(source)
        else:
            known, counts = group.by_first(lambda: count_labels(source))
    if not incremental:
        if hasattr(model, "classes_") and model.warm_start and first.ndim == 1:
            check_known(known, model.classes_, exactly=True)
        else:
            model._learn_classes(known)
    if model.class_weight is None:
        return None
    if balanced and counts is not None:
        return counts.sum() / (len(counts) * counts)
    names = model.classes_
    return compute_class_weight(model.class_weight, classes=names, y=names)


def check_stream(model: Any, source: Source) -> Source:
    """Check a source to predict."""
    check_is_fitted(model)
    _check_features(model, source)
    return source


def pieces(model: Any, source: Source) -> Generator[Window]:
    """Rows to predict, a window after the other."""
    windows = Windows(
        source, CHUNK, np.dtype(model._dtype_name), lambda window: _finite(window, source)
    )
    return windows.go()


def in_pieces(
    model: Any, source: Source, function: Callable[[Array], Array], xp: Namespace, device: Device
) -> Array:
    """Apply a function to the rows of a source, and join what it gives."""
    send = sender(xp, device, model._dtype_name)
    with closing(pieces(model, source)) as windows, on_device(device):
        return xp.concat([function(send(w.x)) for w in windows])


def _stay(result: Array) -> Array:
    return result


def score(model: Any, X: Any, y: Any, sample_weight: Any) -> float:
    """Hold predictions against the truth, in the model's own measure.

    Parameters
    ----------
    model : BaseMLP
        Fitted.
    X : array_like or Source
        Rows.
    y, sample_weight : array_like
        Truth and weights; a source brings its own.

    Returns
    -------
    float
    """
    if not isinstance(X, Source):
        predicted = to_host(model._decide(*model._scores(X, "predict")))
        weight = host_column(sample_weight)
        return float(model._METRIC(host_column(y), predicted, sample_weight=weight))
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(f"{name} is given beside a source, which brings its own; leave it out")
    check_stream(model, X)
    found, truth, weights = [], [], []
    xp, device = model._place()
    with closing(pieces(model, X)) as windows:
        for window in windows:
            x = bring(window.x, xp, device, getattr(xp, model._dtype_name))
            found.append(to_host(model._decide(model._scores_of(x), _stay)))
            truth.append(_flat(X.target_of(window)))
            weights.append(window.weight)
    joined = None if weights[0] is None else np.concatenate(weights)
    predicted = np.concatenate(found)
    if predicted.dtype.kind == "f" and not np.isfinite(predicted).all():
        return float("nan")
    return float(model._METRIC(np.concatenate(truth), predicted, sample_weight=joined))
