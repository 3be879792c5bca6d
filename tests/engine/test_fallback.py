"""Where the engine has no rule for an operation the pure step runs as it is, and says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from xpnn import Network
from xpnn.backends import select
from xpnn.layers import CustomActivation, Dropout, Layer, Parameter
from xpnn.optimizers import SGD, Adam, CosineWarmup, Optimizer
from xpnn.training import step

ENGINES = ["auto", "planned", "native"]
SOURCE = np.random.default_rng(0)
X, LABELS = SOURCE.normal(size=(23, 5)), SOURCE.integers(3, size=23)
WEIGHT = SOURCE.uniform(0.5, 2.0, 23)


LAYERS = {
    # Control flow that depends on data.
    "bool": CustomActivation(
        lambda x, xp: x * 1.5 if bool(xp.max(x) > 0) else x, lambda x, y, dy, xp: dy * 1.5
    ),
    # Tracing arrays do not have it at all.
    "nbytes": CustomActivation(
        lambda x, xp: x * (x.nbytes // x.size // x.itemsize), lambda x, y, dy, xp: dy
    ),
    # There is a rule for full batches only.
    "float": CustomActivation(
        lambda x, xp: x * 1.5 if x.shape[0] == 8 else x * (1.5 + 0 * float(xp.sum(x))),
        lambda x, y, dy, xp: dy * 1.5,
    ),
}
RUNNING_SUM = CustomActivation(
    lambda x, xp: xp.cumulative_sum(x, axis=1),
    # What comes at and after each unit.
    lambda x, y, dy, xp: xp.flip(xp.cumulative_sum(xp.flip(dy, axis=1), axis=1), axis=1),
)
SORT = CustomActivation(
    lambda x, xp: xp.sort(x, axis=1),
    lambda x, y, dy, xp: xp.take_along_axis(dy, xp.argsort(xp.argsort(x, axis=1), axis=1), axis=1),
)
pytestmark = pytest.mark.filterwarnings("ignore:engine=.*the pure step runs:RuntimeWarning")


@pytest.fixture
def runners(monkeypatch):
    """Every runner that a training makes."""
    made, make_runner = [], step.make_runner
    monkeypatch.setattr(
        step, "make_runner", lambda *a, **k: made.append(make_runner(*a, **k)) or made[-1]
    )
    return made


def train(layers, engine, dtype="float64", **options):
    network = Network(5, layers, seed=1)
    options = {"epochs": 3, "batch_size": 8, "optimizer": Adam(0.02), "seed": 2} | options
    history = network.fit(X.astype(dtype), LABELS, engine=engine, **options)
    return network, history


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a[0].theta, b[0].theta)
        assert a[1].loss == b[1].loss
        assert a[0].theta.dtype == b[0].theta.dtype


@pytest.mark.parametrize("name", LAYERS)
def test_the_pure_step_takes_over_and_is_named(name):
    layers = [6, "tanh", LAYERS[name], 3]
    with pytest.warns(RuntimeWarning, match=f"engine='planned': the pure step .*{name}"):
        found = train(layers, "planned")
    assert found[1].engine.startswith("pure: the engine has no rule for ")
    assert name in found[1].engine
    assert_same([found], [train(layers, "pure")])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": False},
        {"batch_size": None},
        {"batch_size": 1, "epochs": 2},
        {"sample_weight": WEIGHT, "l2": 0.01},
        {"optimizer": SGD(CosineWarmup(0.05, warmup=1))},
    ],
    ids=lambda options: ", ".join(options),
)
def test_noise_that_was_drawn_is_not_lost(name, options, engine):
    """The first batch's noise is drawn before the engine finds that it has no rule."""
    layers = [Dropout(0.2), 6, "relu", LAYERS[name], Dropout(0.5), 3]
    assert_same([train(layers, engine, **options)], [train(layers, "pure", **options)])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_generator_is_left_as_the_pure_step_leaves_it(engine):
    """Two trainings after one another with the network's own generator."""
    pairs = []
    for mode in (engine, "pure"):
        network = Network(5, [6, RUNNING_SUM, Dropout(0.5), 3], seed=1)
        losses = [network.fit(X, LABELS, epochs=2, engine=mode).loss for _ in range(2)]
        pairs.append((network.theta, losses, network.generator.random()))
    np.testing.assert_array_equal(pairs[0][0], pairs[1][0])
    assert pairs[0][1:] == pairs[1][1:]


@pytest.mark.parametrize(("epochs", "engine"), [(2, "pure"), (4000, "native")])
def test_auto_plans_what_is_long_enough(epochs, engine, runners):
    """Three steps an epoch: six of them are over before a plan is made."""
    if engine == "native":
        pytest.importorskip("llvmlite", reason="native code needs llvmlite")
    layers, options = [6, "gelu", 3], {"epochs": epochs, "report_every": 500}
    found = train(layers, "auto", **options)
    assert runners[0].engine == engine
    assert_same([found], [train(layers, "pure", **options)])


