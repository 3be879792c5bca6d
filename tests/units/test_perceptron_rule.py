"""The learning rule as a pure step, and what is read from the device."""

import numpy as np

from xpnn import backends
from xpnn.units import Perceptron
from xpnn.units import perceptron as module
from xpnn.units.perceptron_rule import State, perceptron_step, run_epoch, step_for

SQUARE = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
AND = [0, 0, 0, 1]


def test_an_epoch_reads_nothing_from_the_device(monkeypatch):
    chosen = backends.select("array_api_strict", "device1", "float64")
    x, t = chosen.asarray(SQUARE), chosen.asarray([[0.0], [0.0], [0.0], [1.0]])
    state = State(
        chosen.asarray(np.zeros((2, 1))),
        chosen.asarray(np.zeros(1)),
        chosen.asarray(np.zeros(1), dtype="int32"),
    )

    def read(*args, **options):
        raise AssertionError("the epoch waits for the device")

    kind = type(x)
    for name in ("__bool__", "__float__", "__int__", "__index__", "__array__", "to_device"):
        monkeypatch.setattr(kind, name, read)
    step = step_for(chosen.xp, 1.0, True)
    after, trace = run_epoch(step, state, x, t, range(4), True, xp=chosen.xp)
    monkeypatch.undo()
    assert backends.to_host(after.updates).tolist() == [2]
    assert backends.to_host(trace.errors)[:, 0].tolist() == [-1, 0, 0, 1]


def test_fit_reads_once_per_epoch(monkeypatch):
    calls = []
    original = module.to_host
    monkeypatch.setattr(module, "to_host", lambda x: calls.append(1) or original(x))
    unit = Perceptron().fit(SQUARE, AND, record=False)
    assert len(calls) == unit.n_iter_ + 1  # one more to see that the data is finite


def test_the_step_is_pure(backend, assert_close):
    state = State(
        backend.asarray([[0.5], [-1.0]]),
        backend.asarray([0.25]),
        backend.asarray(np.zeros(1), dtype="int32"),
    )
    row, target = backend.asarray([[2.0, 1.0]]), backend.asarray([[0.0]])
    after, prediction, error = perceptron_step(
        state, row, target, eta0=0.5, intercept=True, xp=backend.xp
    )
    assert_close(prediction, [[1.0]], backend)
    assert_close(error, [[-1.0]], backend)
    assert_close(after.weights, [[-0.5], [-1.5]], backend)
    assert_close(after.bias, [-0.25], backend)
    assert_close(state.weights, [[0.5], [-1.0]], backend)
    assert_close(after.updates, [1], backend, dtype=backend.xp.int32)
