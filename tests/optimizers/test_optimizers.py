"""Every optimizer against the algorithm in its paper, and against other people's code."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import pytest

from xpnn import select
from xpnn.backends import scalar
from xpnn.engine.trees import leaves
from xpnn.optimizers import (
    SGD,
    Adam,
    AdamW,
    LossScaler,
    RMSprop,
    Transformation,
    add_decayed_weights,
    chain,
    clip_by_global_norm,
)

STEPS, SIZE = 20, 6
GENERATOR = np.random.default_rng(0)
START = GENERATOR.normal(size=SIZE)
CURVATURE = GENERATOR.uniform(0.1, 3.0, SIZE)
NOISE = GENERATOR.normal(size=(STEPS, SIZE))


def gradient(theta, step):
    """Of a bowl, seen through noise that is the same for everybody."""
    return CURVATURE * theta + 0.3 * NOISE[step]


# The algorithms as the papers write them: one parameter at a time, Python floats.


def sgd(theta, g, memory, t, rate=0.05):
    return theta - rate * g


def momentum(theta, g, memory, t, rate=0.05, mu=0.9):
    memory["v"] = mu * memory.get("v", 0.0) - rate * g
    return theta + memory["v"]


def nesterov(theta, g, memory, t, rate=0.05, mu=0.9):
    """Bengio et al. (2013), equation 7: theta is where the look ahead ends."""
    before = memory.get("v", 0.0)
    memory["v"] = mu * before - rate * g
    return theta + mu * mu * before - (1 + mu) * rate * g


def rmsprop(theta, g, memory, t, rate=0.01, rho=0.8, eps=1e-5):
    memory["r"] = rho * memory.get("r", 0.0) + (1 - rho) * g**2
    return theta - rate / (math.sqrt(memory["r"]) + eps) * g


def adam(theta, g, memory, t, rate=0.02, b1=0.8, b2=0.99, eps=1e-6):
    """Kingma & Ba (2015), algorithm 1, with the end of section 2's reordering."""
    memory["m"] = b1 * memory.get("m", 0.0) + (1 - b1) * g
    memory["v"] = b2 * memory.get("v", 0.0) + (1 - b2) * g**2
    m_hat, v_hat = memory["m"] / (1 - b1**t), memory["v"] / (1 - b2**t)
    return theta - rate * m_hat / (math.sqrt(v_hat) + eps / math.sqrt(1 - b2**t))


def adamw(theta, g, memory, t, rate=0.02, decay=0.1):
    return adam(theta, g, memory, t, rate) - rate * decay * theta


def decayed(theta, g, memory, t):
    return momentum(theta, g, memory, t) - 0.05 * 0.1 * theta


def clipped(theta, g, memory, t):
    return sgd(theta, g, memory, t)


CASES = {
    "SGD": (SGD(0.05), sgd),
    "momentum": (SGD(0.05, momentum=0.9), momentum),
    "Nesterov": (SGD(0.05, momentum=0.9, nesterov=True), nesterov),
    "RMSprop": (RMSprop(0.01, rho=0.8, eps=1e-5), rmsprop),
    "Adam": (Adam(0.02, beta1=0.8, beta2=0.99, eps=1e-6), adam),
    "AdamW": (AdamW(0.02, beta1=0.8, beta2=0.99, eps=1e-6, weight_decay=0.1), adamw),
    "clipped": (chain(clip_by_global_norm(0.7), SGD(0.05)), clipped),
    "decayed": (chain(add_decayed_weights(0.1), SGD(0.05, momentum=0.9)), decayed),
}


def expected(name):
    """Parameters after each step, in plain Python."""
    theta, memories, path = START.copy(), [{} for _ in range(SIZE)], []
    for step in range(STEPS):
        g = gradient(theta, step)
        if name == "clipped":
            g = g * min(1.0, 0.7 / np.linalg.norm(g))
        theta = np.array([
            CASES[name][1](float(w), float(d), memory, step + 1)
            for w, d, memory in zip(theta, g, memories, strict=True)
        ])  # fmt: skip
        path.append(theta)
    return path


