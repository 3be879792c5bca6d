"""Training: networks with parameters, the loop, callbacks, history."""

from xpnn.training.callbacks import Callback, EarlyStopping, OnEpoch, Run, as_callback
from xpnn.training.checkpoints import Checkpoint, CheckpointError, CheckpointWarning
from xpnn.training.history import History
from xpnn.training.loop import fit, plan_step
from xpnn.training.network import Network
from xpnn.training.objective import Loss
from xpnn.training.step import loss_and_gradient, make_step

__all__ = [
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "CheckpointWarning",
    "EarlyStopping",
    "History",
    "Loss",
    "Network",
    "OnEpoch",
    "Run",
    "as_callback",
    "fit",
    "loss_and_gradient",
    "make_step",
    "plan_step",
]
