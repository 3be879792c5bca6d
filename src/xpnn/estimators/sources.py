"""Rows from a source: labels found, windows checked in the reading thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight

from xpnn.backends import InputError
from xpnn.data.streams import Source, Window
from xpnn.distributed import ProcessGroup
from xpnn.estimators.inputs import one_at_a_time
from xpnn.training.dataset import CHUNK, StreamDataset


def flat_targets(t: Any) -> Any:
    """Make one column of a table that has one."""
    return t[:, 0] if t.ndim == 2 and t.shape[1] == 1 else t


def check_source(model: Any, source: Source) -> None:
    """Refuse a source of rows of another width."""
    if source.features != model.n_features_in_:
        raise InputError(
            f"X has {source.features} features, but {type(model).__name__} is expecting "
            f"{model.n_features_in_} features as input."
        )


def _check_finite(window: Window) -> None:
    # One infinity or NaN makes the sum one; a sum that overflows is looked at again.
    with np.errstate(over="ignore", invalid="ignore"):
        fine = np.isfinite(window.x.sum()) or np.isfinite(window.x).all()
    if not fine:
        raise InputError("Input X contains NaN, infinity or a value too large.")


def encoder(model: Any, source: Source, class_weight: Any = None) -> Callable[[Window], Window]:
    """Make what checks a window and turns its targets into what the loss of a model wants.

    It is called in the reading thread. `class_weight` has a weight for each class.
    """

    def encode(window: Window) -> Window:
        _check_finite(window)
        labels = flat_targets(source.target_of(window))
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise InputError("Input y contains NaN or infinity")
        labels, targets, _ = model._encode_targets(labels, True, True)
        weight = window.weight
        if weight is not None:
            with one_at_a_time():
                weight = _check_sample_weight(weight, window.x, ensure_non_negative=True)
        if class_weight is not None:
            own = class_weight[np.searchsorted(model.classes_, labels)]
            weight = own if weight is None else own * weight
        return replace(window, t=targets, weight=weight)

    return encode


def predict_dataset(
    model: Any, source: Source, look: Callable[[Window], None] | None = None
) -> StreamDataset:
    """Make a dataset of a source to predict.

    Targets and weights stay on the host: `look` is shown each window with them, in the reading
    thread.
    """

    def encode(window: Window) -> Window:
        _check_finite(window)
        if look is not None:
            look(window)
        return replace(window, t=None, weight=None)

    return StreamDataset(source, CHUNK, model.network_.backend, encode)


def count_labels(source: Source) -> tuple[Any, Any]:
    """Go through the targets once: the labels, sorted, and how often each comes."""
    seen: Counter[Any] = Counter()
    names: Any = None
    for block in source.targets():
        labels = flat_targets(block)
        if names is None:
            with one_at_a_time():
                check_classification_targets(labels)
        found, counts = np.unique(labels, return_counts=True)
        names = found if names is None else np.union1d(names, found)
        seen.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    with one_at_a_time():
        check_classification_targets(names)
    return names, np.asarray([seen[name] for name in names.tolist()])


def find_targets(
    model: Any, source: Source, incremental: bool, first: bool, group: ProcessGroup | None
) -> tuple[Any, int, Any]:
    """Check a source to learn from, and find its labels.

    `incremental` is whether this is `partial_fit`, `first` whether the model starts anew. Returns
    the first row, the number of columns of the scores, and a weight for each class or None.
    """
    source.check_once(1 if incremental else model.max_iter)
    row = source.sample()
    dtype = source.dtype if source.dtype in (np.float32, np.float64) else np.float64
    if first:
        model.n_features_in_ = source.features
        if hasattr(model, "feature_names_in_"):
            del model.feature_names_in_
    else:
        check_source(model, source)
    labels, class_weight = flat_targets(source.target_of(row)), None
    if hasattr(model, "class_weight"):
        class_weight = _find_classes(model, source, labels, incremental, group)
    if not source.once:
        # Where nobody knows the number of rows, one process goes through them for all.
        source.rows = source.count() if group is None else group.broadcast_from_main(source.count)
    _, _, outputs = model._encode_targets(labels, True, True)
    return row.x.astype(dtype), outputs, class_weight


def _find_classes(
    model: Any, source: Source, first: Any, incremental: bool, group: ProcessGroup | None
) -> Any:
    """Learn the labels, unless `partial_fit` knows them; return the classes' weights."""
    known, counts = source.classes, None
    balanced = isinstance(model.class_weight, str)
    if first.ndim == 2:
        if model.class_weight is not None:
            raise InputError("class_weight does not go with a source of several labels a row")
        known = first
    elif not incremental and (known is None or balanced):
        if source.once:
            raise InputError(
                f"{source.name} can be gone through once: say stream(..., classes=[...]), and "
                "class_weight as a dict"
            )
        if group is None:
            known, counts = count_labels(source)
        else:
            known, counts = group.broadcast_from_main(lambda: count_labels(source))
    if not incremental:
        model._learn_or_check_classes(known, first.ndim == 1)
    if model.class_weight is None:
        return None
    if balanced and counts is not None:
        return counts.sum() / (len(counts) * counts)
    names = model.classes_
    return compute_class_weight(model.class_weight, classes=names, y=names)
