"""How training on several processes scales: measured on 1 and 2, predicted for 8 to 1,024 GPUs.

python benchmarks/scaling_mpi.py [--tiny] [--rounds N] [--data FOLDER] [--out FILE.json]
                                 [--engine planned] [--gpu-rate FLOPS] [--link BYTES]
                                 [--latency SECONDS]

Each process has one BLAS thread. 784-512-512-10 on MNIST (generated rows without --data) and
on a generated set ten times larger; strong scaling keeps the batch of 1,024 rows, weak
scaling has 1,024 for each process. Runs of 1 and 2 processes take turns. With --out, the
prediction is drawn beside the JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from rounds import THREAD_VARIABLES, describe_run, shown_command, write
from scaling_mpi_model import Cluster, draw, parameters, predict, table

LAYERS = (784, 512, 512, 10)
BATCH = 1024
PARAMETERS = parameters(LAYERS)
TIMES = 42  # of an all-reduce that is timed by itself


def run(ranks: int, **given: Any) -> dict[str, Any]:
    """Start processes, and read what the first of them prints."""
    own = Path(sys.executable).with_name("mpiexec")
    command = [str(own) if own.exists() else shutil.which("mpiexec") or "mpiexec", "-n", str(ranks)]
    worker = [sys.executable, __file__, "--worker"]
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    done = subprocess.run(
        [*(command if ranks > 1 else ()), *worker, json.dumps({"ranks": ranks, **given})],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{ranks} processes ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def make_rows(folder: Path, rows: int, name: str) -> dict[str, str]:
    """Write random pictures and labels of MNIST's shapes."""
    rng = np.random.default_rng(0)
    place = np.lib.format.open_memmap(
        folder / f"{name}.npy", "w+", dtype=np.float32, shape=(rows, LAYERS[0])
    )
    for start in range(0, rows, 10_000):
        place[start : start + 10_000] = rng.random(place[start : start + 10_000].shape, np.float32)
    place.flush()
    np.save(folder / f"{name}-t.npy", rng.integers(0, 10, rows))
    return {"x": str(folder / f"{name}.npy"), "t": str(folder / f"{name}-t.npy")}


def mnist(folder: Path, data: Path | None, rows: int) -> dict[str, str]:
    """MNIST's training rows as files that processes map; generated ones without a folder."""
    if data is None:
        return make_rows(folder, rows, "mnist")
    from xpnn.data import load_mnist

    found = load_mnist(data)
    np.save(folder / "mnist.npy", found.train_images[:rows].astype(np.float32) / 255)
    np.save(folder / "mnist-t.npy", found.train_labels[:rows])
    return {"x": str(folder / "mnist.npy"), "t": str(folder / "mnist-t.npy")}


def compare(
    name: str, files: dict[str, str], rows: int, rounds: int, epochs: int, engine: str
) -> Any:
    """Strong and weak scaling on 1 and 2 processes, which take turns."""
    found: dict[str, list[Any]] = {"1": [], "2": [], "2 weak": []}
    for _ in range(rounds):
        for key in found:
            ranks = int(key[0])
            wide = ranks if key.endswith("weak") else 1
            given = {"rows": rows, "batch": BATCH * wide, "epochs": epochs, "engine": engine}
            found[key].append(run(ranks, what="train", **given, **files))
    step = {key: median(one["step"] for one in runs) for key, runs in found.items()}
    strong = median(
        one["step"] / two["step"] for one, two in zip(found["1"], found["2"], strict=True)
    )
    weak = median(
        2 * one["step"] / two["step"] for one, two in zip(found["1"], found["2 weak"], strict=True)
    )
    return {
        "name": name, "rows": rows, "batch": BATCH, "seconds_per_step": step,
        "speedup_strong": strong, "speedup_weak": weak,
        "in_all_reduce": median(one["in_all_reduce"] for one in found["2"]),
        "in_all_reduce_weak": median(one["in_all_reduce"] for one in found["2 weak"]),
        "runs": found,
    }  # fmt: skip


# What each process does; it prints one line of JSON


def timed(group: Any) -> list[float]:
    """Let a group note the seconds of each all-reduce, waiting for the others included."""
    seconds, reduce = [0.0], group.into

    def into(vector: Any, out: Any) -> None:
        begin = time.perf_counter()
        reduce(vector, out)
        seconds[0] += time.perf_counter() - begin

    group.into = into
    return seconds


def train(given: dict[str, Any], group: Any) -> dict[str, Any]:
    """Seconds of a step after the first epoch, and what part of them all-reduces take."""
    from xpnn import Network

    x, t = np.load(given["x"], mmap_mode="r"), np.load(given["t"])
    x, t = x[: given["rows"]], t[: given["rows"]]
    hidden = [word for width in LAYERS[1:-1] for word in (width, "relu")]
    network = Network(LAYERS[0], [*hidden, LAYERS[-1]], seed=0)
    reducing = [0.0] if group is None else timed(group)
    marks: list[tuple[float, float]] = []
    network.fit(
        x, t, epochs=given["epochs"] + 1, batch_size=given["batch"],
        distributed=None if group is None else "mpi", engine=given["engine"],
        callbacks=[lambda run: marks.append((time.perf_counter(), reducing[0]))],
    )  # fmt: skip
    pairs = list(pairwise(marks))
    steps = -(-len(x) // given["batch"])
    return {
        "epoch": [b[0] - a[0] for a, b in pairs],
        "step": median(b[0] - a[0] for a, b in pairs) / steps,
        "in_all_reduce": median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs),
        "steps": steps,
    } if pairs else {}  # fmt: skip


