"""The pure step and the GPU's, which the host runs, side by side."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_on_host import HostCuda

from xpnn import Network
from xpnn.backends import scalar
from xpnn.engine.cuda.run import CudaRunner
from xpnn.engine.run_pure import PureRunner
from xpnn.engine.trees import leaves
from xpnn.functional import loss_rule
from xpnn.optimizers import Adam
from xpnn.training.options import DEFAULT_PRECISION, Precision
from xpnn.training.sampler import Sampler
from xpnn.training.step import Step

ROWS, INPUTS = 50, 6
SOURCE = np.random.default_rng(0)
X = SOURCE.normal(size=(ROWS, INPUTS))
WEIGHT = SOURCE.random(ROWS)
NAMES = (("theta", "state", "count"), ("x", "t", "weight"))
# Each plan is compiled by the host's C++ compiler, which takes a second.
MARKS = [pytest.mark.slow, pytest.mark.usefixtures("host_compiler")]
EXACT = {
    "float32": 2e-5, "float64": 1e-12,
    # A sum in another order may be rounded to the next number of 16 bits.
    "float16": 2e-3, "bfloat16": 2e-2,
}  # fmt: skip


def targets(loss, outputs):
    """Targets that a loss can learn from."""
    source, kind = np.random.default_rng(1), loss_rule(loss).kind
    if kind == "multiclass":
        return source.integers(0, outputs, ROWS)
    if kind == "binary":
        return source.integers(0, 2, (ROWS, outputs)).astype(float)
    return source.random((ROWS, outputs))


def computing_in(dtype):
    """Options of `Both` for a dtype to compute in; parameters are of 32 bits at least."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="NumPy knows bfloat16 through ml_dtypes")
    if dtype in ("float32", "float64"):
        return {"dtype": dtype}
    return {"dtype": "float32", "precision": Precision(dtype)}


class Both:
    """The pure step and the GPU's, on the same data from the same start."""

    def __init__(
        self, layers, loss="softmax_cross_entropy", optimizer=None, dtype="float64", weight=None,
        l2=0.0, cuda=None, batch=10, shuffle=True, precision=DEFAULT_PRECISION, exchange=None,
        parts=1, labels=None,
    ):  # fmt: skip
        optimizer = Adam(0.01) if optimizer is None else optimizer
        self.network = Network(INPUTS, layers, loss=loss, seed=1, dtype=dtype)
        x, _, _ = self.network.prepare(X.astype(dtype))
        t = targets(loss, self.network.outputs)
        t = t if labels is None else t.astype(labels)
        t, weight = self.network.prepare_targets(x, t, weight)
        step = Step(
            self.network.layers, self.network.tree, self.network.loss,
            precision.optimizer(optimizer), l2, precision=precision,
            gradient_accumulation_steps=parts,
        )  # fmt: skip
        self.sums = step.count_totals(weight is not None)
        self.batch, self.shuffle, self.precision = batch, shuffle, precision
        self.tolerance = EXACT[precision.compute_dtype or dtype]
        optimizer = step.optimizer
        self.cuda = HostCuda() if cuda is None else cuda
        theta = self.network.theta
        self.exchange = exchange

        def update(xp):
            return step.update(xp, exchange)

        carry = (theta, optimizer.init(theta, xp=np), scalar(0.0, np, "cpu", theta.dtype))
        self.columns = (x, t, weight)
        self.pure = PureRunner(update(np), carry, self.columns, np, "cpu", theta.dtype)
        self.ours = CudaRunner(
            update, carry, self.columns, np, "cpu", theta.dtype, self.cuda, NAMES
        )
        self.rate = optimizer.learning_rate

    def noise(self, seed):
        source = np.random.default_rng(seed)

        def draw(rows):
            drawn = Sampler(source).noise(self.network.layers.noise(INPUTS, rows))
            return drawn if self.exchange is None else (drawn, np.ones(1, self.network.theta.dtype))

        return draw

    def run(self, epochs=2, reason="", rows=ROWS):
        """Train both, and hold everything they carry against each other."""
        steps = -(-rows // self.batch)
        tolerance = self.tolerance
        noises = self.noise(3), self.noise(3)
        for epoch in range(epochs):
            order = np.random.default_rng(epoch).permutation(rows) if self.shuffle else None
            rates = [self.rate / (1 + step) for step in range(steps)]
            with self.precision.scope(np):
                expected, found = (
                    runner.run(rows, self.batch, order, rates, noise, self.sums)
                    for runner, noise in zip((self.pure, self.ours), noises, strict=True)
                )
            assert self.ours.reason == reason
            np.testing.assert_allclose(found, expected, rtol=tolerance)
        np.testing.assert_allclose(
            self.ours.theta(), self.pure.theta(), rtol=tolerance, atol=tolerance
        )
        states = (leaves(runner.state())[1:] for runner in (self.ours, self.pure))
        pairs = zip(*states, strict=True)
        for ours, pure in pairs:
            np.testing.assert_allclose(ours, pure, rtol=100 * tolerance, atol=tolerance)
        return self
