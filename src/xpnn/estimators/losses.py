"""Which loss a `loss=` stands for."""

from __future__ import annotations

from typing import Any

from xpnn.estimators.objective import LogLoss, PoissonDeviance, RoundedLogLoss, SquaredError
from xpnn.training import Loss

# What the estimators call a loss, and the library's name of it.
CLASSIFIER = {
    name: name for name in ("log_loss", "binary_cross_entropy", "softmax_cross_entropy", "hinge")
}
REGRESSOR = {
    "squared_error": "mean_squared_error",
    "absolute_error": "mean_absolute_error",
    "mean_squared_error": "mean_squared_error",
    "sum_squared_errors": "sum_squared_errors",
    "mean_absolute_error": "mean_absolute_error",
    "huber": "huber",
    "poisson": "poisson",
}


def loss_name(loss: str | Loss) -> str:
    """Name of a loss that was asked for."""
    return loss.name if isinstance(loss, Loss) else loss


def has_probabilities(model: Any) -> bool:
    """Whether a classifier's loss speaks of probabilities."""
    return loss_name(model.loss) != "hinge"


def has_only_scores(model: Any) -> bool:
    """Whether it does not."""
    return not has_probabilities(model)


def _own(loss: Loss, names: dict[str, str], option: str, value: Any, default: Any) -> Loss:
    """Check a `Loss` that the user made, which has its own options."""
    if loss.name not in names.values():
        raise ValueError(f"loss is {loss!r}; expected one of {', '.join(sorted(names))}")
    if value != default:
        raise ValueError(f"{option} is {value!r} beside {loss!r}; give it to the Loss")
    return loss


def classifier_loss(
    loss: str | Loss, kind: str, label_smoothing: float, searched: bool = False
) -> Loss:
    """Make the loss of a classifier.

    Parameters
    ----------
    loss : str or Loss
        The parameter of that name.
    kind : {'binary', 'multiclass', 'multilabel-indicator'}
        What scikit-learn calls the targets.
    label_smoothing : float
        The parameter of that name.
    searched : bool, default False
        Whether a line search looks at values: L-BFGS's does, and steps are not as long
        where these are rounded otherwise than scikit-learn's.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        The loss is not one of classes, or does not go with the targets or the smoothing.
    """
    if isinstance(loss, Loss):
        chosen = _own(loss, CLASSIFIER, "label_smoothing", label_smoothing, 0)
    elif loss == "log_loss":
        name = "softmax" if kind == "multiclass" else "binary"
        made = RoundedLogLoss if searched else LogLoss
        chosen = made(f"{name}_cross_entropy", label_smoothing=float(label_smoothing))
    else:
        chosen = Loss(loss, label_smoothing=float(label_smoothing))
    if chosen.kind == "multiclass" and kind.startswith("multilabel"):
        raise ValueError(
            f"loss {chosen.name!r} tells which one of several classes a row has; y has several "
            "labels for a row. Take 'log_loss' or 'hinge'"
        )
    return chosen


def regressor_loss(loss: str | Loss, delta: float, searched: bool = False) -> Any:
    """Make the loss of a regressor: scikit-learn's two with its conventions.

    Parameters
    ----------
    loss : str or Loss
        The parameter of that name.
    delta : float
        The parameter of that name.
    searched : bool, default False
        As in `classifier_loss`.

    Returns
    -------
    Loss, SquaredError or PoissonDeviance

    Raises
    ------
    ValueError
        The loss is not one of values, or does not go with `delta`.
    """
    if isinstance(loss, Loss):
        return _own(loss, REGRESSOR, "delta", delta, 1)
    chosen = Loss(REGRESSOR[loss], delta=float(delta))
    if loss == "squared_error":
        return SquaredError()
    return PoissonDeviance(overflows=searched) if loss == "poisson" else chosen
