"""Which values the estimators' parameters may have, and which do not go together."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from xpnn.backends import PRECISIONS, InputError
from xpnn.distributed import MPIOptions
from xpnn.engine import MODES
from xpnn.functional import ACTIVATIONS
from xpnn.layers import Layer
from xpnn.optimizers import (
    AdamW,
    LossScaler,
    Optimizer,
    OptimizerChain,
    Schedule,
    add_decayed_weights,
)
from xpnn.training.precision import COMPUTE_DTYPES

CONSTRAINTS: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions({"logistic", *ACTIVATIONS}), Layer, "array-like"],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"}), Schedule],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "dropout": ["array-like", Interval(Real, 0, 1, closed="left")],
    "optimizer": [None, Optimizer],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
    "monitor": [StrOptions({"score", "loss"}), str, callable],
    "dtype": [None, StrOptions({"float16", "float32", "float64"})],
    "compute_dtype": [None, StrOptions(set(COMPUTE_DTYPES))],
    "loss_scale": [
        None,
        StrOptions({"dynamic"}),
        LossScaler,
        Interval(Real, 0, None, closed="neither"),
    ],
    "precision": [StrOptions(set(PRECISIONS))],
    "deterministic": ["boolean"],
    "gradient_accumulation_steps": [Interval(Integral, 1, None, closed="left")],
    "backend": [None, str],
    "device": [None, str],
    "engine": [StrOptions(set(MODES))],
    "progress": ["boolean"],
    "distributed": [None, StrOptions({"mpi"}), MPIOptions],
}

# Parameters that do not change what is learned, or say only for how long.
WITHOUT_EFFECT = frozenset(
    {
        "max_iter",
        "verbose",
        "progress",
        "warm_start",
        "deterministic",
        "backend",
        "device",
        "distributed",
        "engine",
    }
)

STOCHASTIC = ("sgd", "adam")


def uses_steps(model: Any) -> bool:
    """Whether a model's solver goes step by step, and does not search along lines."""
    return model.solver in STOCHASTIC or model.optimizer is not None


def has_partial_fit(model: Any) -> bool:
    """Whether a model's solver goes step by step; the error that it does not, else."""
    if not uses_steps(model):
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{model.solver} is not stochastic."
        )
    return True


def _any(value: Any) -> bool:
    return any(value) if hasattr(value, "__iter__") else bool(value)


def _decays(optimizer: Optimizer) -> bool:
    if isinstance(optimizer, OptimizerChain):
        links = optimizer.transformations
        return any(isinstance(x, add_decayed_weights) for x in links) or _decays(
            optimizer.optimizer
        )
    return isinstance(optimizer, AdamW)


def check_combinations(model: Any, hidden: Sequence[int], given: dict[str, bool]) -> None:
    """Refuse what would have no effect, or two of them.

    scikit-learn's own parameters are left to its rules.

    Parameters
    ----------
    model : Any
        Its parameters are looked at.
    hidden : sequence of int
        Widths of the hidden layers.
    given : dict of str to bool
        Arguments of `fit` that only steps and epochs understand, and whether each was given.

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
            "gradient_accumulation_steps": model.gradient_accumulation_steps > 1,
            "monitor": model.monitor != "score",
            "progress": model.progress,
            **given,
        }
        wrong = [name for name, is_given in idle.items() if is_given]
        if wrong:
            raise InputError(
                f"solver='lbfgs' has no steps and no epochs, and does not go with "
                f"{', '.join(wrong)}; take solver='adam' or 'sgd'"
            )
    if model.optimizer is not None:
        _check_optimizer(model)
    if model.loss_scale is not None and model.compute_dtype is None:
        raise InputError(f"loss_scale is {model.loss_scale!r}; it needs compute_dtype='float16'")
    if _any(model.dropout) and not hidden:
        raise InputError(f"dropout is {model.dropout!r}; the model has no hidden layers")
    if model.monitor != "score" and not model.early_stopping:
        raise InputError(f"monitor is {model.monitor!r}; it needs early_stopping=True")
    if isinstance(model.monitor, str) and model.monitor not in ("score", "loss"):
        from sklearn.metrics import get_scorer

        get_scorer(model.monitor)  # a name that it does not know is its error


def _check_optimizer(model: Any) -> None:
    chosen = model.learning_rate
    if isinstance(chosen, str) and chosen != "constant":
        raise InputError(
            f"learning_rate={chosen!r} belongs to solver='sgd'; an optimizer takes a schedule"
        )
    if isinstance(chosen, Schedule) and isinstance(model.optimizer.learning_rate, Schedule):
        raise InputError("learning_rate and that of the optimizer are both schedules")
    if model.weight_decay and _decays(model.optimizer):
        raise InputError(
            f"weight_decay is {model.weight_decay!r} beside an optimizer with a weight_decay "
            "of its own"
        )
