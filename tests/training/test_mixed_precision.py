"""Forward and backward in 16 bits, parameters in float32."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from xpnn import Callback, Network, select
from xpnn.backends import dtype_name, jit, to_host
from xpnn.engine import NumpyRunner
from xpnn.layers import Dense, Dropout
from xpnn.optimizers import (
    SGD,
    Adam,
    LossScaler,
    chain,
    clip_by_global_norm,
)
from xpnn.training import CheckpointError
from xpnn.training.checkpoint import read_checkpoint
from xpnn.training.options import Precision
from xpnn.training.step import Batch, Step, make_means, make_sums

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(60, 5))
LABELS = (X @ GENERATOR.normal(size=(5, 3))).argmax(axis=1)
WEIGHT = GENERATOR.uniform(0.5, 2.0, 60)
# How far a gradient may be from float64's: some roundings to 11 and to 8 bits.
LIMIT = {"float16": 2.0**-9, "bfloat16": 2.0**-6}
PLACES = [
    ("numpy", "float16"), ("numpy", "bfloat16"), ("cupy", "float16"), ("cupy", "bfloat16"),
    ("torch", "float16"), ("torch", "bfloat16"), ("jax", "float16"), ("jax", "bfloat16"),
]  # fmt: skip
FLOAT16 = [place for place in PLACES if place[1] == "float16"]


def choose(use_library, name, dtype):
    use_library(name)
    if dtype == "bfloat16" and name in ("numpy", "cupy"):
        pytest.importorskip("ml_dtypes", reason=f"bfloat16 on {name} needs ml_dtypes")
    return select(name, dtype="float32"), dtype


@pytest.fixture(params=PLACES, ids="-".join)
def half(request, use_library):
    """Each library that has 16-bit floats, with float32 parameters, and the dtype's name."""
    return choose(use_library, *request.param)


@pytest.fixture(params=FLOAT16, ids="-".join)
def float16(request, use_library):
    """The same, float16 only."""
    return choose(use_library, *request.param)[0]


def network(backend, **options):
    layers = [8, "gelu", Dropout(0.2), 6, "tanh", 3]
    return Network(5, layers, **{"seed": 3, "backend": backend} | options)


def noise_of(net, backend):
    shape = net.layers.noise(net.inputs, len(X))
    draw = np.random.default_rng(1)
    return tuple(None if s is None else backend.asarray(draw.random(s), "float32") for s in shape)


def gradient_function(net, backend, precision, l2=0.0):
    """``(theta, batch, scale) -> (gradient, loss)`` of what steps are made of."""
    xp, loss = backend.xp, net.loss
    sums = make_sums(net.layers, net.tree, loss, xp=xp, precision=precision)
    means = make_means(net.tree, loss, l2, xp=xp, l2_per_row=True)

    def function(theta, batch, scale):
        return means(theta, sums(theta, Batch(*batch), scale), scale)

    return jit(function, backend.name)


def gradient_of(backend, precision, scale=None):
    """Gradient and loss of a network with everything: dropout, row weights, L2."""
    net = network(backend)
    arrays = [backend.asarray(X), backend.asarray(LABELS, "int64"), backend.asarray(WEIGHT)]
    number = None if scale is None else backend.asarray(np.asarray(scale))
    function = gradient_function(net, backend, precision, 0.1)
    return function(net.theta, (*arrays, noise_of(net, backend)), number)


def test_gradients_are_those_of_float64_to_half_precision(half):
    backend, dtype = half
    expected, expected_loss = gradient_of(select("numpy", dtype="float64"), Precision())
    scale = 2.0**10
    gradient, loss = gradient_of(backend, Precision(dtype), scale)
    assert dtype_name(loss.dtype) == dtype_name(gradient.dtype) == "float32"
    assert float(to_host(loss)) == pytest.approx(float(expected_loss), rel=LIMIT[dtype])
    found = to_host(gradient).astype("float64") / scale
    assert np.linalg.norm(found - expected) < LIMIT[dtype] * np.linalg.norm(expected)


