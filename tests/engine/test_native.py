"""Native code: what it cannot do is seen, what it does wrong is caught, and nothing grows."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import subprocess
import sys
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from xpnn import MLPClassifier, Network
from xpnn.engine import calls, llvm, native
from xpnn.engine.plan import make_plan
from xpnn.engine.trace import NAMESPACE
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, Adam, chain, clip_by_global_norm

pytest.importorskip("llvmlite", reason="native code needs llvmlite")

SOURCE = np.random.default_rng(0)
X, LABELS = SOURCE.normal(size=(103, 20)), SOURCE.integers(3, size=103)
WEIGHT = SOURCE.uniform(0.5, 2.0, 103)


def train(engine, layers=(9, "tanh", 3), epochs=2, **options):
    network = Network(20, list(layers), seed=1)
    options = {"batch_size": 10, "optimizer": Adam(0.02), "seed": 2, "l2": 0.01} | options
    history = network.fit(X, LABELS, epochs=epochs, engine=engine, **options)
    return network, history


def same(found, expected):
    np.testing.assert_array_equal(found[0].theta, expected[0].theta)
    assert found[1].loss == expected[1].loss


# What is wrong is caught


def spoil(writer, array, later=None):
    """Add 1 to the first entry of an array once it is written; `later`: from the 2nd step on."""
    name, place = str(array.dtype), writer.pointer(array)
    kind, one = native.TYPES[name], "1.0"
    if later is not None:
        flag = writer.value(f"fcmp oge {kind} {later(writer)}, 2.0")
        one = writer.value(f"uitofp i1 {flag} to {kind}")
    value = writer.value(f"load {kind}, ptr {place}")
    writer.line(f"store {kind} {writer.value(f'fadd {kind} {value}, {one}')}, ptr {place}")


def results(call):
    return [*call.results] if call.function is None else [call.operands()[0]]


FAMILIES = {
    "elementwise": lambda call: call.function is None and call.results[0].ndim == 2,
    "optimizer": lambda call: call.function is None and "sqrt" in call.text,
    "product": lambda call: call.function is np.matmul,
    "exponential": lambda call: call.function is np.exp,
    "sum along rows": lambda call: call.text == "sum" and call.operands()[0].ndim == 2,
    "sum": lambda call: call.text == "sum" and call.operands()[0].ndim == 0,
    "maximum": lambda call: call.text == "max",
}


def broken(monkeypatch, wrong, spoiling=spoil):
    """Let native code of some calls be wrong."""
    write = calls.write_call

    def write_wrong(call, place):
        writer = write(call, place)
        if wrong(call):
            spoiling(writer, results(call)[0])
        return writer

    monkeypatch.setattr(calls, "write_call", write_wrong)


def assert_caught(**options):
    with pytest.warns(RuntimeWarning, match="gave other numbers than the pure step") as warned:
        found = train("native", **options)
    assert len(warned) == 1
    assert found[1].engine == "pure: a step from a plan gave other numbers"
    same(found, train("pure", **options))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_wrong_operation_is_caught(family, monkeypatch):
    broken(monkeypatch, FAMILIES[family])
    assert_caught()


def test_a_wrong_last_batch_is_caught(monkeypatch):
    broken(monkeypatch, lambda call: any(len(a) == 3 for a in results(call) if a.ndim))
    assert_caught(layers=(9, "tanh", Dropout(0.2), 3))


@pytest.mark.parametrize("what", ["write_gather", "write_rate"])
def test_a_wrong_batch_or_rate_is_caught(what, monkeypatch):
    write = getattr(calls, what)

    def write_wrong(*arrays):
        writer = write(*arrays)
        if arrays[-1].dtype.kind == "f":
            spoil(writer, arrays[-1])
        return writer

    monkeypatch.setattr(calls, what, write_wrong)
    assert_caught()


def test_what_errs_from_the_second_step_on_is_caught(monkeypatch):
    seen = {}

    def count(writer):
        return writer.value(f"load double, ptr {writer.pointer(seen['count'])}")

    write, make = calls.write_call, calls.NativeCalls.__init__

    def noting(self, plan, *others):
        seen["count"] = dict(zip([n.label for n in plan.trace.inputs], plan.arrays, strict=True))[
            "count"
        ]
        make(self, plan, *others)

    def write_wrong(call, place):
        writer = write(call, place)
        if call.function is np.matmul:
            spoil(writer, call.operands()[0], count)
        return writer

    monkeypatch.setattr(calls.NativeCalls, "__init__", noting)
    monkeypatch.setattr(calls, "write_call", write_wrong)
    assert_caught()


# What cannot be had is said


def test_llvm_that_refuses(monkeypatch):
    def refuse(texts):
        raise llvm.NativeCodeError("RuntimeError: an unknown processor")

    monkeypatch.setattr(calls, "compile_functions", refuse)
    with pytest.warns(
        RuntimeWarning, match="engine='native': calls of NumPy run in its place: Run"
    ):
        found = train("native")
    assert found[1].engine == "planned: RuntimeError: an unknown processor"
    same(found, train("pure"))
    same(train("auto", epochs=300), train("pure", epochs=300))


WITHOUT = """
import sys
sys.modules["llvmlite"] = None
import numpy as np, pytest
from xpnn import MLPClassifier, Network
from xpnn.backends import BackendUnavailableError
x, y = np.random.default_rng(0).normal(size=(200, 5)), np.arange(200) % 2
thetas = []
for engine in ("pure", "planned", "auto"):
    network = Network(5, [8, "relu", 2], seed=0)
    history = network.fit(x, y, epochs=300, batch_size=20, engine=engine)
    thetas.append(network.theta.tobytes())
