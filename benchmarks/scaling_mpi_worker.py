"""What each process of `scaling_mpi.py` does; started by `mpiexec`, prints one line of JSON.

`scaling_mpi.py` sets the variables that keep it to one thread.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise
from statistics import median
from typing import Any

LAYERS = (784, 512, 512, 10)


def rows_of(given: dict[str, Any]) -> tuple[Any, Any]:
    """MNIST's shapes: its own rows, or a generated file that all processes map."""
    import numpy as np

    x = np.load(given["x"], mmap_mode="r")
    t = np.load(given["t"])
    return x[: given["rows"]], t[: given["rows"]]


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

    x, t = rows_of(given)
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
    import numpy as np
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


def main() -> None:
    given = json.loads(sys.argv[1])
    group = None
    if given["ranks"] > 1:
        from xpnn.distributed import process_group

        group = process_group("mpi")
    found = {"train": train, "all-reduce": all_reduce}[given["what"]](given, group)
    if group is None or group.is_main:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