@pytest.mark.parametrize("engine", ["planned", "native"])
def test_a_library_without_plans_says_so(engine, use_library):
    use_library("array_api_strict")
    strict = select("array_api_strict")
    network = Network(5, [3], seed=1, backend=strict)
    with pytest.warns(UserWarning, match=f"engine='{engine}': these steps run as they are, on arr"):
        history = network.fit(strict.asarray(X), strict.asarray(LABELS), epochs=1, engine=engine)
    assert history.engine == "pure"
    network.fit(strict.asarray(X), strict.asarray(LABELS), epochs=1)  # nothing was asked for


def test_arrays_of_the_user_are_only_read():
    x, t = X.copy(), LABELS.copy()
    for array in (x, t):
        array.flags.writeable = False
    network = Network(5, [6, RUNNING_SUM, 3], seed=1)
    theta = np.array(network.theta)
    network.theta = theta
    network.fit(x, t, epochs=2)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(theta, Network(5, [6, RUNNING_SUM, 3], seed=1).theta)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("layer", [RUNNING_SUM, SORT], ids=["cumulative_sum", "sort"])
def test_a_function_without_native_code_stays_a_call(layer, engine):
    layers = [6, "tanh", layer, Dropout(0.5), 3]
    found = train(layers, engine)
    assert_same([found], [train(layers, "pure")])
    whole = {"batch_size": None, "shuffle": False, "epochs": 6}  # rows are read where they are
    assert_same(*([train([layer, 4, 3], mode, **whole)] for mode in (engine, "pure")))
    if engine == "native":
        assert found[1].engine.startswith("native, but for calls of NumPy: ")
        assert ("sort" if layer is SORT else "cumulative_sum") in found[1].engine


@pytest.mark.parametrize("engine", [*ENGINES, "pure"])
def test_a_mistake_of_the_users_is_raised_as_it_is(engine):
    broken = CustomActivation(lambda x, xp: x @ x, lambda x, y, dy, xp: dy)
    with pytest.raises(ValueError, match="mismatch in its core dimension"):
        train([6, broken, 3], engine)


@dataclass(frozen=True)
class Heavy(Optimizer):
    """Keeps old values in all ways: a moving state that swaps, shifts and stays."""

    learning_rate: float = 0.05

    def init(self, theta, *, xp):
        zeros = xp.zeros_like(theta)
        return zeros, zeros, zeros, zeros, xp.ones_like(theta)

    def update(self, theta, gradient, state, learning_rate, count, *, xp):
        old_theta, old_grad, a, b, mask = state
        step = gradient + 0.1 * old_grad + 0.01 * (theta - old_theta) + 0.001 * (a - b)
        new = xp.where(mask > 0.5, theta - learning_rate * step, theta)
        return new, (theta, gradient, b, a + gradient, mask)


@dataclass(frozen=True)
class Sparse(Optimizer):
    """Leaves parameters as they are where the gradient is small."""

    learning_rate: float = 0.05

    def update(self, theta, gradient, state, learning_rate, count, *, xp):
        return xp.where(xp.abs(gradient) < 0.01, theta, theta - learning_rate * gradient), ()


@dataclass(frozen=True)
class Widening(Optimizer):
    """Its state becomes float64 with the first step."""

    learning_rate: float = 0.05

    def init(self, theta, *, xp):
        return (xp.zeros_like(theta),)

    def update(self, theta, gradient, state, learning_rate, count, *, xp):
        mean = 0.9 * state[0] + xp.astype(gradient, xp.float64)
        return theta - learning_rate * mean, (mean,)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("optimizer", [Heavy(), Sparse(), Widening()], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optimizers_of_the_users_own(optimizer, dtype, engine):
    """State that is kept, moved or exchanged is the same as in the pure step."""
    layers, options = [6, "tanh", 3], {"optimizer": optimizer}
    assert_same(*([train(layers, mode, dtype, **options)] for mode in (engine, "pure")))


@dataclass(frozen=True, repr=False)
class Slope(Layer):
    """A rectifier with one number as its parameter, taken out of the vector by an index."""

    def parameters(self, inputs):
        return (Parameter("slope", (1,), lambda generator: np.full(1, 0.25)),)

    def forward(self, params, x, noise, *, xp):
        return xp.where(x > 0, x, params[0][0] * x), (x,)

    def backward(self, params, saved, dy, *, xp, input_gradient=True):
        (x,) = saved
        zero = dy * 0.0
        dslope = xp.reshape(xp.sum(xp.where(x > 0, zero, x * dy)), (1,))
        return xp.where(x > 0, dy, params[0][0] * dy), (dslope,)


def test_a_parameter_that_is_one_number_has_a_plan(runners):
    layers = [6, Slope(), 3]
    assert_same([train(layers, ENGINES[-1], l2=0.01)], [train(layers, "pure", l2=0.01)])
    assert runners[0].engine == ENGINES[-1]