assert history.engine == "planned: llvmlite is not installed", history.engine
assert len(set(thetas)) == 1
with pytest.raises(BackendUnavailableError, match="engine='native' needs llvmlite"):
    Network(5, [2]).fit(x, y, engine="native")
model = MLPClassifier((9,), max_iter=300, n_iter_no_change=10**6, tol=0.0)
assert model.fit(x, y).loss_curve_[-1] < model.loss_curve_[0]
print(Network(5, [2]).plan_step(x, y).describe().splitlines()[0], "llvmlite.binding" in sys.modules)
"""


def test_everything_works_without_it():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::UserWarning", "-c", WITHOUT],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "inputs False\n"


SHORT = """
import sys, warnings
import numpy as np
from xpnn import MLPClassifier
warnings.simplefilter("ignore")
MLPClassifier(max_iter=20).fit(np.eye(30), np.arange(30) % 2)
print("llvmlite.binding" in sys.modules)
"""


def test_a_short_training_loads_no_llvm():
    done = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Processes and threads


def bytes_of_a_training(number):
    network, history = train("native", seed=number, epochs=3)
    assert history.engine == "native"
    return network.theta.tobytes()


def test_threads_train_as_alone():
    alone = [bytes_of_a_training(n) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(bytes_of_a_training, range(8))) == alone


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_a_forked_process_goes_on():
    alone = [bytes_of_a_training(n) for n in range(3)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(bytes_of_a_training, range(3)) == alone


def test_joblibs_processes():
    model = MLPClassifier((8,), max_iter=40, engine="native", random_state=0)
    grid = {"alpha": [1e-4, 1.0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so few epochs do not converge
        found = [
            GridSearchCV(model, grid, cv=2, n_jobs=n).fit(X, LABELS).cv_results_["mean_test_score"]
            for n in (1, 2)
        ]
    np.testing.assert_array_equal(*found)


# Nothing grows


@pytest.mark.parametrize("engine", ["auto", pytest.param("native", marks=pytest.mark.slow)])
def test_memory_of_a_thousand_calls_of_changing_sizes(engine):
    model = MLPClassifier((100,), engine=engine, random_state=0)
    sizes = SOURCE.integers(2, 100, 1000)

    def go(sizes):
        for n in sizes:
            model.partial_fit(X[:n], LABELS[:n], classes=[0, 1, 2])
            model.predict(X[:n])

    go(sizes[:100])
    gc.collect()
    tracemalloc.start()
    go(sizes[100:200])
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    go(sizes[200:])
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 5_000_000  # a few plans; one for each size took 280 MB


# What differs in options gives NumPy's bytes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [1, 2, 10])
@pytest.mark.parametrize(
    "optimizer",
    [Adam(0.01), SGD(0.05, momentum=0.9), chain(clip_by_global_norm(0.1), Adam(0.01))],
    ids=repr,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_classifiers_with_a_last_batch_of_one_row(outputs, optimizer, weighted, dtype):
    x, t = X[:101].astype(dtype), SOURCE.integers(0, max(outputs, 2), 101)
    loss, t = ("binary_cross_entropy", t[:, None]) if outputs == 1 else ("softmax_cross_entropy", t)
    found = []
    for engine in ("native", "pure"):
        network = Network(20, [30, "relu", Dropout(0.2), outputs], loss=loss, seed=0)
        history = network.fit(
            x, t, epochs=2, batch_size=20, optimizer=optimizer, l2=0.01, engine=engine,
            sample_weight=WEIGHT[:101] if weighted else None, seed=3,
        )  # fmt: skip
        assert history.engine == engine
        found.append((network, history))
    same(*found)


def rows_of(xp, a):
    return (
        xp.sum(a), xp.sum(a, axis=0), xp.sum(a, axis=1, keepdims=True), xp.sum(xp.exp(a), axis=-1),
        xp.max(a, axis=1), xp.matmul(a[:, :7].T, a), xp.matmul(a.T, a), xp.tanh(a) ** 3,
        xp.log1p(xp.abs(a)), xp.sin(a) * 2.0,
    )  # fmt: skip


def specials(xp, a):
    return (
        xp.maximum(a, 0.0), xp.minimum(0.0, a), xp.max(a, axis=1), xp.where(a > 0, a, -a),
        xp.floor(a), xp.sqrt(xp.abs(a)) / 3.0, xp.sign(a), xp.sum(a, axis=0),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", [rows_of, specials])
def test_every_width_gives_numpys_bytes(function, dtype):
    """Sums and products of NumPy's are made in an order that depends on the shape."""
    for rows, columns in itertools.product([1, 2, 7, 8, 9, 200, 1025], [1, 2, 3, 7, 8, 9, 33, 300]):
        a = SOURCE.standard_normal((rows, columns)).astype(dtype)
        if function is specials:
            a.flat[::3], a.flat[1::5], a.flat[2::7] = np.nan, np.inf, -0.0
        plan = make_plan(partial(function, NAMESPACE), (a.copy(),), ["a"], {}, native.domain)
        calls.NativeCalls(plan, (), None).step()
        for found, right in zip(plan.outputs, function(np, a), strict=True):
            known = ~np.isnan(right)
            np.testing.assert_array_equal(np.isnan(found), ~known)
            assert np.asarray(found)[known].tobytes() == np.asarray(right)[known].tobytes(), a.shape
