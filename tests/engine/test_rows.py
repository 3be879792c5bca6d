"""Learning from rows in turn: native code gives the bytes of the rule in Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.linear_model import Perceptron as TheirPerceptron

from depth import examples
from xpnn import Perceptron
from xpnn.engine import llvm
from xpnn.engine.rows import CHECKED, SAVED, WRITTEN, RowPass
from xpnn.units.perceptron import Rule, Trace, Unit

pytest.importorskip("llvmlite", reason="native code needs llvmlite")
ENOUGH = int(WRITTEN / SAVED) + 1  # rows after which code is run that is compiled already


class Learning:
    """The rule as a textbook has it, and the memory that it works on."""

    def __init__(self, rows, targets, steps, bias_step=1.0, fires=False):
        self.rows, self.targets, self.steps = rows, targets, steps
        self.bias_step, self.fires = bias_step, fires
        self.weights, self.totals = np.zeros(rows.shape[1], rows.dtype), np.zeros(3)
        self.seen = 0

    def rule(self, numbers):
        for i in numbers.tolist():
            score = float(self.rows[i].dot(self.weights)) + self.totals[0]
            margin = score * self.targets[i]
            if margin < 0 or (score == 0 and not (self.fires and self.targets[i] > 0)):
                self.totals[1] -= margin
                if self.steps[i]:
                    self.weights += float(self.steps[i]) * self.rows[i]
                    self.totals[0] += self.bias_step * self.steps[i]
                    self.totals[2] += 1
        self.seen += len(numbers)

    def way(self, rule=None):
        """What learns natively from the first row on."""
        columns = self.rows, self.targets, self.steps, self.weights, self.totals
        made = RowPass(*columns, self.bias_step, self.fires, rule or self.rule)
        if made.has_native:
            llvm.compile_functions([made.write().text()])
        return made

    def memory(self):
        return self.weights.tobytes(), self.totals.tobytes()


def laid_out(x, layout):
    """The same rows, differently in memory."""
    if layout == "columns":
        return np.asfortranarray(x)
    if layout == "parts":  # of wider and of more rows
        wide = np.zeros((2 * len(x), 2 * x.shape[1] + 1), x.dtype)
        wide[::2, 1::2] = x
        return wide[::2, 1::2]
    if layout == "upside down":
        return x[::-1].copy()[::-1]
    return x


def problem(seed, rows, features, dtype="float64", layout="rows", whole=False, weighted=False):
    """Rows, targets and steps that no unit separates."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (rows, features)) if whole else rng.normal(size=(rows, features))
    targets = np.where(rng.random(rows) < 0.5, 1.0, -1.0)
    amounts = rng.integers(0, 3, rows) * 0.3 if weighted else np.ones(rows)
    return laid_out(x.astype(dtype), layout), targets, 0.7 * amounts * targets


@examples(200)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.one_of(st.integers(1, 40), st.sampled_from([64, 101, 513])),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from(["rows", "columns", "parts", "upside down"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, 0.01, 1.0]),
    st.booleans(),
)
def test_the_bytes_are_those_of_the_rule(
    seed, rows, features, dtype, layout, whole, weighted, bias_step, fires
):
    drawn = problem(seed, rows, features, dtype, layout, whole, weighted)
    native, python = (Learning(*drawn, bias_step, fires) for _ in range(2))
    numbers, way = np.random.default_rng(seed).integers(0, rows, ENOUGH), native.way()
    for part in (numbers, numbers[:3]):
        way.run(part)
        python.rule(part)
        assert native.memory() == python.memory()
    assert native.seen == CHECKED


def test_numbers_that_overflow_do_so_alike():
    x, targets, steps = problem(0, 50, 4)
    for factor in (1e200, np.inf, np.nan):
        native, python = (Learning(factor * x, targets, steps) for _ in range(2))
        numbers = np.resize(np.arange(50), ENOUGH)
        with np.errstate(over="ignore", invalid="ignore"):
            native.way().run(numbers)
            python.rule(numbers)
        np.testing.assert_array_equal(native.weights, python.weights)
        np.testing.assert_array_equal(native.totals, python.totals)


