"""Checkpoints of an estimator's `fit`: what goes in, and going on from one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xpnn.backends import Array, Device, Namespace, is_half, on_device, scalar
from xpnn.distributed import ProcessGroup
from xpnn.training.checkpoints import CheckpointError, Saved, describe, source_of
from xpnn.training.keeping import Keeper, Snapshot, snapshot
from xpnn.training.precision import Precision
from xpnn.training.step import widened

if TYPE_CHECKING:
    from xpnn.estimators.base import BaseMLP
    from xpnn.estimators.stochastic import Data, Training

# Parameters that do not change what is learned, or say only for how long.
_FREE = {
    "max_iter",
    "verbose",
    "progress",
    "warm_start",
    "deterministic",
    "backend",
    "device",
    "distributed",
}
_PRECISION = {"compute_dtype", "loss_scale", "precision"}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


# Fitted attributes that a training counts on, and what they may be.
_ATTRIBUTES: dict[str, Any] = {
    "n_iter_": _count,
    "t_": _count,
    "loss_": _number,
    "loss_curve_": _numbers,
    "validation_loss_curve_": _numbers,
    "validation_scores_": lambda v: v is None or _numbers(v),
    "best_validation_score_": lambda v: v is None or _number(v),
    "best_loss_": lambda v: v is None or _number(v),
    "_no_improvement_count": _count,
    "stopped_": lambda v: isinstance(v, bool),
}
_RATES: dict[str, Any] = {"now": _number, "taken": _count, "losses": _numbers}


def begin(
    model: BaseMLP, checkpoint: Any, resume: Any, group: ProcessGroup | None = None
) -> Keeper:
    """Look for a checkpoint, and bring the model's generator to where that training began."""
    keeper = Keeper("estimator", checkpoint, resume, group)
    several = group is not None and group.size > 1
    if (keeper.found or several) and model._random_state is np.random.mtrand._rand:
        # NumPy's own generator is everybody's: the training goes on with one of its own.
        model._random_state = np.random.RandomState()
    if group is not None:
        group.broadcast_generator(model._random_state)
    keeper.start(model._random_state)
    return keeper


def check(keeper: Keeper, model: BaseMLP, data: Data, held: Data | None) -> None:
    """Hold a model's parameters and data against those of the checkpoint.

    Raises
    ------
    CheckpointError
        Names what differs.
    """
    if not keeper.active and keeper.group is None:
        return
    left_out = _FREE | _PRECISION
    given: dict[str, Any] = {k: v for k, v in model.get_params().items() if k not in left_out}
    given |= {"X": data.x, "y": data.t, "sample_weight": data.weight, "rows": data.rows}
    given["source"] = source_of(data)
    given["dtype"] = model._dtype_name
    if hasattr(model, "classes_"):
        given["classes"] = list(model.classes_)
    if held is not None:
        given |= {"X of validation": held.x, "y of validation": held.t}
    made_for = {name: describe(value) for name, value in given.items()}
    made_for |= Precision(**{name: getattr(model, name) for name in _PRECISION}).made_for()
    if keeper.group is not None:
        own = {"random_state": "rank 0's", "max_iter": str(model.max_iter)}
        keeper.group.check_same_options({**made_for, **own})
    keeper.check(made_for, model._random_state, model.max_iter)


def carry(keeper: Keeper, training: Training, theta: Array, xp: Namespace, device: Device) -> Array:
    """Hand the optimizer's state on; return the parameters to begin with."""
    if keeper.found is None:
        return theta
    numbers = xp.float32 if is_half(theta.dtype) else theta.dtype
    with on_device(device):
        state = training.kept.optimizer.init(widened(theta, xp), xp=xp)
    like = (theta, state, scalar(0.0, xp, device, numbers))
    found = keeper.found.carry(like, xp, device)
    training.kept.state = found
    training.model._set_theta(found[0])
    return found[0]


def keep(training: Training, order: Any, last: bool) -> bool:
    """Write a checkpoint when it is time; True ends the training."""
    history = training.history
    if history.stopped == "diverged":
        return False
    failed = training.keeper.after_epoch(
        training.model.n_iter_, lambda: take(training, order), last
    )
    history.stopped = history.stopped or failed or ""
    return failed is not None


def take(training: Training, order: Any) -> Snapshot:
    """Take a snapshot after an epoch."""
    model, rates = training.model, training.kept.rates
    own = {
        "model": {name: _copied(getattr(model, name)) for name in _ATTRIBUTES},
        "rates": {name: _copied(getattr(rates, name)) for name in _RATES},
    }
    arrays: dict[str, Any] = {}
    if isinstance(order, np.ndarray):  # else each epoch has an order of its own
        arrays["order"] = order.astype(np.int32 if len(order) < 2**31 else np.int64)
    if model._best_theta is not None:
        arrays["best_theta"] = model._best_theta
    learner = training.learner
    return snapshot(
        learner.runner, learner.xp, training.history, model._random_state, training.callbacks, own,
        arrays,
    )  # fmt: skip


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


def restore(keeper: Keeper, training: Training, order: Any) -> Any:
    """Bring a training to where it was; return the order of the rows.

    Raises
    ------
    CheckpointError
        The checkpoint contradicts itself.
    """
    found = keeper.found
    if found is None:
        return order
    model, learner = training.model, training.learner
    keeper.restore(training.run, training.history, model._random_state, training.callbacks)
    for part, target, checks in (
        ("model", model, _ATTRIBUTES), ("rates", training.kept.rates, _RATES),
    ):  # fmt: skip
        values = found.values["own"].get(part)
        wrong = [k for k, fits in checks.items() if not _has(values, k, fits)]
        if wrong:
            raise CheckpointError(f"{found.path}: its {part} has no {', '.join(wrong)}")
        for name in checks:
            setattr(target, name, values[name])
    if (model.n_iter_ or 0) != training.history.epochs:
        raise CheckpointError(f"{found.path}: its n_iter_ is not the number of its epochs")
    model._best_theta = None
    if "best_theta" in found.arrays:
        theta = model._theta()
        model._best_theta = found.array("best_theta", theta, learner.xp, learner.device)
    return order if order is None else _order(found, order)


def _has(values: Any, key: str, fits: Any) -> bool:
    return isinstance(values, dict) and key in values and fits(values[key])


def _order(found: Saved, order: Any) -> Any:
    kept = found.arrays.get("order")
    if (
        kept is None
        or kept.shape != order.shape
        or kept.dtype.kind != "i"
        or not np.array_equal(np.sort(kept), order)
    ):
        raise CheckpointError(f"{found.path}: its order is not one of {len(order)} rows")
    return kept.astype(order.dtype)
