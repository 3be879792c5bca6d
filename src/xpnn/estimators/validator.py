"""What is looked at after each epoch: loss and score on the validation rows."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import get_scorer

from xpnn.backends import Array, InputError, on_device, to_float, to_host
from xpnn.data.streams import Source, Window
from xpnn.distributed import ProcessGroup
from xpnn.engine import HostRows
from xpnn.estimators.inputs import host_column, one_at_a_time
from xpnn.estimators.sources import flat_targets, predict_dataset
from xpnn.training.dataset import Dataset, StreamDataset
from xpnn.training.fit import evaluate_stream
from xpnn.training.host_rows import SparseRows
from xpnn.training.options import refuse_given


class EstimatorValidator:
    """Loss and score of validation rows, in the model's own measure.

    `data` is where the model is; `validation` has labels and weights on the host, or the source of
    the rows. `score` is what early stopping monitors: larger is better.
    """

    def __init__(
        self, model: Any, data: Dataset, validation: Any, group: ProcessGroup | None
    ) -> None:
        self.model, self.data, self.validation, self.group = model, data, validation, group
        self.score = np.nan
        self._host_rows: Any = None

    def __call__(self) -> tuple[float, float | None]:
        """Return the loss and, where a classifier's score is its accuracy, that."""
        model = self.model
        if isinstance(self.data, StreamDataset):
            total, mass, _ = evaluate_stream(model.network_, self.data, model._loss)
            value, scores = total / mass, None
        else:
            x, t, weight = self.data.columns
            scores = self._predicted(x)
            with on_device(model.network_.backend.device):
                xp, loss = model.network_.backend.xp, model._loss
                value = to_float(loss.forward(scores, t, weight, xp=xp)[0])
                if loss.reduction == "sum":
                    value /= self.data.rows
        if not model.early_stopping:
            return value, None
        self.score = self._score(value, scores)
        classifies = model.monitor == "score" and hasattr(model, "classes_")
        return value, self.score if classifies else None

    def _predicted(self, x: Any) -> Array:
        """Outputs of rows; processes share them out."""
        model = self.model
        predict = model.network_.predictor
        if self.group is None or isinstance(x, HostRows):
            return model._map(predict, x)
        return self.group.map_rows(predict, x)

    def _score(self, loss: float, scores: Array | None) -> float:
        """What early stopping monitors.

        A scorer is called as ``scorer(model, X, y)`` with everything on the host.
        """
        model, validation, monitor = self.model, self.validation, self.model.monitor
        if monitor == "loss":
            return -loss
        if validation.source is not None:

            def score() -> float:
                return _source_score(model, validation.source, validation.class_weight)

            return score() if self.group is None else self.group.broadcast_from_main(score)
        if monitor == "score":
            predicted = model._predict_from_scores(scores, to_host)
            return measure(model, validation.labels, predicted, validation.weight)
        scorer = get_scorer(monitor) if isinstance(monitor, str) else monitor
        if self._host_rows is None:
            x = self.data.columns[0]
            self._host_rows = x.matrix if isinstance(x, SparseRows) else to_host(x[:, ...])
        takes_weight = getattr(scorer, "_accept_sample_weight", lambda: False)
        options = {}
        if validation.weight is not None and takes_weight():
            options["sample_weight"] = validation.weight
        try:
            with one_at_a_time() if isinstance(monitor, str) else nullcontext():
                return float(scorer(_on_host(model), self._host_rows, validation.labels, **options))
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(
                f"monitor is {monitor!r}, which cannot be computed: {error}"
            ) from error


def _on_host(model: Any) -> Any:
    """Return the model as one that takes and gives NumPy's arrays, wherever it lives."""
    view = object.__new__(type(model))
    for name, value in vars(model).items():
        if name != "feature_names_in_":  # the rows have lost theirs
            setattr(view, name, value)
    where = model.network_.backend
    view.backend, view.device = where.name, None
    return view


def measure(model: Any, truth: Any, predicted: Any, weight: Any) -> float:
    """Score predictions by the model's own measure; NaN where they are not finite."""
    predicted = to_host(predicted)
    if predicted.dtype.kind == "f" and not np.isfinite(predicted).all():
        return float("nan")
    with one_at_a_time():
        return float(type(model)._METRIC(truth, predicted, sample_weight=weight))


def score_of(model: Any, X: Any, y: Any, sample_weight: Any) -> float:
    """Score predictions for rows or a source."""
    if not isinstance(X, Source):
        predicted = model.predict(X)  # of a subclass's own, too
        predicted = predicted.toarray() if issparse(predicted) else to_host(predicted)
        truth, weight = host_column(y), host_column(sample_weight)
        with one_at_a_time():
            return float(type(model)._METRIC(truth, predicted, sample_weight=weight))
    own = "beside a source, which brings its own; leave it out"
    refuse_given(own, y=y, sample_weight=sample_weight)
    return _source_score(model, X, None)


def _source_score(model: Any, source: Source, class_weight: Any) -> float:
    """Score predictions for a source, by its weights and those of the classes."""
    network = model._fitted_network()
    truth: dict[int, Any] = {}  # by the number of a window's first row
    weights: dict[int, Any] = {}

    def look(window: Window) -> None:
        truth[window.first] = flat_targets(source.target_of(window))
        weights[window.first] = window.weight

    found = predict_dataset(model, source, look).map(
        lambda x: model._predict_from_scores(network.predictor(x), to_host)
    )
    labels = np.concatenate([*truth.values()])
    weight = None if weights[0] is None else np.concatenate([*weights.values()])
    if class_weight is not None:
        own = class_weight[np.searchsorted(model.classes_, labels)]
        weight = own if weight is None else own * weight
    return measure(model, labels, found, weight)