@pytest.mark.parametrize("layout", ["mirrored", "one for all", "whole", "half", "sparse"])
def test_rows_without_native_code_are_learned_from_in_python(layout):
    x, targets, steps = problem(0, 50, 4)
    x = {
        "mirrored": lambda: x[:, ::-1],
        "one for all": lambda: np.broadcast_to(x[:, :1], x.shape),
        "whole": lambda: x.astype(int),
        "half": lambda: x.astype("float16"),
        "sparse": lambda: csr_array(x),
    }[layout]()
    seen = []
    learning = Learning(x, targets, steps)
    learning.way(seen.append).run(np.zeros(ENOUGH, int))
    assert [len(numbers) for numbers in seen] == [ENOUGH]


def test_few_rows_are_not_worth_native_code():
    learning = Learning(*problem(0, 50, 4))
    way = learning.way()
    for count in (ENOUGH // 3, ENOUGH // 3, ENOUGH, ENOUGH):
        way.run(np.resize(np.arange(50), count))
    assert learning.seen == 2 * (ENOUGH // 3) + CHECKED


def test_code_that_learns_something_else_is_noticed():
    drawn = problem(0, 50, 4)
    learning, other = Learning(*drawn), Learning(*drawn)
    other.weights, other.totals, other.fires = learning.weights, learning.totals, True
    numbers = np.resize(np.arange(50), ENOUGH)
    with pytest.warns(RuntimeWarning, match=r"other numbers.*please report it"):
        learning.way(other.rule).run(numbers)
    assert other.seen == ENOUGH
    alone = Learning(*drawn, 1.0, True)
    alone.rule(numbers)
    assert learning.memory() == alone.memory()


@pytest.fixture
def native_calls(monkeypatch):
    """A list that gets longer with every native call."""
    calls, driver = [], llvm.driver
    monkeypatch.setattr(llvm, "driver", lambda: calls.append(None) or driver())
    return calls


def test_many_short_passes_are_worth_it_together(native_calls, monkeypatch):
    monkeypatch.setattr(llvm, "is_compiled", lambda text: False)
    drawn, numbers = problem(0, 50, 4), np.resize(np.arange(50), ENOUGH)
    for _ in range(200):
        Learning(*drawn).way().run(numbers)
    assert native_calls


@pytest.mark.parametrize("fires", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_unit_learns_natively_what_it_records(fires, dtype, native_calls):
    """The recorded epochs are learned from row by row in Python."""
    x, targets, steps = problem(3, 800, 5, dtype, whole=True)
    Learning(x, targets, steps, 1.0, fires).way()
    rng, weights = np.random.default_rng(0), np.zeros(5, dtype)
    amounts = rng.integers(0, 3, 800) / 3
    units = [Unit(Rule(0.3, 1.0, fires), weights, 0.0, targets, amounts) for _ in range(2)]
    for _ in range(8):
        order = rng.permutation(800)
        units[0].run_epoch(x, order)
        units[1].run_epoch(x, order, Trace(units[1], order, x))
        found = [(u.weights.tolist(), u.bias, u.loss, u.updates) for u in units]
        assert found[0] == found[1]
        assert type(units[0].updates) is int
    assert len(native_calls) == 9  # the first rows are compared


@pytest.mark.parametrize("classes", [2, 3])
def test_a_perceptron_learns_natively_what_scikit_learns(classes, native_calls):
    x, targets, steps = problem(0, 4000, 7)
    Learning(x, targets, steps).way()
    y = np.random.default_rng(1).integers(0, classes, 4000)
    options = {"max_iter": 7, "tol": None, "class_weight": {0: 0.5}, "eta0": 0.1}
    ours, theirs = (kind(**options).fit(x, y) for kind in (Perceptron, TheirPerceptron))
    assert len(native_calls) >= 6  # of two classes the first epochs are recorded, by the rule
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9, atol=1e-12)
