"""How fast does a training read its rows from files, and how much memory does it hold?

    python benchmarks/larger_than_memory.py FOLDER [--rows 10000000] [--features 200]
                                            [--memory 1GiB] [--keep] [--out FILE.json]

Writes NPY files of random float32 rows to FOLDER, four shards, and removes them at the end. The
first shard is trained on from the files and from memory, in turn. Before that, an epoch each goes
over one, two and all four shards in a process that may hold so much memory of its own
(RLIMIT_DATA). A cgroup, `systemd-run --scope -p MemoryMax=1G python ...`, counts the pages of the
files too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from contenders import ENDLESS, Paused
from rounds import (
    Comparison,
    Contender,
    make_parser,
    measure,
    print_table,
    short_size,
    show,
    start,
    write,
)
from xpnn import Network
from xpnn.data import stream
from xpnn.data.streams import bytes_of

SHARDS = 4
BATCH = 256
BUFFERS = "256 MiB"
TARGET = 0.8


def generate(folder: Path, rows: int, features: int) -> None:
    """Write the shards; labels follow a random line, so that there is something to learn."""
    size = SHARDS * rows * features * 4
    free = shutil.disk_usage(folder).free
    if free < size * 1.05 + 2**28:
        sys.exit(f"{folder}: {free / 1e9:.1f} GB free; {size / 1e9:.1f} GB are needed")
    print(f"writing {SHARDS * rows:,} rows x {features} float32: {size / 1e9:.1f} GB")
    rng = np.random.default_rng(0)
    line = rng.standard_normal(features, dtype="float32")
    for x_path, t_path in zip(*files(folder, SHARDS), strict=True):
        x = np.lib.format.open_memmap(x_path, "w+", np.float32, (rows, features))
        t = np.empty(rows, "uint8")
        for begin in range(0, rows, 50_000):
            part = slice(begin, begin + 50_000)
            x[part] = rng.standard_normal(x[part].shape, dtype="float32")
            t[part] = x[part] @ line > 0
        x.flush()
        np.save(t_path, t)


def files(folder: Path, shards: int) -> list[list[Path]]:
    """Files of rows and of targets."""
    return [[folder / f"{name}-{i}.npy" for i in range(shards)] for name in ("x", "t")]


def warm(folder: Path) -> None:
    """Read everything once, so that it is in the page cache as far as there is room."""
    for path in files(folder, SHARDS)[0]:
        with path.open("rb", buffering=0) as file:
            while file.read(2**22):
                pass


def network(features: int) -> Network:
    return Network(features, [100, "relu", 2], seed=0, dtype="float32")


def compare_rates(folder: Path, features: int, rounds: int) -> Comparison:
    """Time an epoch of the first shard, from memory and from the files, in turn."""
    ((x_path,), (t_path,)) = files(folder, 1)

    def paused(x: Any, t: Any) -> Paused:
        made, options = network(features), {"batch_size": BATCH, "seed": 0, "epochs": ENDLESS}
        return Paused(lambda turns: made.fit(x, t, callbacks=[turns], **options))

    return measure(
        f"an epoch of a shard, {features}-100-2, batch {BATCH}, shuffled",
        [
            Contender("rows in memory", lambda: paused(np.load(x_path), np.load(t_path))),
            Contender(
                "streamed from NPY", lambda: paused(stream(x_path, t_path, memory=BUFFERS), None)
            ),
        ],
        rounds,
        note=f"streamed through two buffers of together {BUFFERS}",
    )


# A process with a limit


class Watch:
    """Looks at the process's memory again and again."""

    def __init__(self) -> None:
        self.most = {"RssAnon": 0, "RssFile": 0, "VmHWM": 0}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while True:
            self.look()
            if self.over.wait(0.05):
                return

    def look(self) -> None:
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in self.most:
                self.most[name] = max(self.most[name], int(value.split()[0]) * 1024)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self.look()


def train_within(folder: str, shards: int, features: int, memory: int) -> None:
    """Train an epoch on some of the shards within a limit, and print what was measured."""
    import resource

    # Private memory that can be written to, used or not; mapped and cached files do not count.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    source = stream(*files(Path(folder), shards), memory=BUFFERS)
    made = network(features)
    with Watch() as watch:
        began = time.perf_counter()
        history = made.fit(source, epochs=1, batch_size=BATCH, seed=0)
        seconds = time.perf_counter() - began
    found = {
        "rows": history.rows,
        "seconds": seconds,
        "rows_per_second": history.rows / seconds,
        "loss": history.loss[0],
        "peak_rss_anon_bytes": watch.most["RssAnon"],
        "peak_rss_file_bytes": watch.most["RssFile"],
    }
    print(json.dumps(found))


def limited(folder: Path, shards: int, features: int, memory: int) -> dict[str, Any]:
    """Train on some of the shards in a process with a limit."""
    words = [str(folder), str(shards), str(features), str(memory)]
    child = [sys.executable, __file__, "--child", *words]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the training within {memory:,} bytes failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout)


def show_growth(found: list[dict[str, Any]], memory: int) -> None:
    """Print memory and speed against rows."""
    rows = [
        [
            f"{one['rows']:,}",
            f"{one['rows_per_second']:,.0f}",
            f"{one['loss']:.4f}",
            short_size(one["peak_rss_anon_bytes"]),
            short_size(one["peak_rss_file_bytes"]),
        ]
        for one in found
    ]
    print_table(
        f"an epoch within {short_size(memory)} of private memory (RLIMIT_DATA)",
        ["rows", "rows/s", "loss", "anonymous memory", "pages of files"],
        rows,
    )
    print("highest resident memory of the process (RssAnon and RssFile)")


def main() -> None:
    parser = make_parser(__doc__, 3)
    parser.add_argument("folder", type=Path, help="where the files go; 8 GB by default")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--features", type=int, default=200)
    parser.add_argument("--memory", type=bytes_of, default="1GiB", help="default: %(default)s")
    parser.add_argument("--keep", action="store_true", help="leave the files there")
    options, run = start(parser)
    folder, features = options.folder, options.features
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        generate(folder, (40_000 if options.tiny else options.rows) // SHARDS, features)
        warm(folder)
        # First, while this process holds nothing that would crowd the files out of the cache.
        counts = (1, SHARDS) if options.tiny else (1, 2, SHARDS)
        growth = [limited(folder, count, features, options.memory) for count in counts]
        show_growth(growth, options.memory)
        rates = compare_rates(folder, features, options.rounds)
        show(rates)
    finally:
        if not options.keep:
            for path in chain(*files(folder, SHARDS)):
                path.unlink(missing_ok=True)
            if made:
                folder.rmdir()
    relative = 1 / rates.timings[1].record()["ratio"]
    grown = growth[-1]["peak_rss_anon_bytes"] / growth[0]["peak_rss_anon_bytes"]
    print(f"streamed: {relative:.2f} of the rate from memory (wanted: {TARGET})")
    print(f"anonymous memory of {SHARDS} times the rows: {grown:.2f} times")
    if options.out is not None:
        results = {"limit_bytes": options.memory, "buffers": BUFFERS, "growth": growth}
        results |= {"memory_growth": grown, "relative_rate": relative, "rates": rates.record()}
        write(options.out, {**run, **results})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        train_within(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        main()