def run(optimizer, backend):
    """Parameters after each step, with xpnn."""
    xp = backend.xp
    theta, bowl = backend.asarray(START), backend.asarray(CURVATURE)

    def number(value):
        return scalar(value, xp, backend.device, backend.dtype)

    rate = number(optimizer.learning_rate)
    state, path = optimizer.init(theta, xp=xp), []
    for step in range(STEPS):
        grad = bowl * theta + 0.3 * backend.asarray(NOISE[step])
        theta, state = optimizer.update(theta, grad, state, rate, number(step + 1), xp=xp)
        path.append(theta)
    return path, state


@pytest.mark.usefixtures("current")
@pytest.mark.parametrize("name", CASES)
def test_twenty_steps(name, backend, assert_close):
    path, state = run(CASES[name][0], backend)
    for found, wanted in list(zip(path, expected(name), strict=True))[:: STEPS - 1]:
        assert_close(found, wanted, backend)
    for array in leaves(state):
        assert array.dtype == backend.dtype
        assert tuple(array.shape) == (SIZE,)


def make_torch(name, theta):
    from torch import optim

    return {
        "SGD": lambda: optim.SGD([theta], lr=0.05),
        "momentum": lambda: optim.SGD([theta], lr=0.05, momentum=0.9),
        "Nesterov": lambda: optim.SGD([theta], lr=0.05, momentum=0.9, nesterov=True),
        "RMSprop": lambda: optim.RMSprop([theta], lr=0.01, alpha=0.8, eps=1e-5),
        "Adam": lambda: optim.Adam([theta], lr=0.02, betas=(0.8, 0.99)),
        "AdamW": lambda: optim.AdamW([theta], lr=0.02, betas=(0.8, 0.99), weight_decay=0.1),
    }[name]()


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("clipped", "decayed")])
def test_twenty_steps_of_torch(name, use_library):
    """PyTorch's velocity lacks the learning rate, which is the same while that is constant.

    Its Adam corrects the second moment before adding `eps`: ours is `eps` times
    ``sqrt(1 - beta2**t)`` there, so it is handed that.
    """
    use_library("torch")
    import torch

    theta = torch.tensor(START.copy(), dtype=torch.float64)
    optimizer = make_torch(name, theta)
    for step in range(STEPS):
        theta.grad = torch.tensor(gradient(theta.numpy(), step))
        if name.startswith("Adam"):
            optimizer.param_groups[0]["eps"] = 1e-6 / math.sqrt(1 - 0.99 ** (step + 1))
        optimizer.step()
    found = run(CASES[name][0], select("numpy"))[0][-1]
    np.testing.assert_allclose(found, theta.numpy(), rtol=1e-12)


def test_twenty_steps_of_scikit_learn():
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

    theta = [START.copy()]
    optimizer = AdamOptimizer(theta, 0.02, 0.8, 0.99, 1e-6)
    for step in range(STEPS):
        optimizer.update_params(theta, [gradient(theta[0], step)])
    found = run(CASES["Adam"][0], select("numpy"))[0][-1]
    np.testing.assert_allclose(found, theta[0], rtol=1e-12)


