"""Steps for a GPU, run on the host: the same numbers as the pure step's, whatever is trained."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_on_host import HostCuda, compiler

from xpnn import Network
from xpnn.backends import scalar
from xpnn.engine.cuda import planner
from xpnn.engine.cuda.run import CudaRunner
from xpnn.engine.run_pure import PureRunner
from xpnn.engine.trees import leaves
from xpnn.functional import ACTIVATIONS, LOSSES
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, Adam, AdamW, Clipped, Decayed, RMSprop
from xpnn.training.step import make_step, make_update
from xpnn.training.trainer import _draw_noise

ROWS, INPUTS = 50, 6
SOURCE = np.random.default_rng(0)
X = SOURCE.normal(size=(ROWS, INPUTS))
WEIGHT = SOURCE.random(ROWS)
NAMES = (("theta", "state", "count"), ("x", "t", "weight"))
EXACT = {"float32": 2e-5, "float64": 1e-12}


@pytest.fixture(autouse=True)
def _compiler():
    compiler()


def targets(loss, outputs):
    """Targets that a loss can learn from."""
    source = np.random.default_rng(1)
    if LOSSES[loss].kind == "labels":
        return source.integers(0, outputs, ROWS)
    if LOSSES[loss].kind == "yes_no":
        return source.integers(0, 2, (ROWS, outputs)).astype(float)
    return source.random((ROWS, outputs))


class Both:
    """The pure step and the GPU's, on the same data from the same start."""

    def __init__(
        self, layers, loss="softmax_cross_entropy", optimizer=None, dtype="float64", weight=None,
        l2=0.0, cuda=None, batch=10, shuffle=True,
    ):  # fmt: skip
        optimizer = Adam(0.01) if optimizer is None else optimizer
        self.network = Network(INPUTS, layers, loss=loss, seed=1, dtype=dtype)
        x, _, _ = self.network.prepare(X.astype(dtype))
        t, weight = self.network.prepare_targets(x, targets(loss, self.network.outputs), weight)
        self.sums = 1 if weight is None or not self.network.loss.averages else 2
        self.batch, self.shuffle, self.dtype = batch, shuffle, dtype
        self.cuda = HostCuda() if cuda is None else cuda
        theta = self.network.theta
        network = self.network

        def update(xp):
            step = make_step(network.layers, network.tree, network.loss, optimizer, l2, xp=xp)
            return make_update(step, network.loss, xp=xp)

        carry = (theta, optimizer.init(theta, xp=np), scalar(0.0, np, "cpu", theta.dtype))
        self.columns = (x, t, weight)
        self.pure = PureRunner(update(np), carry, self.columns, np, "cpu", theta.dtype)
        self.ours = CudaRunner(
            update, carry, self.columns, np, "cpu", theta.dtype, self.cuda, NAMES
        )
        self.rate = optimizer.rate

    def noise(self, seed):
        source = np.random.default_rng(seed)
        return lambda rows: _draw_noise(self.network.layers.noise(INPUTS, rows), source)

    def run(self, epochs=2):
        """Train both, and hold everything they carry against each other."""
        steps = -(-ROWS // self.batch)
        tolerance = EXACT[self.dtype]
        noises = self.noise(3), self.noise(3)
        for epoch in range(epochs):
            order = np.random.default_rng(epoch).permutation(ROWS) if self.shuffle else None
            rates = [self.rate / (1 + step) for step in range(steps)]
            expected, found = (
                runner.run(ROWS, self.batch, order, rates, noise, self.sums)
                for runner, noise in zip((self.pure, self.ours), noises, strict=True)
            )
            assert self.ours.reason == ""
            np.testing.assert_allclose(found, expected, rtol=tolerance)
        np.testing.assert_allclose(
            self.ours.theta(), self.pure.theta(), rtol=tolerance, atol=tolerance
        )
        pairs = zip(leaves(self.ours.state())[1:-1], leaves(self.pure.state())[1:-1], strict=True)
        for ours, pure in pairs:
            np.testing.assert_allclose(ours, pure, rtol=100 * tolerance, atol=tolerance)
        return self


# Compiling takes a second for each shape of a batch: a few networks show much.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_activation(dtype):
    layers = [spec for i, name in enumerate(ACTIVATIONS) for spec in (4 + i % 3, name)]
    Both([*layers, 3], dtype=dtype, optimizer=SGD(0.1)).run()


ONE_OUTPUT = [("binary_cross_entropy", 1), ("mean_squared_error", 1)]


@pytest.mark.parametrize(("loss", "outputs"), [*((loss, 3) for loss in LOSSES), *ONE_OUTPUT])
def test_every_loss(loss, outputs):
    Both([5, "tanh", outputs], loss=loss, weight=WEIGHT, l2=0.01).run()


OPTIMIZERS = [
    SGD(0.1), SGD(0.1, momentum=0.9), SGD(0.1, momentum=0.9, nesterov=True), RMSprop(0.01),
    Adam(0.01), AdamW(0.01), Clipped(SGD(0.1), norm=0.1), Decayed(SGD(0.1), weight_decay=0.1),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_every_optimizer(optimizer):
    Both([7, "relu", 3], optimizer=optimizer, l2=0.001).run()


@pytest.mark.parametrize("limit", [0, 10**9])
def test_dropout_deep_networks_and_products_by_a_library(limit, monkeypatch):
    monkeypatch.setattr(planner, "OWN", limit)
    both = Both([40, "gelu", Dropout(0.3), 33, "tanh", Dropout(0.1), 5], weight=WEIGHT).run(3)
    # A graph of a whole batch and one of the last; or no graph and products by a library.
    assert (both.cuda.graphs == 0) == (limit == 0)
    assert (both.cuda.products > 0) == (limit == 0)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch", [1, 7, 50, 100])
def test_every_size_of_batch(batch, shuffle):
    both = Both([4, "relu", Dropout(0.2), 3], batch=batch, shuffle=shuffle).run()
    assert both.cuda.graphs == (2 if batch == 7 else 1)


def test_the_order_of_threads_and_blocks_does_not_matter():
    options = {"weight": WEIGHT, "l2": 0.01, "optimizer": Clipped(Adam(0.01), 0.1)}
    layers = [40, "sigmoid", Dropout(0.3), 3]
    forwards = Both(layers, **options).run()
    backwards = Both(layers, cuda=HostCuda(backwards=True), **options).run()
    for one, other in zip(
        leaves(forwards.ours.state()), leaves(backwards.ours.state()), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_long_vector_is_summed_by_one_block():
    Both([400, "relu", 30, "relu", 3], optimizer=Clipped(SGD(0.1), norm=0.01), batch=30).run(1)


def test_a_step_is_a_few_launches_and_nothing_else():
    """Inside an epoch the host copies nothing and reads nothing: only launches are left."""
    both = Both([16, "relu", 3])
    both.run(1)
    before, both.cuda.launches[:] = both.cuda.graphs, []
    both.run(1)
    assert both.cuda.graphs == before  # recorded once
    steps = -(-ROWS // both.batch)
    assert len(both.cuda.launches) % steps == 0
    assert len(both.cuda.launches) // steps <= 18


def test_other_data_in_the_same_place_is_read():
    both = Both([8, "relu", 3])
    both.run(1)
    x = both.columns[0][::-1].copy()
    both.pure.columns = both.ours.columns = (x, *both.columns[1:])
    both.run(2)


def test_data_that_does_not_lie_row_after_row():
    both = Both([8, "relu", 3])
    spread = np.zeros((ROWS, 2 * INPUTS))
    spread[:, ::2] = both.columns[0]
    both.ours.columns = (spread[:, ::2], *both.columns[1:])
    both.run(2)
    both = Both([8, "relu", 3], batch=ROWS, shuffle=False)
    both.ours.columns = (np.asfortranarray(both.columns[0]), *both.columns[1:])
    both.run(2)


def test_what_has_no_rule_runs_as_it_is():
    both = Both([8, "relu", 3])
    half = both.columns[0].astype("float16")
    both.pure.columns = both.ours.columns = (half, *both.columns[1:])
    order = np.arange(ROWS)
    for runner in (both.pure, both.ours):
        runner.run(ROWS, 10, order, [0.01] * 5, lambda rows: None, 1)
    assert "kernels with float16" in both.ours.reason
    np.testing.assert_array_equal(both.ours.theta(), both.pure.theta())


def test_a_plan_can_be_read():
    both = Both([100, "relu", Dropout(0.2), 10], dtype="float32")
    text = both.ours.plan(20, both.noise(0), 1).describe()
    assert "theta        float32[1710]" in text
    assert "one CUDA graph a step" in text
    assert "matmul 20 x 6 x 100" in text
    assert 'extern "C" __global__ void k0(' in text
    assert text.count("__global__") <= 16