def test_what_float16_cannot_hold_a_scale_keeps(float16):
    """Errors of 4e-6, shared out among 600 rows, are below the smallest float16."""
    net = Network(1, [Dense(1, bias=False)], loss="mean_squared_error", backend=float16, seed=0)
    rows = float16.asarray(np.ones((600, 1)))
    function = gradient_function(net, float16, Precision("float16"))

    def found(scale):
        number = None if scale is None else float16.asarray(np.asarray(scale))
        gradient, _ = function(net.theta * 0.0, (rows, rows * -4e-6, None, (None,)), number)
        return float(to_host(gradient)[0])

    assert found(None) == 0.0
    assert found(2.0**16) / 2.0**16 == pytest.approx(8e-6, rel=2.0**-8)


def take_steps(backend, optimizer, gradients, precision):
    """Hand an optimizer gradients one after another; return all carries."""
    xp, net = backend.xp, network(backend)
    wrapped = precision.optimizer(optimizer)
    theta, state = net.theta, wrapped.init(net.theta, xp=xp)
    seen = [(theta, state)]
    for number, gradient in enumerate(gradients, 1):
        scale = wrapped.loss_scale(state)
        rate, count = (backend.asarray(np.asarray(v, "float64")) for v in (0.1, float(number)))
        with precision.scope(xp):
            theta, state = wrapped.update(theta, gradient * scale, state, rate, count, xp=xp)
        seen.append((theta, state))
    return seen


def numbers(state):
    return [float(to_host(n)) for n in state[0]]


@pytest.mark.usefixtures("current")
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan], ids=str)
@pytest.mark.parametrize(
    "optimizer",
    [Adam(0.1), SGD(0.1, 0.9), chain(clip_by_global_norm(1.0), Adam(0.1))],
    ids=["Adam", "SGD", "clipped"],
)
def test_an_overflow_halves_the_scale_and_changes_nothing_else(optimizer, bad, backend):
    """On the whole matrix, strict devices too: the arithmetic is of the array API alone."""
    size = network(backend).size
    good = backend.asarray(np.linspace(-1, 1, size))
    wrong = backend.asarray(np.where(np.arange(size) == size - 1, bad, 0.5))
    precision = Precision("float16", LossScaler(2.0**16, growth_interval=3))
    seen = take_steps(backend, optimizer, [good, wrong, good, good, good], precision)
    (before, state), (after, then) = seen[1:3]
    assert to_host(after).tobytes() == to_host(before).tobytes()
    for a, b in zip(state[2], then[2], strict=True):
        assert to_host(a).tobytes() == to_host(b).tobytes()
    scales = [numbers(state) for _, state in seen]
    assert scales == [
        [2.0**16, 0, 0], [2.0**16, 1, 0], [2.0**15, 0, 1], [2.0**15, 1, 1], [2.0**15, 2, 1],
        [2.0**16, 0, 1],
    ]  # fmt: skip
    # The skipped step is not counted either: what follows is as if it had never been.
    straight = take_steps(backend, optimizer, [good, good, good, good], precision)
    assert to_host(seen[-1][0]).tobytes() == to_host(straight[-1][0]).tobytes()


@pytest.mark.usefixtures("current")
def test_the_scale_stays_a_normal_number(backend):
    optimizer, net = chain(LossScaler(2.0**64, growth_interval=1), SGD()), network(backend)
    zero = backend.asarray(np.zeros(net.size))
    one = backend.asarray(np.asarray(1.0))
    _, state = optimizer.update(
        net.theta, zero, optimizer.init(net.theta, xp=backend.xp), one, one, xp=backend.xp
    )
    assert numbers(state)[0] == 2.0**64


def test_a_step_of_float16_that_overflows_is_skipped(float16):
    """The errors of scores near 0 times 2**40 are infinite in float16, and the layers keep it."""
    precision = Precision("float16", LossScaler(2.0**40))
    net, xp = network(float16), float16.xp
    optimizer = precision.optimizer(Adam(0.1))
    step = Step(net.layers, net.tree, net.loss, optimizer, precision=precision)
    update = jit(step.update(xp), float16.name)
    one, zero = (float16.asarray(np.asarray(v)) for v in (1.0, 0.0))
    batch = (
        float16.asarray(X),
        float16.asarray(LABELS, "int64"),
        None,
        noise_of(net, float16),
        one,
    )
    with precision.scope(xp):
        carry = (net.theta, optimizer.init(net.theta, xp=xp), zero)
        (theta, after, _), (loss,) = update(carry, (zero,), batch)
    assert np.isfinite(to_host(loss))
    assert to_host(theta).tobytes() == to_host(net.theta).tobytes()
    assert numbers(after) == [2.0**39, 0.0, 1.0]


