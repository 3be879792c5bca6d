"""The usual metrics of predictions, beside those of a model that has learned nothing.

All are made of sums over parts of the rows, so that memory does not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from xpnn.backends import InputError
from xpnn.data.optional import import_optional
from xpnn.tabular.target import codes_of, values_of

_CELLS = 1 << 23  # of all classes' bins
_BINS = 1 << 16  # of log-odds, from -REACH to REACH
_REACH = 24.0


def evaluate(
    model: Any, parts: Iterable[tuple[Any, Any]], *, baseline: Any = None
) -> dict[str, Any]:
    """Measure a fitted estimator on rows that come in parts, beside one that learned nothing.

    Parameters
    ----------
    model : estimator
        With `predict`; a classifier has `classes_`, and maybe `predict_proba`.
    parts : iterable of (X, y)
        Rows, and their labels or values as a pandas.Series, none of which is missing.
    baseline : array_like or float, optional
        Shares of the classes, or the mean, of the training rows. Default: of these rows.

    Returns
    -------
    dict
        ``task``, ``rows`` and the metrics. Of values: ``r2`` (None of one row), ``mae``, ``rmse``.
        Of classes: ``accuracy``; ``log_loss`` and ``roc_auc`` over the rows of known classes,
        None where they are not defined; ``unknown_labels``, rows of a class never learned, which
        count as wrong; ``confusion``. ROC AUC is that of the second of two classes, else the mean
        over each class against the rest; scores whose log-odds differ by less than 0.001 count
        as equal. ``baseline``: the same metrics of the majority class, or of the mean (its
        ``mae`` is None where that mean is of these rows).
    """
    classes = getattr(model, "classes_", None)
    sums: Any = _Values(baseline) if classes is None else _Labels(classes, baseline)
    for X, y in parts:
        if not len(y):
            continue
        predicted = np.asarray(model.predict(X))
        if classes is None:
            sums.update(values_of(y), predicted)
            continue
        proba = np.asarray(model.predict_proba(X)) if hasattr(model, "predict_proba") else None
        own = codes_of(import_optional("pandas").Series(predicted), classes)
        sums.update(codes_of(y, classes), own, proba)
    if not sums.rows:
        raise InputError("no row has a label")
    return sums.result()


class _Labels:
    """Sums over rows of classes."""

    def __init__(self, classes: Any, shares: Any) -> None:
        self.classes, self.shares, count = classes, shares, len(classes)
        self.rows = self.right = 0
        self.matrix = np.zeros((count, count), np.int64)
        self.has_proba, self.loss = False, 0.0
        # For each class (of two: the second) and bin of log-odds: rows of the class, and others.
        self.columns = [1] if count == 2 else list(range(count))
        self.bins = min(_BINS, max(256, _CELLS // len(self.columns)))  # fewer for many classes
        self.scores = np.zeros((len(self.columns), 2, self.bins), np.int64)

    def update(self, truth: Any, predicted: Any, proba: Any) -> None:
        """Take the numbers of classes, a negative one for a class never learned."""
        from sklearn.metrics import log_loss

        known = truth >= 0
        self.rows += len(truth)
        self.right += int((truth == predicted).sum())
        np.add.at(self.matrix, (truth[known], predicted[known]), 1)
        if proba is None or not known.any():
            return
        self.has_proba, truth, p = True, truth[known], np.asarray(proba, np.float64)[known]
        p = p / p.sum(axis=1, keepdims=True)
        labels = range(p.shape[1])
        self.loss += float(log_loss(truth, p, labels=labels, normalize=False))
        with np.errstate(divide="ignore"):
            odds = np.clip(np.log(p) - np.log1p(-p), -_REACH, _REACH)
        bins = ((odds + _REACH) * ((self.bins - 1) / (2 * _REACH))).astype(np.int64)
        for i, column in enumerate(self.columns):
            for row, own in enumerate((truth == column, truth != column)):
                self.scores[i, row] += np.bincount(bins[own, column], minlength=self.bins)

    def _area(self) -> float | None:
        """Mean area under the ROC curves of the classes that there are."""
        areas = []
        for positive, negative in self.scores.astype(np.float64):
            pairs = positive.sum() * negative.sum()
            if pairs:
                below = np.cumsum(negative) - negative / 2
                areas.append(float(positive @ below / pairs))
        return float(np.mean(areas)) if areas else None

    def result(self) -> dict[str, Any]:
        """All metrics."""
        counts = self.matrix.sum(axis=1)
        known = int(counts.sum())
        shares = counts / max(known, 1) if self.shares is None else np.asarray(self.shares)
        most = int(shares.argmax())
        found: dict[str, Any] = {"accuracy": self.right / self.rows}
        base: dict[str, Any] = {
            "name": f"majority class, {self.classes[most]}",
            "accuracy": int(counts[most]) / self.rows,
        }
        if self.has_proba:
            area = self._area()
            found |= {"log_loss": self.loss / known if known else None, "roc_auc": area}
            with np.errstate(divide="ignore", invalid="ignore"):
                terms = np.where(counts > 0, -counts * np.log(shares), 0.0)
            base |= {
                "log_loss": float(terms.sum()) / known if known else None,
                "roc_auc": None if area is None else 0.5,
            }
        return {
            "task": "classification",
            "rows": self.rows,
            **found,
            "unknown_labels": self.rows - known,
            "confusion": {
                "labels": [str(label) for label in self.classes],
                "matrix": self.matrix.tolist(),
            },
            "baseline": base,
        }


class _Values:
    """Sums over rows of values."""

    def __init__(self, mean: float | None) -> None:
        self.given, self.rows = mean, 0
        self.absolute = self.squares = 0.0  # of errors
        self.mean = self.spread = 0.0  # of values: mean, and squares about it
        self.from_mean = 0.0  # absolute distances from the training rows' mean

    def update(self, truth: Any, predicted: Any) -> None:
        """Take values and predictions."""
        errors = truth - predicted
        self.absolute += float(np.abs(errors).sum())
        self.squares += float(errors @ errors)
        if self.given is not None:
            self.from_mean += float(np.abs(truth - self.given).sum())
        self.rows, self.mean, self.spread = add_spread((self.rows, self.mean, self.spread), truth)

    def _metrics(self, squares: float, absolute: float | None) -> dict[str, Any]:
        r2 = None
        if self.rows > 1:
            r2 = 1 - squares / self.spread if self.spread else float(squares == 0)
        mae = None if absolute is None else absolute / self.rows
        return {"r2": r2, "mae": mae, "rmse": float(np.sqrt(squares / self.rows))}

    def result(self) -> dict[str, Any]:
        """All metrics."""
        mean = self.mean if self.given is None else float(self.given)
        squares = self.spread + self.rows * (self.mean - mean) ** 2
        base = self._metrics(squares, None if self.given is None else self.from_mean)
        return {
            "task": "regression",
            "rows": self.rows,
            **self._metrics(self.squares, self.absolute),
            "baseline": {"name": f"mean, {mean:.6g}", **base},
        }


def add_spread(sums: tuple[int, float, float], values: Any) -> tuple[int, float, float]:
    """Add a part to a count, a mean and the sum of squares about it.

    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances" (1979).
    """
    count, mean, squares = sums
    if not len(values):
        return sums
    with np.errstate(over="ignore", invalid="ignore"):
        own, spread = float(values.mean()), float(values.var()) * len(values)
        total, gap = count + len(values), float(values.mean()) - mean
        squares += spread + gap**2 * count * len(values) / total
        return total, mean + (own - mean) * len(values) / total, squares
