"""Optimizers and learning-rate schedules.

An optimizer is two pure functions on one vector: ``init(theta) -> state`` and
``update(theta, gradient, state, learning_rate, count) -> (theta, state)``. What comes before
it, such as clipping, is put there by `chain`.
"""

from xpnn.optimizers.chain import (
    LossScaler,
    OptimizerChain,
    Transformation,
    add_decayed_weights,
    chain,
    clip_by_global_norm,
)
from xpnn.optimizers.descent import SGD, Adam, AdamW, Optimizer, RMSprop, State
from xpnn.optimizers.schedules import (
    Constant,
    CosineWarmup,
    InverseScaling,
    Progress,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    as_schedule,
)

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "CosineWarmup",
    "InverseScaling",
    "LossScaler",
    "Optimizer",
    "OptimizerChain",
    "Progress",
    "RMSprop",
    "ReduceOnPlateau",
    "Schedule",
    "State",
    "StepDecay",
    "Transformation",
    "add_decayed_weights",
    "as_schedule",
    "chain",
    "clip_by_global_norm",
]
