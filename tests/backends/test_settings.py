"""Settings of the whole process, held by threads that overlap in any order."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from overlaps import FAILS, ORDERS, Failure, Holder, overlap
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

from xpnn import MLPClassifier, Network, select
from xpnn.backends import (
    deterministic_mode,
    limit_threads,
    matmul_precision,
    settings,
    threads_for,
    to_host,
)
from xpnn.backends.settings import ProcessSetting
from xpnn.estimators import lbfgs
from xpnn.layers import Dropout
from xpnn.training import trainer


@pytest.fixture
def setting():
    """A setting whose strictest state is the smallest number; 0 cannot be set."""
    state = {"now": 9}

    def write(given):
        if given["number"] == 0:
            raise Failure
        state["now"] = given["number"]

    made = ProcessSetting(
        lambda: {"number": state["now"]},
        write,
        lambda before, asked: {"number": min(before["number"], *asked)},
    )
    return SimpleNamespace(hold=made.hold, state=state)


@FAILS
@ORDERS
@pytest.mark.parametrize("asked", [(3, 5), (5, 3), (4, 4)])
def test_the_strictest_request_holds_and_the_last_scope_restores(setting, asked, order, fails):
    scopes = [setting.hold(value) for value in asked]
    found = overlap(scopes, order, lambda: setting.state["now"], fails)
    assert found == [9, asked[0], min(asked), asked[order[1]], 9]


def test_what_somebody_else_changes_meanwhile_or_between_two_uses_stays(setting):
    with setting.hold(2):
        setting.state["now"] = 7
    for _ in range(2):
        assert setting.state["now"] == 7
        with setting.hold(2):
            assert setting.state["now"] == 2
    assert setting.state["now"] == 7


def test_a_scope_within_a_scope(setting):
    with setting.hold(3):
        with setting.hold(5):
            assert setting.state["now"] == 3
        with setting.hold(1):
            assert setting.state["now"] == 1
        assert setting.state["now"] == 3
    assert setting.state["now"] == 9


def test_a_request_that_cannot_be_set_leaves_the_others(setting):
    with setting.hold(3):
        with pytest.raises(Failure), setting.hold(0):
            pytest.fail("the scope was entered")
        assert setting.state["now"] == 3
    assert setting.state["now"] == 9
    with pytest.raises(Failure), setting.hold(0):
        pytest.fail("the scope was entered")
    with setting.hold(4):
        assert setting.state["now"] == 4
    assert setting.state["now"] == 9


def test_what_is_half_written_when_an_error_comes_is_restored():
    state = {"first": 1, "second": 1}

    def write(given):
        state["first"] = given["first"]
        if given["second"] == 0:
            raise Failure
        state["second"] = given["second"]

    setting = ProcessSetting(lambda: dict(state), write, lambda before, asked: asked[-1])
    with pytest.raises(Failure), setting.hold({"first": 5, "second": 0}):
        pytest.fail("the scope was entered")
    assert state == {"first": 1, "second": 1}


def test_many_threads_never_see_more_than_they_asked_for(setting):
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        for turn in range(200):
            most = 1 + (number + turn) % 8
            with setting.hold(most):
                assert setting.state["now"] <= most

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert setting.state["now"] == 9


# Threads of BLAS and OpenMP


def blas():
    """Threads of each BLAS."""
    controllers = ThreadpoolController().select(user_api="blas").lib_controllers
    return [library.num_threads for library in controllers]


@pytest.fixture
def three_threads():
    """Let BLAS have three threads, whatever the machine's tests give it."""
    np.ones((2, 2)) @ np.ones((2, 2))
    with ThreadpoolController().limit(limits=3, user_api="blas"):
        if 3 not in blas():
            pytest.skip("no BLAS here can be told its number of threads")
        yield


@pytest.mark.usefixtures("three_threads")
@FAILS
@ORDERS
@pytest.mark.parametrize("make", [lambda: threads_for(1, 100), lambda: limit_threads(1)])
def test_blas_has_its_threads_back_when_the_last_scope_ends(make, order, fails):
    found = overlap([make(), make()], order, lambda: max(blas()), fails)
    assert found == [3, 1, 1, 1, 3]


@pytest.mark.usefixtures("three_threads")
@ORDERS
def test_the_smaller_number_of_threads_holds(order):
    found = overlap([limit_threads(1), limit_threads(2)], order, lambda: max(blas()))
    assert found == [3, 1, 1, (1, 2)[order[1]], 3]
    with limit_threads(64), threads_for(2, 100), threads_for(1, 5):
        assert max(blas()) == 3


def test_openmp_counts_for_each_thread_and_each_restores_its_own(use_library):
    use_library("torch")
    import torch

    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        other = Holder(limit_threads(1))
        with limit_threads(2):
            assert torch.get_num_threads() == 2
            other.enter()
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 3
        other.end()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(usual)


