"""What is looked at after each epoch: loss and score on the validation rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import get_scorer

from xpnn.backends import Array, on_device, to_device, to_host
from xpnn.distributed import ProcessGroup
from xpnn.estimators.fitted import stay
from xpnn.estimators.rows import SparseRows
from xpnn.estimators.streamed import StreamData, score

if TYPE_CHECKING:
    from xpnn.estimators.base import BaseMLP
    from xpnn.estimators.stochastic import Data


def _scores(model: BaseMLP, x: Any, group: ProcessGroup | None) -> Array:
    """Scores of the rows; processes share them out."""
    if group is None or isinstance(x, SparseRows):
        return model._scores_of(x)
    return group.map_rows(model._scores_of, x)


def validation_loss(model: BaseMLP, held: Data, group: ProcessGroup | None = None) -> float:
    """Loss on the validation rows, without the penalty; a mean over the rows."""
    if isinstance(held, StreamData):
        return held.loss()
    xp, device = model._place()
    objective = model._objective
    with on_device(device):
        weight = held.weight
        if weight is not None:
            weight = to_device(weight, xp, device, model._numbers(xp))
        scores = _scores(model, held.x, group)
        value = float(to_host(objective.forward(scores, held.t, weight, xp=xp)[0]))
    return value if objective.averages else value / held.rows


def _on_host(model: BaseMLP) -> Any:
    """Return the model as one that takes and gives NumPy's arrays, wherever it lives."""
    view = object.__new__(type(model))
    for name, value in vars(model).items():
        if name != "feature_names_in_":  # the rows have lost theirs
            setattr(view, name, value)
    view.backend, view.device = model._library, model._device_name
    return view


def validation_score(model: BaseMLP, held: Data, group: ProcessGroup | None = None) -> float:
    """What early stopping watches; larger is better.

    A scorer is called as ``scorer(model, X, y)`` with everything on the host.
    """
    monitor = model.monitor
    if monitor == "loss":
        return -model.validation_loss_curve_[-1]
    if isinstance(held, StreamData):
        if monitor != "score":
            raise ValueError(
                f"monitor is {monitor!r}; on validation data from a source it can be 'score' or "
                "'loss'"
            )
        if group is None:
            return score(model, held.source, None, None)
        return float(group.broadcast_from_main(lambda: score(model, held.source, None, None)))
    if monitor == "score":
        predicted = to_host(model._decide(_scores(model, held.x, group), stay))
        if predicted.dtype.kind == "f" and not np.isfinite(predicted).all():
            return np.nan
        return float(model._METRIC(held.y, predicted, sample_weight=held.weight))
    scorer = get_scorer(monitor) if isinstance(monitor, str) else monitor
    if held.host is None:
        held.host = held.x.matrix if isinstance(held.x, SparseRows) else to_host(held.x[:, ...])
    takes_weight = getattr(scorer, "_accept_sample_weight", lambda: False)
    options = {"sample_weight": held.weight} if held.weight is not None and takes_weight() else {}
    return float(scorer(_on_host(model), held.host, held.y, **options))
