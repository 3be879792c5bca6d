"""Parameters that do not go together: said, not passed over in silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xpnn.optimizers import AdamW, Optimizer, OptimizerChain, Schedule, add_decayed_weights

if TYPE_CHECKING:
    from xpnn.estimators.base import BaseMLP


def _any(value: Any) -> bool:
    return any(value) if hasattr(value, "__iter__") else bool(value)


def _own_decay(optimizer: Optimizer) -> bool:
    if isinstance(optimizer, OptimizerChain):
        decays = any(isinstance(t, add_decayed_weights) for t in optimizer.transformations)
        return decays or _own_decay(optimizer.optimizer)
    return isinstance(optimizer, AdamW)


def check_combinations(
    model: BaseMLP, hidden: Sequence[int], validation_data: Any, callbacks: Any,
    checkpoint: Any = None, resume: Any = False,
) -> None:  # fmt: skip
    """Refuse what would have no effect, or two of them.

    scikit-learn's own parameters are left to its rules.

    Parameters
    ----------
    model : BaseMLP
        Its parameters are looked at.
    hidden : sequence of int
        Widths of the hidden layers.
    validation_data, callbacks, checkpoint, resume : object
        What `fit` was given.

    Raises
    ------
    ValueError
        Names the parameters.
    """
    if model.solver == "lbfgs":
        idle = {
            "optimizer": model.optimizer is not None,
            "a schedule as learning_rate": isinstance(model.learning_rate, Schedule),
            "dropout": _any(model.dropout),
            "weight_decay": model.weight_decay > 0,
            "clip_norm": model.clip_norm is not None,
            "compute_dtype": model.compute_dtype is not None,
            "accumulate": model.accumulate > 1,
            "monitor": model.monitor != "score",
            "progress": model.progress,
            "validation_data": validation_data is not None,
            "callbacks": bool(callbacks),
            "checkpoint": checkpoint is not None,
            "resume": resume is not False,
        }
        wrong = [name for name, given in idle.items() if given]
        if wrong:
            raise ValueError(
                f"solver='lbfgs' has no steps and no epochs, and does not go with "
                f"{', '.join(wrong)}; take solver='adam' or 'sgd'"
            )
    if model.optimizer is not None:
        _check_optimizer(model)
    if model.loss_scale is not None and model.compute_dtype is None:
        raise ValueError(f"loss_scale is {model.loss_scale!r}; it needs compute_dtype='float16'")
    if _any(model.dropout) and not hidden:
        raise ValueError(f"dropout is {model.dropout!r}; the model has no hidden layers")
    if model.monitor != "score" and not model.early_stopping:
        raise ValueError(f"monitor is {model.monitor!r}; it needs early_stopping=True")
    if isinstance(model.monitor, str) and model.monitor not in ("score", "loss"):
        from sklearn.metrics import get_scorer

        get_scorer(model.monitor)  # a name that it does not know is its error


def _check_optimizer(model: BaseMLP) -> None:
    chosen = model.learning_rate
    if isinstance(chosen, str) and chosen != "constant":
        raise ValueError(
            f"learning_rate={chosen!r} belongs to solver='sgd'; an optimizer takes a schedule"
        )
    if isinstance(chosen, Schedule) and isinstance(model.optimizer.learning_rate, Schedule):
        raise ValueError("learning_rate and that of the optimizer are both schedules")
    if model.weight_decay and _own_decay(model.optimizer):
        raise ValueError(
            f"weight_decay is {model.weight_decay!r} beside an optimizer with a weight_decay "
            "of its own"
        )
