"""Batches on their way to a GPU: pinned memory, a stream for copies, the current one for steps."""

from __future__ import annotations

import numpy as np
import pytest
from gpus import DEVICES, MARKS

from xpnn import MLPClassifier, Network, backends, select
from xpnn.backends import pinned
from xpnn.backends.pinned import Part
from xpnn.data import BlockShuffle, stream

pytestmark = MARKS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(503, 6)).astype("float32")
LABELS = (X @ RNG.normal(size=(6, 3))).argmax(axis=1)


def feeder_of(device):
    chosen = select("cupy", device, "float32")
    return pinned.feeder_for(chosen.xp, chosen.device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("own_stream", [False, True])
def test_what_is_sent_arrives_while_steps_run(device, own_stream, cupy):
    """Steps that take long read a batch each; a copy that came too early would change it."""
    feeder, index = feeder_of(device), int(device.partition(":")[2])
    rows, found = 1 << 20, []
    with cupy.cuda.Device(index):
        current = cupy.cuda.Stream(non_blocking=True) if own_stream else cupy.cuda.Stream.null
        with current:
            busy = cupy.ones((2048, 2048), "float32")
            for number in range(12):
                (x,) = feeder.to_device([Part.of(np.full(rows, number, "float32"))])
                for _ in range(10):
                    busy = busy @ busy / 2048
                found.append(x.sum() / rows + 0 * busy[0, 0])
            assert cupy.cuda.get_current_stream() == current
        current.synchronize()
        assert [float(value) for value in found] == list(range(12))
    assert cupy.cuda.Device().id == 0


def test_copies_are_on_a_stream_of_their_own_and_from_pinned_memory(cupy):
    feeder = feeder_of("cuda:0")
    feeder.to_device([Part.of(X)])
    assert feeder.streams.stream != cupy.cuda.get_current_stream()
    attributes = cupy.cuda.runtime.pointerGetAttributes(feeder.slots[0].pinned[0].ctypes.data)
    assert attributes.type == 1  # cudaMemoryTypeHost


def test_the_pools_are_cupys_and_stay(cupy):
    before = (cupy.get_default_memory_pool(), cupy.cuda.get_allocator())
    used = cupy.get_default_memory_pool().used_bytes()
    feeder = feeder_of("cuda:0")
    feeder.to_device([Part.of(X)])
    assert cupy.get_default_memory_pool().used_bytes() > used
    del feeder
    assert (cupy.get_default_memory_pool(), cupy.cuda.get_allocator()) == before


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("own_stream", [False, True])
def test_a_source_trains_as_the_same_rows_on_the_host(device, own_stream, cupy):
    options = {"epochs": 3, "batch_size": 16, "shuffle": False}
    here, there = Network(6, [8, "tanh", 3], seed=1), Network(6, [8, "tanh", 3], seed=1)
    there.to("cupy", device, "float32")
    expected = here.fit(X, LABELS, **options)
    with cupy.cuda.Device(int(device.partition(":")[2])):
        current = cupy.cuda.Stream(non_blocking=True) if own_stream else cupy.cuda.Stream.null
        with current:
            rows = stream(X, LABELS, shuffle=BlockShuffle(64, 3))
            found = there.fit(rows, X_val=stream(X, LABELS), **options)
            proba = there.predict_proba(stream(X))
        current.synchronize()
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)
    assert backends.device_name(backends.device_of(there.theta)) == device
    assert isinstance(proba, np.ndarray)
    np.testing.assert_allclose(proba, here.predict_proba(X), rtol=1e-3, atol=1e-5)


def test_an_estimator_on_the_gpu_learns_from_a_source():
    def source(*data):
        return stream(*data, shuffle=BlockShuffle(11, 3))

    options = {"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 3, "shuffle": False}
    expected = MLPClassifier(**options).fit(X, LABELS)
    found = MLPClassifier(**options, backend="cupy").fit(source(X, LABELS))
    assert found.loss_curve_ == pytest.approx(expected.loss_curve_, rel=1e-4)
    assert isinstance(found.predict(source(X)), np.ndarray)
    assert found.score(source(X, LABELS)) == pytest.approx(expected.score(X, LABELS), abs=0.02)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_above_the_share_go_batch_by_batch(device, cupy, monkeypatch):
    options = {"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 3, "batch_size": 32}
    at_once = MLPClassifier(**options, backend="cupy", device=device).fit(X, LABELS)
    monkeypatch.setenv("XPNN_DEVICE_SHARE", "0")
    sent = []
    to_device = pinned.Feeder.to_device

    def counting(self, parts):
        sent.append(len(parts))
        return to_device(self, parts)

    monkeypatch.setattr(pinned.Feeder, "to_device", counting)
    streamed = MLPClassifier(**options, backend="cupy", device=device).fit(X, LABELS)
    assert len(sent) == 3 * 16
    np.testing.assert_allclose(streamed.predict_proba(X), at_once.predict_proba(X), rtol=1e-4)
    for a, b in zip(streamed.coefs_, at_once.coefs_, strict=True):
        np.testing.assert_allclose(backends.to_host(a), backends.to_host(b), rtol=1e-5, atol=1e-7)
