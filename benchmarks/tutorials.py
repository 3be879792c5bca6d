"""The tutorials' own NumPy code, in float64 and in their order of operations.

The digit reader follows Rashid, "Make Your Own Neural Network" (2016), part 2, with its column
vectors and `numpy.dot`; the single layer is the loop of "your first neural network". Neither was
made to be fast; they are what a learner has before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

INPUTS = np.array([[0, 0, 1], [1, 1, 1], [1, 0, 1], [0, 1, 1]], dtype=float)
TARGETS = np.array([[0], [1], [1], [0]], dtype=float)


class TutorialDigits:
    """The text's three-layer network, taught one record at a time."""

    def __init__(self, inputs: int, hidden: int, outputs: int, rate: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.wih = rng.normal(0.0, hidden**-0.5, (hidden, inputs))
        self.who = rng.normal(0.0, hidden**-0.5, (outputs, hidden))
        self.lr = rate
        self.activation_function = expit

    def train(self, inputs_list: Any, targets_list: Any) -> None:
        """Learn from one record."""
        inputs = np.array(inputs_list, ndmin=2).T
        targets = np.array(targets_list, ndmin=2).T
        hidden_inputs = np.dot(self.wih, inputs)
        hidden_outputs = self.activation_function(hidden_inputs)
        final_inputs = np.dot(self.who, hidden_outputs)
        final_outputs = self.activation_function(final_inputs)
        output_errors = targets - final_outputs
        hidden_errors = np.dot(self.who.T, output_errors)
        self.who += self.lr * np.dot(
            output_errors * final_outputs * (1.0 - final_outputs), np.transpose(hidden_outputs)
        )
        self.wih += self.lr * np.dot(
            hidden_errors * hidden_outputs * (1.0 - hidden_outputs), np.transpose(inputs)
        )


class TutorialLayer:
    """The text's 3-to-1 sigmoid unit without bias."""

    def __init__(self) -> None:
        # The text draws its weights with NumPy's legacy generator, seeded with 1.
        self.synaptic_weights = 2 * np.random.RandomState(1).random_sample((3, 1)) - 1

    def _sigmoid(self, x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    def _sigmoid_derivative(self, x: Any) -> Any:
        return x * (1 - x)

    def predict(self, inputs: Any) -> Any:
        """Pass inputs through."""
        return self._sigmoid(np.dot(inputs, self.synaptic_weights))

    def train(self, inputs: Any, outputs: Any, iterations: int) -> None:
        """Follow the gradient of half the squared error on all examples."""
        for _ in range(iterations):
            output = self.predict(inputs)
            error = outputs - output
            adjustment = np.dot(inputs.T, error * self._sigmoid_derivative(output))
            self.synaptic_weights += adjustment