def test_adams_correction_keeps_its_digits_in_float32():
    """``1 - 0.999`` in float32 is off by 1e-5; the first step must be the rate all the same."""
    zero, one = np.zeros(1, "float32"), np.float32(1.0)
    optimizer = Adam(0.001)
    state = optimizer.init(zero, xp=np)
    theta, _ = optimizer.update(zero, zero + 3, state, np.float32(0.001), one, xp=np)
    assert theta.dtype == np.float32
    np.testing.assert_allclose(theta, -0.001, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_update_is_pure(name):
    optimizer = CASES[name][0]
    theta, grad = np.ones(3), np.full(3, 2.0)
    state = optimizer.init(theta, xp=np)
    for array in (theta, grad, *leaves(state)):
        array.flags.writeable = False
    rate, count = np.asarray(0.1), np.asarray(1.0)
    first = optimizer.update(theta, grad, state, rate, count, xp=np)
    second = optimizer.update(theta, grad, state, rate, count, xp=np)
    np.testing.assert_array_equal(first[0], second[0])


@pytest.mark.parametrize("name", [n for n in CASES if n != "clipped"])
def test_clipping_leaves_short_gradients_alone(name):
    optimizer = CASES[name][0]
    path, _ = run(chain(clip_by_global_norm(1e6), optimizer), select("numpy"))
    np.testing.assert_array_equal(path[-1], run(optimizer, select("numpy"))[0][-1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(0.0), r"learning_rate is 0\.0; expected a finite number above 0"),
        (lambda: SGD(float("nan")), "learning_rate is nan; expected"),
        (lambda: SGD(0.1, momentum=1.0), r"momentum is 1\.0; expected 0 <= momentum < 1"),
        (lambda: SGD(0.1, nesterov=True), "nesterov=True needs momentum above 0"),
        (lambda: RMSprop(rho=1.5), r"rho is 1\.5; expected 0 <= rho < 1"),
        (lambda: RMSprop(eps=-1.0), r"eps is -1\.0; expected a finite number above 0"),
        (lambda: Adam(beta1=-0.1), r"beta1 is -0\.1; expected 0 <= beta1 < 1"),
        (lambda: Adam(beta2=1.0), r"beta2 is 1\.0; expected"),
        (lambda: Adam(eps=0.0), r"eps is 0\.0; expected a finite"),
        (lambda: AdamW(weight_decay=-1.0), r"weight_decay is -1\.0; expected 0 or more"),
        (lambda: AdamW(learning_rate=-1.0), r"learning_rate is -1\.0; expected"),
        (
            lambda: chain(add_decayed_weights(-1.0), SGD(0.1)),
            r"weight_decay is -1\.0; expected 0 or",
        ),
        (lambda: LossScaler(0.0), r"init_scale is 0\.0; expected a finite number above 0"),
        (lambda: LossScaler(2.0**65), r"init_scale is .*; expected 2\*\*-64 to 2\*\*64"),
        (lambda: LossScaler(growth_factor=0.5), r"growth_factor is 0\.5; expected 1 or more"),
        (lambda: LossScaler(backoff_factor=1.0), r"backoff_factor is 1\.0; expected 0 < backoff"),
        (lambda: LossScaler(growth_interval=0), "growth_interval is 0; expected a positive int"),
        (
            lambda: chain(clip_by_global_norm(0), SGD(0.1)),
            r"max_norm is 0; expected a finite number",
        ),
        (lambda: SGD("0.1"), "learning_rate is '0.1'; expected a number or a Schedule"),
        (lambda: SGD(None), "learning_rate is None; expected a number or a Schedule"),
        (lambda: Adam(learning_rate=True), "learning_rate is True; expected a number or a Sche"),
        (lambda: SGD(0.1, momentum=None), "momentum is None; expected a number"),
        (lambda: Adam(beta1=True), "beta1 is True; expected a number"),
        (lambda: AdamW(weight_decay="x"), "weight_decay is 'x'; expected a number"),
        (lambda: clip_by_global_norm([1.0]), r"max_norm is \[1\.0\]; expected a number"),
        (lambda: LossScaler("dynamic"), "init_scale is 'dynamic'; expected a number"),
    ],
)
def test_constructors_say_what_is_wrong(make, message):
    """What is no number is a TypeError, what is out of range a ValueError."""
    with pytest.raises(TypeError if "; expected a number" in message else ValueError) as caught:
        make()
    assert re.match(message, str(caught.value))


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(np.float64(0.1), np.float32(0.5), nesterov=True),
        RMSprop(np.float32(0.1), rho=np.float64(0.5), eps=np.float32(1e-3)),
        AdamW(np.int64(1), np.float64(0.5), np.float64(0.75), np.float32(0.5), np.int8(1)),
        chain(clip_by_global_norm(np.float64(0.1)), add_decayed_weights(np.float64(0.1)), SGD()),
    ],
)
def test_numpys_numbers_do_not_change_the_dtype(optimizer):
    theta, one = np.ones(3, "float32"), np.asarray(1.0, "float32")
    state = optimizer.init(theta, xp=np)
    found, state = optimizer.update(theta, theta, state, one, one, xp=np)
    assert {array.dtype for array in (found, *leaves(state))} == {np.dtype("float32")}


