"""What is compared: computations that take a backend and return arrays by name.

Each case draws its inputs on the host from a fixed seed, so every library sees the same
numbers, runs the public functions on the backend's arrays, and leaves the results there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnn.backends import Array, Backend, generator
from xpnn.estimators import Perceptron
from xpnn.functional import (
    ACTIVATIONS,
    LOSSES,
    clip_by_norm,
    dropout,
    linear,
    linear_backward,
)
from xpnn.layers import Activation, Dense, Dropout
from xpnn.optimizers import (
    SGD,
    Adam,
    AdamW,
    Optimizer,
    RMSprop,
    add_decayed_weights,
    chain,
    clip_by_global_norm,
)
from xpnn.training import Network
from xpnn.units import McCullochPitts, Neuron

Case = Callable[[Backend], dict[str, Array]]
CASES: dict[str, Case] = {}


def _case(name: str) -> Callable[[Case], Case]:
    def register(function: Case) -> Case:
        CASES[name] = function
        return function

    return register


def _scores(rows: int = 64, columns: int = 8) -> Any:
    """Ordinary scores, the branch points, and the far ends."""
    values = generator(7).normal(0.0, 3.0, (rows, columns))
    values[0, :] = [-1e4, -100.0, -20.0, -0.0, 0.0, 20.0, 100.0, 1e4]
    # Numbers that float32 holds exactly, so that every dtype starts from the same ones.
    return values.astype(np.float32).astype(np.float64)


def _targets(loss: str, rows: int, columns: int) -> Any:
    source = generator(8)
    kind = LOSSES[loss].kind
    if kind == "multiclass":
        return source.integers(0, columns, rows)
    if kind == "binary":
        return source.integers(0, 2, (rows, columns)).astype(np.float64)
    if loss == "poisson":
        return source.integers(0, 6, (rows, columns)).astype(np.float64)
    return source.normal(0.0, 1.0, (rows, columns)).astype(np.float32).astype(np.float64)


@_case("activations")
def activations(backend: Backend) -> dict[str, Array]:
    """Every activation on ordinary and extreme scores."""
    z = backend.asarray(_scores())
    return {name: rule.forward(z, xp=backend.xp) for name, rule in ACTIVATIONS.items()}


@_case("activation gradients")
def activation_gradients(backend: Backend) -> dict[str, Array]:
    """Every activation's backward."""
    z = backend.asarray(_scores())
    da = backend.asarray(_scores()[::-1, ::-1].clip(-10, 10))
    found = {}
    for name, rule in ACTIVATIONS.items():
        saved = rule.forward(z, xp=backend.xp) if rule.saves_output else z
        found[name] = rule.backward(saved, da, xp=backend.xp)
    return found


@_case("linear, dropout, clipping")
def linear_and_others(backend: Backend) -> dict[str, Array]:
    """The weighted sum, dropout with given noise, and clipping by norm."""
    source = generator(9)
    x, w, b, dz = (
        backend.asarray(source.normal(size=shape)) for shape in ((33, 7), (7, 5), (5,), (33, 5))
    )
    dx, dw, db = linear_backward(x, w, dz, xp=backend.xp)
    noise = backend.asarray(source.random((33, 7)).astype(np.float32))
    return {
        "linear": linear(x, w, b, xp=backend.xp),
        "dx": dx,
        "dweights": dw,
        "dbias": db,
        "dropout": dropout(x, noise, 0.25, xp=backend.xp)[0],
        "clip_by_norm": clip_by_norm(db, 0.5, xp=backend.xp),
    }


def _losses(backend: Backend, pick: int) -> dict[str, Array]:
    # Without the far ends, beside which a mean loss would show nothing else.
    scores = backend.asarray(_scores()[1:, :])
    weight = backend.asarray(generator(10).integers(0, 3, 63).astype(np.float64))
    found = {}
    for name, rule in LOSSES.items():
        targets = backend.asarray(_targets(name, 63, 8))
        for weighted in (None, weight):
            loss, saved = rule.forward(scores, targets, weighted, xp=backend.xp)
            key = name if weighted is None else f"{name}, weighted"
            found[key] = loss if pick == 0 else rule.backward(saved, xp=backend.xp)
    return found


@_case("losses")
def losses(backend: Backend) -> dict[str, Array]:
    """Every loss, with and without weights for the rows."""
    return _losses(backend, 0)


@_case("loss gradients")
def loss_gradients(backend: Backend) -> dict[str, Array]:
    """Every loss's backward."""
    return _losses(backend, 1)


@_case("network gradients")
def network_gradients(backend: Backend) -> dict[str, Array]:
    """Gradient in all parameters of a two-layer network, each activation."""
    source = generator(11)
    x, t = backend.asarray(source.normal(size=(20, 6))), backend.asarray(
        source.integers(0, 3, 20)
    )  # fmt: skip
    found = {}
    for name in ACTIVATIONS:
        network = Network(6, [Dense(9), Activation(name), Dense(3)], seed=3).to(backend)
        found[name] = network.loss_and_gradient(x, t, l2=0.01)[1]
    return found


_OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": SGD(0.1),
    "momentum": SGD(0.05, momentum=0.9),
    "Nesterov": SGD(0.05, momentum=0.9, nesterov=True),
    "RMSprop": RMSprop(0.003),
    "Adam": Adam(0.01),
    "AdamW": AdamW(0.01),
    "clipped": chain(clip_by_global_norm(0.1), SGD(0.3)),
    "decayed": chain(add_decayed_weights(0.1), SGD(0.1)),
}


@_case("short trainings")
def trainings(backend: Backend) -> dict[str, Array]:
    """Parameters and losses after three epochs with dropout, each optimizer.

    The pure step: the engine would run PyTorch's on the CPU with NumPy.
    """
    source = generator(12)
    rows = source.normal(size=(50, 6)).astype(np.float32).astype(np.float64)
    x = backend.asarray(rows)
    t = backend.asarray((rows[:, 0] * rows[:, 1] > 0).astype(np.int64))
    found = {}
    for name, optimizer in _OPTIMIZERS.items():
        network = Network(6, [Dense(12), "tanh", Dropout(0.2), Dense(2)], seed=4).to(backend)
        history = network.fit(x, t, epochs=3, batch_size=16, optimizer=optimizer, engine="pure")
        found[name] = network.theta
        found[f"{name}, loss"] = backend.asarray(np.asarray(history.loss))
        found[f"{name}, scores"] = network.scores(x)
    return found


@_case("units")
def units(backend: Backend) -> dict[str, Array]:
    """A neuron, threshold units and the perceptron rule."""
    source = generator(13)
    x = backend.asarray(source.normal(size=(30, 3)).astype(np.float32).astype(np.float64))
    bits = backend.asarray(np.asarray([[0, 0], [0, 1], [1, 0], [1, 1]], float))
    neuron = Neuron(backend.asarray(np.asarray([0.5, -1.0, 2.0])), 0.25, "sigmoid")
    labels = [0, 1, 1, 1]
    perceptron = Perceptron(random_state=0).fit(bits, labels)
    return {
        "neuron": neuron.forward(x),
        "NAND": McCullochPitts.nand().forward(bits),
        "perceptron weights": perceptron.coef_,
        "perceptron scores": perceptron.decision_function(bits),
    }


def largest(values: list[float]) -> float:
    """Largest of the values, NaN counting as infinite."""
    return max((math.inf if math.isnan(v) else v for v in values), default=0.0)
