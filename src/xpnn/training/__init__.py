"""Training: networks with parameters, the loop, callbacks, history."""

from xpnn.training.callbacks import Callback, EarlyStopping, Run
from xpnn.training.checkpoint import Checkpoint, CheckpointError, CheckpointWarning
from xpnn.training.history import History
from xpnn.training.loss import Loss, as_loss
from xpnn.training.network import Network
from xpnn.training.options import TrainOptions
from xpnn.training.trainer import DivergenceError

__all__ = [
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "CheckpointWarning",
    "DivergenceError",
    "EarlyStopping",
    "History",
    "Loss",
    "Network",
    "Run",
    "TrainOptions",
    "as_loss",
]
