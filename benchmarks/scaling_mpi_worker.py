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


def train(given: dict[str, Any], group: Any) -> dict[str, Any]:
    """Seconds of each epoch after the first, and what of it went into sums."""
    from xpnn import Network
    from xpnn.training import OnEpoch

    x, t = rows_of(given)
    hidden = [word for width in LAYERS[1:-1] for word in (width, "relu")]
    network = Network(LAYERS[0], [*hidden, LAYERS[-1]], seed=0)
    marks: list[tuple[float, float]] = []

    def mark(run: Any) -> None:
        marks.append((time.perf_counter(), 0.0 if group is None else group.seconds))

    network.fit(
        x, t, epochs=given["epochs"] + 1, batch_size=given["batch"],
        distributed=None if group is None else "mpi", callbacks=[OnEpoch(mark)],
        engine=given["engine"],
    )  # fmt: skip
    if group is not None and not group.is_main:
        return {}
    pairs = list(pairwise(marks))
    steps = -(-len(x) // given["batch"])
    return {
        "epoch": [b[0] - a[0] for a, b in pairs],
        "step": median(b[0] - a[0] for a, b in pairs) / steps,
        "in_sums": median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs),
        "steps": steps,
    }


def sums(given: dict[str, Any], group: Any) -> dict[str, Any]:
    """Seconds of a sum over all processes that come together, by the vector's length."""
    import numpy as np

    def alone(vector: Any, out: Any) -> None:
        group.comm.Allreduce(vector, out)

    found: dict[str, Any] = {}
    for length in given["lengths"]:
        vector = np.ones(length, np.float32)
        out = np.empty_like(vector)
        times: dict[str, list[float]] = {"ours": [], "all-reduce": []}
        for _ in range(given["times"]):
            for name, add in (("ours", group.into), ("all-reduce", alone)):
                group.comm.Barrier()
                begin = time.perf_counter()
                add(vector, out)
                times[name].append(time.perf_counter() - begin)
        found[str(length)] = {name: median(taken[2:]) for name, taken in times.items()}
    return found


def buckets(given: dict[str, Any], group: Any) -> dict[str, Any]:
    """A step by hand: one sum at its end, or one for each layer while the others go back."""
    import numpy as np

    rng = np.random.default_rng(group.rank)
    rows = given["batch"] // group.size
    shapes = list(pairwise(LAYERS))
    size = sum(a * b for a, b in shapes)
    flat, total = np.zeros(size, np.float32), np.zeros(size, np.float32)
    ends = np.cumsum([a * b for a, b in shapes])
    spans = [(int(e) - a * b, int(e)) for e, (a, b) in zip(ends, shapes, strict=True)]
    weights = [rng.normal(0, 0.05, s).astype(np.float32) for s in shapes]
    x = rng.normal(size=(rows, LAYERS[0])).astype(np.float32)

    def step(apart: bool) -> None:
        outputs = [x]
        for weight in weights:
            outputs.append(np.maximum(outputs[-1] @ weight, 0))
        slope, waiting = outputs[-1], []
        for layer in reversed(range(len(weights))):
            start, stop = spans[layer]
            np.dot(outputs[layer].T, slope, out=flat[start:stop].reshape(shapes[layer]))
            if apart:
                waiting.append(group.comm.Iallreduce(flat[start:stop], total[start:stop]))
            if layer:
                slope = (slope @ weights[layer].T) * (outputs[layer] > 0)
        if not apart:
            group.comm.Allreduce(flat, total)
        for request in waiting:
            request.Wait()

    times: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * given["times"]):
        apart = bool(number % 2)
        group.comm.Barrier()
        begin = time.perf_counter()
        step(apart)
        times[apart].append(time.perf_counter() - begin)
    return {"one_sum": median(times[False][2:]), "a_sum_a_layer": median(times[True][2:])}


def main() -> None:
    given = json.loads(sys.argv[1])
    group = None
    if given["ranks"] > 1:
        from xpnn.distributed import process_group

        group = process_group("mpi")
    found = {"train": train, "sums": sums, "buckets": buckets}[given["what"]](given, group)
    if group is None or group.is_main:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
