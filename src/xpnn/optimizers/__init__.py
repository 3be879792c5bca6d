"""Optimizers and learning-rate schedules.

An optimizer is two pure functions on one vector: ``init(theta) -> state`` and
``update(theta, grad, state, rate, count) -> (theta, state)``.
"""

from xpnn.optimizers.adaptive import Adam, AdamW, RMSprop
from xpnn.optimizers.base import Optimizer, State
from xpnn.optimizers.clipped import Clipped
from xpnn.optimizers.decayed import Decayed
from xpnn.optimizers.scaled import LossScale
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
from xpnn.optimizers.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Clipped",
    "Constant",
    "CosineWarmup",
    "Decayed",
    "InverseScaling",
    "LossScale",
    "Optimizer",
    "Progress",
    "RMSprop",
    "ReduceOnPlateau",
    "Schedule",
    "State",
    "StepDecay",
    "as_schedule",
]
