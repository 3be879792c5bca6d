"""What a `Perceptron` learns with: its rule, its start, the weights of rows, validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import _check_sample_weight

from xpnn.backends import Array, Namespace, device_of, to_device, to_host
from xpnn.estimators.inputs import host_column
from xpnn.estimators.perceptron_fitted import scores_of
from xpnn.units.perceptron_rule import Rule

if TYPE_CHECKING:
    from xpnn.estimators.perceptron import Perceptron

SPARSE_BIAS = 0.01
"""Share of a change that the bias takes where rows are sparse: scikit-learn's."""


def rule_of(model: Perceptron, sparse: bool) -> Rule:
    """Make the rule that a model's parameters ask for."""
    share = {"l1": 1.0, "elasticnet": model.l1_ratio}.get(model.penalty or "", 0.0)
    alpha = model.alpha if model.penalty else 0.0
    bias = (SPARSE_BIAS if sparse else 1.0) if model.fit_intercept else 0.0
    return Rule(
        float(model.eta0), bias, bool(model.fires_at_zero), float(alpha * (1 - share)),
        float(alpha * share), sparse,
    )  # fmt: skip


def start_table(classes: int, features: int, coef: Any, intercept: Any) -> Any:
    """Put weights and biases to begin with into one table.

    Parameters
    ----------
    classes, features : int
        Their numbers.
    coef : array_like or sparse matrix, shape (units, features), optional
        Default: 0. One unit's may be a vector.
    intercept : array_like, shape (units,), optional
        Default: 0. One unit's may be a number.

    Returns
    -------
    numpy.ndarray, shape (units, features + 1)

    Raises
    ------
    ValueError
        A shape does not fit, or there is one class only.
    """
    if classes < 2:
        raise ValueError(f"The number of classes has to be greater than one; got {classes} class")
    units = classes if classes > 2 else 1
    if issparse(coef):
        coef = coef.toarray()
    weights = np.zeros((units, features)) if coef is None else np.asarray(to_host(coef))
    bias = np.zeros(units) if intercept is None else np.asarray(to_host(intercept))
    if units == 1:
        weights, bias = weights.reshape(1, -1), bias.reshape(-1)
    if weights.shape != (units, features):
        raise ValueError(
            f"Provided coef_init does not match dataset. Its shape is {weights.shape}; expected "
            f"{(units, features)}"
        )
    if bias.shape != (units,):
        raise ValueError(
            f"Provided intercept_init does not match dataset. Its shape is {bias.shape}; "
            f"expected {(units,)}"
        )
    return np.concatenate([weights, bias[:, None]], axis=1)


def row_weights(sample_weight: Any, rows: int) -> Any:
    """Check weights of the rows; 1 where there are none."""
    if sample_weight is None:
        return np.ones(rows)
    places = np.broadcast_to(np.zeros(1), (rows, 1))
    return _check_sample_weight(host_column(sample_weight), places, dtype=np.float64)


def amounts(class_weight: Any, classes: Any, y: Any, targets: Any, weight: Any) -> Any:
    """Weigh every row for every unit: as in scikit-learn, the rest of several classes with 1.

    Parameters
    ----------
    class_weight : dict, 'balanced' or None
        Weights of the classes.
    classes, y : numpy.ndarray
        All labels, and those of the rows.
    targets : numpy.ndarray of 0 and 1, shape (n, units)
        What each unit should say.
    weight : numpy.ndarray, shape (n,)
        Weights of the rows.

    Returns
    -------
    numpy.ndarray, shape (n, units)
    """
    of_class = compute_class_weight(class_weight, classes=classes, y=y)
    several = targets.shape[1] > 1
    own, rest = (of_class, 1.0) if several else (of_class[1:], of_class[0])
    return weight[:, None] * np.where(targets > 0, own, rest)


def validation_score(
    model: Perceptron, x: Array, targets: Any, weight: Any, held: Any, xp: Namespace
) -> Callable[[Array, Array], Any]:
    """Make the function that scores every unit on the rows that were set apart.

    Parameters
    ----------
    model : Perceptron
        Says what a score of 0 means.
    x : array or sparse matrix, shape (n, features)
        All rows.
    targets : numpy.ndarray, shape (n, units)
        What each unit should say.
    weight : numpy.ndarray, shape (n,)
        Weights of the rows.
    held : numpy.ndarray of bool, shape (n,)
        Those set apart.
    xp : module
        Namespace of `x`.

    Returns
    -------
    callable
        ``score(weights, bias)`` gives the shares of rows that units judge right, on the
        host.

    Raises
    ------
    ValueError
        The rows set apart have no weight.
    """
    wanted, weight = targets[held] > 0, weight[held]
    if not weight.any():
        raise ValueError(
            "The sample weights for validation set are all zero, consider using a different "
            "random state."
        )
    rows = np.flatnonzero(held)
    where = None if issparse(x) else to_device(rows, xp, device_of(x))
    seen = x[rows] if where is None else xp.take(x, where, axis=0)

    def score(weights: Array, bias: Array) -> Any:
        fires = model._fires(to_host(scores_of(seen, weights, bias, xp)), np)
        # One by one, as sums along an axis round in another order.
        right = np.ascontiguousarray((fires == wanted).T)
        return np.asarray([np.average(unit, weights=weight) for unit in right])

    return score