def test_a_chain_applies_its_links_in_order():
    """Decay before a step from a clipped gradient; a chain in a chain is one chain."""
    theta, gradient = np.array([3.0, -4.0]), np.array([6.0, 8.0])
    rate, count = np.asarray(0.5), np.asarray(1.0)
    whole = chain(clip_by_global_norm(5.0), add_decayed_weights(0.1), SGD(0.5))
    nested = chain(clip_by_global_norm(5.0), chain(add_decayed_weights(0.1), SGD(0.5)))
    assert whole == nested
    state = whole.init(theta, xp=np)
    found, _ = whole.update(theta, gradient, state, rate, count, xp=np)
    np.testing.assert_allclose(found, 0.95 * theta - 0.5 * np.array([3.0, 4.0]), rtol=1e-15)


@dataclass(frozen=True)
class Trace(Transformation):
    """A user's own: adds the gradients up, and hands the sum on."""

    def init(self, theta, *, xp):
        return (xp.zeros_like(theta),)

    def update(self, theta, gradient, state, learning_rate, *, xp):
        total = state[0] + gradient
        return theta, total, (total,)


def test_a_transformation_has_a_state_of_its_own():
    optimizer = chain(Trace(), SGD(1.0))
    theta, one = np.zeros(2), np.asarray(1.0)
    state = optimizer.init(theta, xp=np)
    for _ in range(3):
        theta, state = optimizer.update(theta, np.ones(2), state, one, one, xp=np)
    assert theta.tolist() == [-6.0, -6.0]
    assert state[1][0][0].tolist() == [3.0, 3.0]


def step(optimizer, theta, gradient, state):
    one = np.asarray(1.0)
    return optimizer.update(theta, np.asarray(gradient), state, one, one, xp=np)


def test_a_skipped_step_leaves_all_states_but_the_scalers():
    optimizer = chain(LossScaler(8.0, growth_interval=2), Trace(), SGD(1.0, momentum=0.5))
    theta = np.zeros(2)
    state = optimizer.init(theta, xp=np)
    assert optimizer.loss_scale(state) == 8.0
    moved, after = step(optimizer, theta, [8.0, 16.0], state)
    assert moved.tolist() == [-1.0, -2.0]
    stayed, then = step(optimizer, moved, [np.inf, 1.0], after)
    assert stayed.tolist() == moved.tolist()
    assert [a.tolist() for a in leaves(then[1:])] == [a.tolist() for a in leaves(after[1:])]
    assert optimizer.loss_scale(then) == 4.0
    assert optimizer.loss_scaler.skipped(then[0]) == 1.0


def test_a_scale_that_stays_skips_nothing():
    optimizer = chain(LossScaler(8.0, growth_interval=None), SGD(1.0))
    theta, state = step(optimizer, np.zeros(2), [8.0, np.inf], optimizer.init(np.zeros(2), xp=np))
    assert theta.tolist() == [-1.0, -np.inf]
    assert optimizer.loss_scale(state) == 8.0
    assert leaves(state) == []
    assert SGD(1.0).loss_scale(()) is None


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ((), "the last link of the chain is missing; expected an Optimizer"),
        ((clip_by_global_norm(1.0),), r"the last link of the chain is clip_by.*; expected an Opt"),
        ((SGD(), Adam()), r"SGD\(.* stands before the end of the chain; expected a transformation"),
        ((clip_by_global_norm(1.0), LossScaler(), SGD()), r"LossScaler\(.* stands before the end"),
        ((LossScaler(), chain(LossScaler(), SGD())), r"LossScaler\(.* stands before the end"),
    ],
)
def test_a_link_in_the_wrong_place_is_refused(links, message):
    with pytest.raises(TypeError, match=message):
        chain(*links)
