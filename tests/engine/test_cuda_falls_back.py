"""What CUDA refuses: the pure step runs in its place, and nothing has changed before."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import pytest
from cuda_on_host import HostCuda
from cuda_pairs import MARKS, Both

from xpnn import MLPClassifier, Network
from xpnn.backends import cuda, is_refusal
from xpnn.data import stream
from xpnn.engine import compile
from xpnn.engine.cuda.plan import Segment
from xpnn.engine.cuda.run import CudaRunner
from xpnn.layers import Dropout
from xpnn.optimizers import (
    SGD,
    Adam,
    chain,
    clip_by_global_norm,
)

pytestmark = MARKS


def error_of(module, name, base, text):
    """Make an error that looks like a library's."""
    return type(name, (base,), {"__module__": module})(text)


CUDA = "cupy_backends.cuda.api"
BROKEN = error_of("cupy.cuda.compiler", "CompileException", Exception, "error: expected a ';'")
REFUSED, FULL, ILLEGAL = (
    error_of(f"{CUDA}.driver", "CUDADriverError", RuntimeError, f"CUDA_ERROR_{text}")
    for text in (
        "NO_BINARY_FOR_GPU: no kernel image is available",
        "OUT_OF_MEMORY: out of memory",
        "ILLEGAL_ADDRESS: an illegal memory access was encountered",
    )
)
# No room, and a lost device: neither is a refusal.
FATAL = [
    FULL,
    error_of("cupy.cuda.memory", "OutOfMemoryError", MemoryError, "Out of memory allocating 5"),
    error_of("nvmath.bindings.cublas", "cuBLASError", Exception, "CUBLAS_STATUS_ALLOC_FAILED"),
    ILLEGAL,
    error_of(
        f"{CUDA}.runtime", "CUDARuntimeError", RuntimeError,
        "cudaErrorIllegalAddress: an illegal memory access was encountered",
    ),
]  # fmt: skip


def raise_error(error):
    raise error


class Failing(HostCuda):
    """A device that raises an error when it compiles, launches (a step is half done) or records."""

    def __init__(self, error, when, **options):
        super().__init__(**options)
        self.error, self.when = error, when

    def compile(self, source):
        if self.when == "compile":
            raise self.error
        bind = super().compile(source)

        def failing(name, blocks, threads, arrays):
            if self.when != "launch" or len(arrays) > 1:
                return bind(name, blocks, threads, arrays)

            # In place of the last kernel, which counts the step.
            return partial(raise_error, self.error)

        return failing

    def graph(self, work):
        if self.when == "graph":
            raise self.error
        return super().graph(work)


NO_RULE = "the engine has no rule for"
LAYERS = [8, "relu", Dropout(0.2), 3]


@pytest.mark.parametrize(
    ("when", "error"), [("compile", BROKEN), ("compile", REFUSED), ("launch", REFUSED)]
)
def test_the_pure_step_runs_in_its_place_and_the_log_says_why(when, error, caplog):
    both = Both(
        LAYERS, cuda=Failing(error, when), optimizer=chain(clip_by_global_norm(0.1), Adam(0.01))
    )
    with caplog.at_level(logging.DEBUG, "xpnn.engine"):
        both.run(2, reason=f"{type(error).__name__}: {error}")
    np.testing.assert_array_equal(both.ours.theta(), both.pure.theta())
    assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_ctrl_c_in_the_middle_of_a_first_step_leaves_the_weights_as_they_were():
    both = Both(LAYERS, cuda=Failing(KeyboardInterrupt(), "launch"))
    before = both.ours.theta()
    with pytest.raises(KeyboardInterrupt):
        both.run(1)
    assert both.cuda.launches  # the step was half done
    assert both.ours.whole
    np.testing.assert_array_equal(both.ours.theta(), before)
    np.testing.assert_array_equal(both.ours.state()[0], before)


def test_ctrl_c_in_the_middle_of_a_later_step_is_known():
    both = Both(LAYERS).run(1)
    bound = both.ours.bound.popitem()[1]
    bound.segments.append(Segment([partial(raise_error, KeyboardInterrupt())]))
    with pytest.raises(KeyboardInterrupt):
        both.ours._start(bound)
    assert not both.ours.whole


@pytest.mark.parametrize("when", ["compile", "launch"])
def test_one_that_was_asked_for_warns(when):
    both = Both(LAYERS, cuda=Failing(REFUSED, when))
    both.ours.asked_for = True
    with pytest.warns(RuntimeWarning, match="engine='native': the pure step.*no kernel image"):
        both.run(1, reason=f"CUDADriverError: {REFUSED}")
    np.testing.assert_array_equal(both.ours.theta(), both.pure.theta())