def all_reduce(given: dict[str, Any], group: Any) -> dict[str, Any]:
    """Seconds of an all-reduce of ranks that arrive together, by the vector's length."""
    from mpi4py import MPI

    found: dict[str, Any] = {}
    for length in given["lengths"]:
        vector = np.ones(length, np.float32)
        out = np.empty_like(vector)
        times: dict[str, list[float]] = {"ours": [], "MPI": []}
        for _ in range(given["times"]):
            for name, reduce in (("ours", group.into), ("MPI", MPI.COMM_WORLD.Allreduce)):
                MPI.COMM_WORLD.Barrier()
                begin = time.perf_counter()
                reduce(vector, out)
                times[name].append(time.perf_counter() - begin)
        found[str(length)] = {name: median(taken[2:]) for name, taken in times.items()}
    return found


def work(given: dict[str, Any]) -> None:
    """Do what `run` asks a process for."""
    group = None
    if given["ranks"] > 1:
        from xpnn.distributed import process_group

        group = process_group("mpi")
    found = {"train": train, "all-reduce": all_reduce}[given["what"]](given, group)
    if group is None or group.is_main:
        print(json.dumps(found))


# All of it


def main() -> None:
    prefix, argv = "python benchmarks/scaling_mpi.py", sys.argv[1:]
    parser = argparse.ArgumentParser(prog=prefix, description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="very little data; times mean nothing")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--data", type=Path, help="folder with the MNIST database")
    parser.add_argument("--engine", default="native", help="native or planned")
    defaults = Cluster()
    parser.add_argument("--gpu-rate", type=float, default=defaults.rate, help="operations a second")
    parser.add_argument("--link", type=float, default=defaults.link, help="bytes a second")
    parser.add_argument("--latency", type=float, default=defaults.latency, help="seconds")
    asked = parser.parse_args(argv)
    rows = 4096 if asked.tiny else 60_000
    with tempfile.TemporaryDirectory(prefix="xpnn-") as name:
        folder = Path(name)
        files = mnist(folder, asked.data, rows)
        sets = [compare("mnist", files, rows, asked.rounds, 2, asked.engine)]
        files = make_rows(folder, 10 * rows, "large")
        sets.append(compare("ten times larger", files, 10 * rows, 1, 1, asked.engine))
        lengths = [1, 1000, 10_000, 100_000, PARAMETERS + 3, 2_000_000]
        alone = run(2, what="all-reduce", lengths=lengths, times=TIMES)
    one, two = (sets[0]["seconds_per_step"][key] for key in ("1", "2"))
    summed = alone[str(PARAMETERS + 3)]["ours"]
    result = {
        "settings": describe_run(shown_command(prefix, argv), threads=1, tiny=asked.tiny),
        "network": list(LAYERS), "engine": asked.engine, "sets": sets, "seconds_of_a_sum": alone,
        "sum_share_of_a_step": summed / two,
        "predicted_speedup": one / (one / 2 + summed), "measured_speedup": one / two,
    }  # fmt: skip
    cluster = Cluster(asked.gpu_rate, asked.link, asked.latency)
    result["prediction"] = {"cluster": vars(cluster), "sizes": predict(cluster)}
    show(result)
    if asked.out is not None:
        write(asked.out, result)
        print(f"picture: {draw(result['prediction'], asked.out.with_suffix('.png'))}")


def show(result: dict[str, Any]) -> None:
    """Print what was found."""
    print(f"784-512-512-10, Adam, float32, engine {result['engine']}, one thread for each process")
    for found in result["sets"]:
        step = found["seconds_per_step"]
        print(
            f"{found['name']}, {found['rows']:,} rows: a step of {BATCH:,} rows "
            f"{1e3 * step['1']:.1f} ms on 1 process, {1e3 * step['2']:.1f} ms on 2: "
            f"{found['speedup_strong']:.2f} times as fast; {BATCH:,} rows each: "
            f"{found['speedup_weak']:.2f} times the rows a second; in all-reduces, waiting "
            f"included: {100 * found['in_all_reduce']:.1f} % of an epoch"
        )
    sums = result["seconds_of_a_sum"]
    whole, one = sums[str(PARAMETERS + 3)], sums["1"]
    print(
        f"an all-reduce of {PARAMETERS:,} float32: {1e3 * whole['ours']:.2f} ms, "
        f"{100 * result['sum_share_of_a_step']:.1f} % of a step (MPI's own: "
        f"{1e3 * whole['MPI']:.2f} ms); of one number: {1e6 * one['ours']:.0f} us "
        f"({1e6 * one['MPI']:.0f} us)"
    )
    print(
        f"the model says {result['predicted_speedup']:.2f} times for 2 processes; measured "
        f"{result['measured_speedup']:.2f}"
    )
    print(table(result["prediction"]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(json.loads(sys.argv[2]))
    else:
        main()
