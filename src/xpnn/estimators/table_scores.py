"""The usual metrics, beside those of a model that has learned nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnn.estimators.table_target import Target


def classification_scores(
    codes: Any, predicted: Any, proba: Any | None, classes: int
) -> dict[str, Any]:
    """Metrics of the numbers of predicted classes; a negative one is a class never learned.

    ``accuracy``; with probabilities (n, classes), ``log_loss`` and ``roc_auc`` (of the second of
    two classes, else the mean over each class against the rest) over the rows of known classes,
    None where it is not defined.
    """
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

    scores: dict[str, Any] = {"accuracy": float(accuracy_score(codes, predicted))}
    if proba is None:
        return scores
    known = codes >= 0
    own, p = codes[known], np.asarray(proba, np.float64)[known]
    scores["log_loss"] = scores["roc_auc"] = None
    if len(own):
        p = p / p.sum(axis=1, keepdims=True)
        scores["log_loss"] = float(log_loss(own, p, labels=range(classes)))
    present = np.unique(own)
    if len(present) > 1:
        areas = [roc_auc_score(own == i, p[:, i]) for i in (present if classes > 2 else [1])]
        scores["roc_auc"] = float(np.mean(areas))
    return scores


def regression_scores(values: Any, predicted: Any) -> dict[str, Any]:
    """Metrics of predicted numbers: ``r2`` (None of one row), ``mae``, ``rmse``."""
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    return {
        "r2": float(r2_score(values, predicted)) if len(values) > 1 else None,
        "mae": float(mean_absolute_error(values, predicted)),
        "rmse": float(root_mean_squared_error(values, predicted)),
    }


def confusion(target: Target, codes: Any, predicted: Any) -> dict[str, Any]:
    """Confusion matrix: a row for each true class, a column for each predicted one."""
    count, known = len(target.classes), codes >= 0
    matrix = np.zeros((count, count), int)
    np.add.at(matrix, (codes[known], predicted[known]), 1)
    return {"labels": list(target.classes), "matrix": matrix.tolist()}


def baseline_scores(target: Target, truth: Any, with_proba: bool) -> dict[str, Any]:
    """Metrics of the majority class, or of the mean, of the training rows, with a ``name``.

    Probabilities are the shares of the classes.
    """
    if target.task == "regress":
        predicted = np.full(len(truth), target.baseline)
        return {"name": f"mean, {target.baseline:.6g}", **regression_scores(truth, predicted)}
    counts = np.asarray(target.counts, np.float64)
    most = int(counts.argmax())
    predicted = np.full(len(truth), most)
    proba = np.tile(counts / counts.sum(), (len(truth), 1)) if with_proba else None
    name = f"majority class, {target.classes[most]}"
    return {"name": name, **classification_scores(truth, predicted, proba, len(counts))}
