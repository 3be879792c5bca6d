"""What tests of checkpoints share: a crash, what is in the file, and what a training gave."""

from __future__ import annotations

import json

from safetensors import safe_open

from xpnn import Callback
from xpnn.backends import generator_state, to_host

KEY = "xpnn-checkpoint"


class Stop(Callback):
    """Ends a training from inside after an epoch, as a crash or Ctrl-C would."""

    def __init__(self, epoch, error=None):
        self.epoch, self.error = epoch, error or RuntimeError("crash")

    def on_epoch_end(self, run):
        if run.history.epochs == self.epoch:
            raise self.error


def header(path):
    """Everything in a checkpoint that is not an array."""
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()[KEY])


def epochs(path):
    """The epoch that a checkpoint was written after."""
    return header(path)["history"]["epoch"][-1]


def outcome(network, history):
    """Everything that one training in one go and a resumed one have to agree in."""
    figures = {key: value for key, value in history.to_dict().items() if key != "seconds"}
    return to_host(network.theta).tobytes(), generator_state(network.generator), figures
