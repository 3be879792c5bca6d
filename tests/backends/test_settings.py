"""Settings of the whole process, held by threads that overlap in any order."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from xpnn.backends import deterministic_mode, limit_threads, matmul_precision, threads_for
from xpnn.backends.settings import ProcessSetting


class Failure(Exception):
    """Ends a scope that a test wants to see ended by an error."""


class Holder(threading.Thread):
    """A thread that enters a scope when told to, and leaves it when told to."""

    def __init__(self, scope):
        super().__init__(daemon=True)
        self.scope, self.error, self.fails = scope, None, False
        self.entered, self.leave = threading.Event(), threading.Event()

    def run(self):
        try:
            with self.scope:
                self.entered.set()
                self.leave.wait()
                if self.fails:
                    raise Failure
        except Failure:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.entered.set()

    def enter(self):
        self.start()
        self.entered.wait()
        assert self.error is None

    def end(self, fails=False):
        self.fails = fails
        self.leave.set()
        self.join()
        assert self.error is None


ORDERS = pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first out", "last out"])
FAILS = pytest.mark.parametrize("fails", [False, True], ids=["in peace", "by an error"])


def overlap(scopes, order, look, fails=False):
    """What a setting is before, with each scope more, with each scope less."""
    holders, seen = [Holder(scope) for scope in scopes], [look()]
    for holder in holders:
        holder.enter()
        seen.append(look())
    for number in order:
        holders[number].end(fails)
        seen.append(look())
    return seen


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


def test_what_was_changed_between_two_uses_is_what_comes_back(setting):
    with setting.hold(2):
        pass
    setting.state["now"] = 7
    with setting.hold(2):
        assert setting.state["now"] == 2
    assert setting.state["now"] == 7


def test_what_somebody_else_changes_meanwhile_stays(setting):
    with setting.hold(2):
        setting.state["now"] = 7
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


# The settings that there are


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
    with limit_threads(64):
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


def torch_precision():
    import torch

    return torch.get_float32_matmul_precision()


@ORDERS
@pytest.mark.parametrize("asked", [("highest", "medium"), ("medium", "highest"), ("high", "high")])
def test_pytorch_multiplies_with_the_highest_precision_asked_for(asked, order, use_library):
    use_library("torch")
    import torch

    outside = torch_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        scopes = [matmul_precision(precision, torch) for precision in asked]
        found = overlap(scopes, order, torch_precision)
    finally:
        torch.set_float32_matmul_precision(outside)
    both = "highest" if "highest" in asked else "high"
    assert found == ["medium", asked[0], both, asked[order[1]], "medium"]


@ORDERS
def test_pytorch_is_deterministic_while_anybody_needs_it(order, use_library):
    use_library("torch")
    import torch

    scopes = [deterministic_mode(torch, torch.device("cpu")) for _ in range(2)]
    found = overlap(scopes, order, torch.are_deterministic_algorithms_enabled)
    assert found == [False, True, True, True, False]


@ORDERS
def test_cupys_switch_goes_to_tensorfloat_only_if_all_allow_it(order, monkeypatch):
    now = {"float32": 5}
    linalg = SimpleNamespace(
        COMPUTE_TYPE_DEFAULT=1,
        COMPUTE_TYPE_TF32=7,
        get_compute_type=now.__getitem__,
        set_compute_type=now.__setitem__,
    )
    for name in ("cupy", "cupy._core"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "cupy._core._routines_linalg", linalg)
    cupy = type("Namespace", (), {"__name__": "cupy"})()
    scopes = [matmul_precision("high", cupy), matmul_precision("highest", cupy)]
    found = overlap(scopes, order, lambda: now["float32"])
    assert found == [5, 7, 1, (7, 1)[order[1]], 5]


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