def test_a_scale_that_is_too_large_comes_down_by_itself(float16):
    net = network(float16)
    x, t = float16.asarray(X), float16.asarray(LABELS, "int64")
    options = {"epochs": 20, "batch_size": 20, "learning_rate": 0.02}
    history = net.fit(x, t, compute_dtype="float16", loss_scale=LossScaler(2.0**30), **options)
    assert dtype_name(net.theta.dtype) == "float32"
    assert history.loss[-1] < 0.7 * history.loss[0]


@pytest.fixture(scope="module")
def digits():
    x, t = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order] / 16, t[order]


def read_digits(backend, digits, **options):
    x, t = backend.asarray(digits[0]), backend.asarray(digits[1], "int64")
    net = Network(64, [32, "relu", 10], seed=0)
    net.fit(
        x[:1440, ...], t[:1440, ...], epochs=6, batch_size=96, learning_rate=0.02, seed=1, **options
    )
    return net.accuracy(x[1440:, ...], t[1440:, ...])


def test_digits_are_read_as_well_as_in_float32(half, digits):
    """Within 1.5 points of accuracy: 357 digits are held out, a point is four of them."""
    backend, dtype = half
    expected = read_digits(select("numpy", dtype="float32"), digits)
    assert expected > 0.93
    assert abs(read_digits(backend, digits, compute_dtype=dtype) - expected) <= 0.015


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_steps_are_not_lost(dtype):
    """Of steps of 1e-5 from a weight of 1, 16-bit parameters would keep none."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 on NumPy needs ml_dtypes")
    x = np.ones((1, 1), "float32")
    net = Network(1, [Dense(1, bias=False)], loss="sum_squared_errors", backend="numpy",
                  dtype="float32")  # fmt: skip
    net.assign(**{"0.weights": [[1.0]]})
    net.fit(x, x * 0, epochs=100, optimizer=SGD(5e-6), compute_dtype=dtype, loss_scale=1.0)
    assert 1 - float(net.theta[0]) == pytest.approx(1e-3, rel=0.01)


# How it runs


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("engine", ["plan", "kernels"])
def test_planned_steps_are_the_pure_ones(engine, dtype, monkeypatch):
    if engine == "kernels":
        pytest.importorskip("numba", reason="engine='kernels' needs Numba")
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 on NumPy needs ml_dtypes")
    options = {
        "epochs": 3, "batch_size": 16, "l2": 1e-3, "learning_rate": 0.01, "sample_weight": WEIGHT,
        "compute_dtype": dtype, "loss_scale": LossScaler(2.0**36, growth_interval=4),
    }  # fmt: skip
    backend = select("numpy", dtype="float32")
    pure, planned = network(backend), network(backend)
    expected = pure.fit(X, LABELS, engine="pure", **options)
    # The engine has a rule for all of it: reading a number on the way would be an error.
    monkeypatch.setattr(NumpyRunner, "_fall_back", lambda self, reason: pytest.fail(reason))
    found = planned.fit(X, LABELS, engine=engine, **options)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    np.testing.assert_allclose(planned.theta, pure.theta, rtol=1e-4, atol=1e-5)


def test_a_fixed_scale_and_none_change_nothing_that_float16_can_hold():
    backend = select("numpy", dtype="float32")
    found = []
    for scale in (1.0, 2.0**8, "dynamic", LossScaler(), None):
        net = network(backend)
        net.fit(X, LABELS, epochs=2, compute_dtype="float16", loss_scale=scale)
        found.append(net.theta)
    for theta in found[1:]:
        np.testing.assert_allclose(theta, found[0], atol=2e-3)
    assert found[2].tobytes() == found[3].tobytes() == found[4].tobytes()


def test_a_fixed_scale_that_overflows_is_an_error():
    net = network(select("numpy", dtype="float32"))
    before = net.theta.tobytes()
    with pytest.raises(
        FloatingPointError, match="the network keeps the weights from before the training"
    ):
        net.fit(X, LABELS, epochs=2, compute_dtype="float16", loss_scale=2.0**40)
    assert net.theta.tobytes() == before


def test_numpys_settings_are_as_they_were():
    before = np.geterr()
    network(select("numpy", dtype="float32")).fit(
        X, LABELS, epochs=1, compute_dtype="float16", loss_scale=LossScaler(2.0**40)
    )
    assert np.geterr() == before


# Checkpoints


class Crash(Callback):
    def on_epoch_end(self, run):
        if run.history.epochs == 3:
            raise RuntimeError("crash")


@pytest.mark.parametrize("engine", ["plan", "pure"])
def test_a_crash_changes_no_byte(tmp_path, engine):
    backend = select("numpy", dtype="float32")
    options = {
        "epochs": 6, "batch_size": 16, "learning_rate": 0.02, "compute_dtype": "float16",
        "loss_scale": LossScaler(2.0**24, growth_interval=5), "engine": engine,
    }  # fmt: skip
    expected = network(backend)
    history = expected.fit(X, LABELS, **options)
    path = tmp_path / "c"
    with pytest.raises(RuntimeError, match="crash"):
        network(backend).fit(X, LABELS, checkpoint=path, callbacks=[Crash()], **options)
    scale, _, skipped = (read_checkpoint(path).arrays[f"carry.{i}"] for i in (1, 2, 3))
    assert scale < 2.0**24
    assert skipped > 0
    assert sum(read_checkpoint(path).history().skipped) == skipped
    found = network(backend)
    again = found.fit(X, LABELS, checkpoint=path, resume=True, **options)
    assert found.theta.tobytes() == expected.theta.tobytes()
    assert again.skipped == history.skipped
    assert again.loss == history.loss
    for changed in ({"compute_dtype": None, "loss_scale": None}, {"precision": "high"}):
        with pytest.raises(CheckpointError, match=next(iter(changed))):
            network(backend).fit(X, LABELS, resume=path, **options | changed)


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute_dtype": "float32"}, "compute_dtype is 'float32'; expected None or one of fl"),
        ({"compute_dtype": "half"}, "compute_dtype is 'half'; expected None or one of float16"),
        ({"loss_scale": 8.0}, "loss_scale is 8.0; it needs compute_dtype='float16'"),
        ({"compute_dtype": "float16", "loss_scale": 0}, "loss_scale is 0; expected 'dynamic', a"),
        ({"compute_dtype": "float16", "loss_scale": True}, "loss_scale is True; expected 'dyn"),
        ({"compute_dtype": "float16", "loss_scale": "much"}, "loss_scale is 'much'; expected"),
        ({"precision": "low"}, "precision is 'low'; expected one of highest, high, medium"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        network(select("numpy", dtype="float32")).fit(X, LABELS, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init_scale": 0.0}, "init_scale is 0.0; expected a finite number"),
        ({"init_scale": np.inf}, "init_scale is inf; expected"),
        ({"growth_factor": 0.5}, "growth_factor is 0.5; expected 1 or more"),
        ({"backoff_factor": 1.0}, "backoff_factor is 1.0; expected 0 < backoff_factor < 1"),
        ({"growth_interval": 0}, "growth_interval is 0; expected a positive integer"),
        ({"growth_interval": 2.5}, "growth_interval is 2.5; expected a positive integer"),
    ],
)
def test_scales_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        LossScaler(**options)


def test_parameters_of_16_bits_are_no_master_weights():
    with pytest.raises(ValueError, match="the parameters are float16; expected float32"):
        network("numpy", dtype="float16").fit(X, LABELS, compute_dtype="float16")


def test_a_library_without_the_dtype_says_so(use_library):
    use_library("array_api_strict")
    backend = select("array_api_strict")
    with pytest.raises(ValueError, match="dtype='float16' is not a dtype of array_api_strict"):
        network(backend).fit(backend.asarray(X), backend.asarray(LABELS), compute_dtype="float16")


def test_without_ml_dtypes_bfloat16_says_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(RuntimeError, match=r"needs ml_dtypes.*pip install \"xpnn\[bfloat16\]\""):
        network(select("numpy", dtype="float32")).fit(X, LABELS, compute_dtype="bfloat16")
