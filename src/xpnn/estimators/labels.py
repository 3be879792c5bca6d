"""Labels: which ones are known, and what their rows count for."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import compute_class_weight, compute_sample_weight
from sklearn.utils.multiclass import unique_labels


def check_known(y: Any, known: Any, exactly: bool) -> None:
    """Refuse labels that a model cannot learn any more.

    Parameters
    ----------
    y : numpy.ndarray
        Labels.
    known : numpy.ndarray
        Those of the model.
    exactly : bool
        Whether none may be missing, as with `warm_start`.

    Raises
    ------
    ValueError
        In scikit-learn's words.
    """
    classes = unique_labels(y)
    if exactly:
        if set(classes) != set(known):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the "
                f"previous call to fit. Previously got {known}, `y` has {classes}"
            )
    elif len(np.setdiff1d(classes, known, assume_unique=True)):
        raise ValueError(
            f"`y` has classes not in `self.classes_`. `self.classes_` has {known}. "
            f"'y' has {classes}."
        )


def row_weights(class_weight: Any, known: Any, y: Any, sample_weight: Any) -> Any:
    """Multiply the rows' weights by those of their classes.

    Parameters
    ----------
    class_weight : dict, list of dict, 'balanced' or None
        A list has one for each of several labels.
    known : numpy.ndarray
        All classes, also those that `y` lacks.
    y : numpy.ndarray
        Labels.
    sample_weight : numpy.ndarray or None
        Weights of the rows.

    Returns
    -------
    numpy.ndarray or None
    """
    if class_weight is None:
        return sample_weight
    if y.ndim == 1:
        weight = compute_class_weight(class_weight, classes=known, y=y)
        weight = weight[np.searchsorted(known, y)]
    else:
        weight = compute_sample_weight(class_weight, y)
    return weight if sample_weight is None else weight * sample_weight
