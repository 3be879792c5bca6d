"""What goes wrong on one process: ``mpiexec -n 3 python mpi_faults.py NAME [FOLDER]``."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from xpnn import MLPClassifier, Network
from xpnn.data import stream
from xpnn.distributed import MPIOptions, RankError, process_group
from xpnn.optimizers import CosineWarmup

NAME = sys.argv[1]
HANGS = ("hangs", "stopped", "stays away", "never begins", "callback hangs", "later")
SETTINGS = MPIOptions(timeout=2.0 if NAME in HANGS else 100.0)
if NAME != "never begins" or os.environ.get("PMI_RANK") == "1":
    from mpi4py import MPI as started  # noqa: F401  # which may take long on a busy machine

    if NAME == "never begins":
        time.sleep(1e6)
GROUP = process_group(SETTINGS)
RANK = 0 if GROUP is None else GROUP.rank
X = np.random.default_rng(0).normal(size=(90, 4))
T = np.arange(90) % 3


def fit(x=X, t=T, **options):
    network = Network(4, [6, "tanh", 3], seed=0)
    options = {"epochs": 3, "batch_size": 9, "distributed": SETTINGS, **options}
    return network, network.fit(x, t, **options)


class Bad:
    """Rows that cannot be read on one process, from some row on."""

    shape, dtype, chunks = X.shape, X.dtype, ((10,) * 9, (4,))

    def __init__(self, act):
        self.act = act

    def __getitem__(self, rows):
        if RANK == 1 and rows.start >= 40:
            self.act()
        return X[rows]


class Unpicklable:
    def __reduce__(self):
        raise TypeError("not to be pickled")


def fail():
    raise OSError("the disk is gone")


def caught(call):
    """Say what a process ends with; all of them go on."""
    try:
        call()
    except Exception as error:
        print(f"rank {RANK}: {type(error).__name__}: {error}", flush=True)


def slow(run):
    if RANK == 0 and run.history.epochs == 2:
        time.sleep(1e6)


def interrupt_a_waiting_rank():
    """Send Ctrl-C as soon as the main thread waits for the other ranks."""
    while True:
        code = sys._current_frames()[threading.main_thread().ident].f_code
        waits = code.co_name in ("_wait", "_communicator")
        if waits and Path(code.co_filename).parts[-2:] == ("distributed", "group.py"):
            os.kill(os.getpid(), signal.SIGINT)
            return
        time.sleep(0.01)


if NAME == "raises":
    caught(lambda: fit(stream(Bad(fail), T, memory="1 KiB"), None))
    network, history = fit()  # MPI is in order
    print(f"rank {RANK} went on: {history.epochs} epochs", flush=True)
elif NAME == "unpicklable":
    for operation in (
        GROUP.broadcast,
        GROUP.all_gather,
        lambda value: GROUP.all_to_all([value] * 3),
    ):

        def exchange(operation=operation):
            with GROUP.session():
                operation(RANK or Unpicklable())

        caught(exchange)
    network, history = fit()
    print(f"rank {RANK} went on: {history.epochs} epochs", flush=True)
elif NAME == "nan":
    bad = X.copy()
    bad[4, 0] = np.nan  # in the second rank's part of a batch
    caught(lambda: fit(bad, shuffle=False))
elif NAME == "other data":
    caught(lambda: fit(X + RANK))
elif NAME == "other rows":
    caught(lambda: fit(X[: 90 - RANK], T[: 90 - RANK]))
elif NAME == "drifts":
    whole = GROUP.into

    def wrong(vector, out):
        whole(vector, out)
        out *= 1 + RANK * 1e-6

    GROUP.into = wrong
    caught(fit)
elif NAME == "argument":
    caught(lambda: fit(epochs=0))
    caught(lambda: fit(deterministic=True))
    caught(lambda: MLPClassifier(deterministic=True, distributed=SETTINGS).fit(X, T))
elif NAME == "hangs":
    fit(stream(Bad(lambda: time.sleep(1e6)), T, memory="1 KiB"), None)
elif NAME == "callback hangs":
    fit(callbacks=[slow])
elif NAME == "stopped":
    fit(stream(Bad(lambda: os.kill(os.getpid(), signal.SIGSTOP)), T, memory="1 KiB"), None)
elif NAME == "dies":
    fit(stream(Bad(lambda: os.kill(os.getpid(), signal.SIGKILL)), T, memory="1 KiB"), None)
elif NAME == "later":
    fit()
    if RANK == 2:
        raise KeyError("after the training")
    fit()
elif NAME == "interrupted":
    if RANK == 0:
        time.sleep(1e6)
    if RANK == 1:
        threading.Thread(target=interrupt_a_waiting_rank, daemon=True).start()
    fit()
elif NAME == "stays away":
    if RANK == 1:
        time.sleep(1e6)
    fit()
elif NAME == "never begins":
    fit()
elif NAME == "reads":
    passes, read = [], []

    def batches():
        passes.append(0)
        for start in range(0, 90, 10):
            passes[-1] += 1
            yield X[start : start + 10], T[start : start + 10]

    class Noted(Bad):
        def __getitem__(self, rows):
            read.append((rows.start, rows.stop))
            return X[rows]

    fit(stream(batches, memory="1 KiB"), None, learning_rate=CosineWarmup(0.01))
    fit(stream(Noted(fail), T, memory="1 KiB"), None)
    rows = sum(stop - start for start, stop in read)
    print(f"rank {RANK}: whole {sum(n == 9 for n in passes)}, own rows {rows}", flush=True)
elif NAME == "resume":
    folder, epochs = Path(sys.argv[2]), int(sys.argv[3])
    network, history = fit(epochs=epochs, checkpoint=folder / "c.safetensors", resume=True)
    np.savez(folder / f"{RANK}.npz", theta=network.theta, loss=history.loss)
elif NAME == "callback":
    told = []

    def stop_after_two(run):
        told.append(RANK)
        if run.history.epochs == 2:
            run.stop("enough")

    try:
        fit(epochs=9, callbacks=[stop_after_two])
    except RankError as error:
        print(error)
    network, history = fit(epochs=9, callbacks=[lambda run: run.stop("enough")])
    print(f"rank {RANK}: {history.epochs} {history.stopped} {len(told)}", flush=True)
else:
    raise SystemExit(f"no case {NAME}")
