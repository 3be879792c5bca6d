"""Single units: the neuron, the threshold unit, and Rosenblatt's learning rule."""

from xpnn.units.mcculloch_pitts import McCullochPitts, McCullochPittsNetwork, TruthTable
from xpnn.units.neuron import Explanation, Neuron
from xpnn.units.perceptron import Epoch, PerceptronHistory

__all__ = [
    "Epoch",
    "Explanation",
    "McCullochPitts",
    "McCullochPittsNetwork",
    "Neuron",
    "PerceptronHistory",
    "TruthTable",
]
