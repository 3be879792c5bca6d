"""A GPU whose kernels are wrong is found out by its first steps."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from cuda_on_host import HostCuda
from cuda_pairs import MARKS, WEIGHT, Both, computing_in

from xpnn.engine.cuda.run import CHECKED, _agree
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, Adam

WRONG = "a step from a plan gave other numbers"


class Broken(HostCuda):
    """A GPU that compiles something else than the source says."""

    def __init__(self, right, wrong):
        super().__init__(no_graph="")
        self.right, self.wrong, self.seen = right, wrong, 0

    def compile(self, source):
        self.seen += self.right in source
        return super().compile(source.replace(self.right, self.wrong))


def mark(test):
    for one in MARKS:
        test = one(test)
    return test


@mark
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("optimizer", [SGD(0.1), SGD(0.1, 0.9), Adam(0.01)], ids=repr)
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("order[n / 6]", "order[n / 6 * 0]"),  # the batch has one row, again and again
        ("a1[0] = ((", "a1[0] = 2 * (("),  # the rate
        (" total = ", " total = 1 + "),  # sums and extrema
        ("= larger(", "= smaller("),  # relu
    ],
)
def test_a_wrong_kernel_is_seen_and_the_pure_step_goes_on(right, wrong, optimizer, dtype):
    cuda = Broken(right, wrong)
    both = Both([8, "relu", 3], optimizer=optimizer, cuda=cuda, **computing_in(dtype))
    with pytest.warns(RuntimeWarning, match="which runs in its place") as noted:
        both.run(3, reason=WRONG)
    assert cuda.seen
    assert len(noted) == 1
    assert both.ours.engine == f"pure: {WRONG}"
    np.testing.assert_array_equal(both.ours.theta(), both.pure.theta())


class Late(HostCuda):
    """A GPU that begins to be wrong at some launch of the kernel that counts steps."""

    def __init__(self, first):
        super().__init__(no_graph="")
        self.first, self.count = first, 0

    def compile(self, source):
        bind = super().compile(source)

        def wrong(name, blocks, threads, arrays):
            start = bind(name, blocks, threads, arrays)
            if len(arrays) > 1:
                return start

            def late():
                start()
                self.count += 1
                if self.count >= self.first:
                    arrays[0][1] = 3  # the next step begins at a wrong row

            return late

        return wrong


@mark
@pytest.mark.parametrize("first", [1, 2, 4])
def test_the_first_three_steps_are_checked_and_the_first_last_batch(first):
    both = Both([8, "relu", 3], batch=16, cuda=Late(first))
    calls = []
    update = both.ours.update
    both.ours.update = lambda *given: calls.append(1) or update(*given)
    if first < 4:
        with pytest.warns(RuntimeWarning, match="other numbers"):
            both.run(1, reason=WRONG)
        assert len(calls) == 4  # the rest of the epoch is the pure update's, from where it was
        return
    both.run(1)
    assert len(calls) == CHECKED + 1


@mark
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_right_kernels_are_not_suspected(dtype):
    both = Both([30, "gelu", Dropout(0.2), 3], weight=WEIGHT, l2=0.1, **computing_in(dtype))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both.run(3)


def test_what_agrees():
    agree = [np.float32(0.0), np.linspace(-1, 1, 5000).astype("float32")]
    for a in agree:
        assert _agree(np, "float32", a, a, np.zeros_like(a))
    old = np.ones(5000, "float32")
    right = old + np.float32(1e-3)
    mine = right.copy()
    mine[0] = old[0] - np.float32(1e-3)  # one sign of Adam's is the other way round
    assert _agree(np, "float32", mine, right, old)
    mine[:5] = mine[0]
    assert not _agree(np, "float32", mine, right, old)
    assert not _agree(np, "float32", old, right, old)  # a step that does nothing
    assert not _agree(np, "float32", mine[:1], right[:1], old[:1])
    infinite = np.array([np.inf, np.nan, 1.0], "float32")
    assert _agree(np, "float32", infinite, infinite, np.zeros(3, "float32"))
    assert not _agree(np, "float32", infinite[::-1], infinite, np.zeros(3, "float32"))
