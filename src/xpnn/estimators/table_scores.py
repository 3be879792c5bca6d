"""The usual metrics, beside those of a model that has learned nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnn.estimators.table_target import Target


def classification_scores(
    codes: Any, predicted: Any, proba: Any | None, classes: int
) -> dict[str, Any]:
    """Metrics of predicted classes.

    Parameters
    ----------
    codes, predicted : numpy.ndarray of int, shape (n,)
        Number of each row's class; a negative one is a class that the model does not know.
    proba : numpy.ndarray of float, shape (n, classes), optional
        Probabilities.
    classes : int
        How many there are.

    Returns
    -------
    dict
        ``accuracy``; with probabilities, ``log_loss`` and ``roc_auc`` (of the second of two
        classes, else the mean over each class against the rest) over the rows of known
        classes, None where it is not defined.
    """
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

    scores: dict[str, Any] = {"accuracy": float(accuracy_score(codes, predicted))}
    if proba is None:
        return scores
    known = codes >= 0
    held, p = codes[known], np.asarray(proba, np.float64)[known]
    scores["log_loss"] = scores["roc_auc"] = None
    if len(held):
        p = p / p.sum(axis=1, keepdims=True)
        scores["log_loss"] = float(log_loss(held, p, labels=range(classes)))
    present = np.unique(held)
    if len(present) > 1:
        areas = [roc_auc_score(held == i, p[:, i]) for i in (present if classes > 2 else [1])]
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
    from sklearn.metrics import confusion_matrix

    count = len(target.classes)
    known = codes >= 0
    matrix = (
        confusion_matrix(codes[known], predicted[known], labels=range(count)).tolist()
        if known.any()
        else np.zeros((count, count), int).tolist()
    )
    return {"labels": list(target.classes), "matrix": matrix}


def baseline_scores(target: Target, truth: Any, with_proba: bool) -> dict[str, Any]:
    """Metrics of the majority class, or of the mean, of the training rows.

    Parameters
    ----------
    target : Target
        Holds the counts of the classes, or the mean.
    truth : numpy.ndarray, shape (n,)
        Numbers of the classes, or values.
    with_proba : bool
        Whether metrics of probabilities are wanted too; they are the shares of the classes.

    Returns
    -------
    dict
        As `classification_scores` or `regression_scores`, with a ``name``.
    """
    from sklearn.dummy import DummyClassifier, DummyRegressor

    rows = np.zeros((len(truth), 1))
    if target.task == "regress":
        mean = DummyRegressor(strategy="constant", constant=target.baseline)
        predicted = mean.fit(np.zeros((1, 1)), [target.baseline]).predict(rows)
        name = f"mean, {target.baseline:.6g}"
        return {"name": name, **regression_scores(truth, predicted)}
    counts = np.asarray(target.counts, np.float64)
    numbers = np.arange(len(counts))
    dummy = DummyClassifier(strategy="prior").fit(numbers[:, None], numbers, counts)
    predicted = dummy.predict(rows)
    proba = dummy.predict_proba(rows) if with_proba else None
    name = f"majority class, {target.classes[int(counts.argmax())]}"
    return {"name": name, **classification_scores(truth, predicted, proba, len(counts))}
