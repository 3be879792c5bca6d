"""A GPU without room, one that is lost, and memory that comes back."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest
from gpus import MARKS, STATUS

from xpnn import MLPClassifier, Network, select
from xpnn.backends import DeviceMemoryError, to_host

pytestmark = MARKS
ENGINES = ["auto", "native", "pure"]
ROWS, WIDTH = 8192, 4096  # a batch of all rows needs 128 MiB for one layer's output
ROOM = 64 * 2**20  # cuBLAS may want half of it for itself

RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 6)).astype("float32")
LABELS = (X @ RNG.normal(size=(6, 3))).argmax(axis=1)


@pytest.fixture
def pool():
    """CuPy's own memory pool, emptied; a limit that a test sets is taken away."""
    import cupy

    made = cupy.get_default_memory_pool()
    gc.collect()
    made.free_all_blocks()
    yield made
    made.set_limit(size=0)


def network():
    return Network(6, [WIDTH, "relu", 3], seed=1).to("cupy", dtype="float32")


@pytest.mark.parametrize("engine", ENGINES)
def test_no_room_is_an_error_and_the_model_stays_as_it_was(engine, pool):
    here, net, untouched = select("cupy", dtype="float32"), network(), network()
    x, t = here.asarray(X), here.asarray(LABELS)
    options = {"epochs": 1, "engine": engine, "seed": 2}
    before, held = to_host(net.theta), pool.used_bytes()
    pool.set_limit(size=pool.total_bytes() + ROOM)
    with pytest.raises(DeviceMemoryError, match=r"out of memory: .* are free\. A smaller batch_s"):
        net.fit(x, t, batch_size=None, **options)
    np.testing.assert_array_equal(to_host(net.theta), before)
    gc.collect()
    assert pool.used_bytes() < held + ROOM
    # What the message says helps: in the same room, with the same network.
    net.fit(x, t, batch_size=64, **options)
    pool.set_limit(size=0)
    untouched.fit(x, t, batch_size=64, **options)
    np.testing.assert_allclose(to_host(net.theta), to_host(untouched.theta), rtol=1e-4, atol=1e-5)


def test_an_estimator_without_room_says_the_same(pool):
    pool.set_limit(size=pool.total_bytes() + ROOM)
    model = MLPClassifier((WIDTH,), backend="cupy", batch_size=ROWS, max_iter=1)
    with pytest.raises(DeviceMemoryError, match="the device is out of memory"):
        model.fit(X, LABELS)


@pytest.mark.parametrize("engine", ENGINES)
def test_trainings_leave_nothing_behind(engine, pool):
    here, held = select("cupy", dtype="float32"), []
    x, t = here.asarray(X), here.asarray(LABELS)
    for _ in range(4):
        net = network()
        net.fit(x, t, epochs=1, batch_size=512, engine=engine, validation_fraction=0.1)
        del net
        gc.collect()
        held.append(pool.used_bytes())
    assert held[-1] <= held[1] + 2**16


@pytest.mark.parametrize("engine", ENGINES)
def test_a_training_in_a_thread_ends_where_another_does(engine):
    here = select("cupy", list(STATUS.devices)[-1], "float32")
    x, t = here.asarray(X[:500]), here.asarray(LABELS[:500])

    def train(net):
        net.fit(x, t, epochs=2, engine=engine, seed=2)

    expected, found = (Network(6, [16, "tanh", 3], seed=1) for _ in range(2))
    train(expected)
    thread = threading.Thread(target=train, args=(found,))
    thread.start()
    thread.join()
    theta, right = to_host(found.theta), to_host(expected.theta)
    np.testing.assert_allclose(theta, right, rtol=1e-4, atol=1e-5)


LOST = """
import cupy, numpy as np
from xpnn import Network, select
from xpnn.backends import DeviceLostError

here = select("cupy", dtype="float32")
x, t = here.asarray(np.ones((64, 4))), here.asarray(np.zeros(64, dtype="int64"))
net = Network(4, [3], seed=0)
net.fit(x, t, epochs=1)
source = 'extern "C" __global__ void wild(int* place) { place[threadIdx.x] = 1; }'
cupy.RawKernel(source, "wild")((1,), (32,), (np.uint64(16),))
try:
    net.fit(x, t, epochs=1, engine=ENGINE)
except DeviceLostError as error:
    print(error)
import os, sys
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_lost_device_is_an_error_in_words(engine):
    words = [sys.executable, "-c", LOST.replace("ENGINE", repr(engine))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert "the device can be used no more" in done.stdout, done.stderr
    assert "Begin a new process" in done.stdout
