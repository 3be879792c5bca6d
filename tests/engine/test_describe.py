"""`Plan.describe` shows what a training step is made of."""

from __future__ import annotations

import re

import numpy as np
import pytest
from plans import replay, step_plan

from xpnn.engine.native import domain
from xpnn.engine.plan import make_plan
from xpnn.engine.trace import NAMESPACE as xp
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, Adam, chain, clip_by_global_norm


def described(function, arrays, labels, donated=None):
    plan = make_plan(function, arrays, labels, donated or {})
    return plan, plan.describe()


def test_a_small_plan_from_top_to_bottom():
    def function(weights, x):
        scores = xp.tanh(xp.matmul(x, weights))
        return xp.sum(scores * scores * 0.5, axis=0), weights - 0.5 * weights

    arrays = (np.ones((300, 4)), np.ones((8, 300)))
    plan, text = described(function, arrays, ["weights", "x"], {1: 0})
    lines = text.splitlines()
    for label, shape, size in (("weights", "[300, 4]", "9.4 KiB"), ("x", "[8, 300]", "18.8 KiB")):
        (line,) = (line for line in lines if line.split()[0] == label and size in line)
        assert f"float64{shape}" in line
    for operation in ("matmul", "tanh", "multiply", "sum", "subtract"):
        assert re.search(rf"<- {operation}\(", text), operation
    order = [text.index(f"<- {name}(") for name in ("matmul", "tanh", "sum")]
    assert order == sorted(order)
    assert re.search(r"buffer \d+ <- matmul\(x, weights\)  float64\[8, 4\]", text)
    assert re.search(r"weights <- subtract\(weights, buffer \d+\)", text)
    assert "0.5" in text
    assert f"calls ({len(plan.calls)})" in text
    assert lines[-1].startswith(f"{plan.buffers} buffers, ")


@pytest.mark.parametrize(
    ("shape", "size"),
    [((), "8 B"), ((100,), "800 B"), ((200,), "1.6 KiB"), ((400, 500), "1.5 MiB")],
)
def test_bytes_are_told_in_units(shape, size):
    _, text = described(lambda a: a + 1.0, (np.ones(shape),), ["a"])
    assert size in text.splitlines()[1]
    assert size in text.splitlines()[-1] or shape in ((), (100,))


def test_the_total_is_that_of_the_buffers():
    plan, text = described(lambda a: xp.sum(a[:, None] * a[None, :]), (np.ones(100),), ["a"])
    assert plan.buffers == 2
    assert plan.bytes == pytest.approx(100 * 100 * 8 + 64, abs=64)
    assert text.splitlines()[-1] == "2 buffers, 78.2 KiB"


def test_a_plan_without_calls():
    plan, text = described(lambda a: a.T, (np.ones((2, 3)),), ["a"])
    assert plan.calls == []
    assert "calls (0)" in text
    assert text.splitlines()[-1] == "0 buffers, 0 B"


def test_a_loop_lists_what_it_does():
    def function(theta, grad):
        return xp.tanh(theta), (theta - 0.5 * grad) * 2.0

    plan = make_plan(function, (np.ones(9), np.ones(9)), ["theta", "grad"], {1: 0}, domain)
    lines = [line.strip() for line in plan.describe().splitlines()]
    first = lines.index("loop over [9]")
    assert lines[first + 1 : first + 4] == [
        "v1 <- multiply(0.5, grad)",
        "v2 <- subtract(theta, v1)",
        "theta <- multiply(v2, 2)",
    ]
    assert any("<- tanh(theta)" in line for line in lines)


def test_a_gradient_that_is_an_outer_product_is_not_written_down():
    def function(theta, x, dz, rate):
        parts = xp.reshape(xp.matmul(x.T, dz), (-1,)), dz[0, :]
        return (theta - rate * xp.concat(parts),)

    arrays = (np.zeros(30 * 40 + 40), np.ones((1, 30)), np.ones((1, 40)), np.array(0.5))
    plan = make_plan(function, arrays, ["theta", "x", "dz", "rate"], {0: 0}, domain)
    lines = [line.strip() for line in plan.describe().splitlines()]
    assert "buffer 0 <- matmul(x, dz), as it is read" in lines
    assert sum("<- matmul(" in line for line in lines) == 1
    replay(plan)()
    np.testing.assert_array_equal(arrays[0], -0.5)


@pytest.mark.parametrize(
    "optimizer", [SGD(), Adam(), chain(clip_by_global_norm(1.0), Adam())], ids=repr
)
@pytest.mark.parametrize("size", [8, 400])
def test_a_training_step(optimizer, size):
    """Any step can be shown, and showing it changes nothing."""
    plan = step_plan([size, "gelu", Dropout(0.5)], optimizer, rows=5, outputs=3, weighted=True)
    text = plan.describe()
    labels = ["theta", "count", "sum 0", "sum 1", "x", "t", "weight", "noise", "rate"]
    if optimizer != SGD():
        labels += ["state 0", "state 1"]
    for label in labels:
        assert f"  {label} " in text
    assert text.count("<- matmul(") == 5
    assert re.search(r"theta <- \w+\(", text)
    assert re.search(r"sum 0 <- add\(sum 0, ", text)
    replay(plan)()
    after = plan.arrays[0].copy()
    assert plan.describe() == text
    np.testing.assert_array_equal(plan.arrays[0], after)
    assert len(text.splitlines()) < 130