@pytest.mark.parametrize("when", ["compile", "launch", "graph"])
@pytest.mark.parametrize("error", FATAL, ids=lambda e: type(e).__name__)
def test_no_room_and_a_lost_device_go_up(error, when):
    assert not is_refusal(error)
    both = Both(LAYERS, cuda=Failing(error, when))
    with pytest.raises(type(error)):
        both.run(1)


@pytest.mark.parametrize("error", [REFUSED, NotImplementedError("in a capture")])
def test_without_a_graph_kernels_are_started_one_by_one(error, caplog):
    both = Both(LAYERS, cuda=Failing(error, "graph", no_graph=""))
    both.run(2)
    assert both.cuda.graphs == 0
    assert both.ours.engine == f"CUDA, not all of it in graphs: {type(error).__name__}: {error}"
    assert "no CUDA graph" in caplog.text


@pytest.fixture
def runners(monkeypatch):
    """Let NumPy's arrays be taken for CuPy's; the runners that are made."""
    made, make = [], CudaRunner.__init__

    def noted(self, *given, **options):
        made.append(self)
        make(self, *given, **options)

    monkeypatch.setattr(CudaRunner, "__init__", noted)
    monkeypatch.setattr(compile, "library_name", lambda xp: "cupy")
    monkeypatch.setattr(cuda, "CupyDevice", lambda _: HostCuda())
    return made


def test_auto_is_the_cuda_engine_on_cupy(runners):
    """Nothing here is CuPy but its name."""
    pure = Both(LAYERS).pure
    options = {"xp": np, "device": "cpu", "dtype": np.dtype("float64")}
    kinds = {}
    for mode in ("auto", "native", "pure"):
        made = compile.make_runner(
            lambda xp: pure.update, pure.carry, pure.columns, mode=mode, **options
        )
        kinds[mode] = type(made).__name__, getattr(made, "asked_for", None)
    assert kinds == {
        "auto": ("CudaRunner", False),
        "native": ("CudaRunner", True),
        "pure": ("PureRunner", None),
    }


@pytest.mark.parametrize(
    ("dtype", "compute", "limit"),
    [("float64", None, 1e-10), ("float32", "float16", 2e-3), ("float16", None, 4e-3)],
)
def test_a_training_is_the_same_by_itself(dtype, compute, limit, runners):
    """A whole `fit`, its arrays NumPy's, on the engine for CuPy."""
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(dtype)
    t = (x[:, 0] > 0).astype(int)
    thetas = {}
    for mode in ("pure", "auto"):
        net = Network(5, [8, "tanh", Dropout(0.2), 2], seed=0, dtype=dtype)
        net.fit(
            x, t, epochs=3, batch_size=16, engine=mode, seed=1, optimizer=SGD(0.1),
            compute_dtype=compute,
        )  # fmt: skip
        assert net.theta.dtype == dtype
        thetas[mode] = net.theta.astype("float64")
    assert [r.reason for r in runners] == [""]
    np.testing.assert_allclose(thetas["auto"], thetas["pure"], rtol=limit, atol=limit)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("way", ["fit", "partial_fit", "stream"])
def test_estimators_and_sources_are_trained_by_it_too(way, runners):
    x = np.random.default_rng(0).normal(size=(60, 5))
    t = (x[:, 0] > 0).astype(int)
    models = {}
    for engine in ("pure", "auto"):
        model = models[engine] = MLPClassifier((8,), max_iter=4, random_state=0, engine=engine)
        if way == "fit":
            model.set_params(dropout=0.2, class_weight="balanced", early_stopping=True)
            model.fit(x, t)
        elif way == "stream":
            model.fit(stream(x, t))
        else:
            for first in (0, 20, 40):  # other arrays each time
                model.partial_fit(x[first : first + 20], t[first : first + 20], classes=[0, 1])
    assert [r.reason for r in runners] == [""]
    for ours, pure in zip(models["auto"].coefs_, models["pure"].coefs_, strict=True):
        np.testing.assert_allclose(ours, pure, rtol=1e-10, atol=1e-12)


def test_sums_over_parts_of_a_batch(runners):
    """They are added up outside the step, for which there is no rule."""
    x = np.random.default_rng(0).normal(size=(60, 5))
    thetas = []
    for engine in ("pure", "auto"):
        net = Network(5, [8, "tanh", 2], seed=0)
        options = {"epochs": 2, "gradient_accumulation_steps": 2, "seed": 1, "engine": engine}
        net.fit(x, (x[:, 0] > 0).astype(int), **options)
        thetas.append(net.theta)
    assert all(r.reason in ("", f"{NO_RULE} across") for r in runners)
    np.testing.assert_allclose(*thetas, rtol=1e-10, atol=1e-12)