def test_a_library_that_is_loaded_later_is_limited_too():
    """NumPy and SciPy bring a BLAS each; SciPy's is there when somebody imports it."""
    script = """
from xpnn.backends import limit_threads
from threadpoolctl import ThreadpoolController, threadpool_limits

def most():
    found = ThreadpoolController().select(user_api="blas").lib_controllers
    return max((library.num_threads for library in found), default=0)

with limit_threads(1):
    import scipy.linalg
threadpool_limits(3, user_api="blas")
before = most()
with limit_threads(1):
    assert most() <= 1
assert most() == before
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("three_threads")
def test_threadpoolctls_own_scopes_work_inside_and_outside_of_ours():
    """It lets one thread alone change OpenBLAS: ours is neither refused nor keeps that right."""
    holder = Holder(limit_threads(2))
    with ThreadpoolController().limit(limits=3, user_api="blas"):
        holder.enter()
        assert max(blas()) == 2
        holder.end()
        assert max(blas()) == 3
    holder = Holder(limit_threads(2))
    holder.enter()
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        assert max(blas()) == 1
    assert max(blas()) == 2
    holder.end()
    assert max(blas()) == 3


def test_jax_and_numpy_keep_such_settings_for_each_thread(use_library):
    """They go through nothing of ours; these are the facts that this rests on."""
    use_library("jax")
    import jax

    seen = []

    def look():
        seen.append((jax.config.jax_default_matmul_precision, np.geterr()["over"]))

    usual = (jax.config.jax_default_matmul_precision, np.geterr()["over"])
    with matmul_precision("highest", jax.numpy), np.errstate(over="raise"):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        look()
    look()
    assert seen == [usual, ("float32", "raise"), usual]


# Deterministic results

X = np.random.default_rng(0).normal(size=(60, 5))
LABELS = (X[:, 0] > 0).astype("int64")


def test_two_trainings_end_with_the_same_bits(backend):
    thetas = []
    for _ in range(2):
        network = Network(5, [16, "gelu", Dropout(0.2), 2], seed=0)
        network.fit(
            backend.asarray(X), backend.asarray(LABELS, "int64"), epochs=3, batch_size=16,
            deterministic=True,
        )  # fmt: skip
        thetas.append(to_host(network.theta))
    np.testing.assert_array_equal(*thetas)


def network(**options):
    Network(5, [4, "tanh", 2], seed=0).fit(X, LABELS, epochs=2, **options)


def classifier(callbacks=None, **options):
    model = MLPClassifier((4,), max_iter=2, random_state=0, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, LABELS, callbacks=callbacks)


@pytest.mark.parametrize("fit", [network, classifier])
def test_the_promise_holds_while_something_learns(fit, monkeypatch):
    noted, told = [], []

    @contextmanager
    def holds(xp, device):
        noted.append(True)
        yield
        noted.append(False)

    for module in (lbfgs, trainer):
        monkeypatch.setattr(module, "deterministic_mode", holds)
    for deterministic in (False, True):
        fit(deterministic=deterministic, callbacks=[lambda run: told.append(list(noted))])
    assert told == [[], [], [True], [True]]
    assert noted == [True, False]
    classifier(deterministic=True, solver="lbfgs")
    assert noted == [True, False] * 2
    with pytest.raises(ValueError, match="'deterministic' parameter of MLPClassifier must be an"):
        classifier(deterministic="yes")


@ORDERS
@pytest.mark.parametrize("before", [(False, False), (True, True)])
def test_pytorch_is_deterministic_while_anybody_needs_it(order, before, use_library):
    use_library("torch")
    import torch

    def look():
        on = torch.are_deterministic_algorithms_enabled()
        return on, torch.is_deterministic_algorithms_warn_only_enabled()

    here = select("torch")
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    try:
        scopes = [deterministic_mode(here.xp, here.device) for _ in range(2)]
        assert overlap(scopes, order, look) == [before, *[(True, False)] * 3, before]
    finally:
        torch.use_deterministic_algorithms(False)


def test_gpus_of_other_libraries_have_to_be_told_before(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setenv("XLA_FLAGS", "--xla_something=1")
    name = "torch"
    monkeypatch.setattr(settings, "library_name", lambda xp: name)
    with pytest.raises(ValueError, match=r"CUBLAS_WORKSPACE_CONFIG is None; .*':4096:8'"):
        deterministic_mode(None, SimpleNamespace(type="cuda"))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    deterministic_mode(None, SimpleNamespace(type="cuda"))
    name = "jax"
    with pytest.raises(ValueError, match="XLA_FLAGS is '--xla_something=1'; JAX on a GPU expects"):
        deterministic_mode(None, SimpleNamespace(platform="gpu"))
    deterministic_mode(None, SimpleNamespace(platform="cpu"))
    monkeypatch.setenv("XLA_FLAGS", "--xla_something=1 --xla_gpu_deterministic_ops=true")
    deterministic_mode(None, SimpleNamespace(platform="gpu"))
    name = "dask"
    with pytest.raises(ValueError, match="dask is not known to give the same bits"):
        deterministic_mode(None, None)
