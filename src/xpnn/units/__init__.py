"""Single units: the neuron, the threshold unit, and Rosenblatt's learning rule."""

from xpnn.units.mcculloch_pitts import McCullochPitts, McCullochPittsNetwork
from xpnn.units.neuron import Explanation, Neuron
from xpnn.units.perceptron_history import Epoch, PerceptronHistory
from xpnn.units.truth_table import TruthTable

__all__ = [
    "Epoch",
    "Explanation",
    "McCullochPitts",
    "McCullochPittsNetwork",
    "Neuron",
    "PerceptronHistory",
    "TruthTable",
]
