"""Plans of functions and of whole training steps, and what takes their steps."""

from __future__ import annotations

import numpy as np

import references
from xpnn import Network
from xpnn.engine.calls import NativeCalls, NumpyCalls
from xpnn.engine.native import domain
from xpnn.engine.plan import make_plan
from xpnn.engine.run_pure import labels_of
from xpnn.engine.trace import NAMESPACE
from xpnn.engine.trees import leaves
from xpnn.training.step import Step

NAMES = (("theta", "state", "count"), ("x", "t", "weight"))


def replay(plan):
    """What takes a plan's step: native code where loops are fused, else calls of NumPy."""
    fused = any(call.function is None for call in plan.calls)
    return (NativeCalls(plan, (), None) if fused else NumpyCalls(plan)).step


def step_plan(
    layers, optimizer, loss="softmax_cross_entropy", rows=300, inputs=200, outputs=10,
    dtype="float32", weighted=False, l2=0.01, native=False,
):  # fmt: skip
    """Plan of a training step; by default its arrays have 240,000 bytes and more."""
    network = Network(inputs, [*layers, outputs], loss=loss, seed=0)
    step = Step(network.layers, network.tree, network.loss, optimizer, l2)
    source = np.random.default_rng(0)
    theta = np.asarray(network.theta, dtype)
    x = source.normal(size=(rows, inputs)).astype(dtype)
    t = references.targets(loss, source, rows, outputs)
    t = t.argmax(axis=1) if loss == "softmax_cross_entropy" else t.astype(dtype)
    shapes = network.layers.noise(inputs, rows)
    noise = shapes and tuple(s and np.full(s, 0.5, "float32") for s in shapes)
    count, total, rate = (np.asarray(v, dtype) for v in (0.0, 0.0, 1e-5))
    carry = (theta, optimizer.init(theta, xp=np), count)
    batch = (x, t, np.ones(rows, dtype) if weighted else None, noise, rate)
    sums = (total, total.copy()) if weighted else (total,)
    donated = {i: i for i in range(len(leaves((carry, sums))))}
    labels = labels_of(NAMES, carry, sums, batch)
    function, fused = step.update(NAMESPACE), domain if native else None
    return make_plan(function, (carry, sums, batch), labels, donated, fused)
