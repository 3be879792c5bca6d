"""Which values the estimators' parameters may have, in scikit-learn's own terms."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from xpnn.backends import PRECISIONS
from xpnn.distributed import MPI
from xpnn.engine import MODES
from xpnn.functional import ACTIVATIONS
from xpnn.layers import Layer
from xpnn.optimizers import LossScaler, Optimizer, Schedule
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
    "accumulate": [Interval(Integral, 1, None, closed="left")],
    "backend": [None, str],
    "device": [None, str],
    "engine": [StrOptions(set(MODES))],
    "progress": ["boolean"],
    "distributed": [None, StrOptions({"mpi"}), MPI],
}
