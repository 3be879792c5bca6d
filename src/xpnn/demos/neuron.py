"""The artificial neuron: inputs, weights, summation, bias, activation, output.

The weights are random at first and the bias is 0. The activation decides what becomes of
the sum; softmax, which compares, needs the sums of several neurons. The bias shifts the
activation left or right, whatever the input is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpnn.backends import Backend, on_device, to_float, to_host
from xpnn.functional import softmax
from xpnn.plots import save_figure
from xpnn.plots.units import draw_bias_shift
from xpnn.units import Neuron

INPUTS = [0.5, -1.0, 2.0]
ACTIVATIONS = ("sigmoid", "tanh", "relu")
BIASES = (-4.0, 0.0, 4.0)


def run(backend: Backend, out: Path, seed: int = 0) -> dict[str, Any]:
    """Show one neuron under several activations, a softmax over three, and the bias."""
    x = backend.asarray(INPUTS)
    neuron = Neuron.random(3, seed=seed, backend=backend)
    weights, score = to_host(neuron.weights).tolist(), to_float(neuron.score(x))
    print(f"inputs  {INPUTS}")
    print(f"weights [{', '.join(f'{w:.4f}' for w in weights)}], bias {neuron.bias:g}")
    print(f"score   {score:.4f} = inputs @ weights + bias")
    outputs = {name: to_float(Neuron(neuron.weights, neuron.bias, name)(x)) for name in ACTIVATIONS}
    for name, value in outputs.items():
        print(f"{name:<8} {value:.4f}")
    shares = _softmax(backend, seed)
    print(f"softmax  {', '.join(f'{p:.4f}' for p in shares)} (three neurons, together 1)\n")
    neurons = [Neuron(backend.asarray([1.0]), bias, "sigmoid") for bias in BIASES]
    halves = {}
    print("sigmoid(input + bias) at the inputs -4, 0 and 4, and where it is one half")
    for unit in neurons:
        values = to_host(unit(backend.asarray([[-4.0], [0.0], [4.0]]))).tolist()
        middle = 0.0 - unit.bias
        halves[middle] = to_float(unit(backend.asarray([middle])))
        shown = ", ".join(f"{v:.3f}" for v in values)
        print(f"bias {unit.bias:>2g}: {shown}; {halves[middle]:.3f} at the input {middle:g}")
    picture = save_figure(draw_bias_shift(neurons), out / "neuron.png")
    print(f"the activation under each bias: {picture}")
    return {
        "weights": weights,
        "score": score,
        "outputs": outputs,
        "softmax": shares,
        "halves": halves,
        "picture": str(picture),
    }


def _softmax(backend: Backend, seed: int) -> list[float]:
    """Shares of three neurons with weights of their own."""
    x = backend.asarray(INPUTS)
    layer = [Neuron.random(3, seed=seed + i, backend=backend) for i in range(3)]
    with on_device(backend.device):
        scores = backend.xp.stack([neuron.score(x) for neuron in layer])
    shares: list[float] = to_host(softmax(scores)).tolist()
    return shares
