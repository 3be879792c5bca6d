"""What is compared: computations that take a backend and return arrays by name.

Each case draws its inputs on the host from a fixed seed, so every library sees the same
numbers, runs the public functions on the backend's arrays, and leaves the results there. It
says how many terms the sums have that a result goes through one after the other, and where a
formula multiplies rounding errors, by how much: the bounds follow from that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnn.backends import Array, Backend, generator
from xpnn.checks.tolerance import rounding_bound
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

Computation = Callable[[Backend], dict[str, Array]]


@dataclass(frozen=True)
class Case:
    """Something to compute on every backend."""

    compute: Computation
    terms: int  # in the sums that a result depends on, one after the other
    growth: Mapping[str, float]  # of a rounding error in a formula, by a result's name

    def bound(self, name: str, dtype: str) -> float:
        """Largest relative deviation of a result that is allowed in a dtype."""
        return rounding_bound(dtype, self.terms, self.growth.get(name, 1.0))


CASES: dict[str, Case] = {}


def _case(name: str, terms: int, **growth: float) -> Callable[[Computation], Computation]:
    def register(compute: Computation) -> Computation:
        CASES[name] = Case(compute, terms, growth)
        return compute

    return register


def _single(values: Any) -> Any:
    """Numbers that float32 holds exactly, so that every dtype starts from the same ones."""
    return np.asarray(values, np.float32).astype(np.float64)


def _scores(rows: int = 64, columns: int = 8) -> Any:
    """Ordinary scores, the branch points, and the far ends."""
    values = generator(7).normal(0.0, 3.0, (rows, columns))
    values[0, :] = [-1e4, -100.0, -20.0, -0.0, 0.0, 20.0, 100.0, 1e4]
    return _single(values)


def _targets(loss: str, rows: int, columns: int) -> Any:
    source = generator(8)
    kind = LOSSES[loss].kind
    if kind == "multiclass":
        return source.integers(0, columns, rows)
    if kind == "binary":
        return source.integers(0, 2, (rows, columns)).astype(np.float64)
    if loss == "poisson":
        return source.integers(0, 6, (rows, columns)).astype(np.float64)
    return _single(source.normal(0.0, 1.0, (rows, columns)))


@_case("activations", terms=8)
def activations(backend: Backend) -> dict[str, Array]:
    """Every activation on ordinary and extreme scores."""
    z = backend.asarray(_scores())
    return {name: rule.forward(z, xp=backend.xp) for name, rule in ACTIVATIONS.items()}


# The rounding of tanh is multiplied by the derivative of the cubic: 24 where tanh becomes 1.
@_case("activation gradients", terms=8, gelu_tanh=24.0)
def activation_gradients(backend: Backend) -> dict[str, Array]:
    """Every activation's backward."""
    z = backend.asarray(_scores())
    da = backend.asarray(_scores()[::-1, ::-1].clip(-1, 1))
    found = {}
    for name, rule in ACTIVATIONS.items():
        saved = rule.forward(z, xp=backend.xp) if rule.saves_output else z
        found[name] = rule.backward(saved, da, xp=backend.xp)
    return found


@_case("matrix products", terms=256)
def matrix_products(backend: Backend) -> dict[str, Array]:
    """Products that show whether both factors kept all their bits.

    TensorFloat-32 keeps 10 bits after the point, bfloat16 7, and single precision 23.
    """
    source = generator(14)
    a, b = (backend.asarray(_single(source.normal(size=s))) for s in ((24, 256), (256, 12)))
    bit, one = (backend.asarray(np.full((16, 16), v)) for v in (1.0 + 2.0**-12, 1.0))
    return {
        "256 terms": linear(a, b, xp=backend.xp),
        "TF32 probe, left factor": linear(bit, one, xp=backend.xp),
        "TF32 probe, right factor": linear(one, bit, xp=backend.xp),
    }


@_case("linear, dropout, clipping", terms=33)
def linear_and_others(backend: Backend) -> dict[str, Array]:
    """The weighted sum, dropout with given noise, and clipping by norm."""
    source = generator(9)
    shapes = ((33, 7), (7, 5), (5,), (33, 5))
    x, w, b, dz = (backend.asarray(_single(source.normal(size=shape))) for shape in shapes)
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


def _losses(backend: Backend, gradient: bool) -> dict[str, Array]:
    # Without the far ends, beside which a mean loss would show nothing else.
    scores = backend.asarray(_scores()[1:, :])
    weight = backend.asarray(generator(10).integers(0, 3, 63).astype(np.float64))
    found = {}
    for name, rule in LOSSES.items():
        targets = backend.asarray(_targets(name, 63, 8))
        for weighted in (None, weight):
            loss, saved = rule.forward(scores, targets, weighted, xp=backend.xp)
            key = name if weighted is None else f"{name}, weighted"
            found[key] = rule.backward(saved, xp=backend.xp) if gradient else loss
    return found


@_case("losses", terms=63 * 8)
def losses(backend: Backend) -> dict[str, Array]:
    """Every loss, with and without weights for the rows."""
    return _losses(backend, gradient=False)


@_case("loss gradients", terms=63 + 8)
def loss_gradients(backend: Backend) -> dict[str, Array]:
    """Every loss's backward."""
    return _losses(backend, gradient=True)


@_case("network gradients", terms=6 + 9 + 3 + 20)
def network_gradients(backend: Backend) -> dict[str, Array]:
    """Gradient in all parameters of a two-layer network, each activation."""
    source = generator(11)
    x = backend.asarray(_single(source.normal(size=(20, 6))))
    t = backend.asarray(source.integers(0, 3, 20))
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


@_case("short trainings", terms=12 * (6 + 12 + 2 + 16))
def trainings(backend: Backend) -> dict[str, Array]:
    """Parameters and losses after three epochs with dropout, each optimizer.

    The pure step: the engine would run PyTorch's on the CPU with NumPy.
    """
    source = generator(12)
    rows = _single(source.normal(size=(50, 6)))
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


@_case("units", terms=3)
def units(backend: Backend) -> dict[str, Array]:
    """A neuron, threshold units and the perceptron rule."""
    source = generator(13)
    x = backend.asarray(_single(source.normal(size=(30, 3))))
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
