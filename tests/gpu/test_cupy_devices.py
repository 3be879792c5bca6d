"""The user's device, stream and memory pool are used and stay as they were."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from gpus import DEVICES, MARKS

from xpnn import MLPClassifier, Network, backends, select
from xpnn import functional as F
from xpnn.data import BlockShuffle, stream
from xpnn.layers import Dropout

pytestmark = MARKS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4)).astype("float32")
LABELS = RNG.integers(3, size=90)
WEIGHT = RNG.uniform(0.5, 2.0, 90).astype("float32")


def with_network(backend):
    x, t, weight = (backend.asarray(values) for values in (X, LABELS, WEIGHT))
    network = Network(4, [8, "relu", Dropout(0.2), 3], seed=0)
    network.fit(x, t, sample_weight=weight, epochs=2, validation_fraction=0.2, early_stopping=2)
    found = [network.theta, network.copy_theta(), network.copy().theta, network.predict_proba(x)]
    found += [network.scores(x), network.scores(x[0, :]), network.predict(x)]
    found += [*network.evaluate(x, t), *network.loss_and_gradient(x, t)]
    # Formulas look their device up where no namespace is handed in.
    found += [F.softmax(x), F.one_hot(t, 3), F.softmax_cross_entropy(x[:, :3], t)[0]]
    return [*found, *network.parameters().values()]


def with_kernels(backend):
    network = Network(4, [8, "relu", 3], seed=0)
    network.fit(backend.asarray(X), backend.asarray(LABELS), epochs=2, engine="native")
    return [network.theta]


def with_estimator(backend):
    options = {"backend": "cupy", "device": backends.device_name(backend.device)}
    model = MLPClassifier((8,), max_iter=3, random_state=0, early_stopping=True, **options)
    model.fit(X, LABELS, sample_weight=WEIGHT)
    model.predict(X)
    return [*model.coefs_, model.predict_proba(backend.asarray(X))]


def with_source(backend):
    network = Network(4, [8, "relu", 3], seed=0, backend=backend)
    network.fit(stream(X, LABELS, shuffle=BlockShuffle(16, 2)), epochs=2, batch_size=8)
    network.evaluate(stream(X, LABELS))
    return [network.theta]


WORK = [with_network, with_kernels, with_estimator, with_source]


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("current", range(len(DEVICES)))
@pytest.mark.parametrize("device", DEVICES)
def test_results_are_on_their_device_whichever_is_current(device, current, work, cupy):
    with cupy.cuda.Device(current):
        found = work(select("cupy", device, "float32"))
        assert cupy.cuda.Device().id == current
    for array in found:
        assert backends.device_name(backends.device_of(array)) == device


@pytest.mark.parametrize("work", WORK)
def test_the_current_stream_is_used_and_stays(work, cupy):
    expected = [backends.to_host(array) for array in work(select("cupy", dtype="float32"))]
    own = cupy.cuda.Stream(non_blocking=True)
    with own:
        found = work(select("cupy", dtype="float32"))
        assert cupy.cuda.get_current_stream() == own
        # No other stream is waited for: what is read here was made on this one.
        values = [backends.to_host(array) for array in found]
    assert cupy.cuda.get_current_stream() == cupy.cuda.Stream.null
    for a, b in zip(values, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("work", WORK)
def test_memory_comes_from_the_users_allocator(work, cupy):
    own, before = cupy.cuda.MemoryPool(), cupy.cuda.get_allocator()
    gc.collect()  # what earlier tests left is not to be freed in between
    default = cupy.get_default_memory_pool().used_bytes()
    with cupy.cuda.using_allocator(own.malloc):
        found = work(select("cupy", dtype="float32"))
        assert own.used_bytes() > 0
        assert cupy.cuda.get_allocator() == own.malloc
    assert cupy.cuda.get_allocator() == before
    assert cupy.get_default_memory_pool().used_bytes() == default
    assert all(array.data.ptr for array in found)


@pytest.mark.parametrize("device", DEVICES)
def test_an_error_leaves_device_and_stream_as_they_were(device, cupy):
    backend, own = select("cupy", device, "float32"), cupy.cuda.Stream(non_blocking=True)
    network = Network(4, [8, "relu", 3], seed=0, backend=backend)

    def fail(run):
        raise RuntimeError("of the user's own")

    with own:
        with pytest.raises(RuntimeError, match="of the user's own"):
            network.fit(backend.asarray(X), backend.asarray(LABELS), callbacks=[fail])
        assert cupy.cuda.get_current_stream() == own
        assert cupy.cuda.Device().id == 0
