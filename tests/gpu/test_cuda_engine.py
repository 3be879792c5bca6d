"""Steps as kernels and CUDA graphs, on a GPU: the same numbers as the pure step's."""

from __future__ import annotations

import numpy as np
import pytest
from gpus import MARKS

from xpnn import Network, backends, select
from xpnn.backends.cuda import CupyDevice
from xpnn.functional import ACTIVATIONS, LOSSES
from xpnn.layers import Dropout
from xpnn.optimizers import (
    SGD,
    Adam,
    chain,
    clip_by_global_norm,
)

pytestmark = MARKS
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(230, 6))
LABELS = (X @ GENERATOR.normal(size=(6, 3))).argmax(axis=1)


def trained(
    engine, layers=(40, "relu", 3), loss="softmax_cross_entropy", t=LABELS, dtype="float64",
    **options,
):  # fmt: skip
    """A network after three epochs on the GPU; the last batch is a smaller one."""
    where = select("cupy", dtype=dtype)
    network = Network(6, list(layers), loss=loss, seed=1)
    options = {"epochs": 3, "batch_size": 20, "seed": 2, "optimizer": Adam(0.01)} | options
    history = network.fit(where.asarray(X), where.asarray(t), engine=engine, **options)
    return backends.to_host(network.theta), history.loss


def assert_same(**options):
    theta, losses = trained("native", **options)
    expected, right = trained("pure", **options)
    np.testing.assert_allclose(losses, right, rtol=1e-9)
    np.testing.assert_allclose(theta, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation):
    assert_same(layers=(16, activation, 3))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss):
    t = LABELS if LOSSES[loss].kind == "multiclass" else np.eye(3)[LABELS]
    assert_same(layers=(16, "tanh", 3), loss=loss, t=t)


@pytest.mark.parametrize(
    "optimizer", [SGD(0.1, momentum=0.9), chain(clip_by_global_norm(0.05), Adam(0.01))]
)
@pytest.mark.parametrize("batch_size", [1, 64, None])
def test_batches_and_optimizers(batch_size, optimizer):
    assert_same(batch_size=batch_size, optimizer=optimizer, l2=0.01)


def test_dropout_row_weights_and_validation():
    weight = select("cupy", dtype="float64").asarray(GENERATOR.random(230))
    assert_same(layers=(64, "gelu", Dropout(0.3), 3), sample_weight=weight, validation_fraction=0.2)


def test_products_by_cublas():
    assert_same(layers=(64, "relu", 32, "relu", 3))


def test_products_by_cublas_in_a_graph():
    pytest.importorskip("nvmath", reason="nvmath-python is not installed: extra graphs13")
    layers = (64, "relu", 32, "relu", 3)
    assert_same(layers=layers)
    where = select("cupy", dtype="float32")
    plan = Network(6, list(layers), seed=0).plan_step(where.asarray(X), where.asarray(LABELS))
    assert "by cuBLAS" in plan.describe()
    assert "one CUDA graph a step" in plan.describe()


@pytest.mark.parametrize("lies", ["CC", "CF", "FC", "FF"])
@pytest.mark.parametrize("kind", ["float64", "float32", "float16"])
def test_cublas_is_asked_for_the_right_product(kind, lies):
    import cupy

    place = [
        cupy.asarray(GENERATOR.normal(size=shape), dtype=kind, order=order)[:-1, :-1]
        for shape, order in zip(((40, 30), (30, 20)), lies, strict=True)
    ]
    whole = cupy.full((39, 25), 77, "float32" if kind == "float16" else kind)
    out = whole[:, :19]
    CupyDevice(cupy.cuda.Device()).blas.bind(*place, out)()
    a, b = (backends.to_host(p).astype("float64") for p in place)
    limit = 1e-12 if kind == "float64" else 1e-4
    np.testing.assert_allclose(backends.to_host(out), a @ b, rtol=limit, atol=limit)
    assert (backends.to_host(whole)[:, 19:] == 77).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="bfloat16 on CuPy needs ml_dtypes")
    options = {"layers": (64, "gelu", Dropout(0.2), 3), "dtype": "float32"}
    options |= {"compute_dtype": dtype, "optimizer": SGD(0.1)}
    theta, losses = trained("native", **options)
    expected, right = trained("pure", **options)
    limit = {"float16": 5e-3, "bfloat16": 4e-2}[dtype]
    np.testing.assert_allclose(losses, right, rtol=limit)
    np.testing.assert_allclose(theta, expected, rtol=limit, atol=limit)


def test_auto_takes_the_engine_and_says_no_reason(caplog):
    theta, losses = trained("auto")
    assert "pure step" not in caplog.text
    assert "no CUDA graph" not in caplog.text
    expected, right = trained("native")
    np.testing.assert_array_equal(theta, expected)
    assert losses == right


def test_a_source_that_does_not_compile_leaves_the_pure_step(monkeypatch, caplog):
    monkeypatch.setattr("xpnn.engine.cuda.plan.HEAD", "this is no C++;")
    theta, _ = trained("auto")
    assert "CompileException" in caplog.text
    monkeypatch.undo()
    np.testing.assert_array_equal(theta, trained("pure")[0])


@pytest.mark.parametrize("batch_size", [5, 20, 230])
def test_steps_in_a_graph_are_those_of_single_launches(batch_size, monkeypatch):
    options = {"layers": (16, "relu", Dropout(0.2), 3), "batch_size": batch_size}
    theta, losses = trained("native", **options)
    monkeypatch.setattr(CupyDevice, "graph", lambda self, work: work)
    expected, right = trained("native", **options)
    np.testing.assert_array_equal(theta, expected)
    assert losses == right


@pytest.mark.parametrize("compute_dtype", [None, "float16"])
@pytest.mark.parametrize("engine", ["native", "pure"])
def test_two_runs_are_the_same_bytes(engine, compute_dtype):
    options = {"layers": (64, "relu", Dropout(0.2), 3), "dtype": "float32", "deterministic": True}
    options |= {"compute_dtype": compute_dtype, "batch_size": 64}
    one, other = (trained(engine, **options) for _ in range(2))
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1] == other[1]


def test_large_networks_are_the_same_bytes():
    """Products that are worth splitting among multiprocessors, and long reductions."""
    x, t = GENERATOR.normal(size=(4096, 512)), GENERATOR.integers(0, 10, 4096)
    where = select("cupy", dtype="float32")
    thetas = []
    for _ in range(2):
        network = Network(512, [1024, "relu", 1024, "relu", 10], seed=1)
        network.fit(
            where.asarray(x), where.asarray(t), epochs=2, batch_size=1024, seed=2,
            optimizer=chain(clip_by_global_norm(0.5), Adam(0.001)), deterministic=True,
        )  # fmt: skip
        thetas.append(backends.to_host(network.theta))
    np.testing.assert_array_equal(*thetas)


def test_a_plan_says_what_a_step_is_made_of():
    where = select("cupy", dtype="float32")
    network = Network(6, [16, "relu", 3], seed=0)
    plan = network.plan_step(where.asarray(X), where.asarray(LABELS))
    assert "CUDA graph" in plan.describe()
    half = network.plan_step(where.asarray(X), where.asarray(LABELS), compute_dtype="float16")
    assert "float16[" in half.describe()
