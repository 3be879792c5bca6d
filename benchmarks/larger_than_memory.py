"""How fast does a training read its rows from files, and how much memory does it hold?

python benchmarks/larger_than_memory.py FOLDER [--tiny] [--rounds N] [--threads 2]
                                        [--rows 10000000] [--features 200] [--memory 1GiB]
                                        [--keep] [--out FILE.json]

Writes NPY files of random float32 rows to FOLDER, four shards, and removes them at the end.
The first shard is trained on from the files and from memory, in turn. Then an epoch each goes
over one, two and all four shards in a process that may hold so much memory: where a cgroup
(version 1 or 2) can be made, in one with that limit, which counts the pages of the files too; in
any case with RLIMIT_DATA, which counts all memory that is the process's own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from xpnn.bench.command import describe_run, shown_command
from xpnn.bench.machine import limit_threads

SHARDS = 4
WIDTHS = (100, "relu", 2)
BATCH = 256
BUFFERS = "256 MiB"
ROUNDS = 3
TARGET = 0.8


@dataclass(frozen=True)
class Wanted:
    """What the benchmark was asked for."""

    folder: Path
    rows: int
    features: int
    memory: int
    rounds: int
    threads: int
    tiny: bool
    keep: bool
    out: Path | None

    @property
    def shard(self) -> int:
        """Rows of a shard."""
        return self.rows // SHARDS


def parse(argv: list[str]) -> Wanted:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the files go; 8 GB by default")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--features", type=int, default=200)
    parser.add_argument("--memory", default="1GiB", help="limit; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="40,000 rows; times mean nothing")
    parser.add_argument("--keep", action="store_true", help="leave the files there")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    found = parser.parse_args(argv)
    rows = 40_000 if found.tiny else found.rows
    limit_threads(found.threads)
    from xpnn.data.streams.source import bytes_of

    memory = bytes_of(found.memory)
    return Wanted(
        found.folder, rows - rows % SHARDS, found.features, memory,
        2 if found.tiny else found.rounds, found.threads, found.tiny, found.keep, found.out,
    )  # fmt: skip


def generate(wanted: Wanted) -> None:
    """Write the shards; labels follow a random line, so that there is something to learn."""
    import numpy as np

    size = wanted.rows * wanted.features * 4
    free = shutil.disk_usage(wanted.folder).free
    if free < size * 1.05 + 2**28:
        sys.exit(f"{wanted.folder}: {free / 1e9:.1f} GB free; {size / 1e9:.1f} GB are needed")
    rng = np.random.default_rng(0)
    line = rng.standard_normal(wanted.features, dtype="float32")
    for number in range(SHARDS):
        shape = (wanted.shard, wanted.features)
        x_path, t_path = (wanted.folder / f"{n}-{number}.npy" for n in ("x", "t"))
        labels = np.empty(wanted.shard, "uint8")
        with x_path.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, wanted.shard, 50_000):
                rows = min(50_000, wanted.shard - start)
                part = rng.standard_normal((rows, wanted.features), dtype="float32")
                labels[start : start + rows] = part @ line > 0
                file.write(part)
        np.save(t_path, labels)


def files(folder: Path, shards: int) -> list[list[Path]]:
    """Files of rows and of targets."""
    return [[folder / f"{n}-{i}.npy" for i in range(shards)] for n in ("x", "t")]


def warm(folder: Path) -> None:
    """Read everything once, so that it is in the page cache as far as there is room."""
    for path in files(folder, SHARDS)[0]:
        with path.open("rb", buffering=0) as file:
            while file.read(2**22):
                pass


def network(features: int) -> Any:
    from xpnn import Network

    return Network(features, list(WIDTHS), seed=0, dtype="float32")


def rates(wanted: Wanted) -> Any:
    """Time an epoch of the first shard, from memory and from the files, in turn."""
    import numpy as np

    from xpnn.bench.library import Epochs
    from xpnn.bench.rounds import Contender, measure
    from xpnn.data import stream

    ((x_path,), (t_path,)) = files(wanted.folder, 1)
    options = {"batch_size": BATCH, "engine": "plan", "seed": 0}

    def from_memory() -> Epochs:
        x, t = np.load(x_path), np.load(t_path)
        return Epochs(network(wanted.features), x, t, **options)

    def from_files() -> Epochs:
        source = stream(x_path, t_path, memory=BUFFERS)
        return Epochs(network(wanted.features), source, None, **options)

    return measure(
        "rates",
        f"an epoch of {wanted.shard:,} rows x {wanted.features} float32, "
        f"{wanted.features}-{WIDTHS[0]}-{WIDTHS[-1]}, batch {BATCH}, shuffled",
        [Contender("rows in memory", from_memory), Contender("streamed from NPY", from_files)],
        wanted.rounds,
        note=f"streamed through two buffers of together {BUFFERS}",
    )


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


def child(folder: str, shards: str, features: str, memory: str, threads: str) -> None:
    """Train an epoch on some of the shards within a limit, and print what was measured."""
    import resource

    limit_threads(int(threads))
    # Private memory that can be written to, used or not; mapped and cached files do not count.
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory), int(memory)))
    from xpnn.data import stream

    source = stream(*files(Path(folder), int(shards)), memory=BUFFERS)
    made = network(int(features))
    with Watch() as watch:
        began = time.perf_counter()
        history = made.fit(source, epochs=1, batch_size=BATCH, seed=0, engine="plan")
        seconds = time.perf_counter() - began
    found = {
        "rows": history.rows, "seconds": seconds, "rows_per_second": history.rows / seconds,
        "loss": history.loss[0], "peak_rss_anon_bytes": watch.most["RssAnon"],
        "peak_rss_file_bytes": watch.most["RssFile"], "peak_rss_bytes": watch.most["VmHWM"],
    }  # fmt: skip
    print(json.dumps(found))


@dataclass(frozen=True)
class Version:
    """The names that a version of cgroups has for things."""

    name: str
    line: str  # what a process's own line in /proc begins with, but for its number
    folder: str
    limit: str
    both: tuple[str, str]  # a second limit, on memory and swap, and its value
    peak: str


VERSIONS = (
    Version("cgroup v2", ":", "", "memory.max", ("memory.swap.max", "0"), "memory.peak"),
    Version("cgroup v1", "memory:", "memory", "memory.limit_in_bytes",
            ("memory.memsw.limit_in_bytes", "{}"), "memory.max_usage_in_bytes"),
)  # fmt: skip


def own_place(version: Version, root: Path) -> Path | None:
    """The process's own cgroup with a memory controller; None where there is none."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        found = line.partition(":")[2]
        if found.startswith(version.line):
            place = root / version.folder / found[len(version.line) :].lstrip("/")
            listed = place / "cgroup.controllers"
            if version.folder or (listed.exists() and "memory" in listed.read_text().split()):
                return place
    return None


@contextmanager
def cgroup(memory: int, root: Path = Path("/sys/fs/cgroup")) -> Any:
    """Make a cgroup with a limit, below the process's own; None where not possible."""
    for version in VERSIONS:
        place = own_place(version, root)
        if place is None:
            continue
        path = place / f"xpnn-bench-{os.getpid()}"
        try:
            path.mkdir()
        except OSError:
            continue
        try:
            (path / version.limit).write_text(str(memory))
            name, value = version.both
            if (path / name).exists():
                (path / name).write_text(value.format(memory))
        except OSError:
            path.rmdir()
            continue
        try:
            yield path, version
        finally:
            path.rmdir()
        return
    yield None


def limited(wanted: Wanted, shards: int) -> dict[str, Any]:
    """Train on some of the shards in a process with a limit."""
    words = [str(wanted.folder), str(shards), str(wanted.features), str(wanted.memory),
             str(wanted.threads)]  # fmt: skip
    with cgroup(wanted.memory) as group:

        def enter() -> None:
            if group is not None:
                (group[0] / "cgroup.procs").write_text(str(os.getpid()))

        done = subprocess.run(
            [sys.executable, __file__, "--child", *words], preexec_fn=enter,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"the training within {wanted.memory:,} bytes failed: {done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout)
        found["limits"] = ["RLIMIT_DATA"]
        if group is not None:
            path, version = group
            found["limits"].append(f"{version.name} {version.limit}")
            if (path / version.peak).exists():
                found["peak_cgroup_bytes"] = int((path / version.peak).read_text())
    return found


def show(found: list[dict[str, Any]], memory: int) -> None:
    """Print memory and speed against rows."""
    from rich.table import Table

    from xpnn.bench.report import console, short_size

    limits = " and ".join(found[0]["limits"])
    table = Table("rows", "rows/s", "loss", "anonymous memory", "pages of files",
                  title=f"an epoch within {short_size(memory)} ({limits})",
                  title_justify="left", caption_justify="left")  # fmt: skip
    for one in found:
        table.add_row(
            f"{one['rows']:,}", f"{one['rows_per_second']:,.0f}", f"{one['loss']:.4f}",
            short_size(one["peak_rss_anon_bytes"]), short_size(one["peak_rss_file_bytes"]),
        )  # fmt: skip
    table.caption = "highest resident memory of the process (RssAnon and RssFile)"
    console().print(table)


def main() -> None:
    argv = sys.argv[1:]
    if argv[:1] == ["--child"]:
        child(*argv[1:])
        return
    wanted = parse(argv)
    from xpnn.bench import report

    run = describe_run(wanted, shown_command("python benchmarks/larger_than_memory.py", argv))  # type: ignore[arg-type]
    made = not wanted.folder.exists()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    size = wanted.rows * wanted.features * 4
    print(f"{run['machine']['cpu']}, {run['machine']['cores']} cores, {wanted.threads} threads")
    print(f"writing {wanted.rows:,} rows x {wanted.features} float32: {size / 1e9:.1f} GB")
    try:
        generate(wanted)
        warm(wanted.folder)
        # First, while this process holds nothing that would crowd the files out of the cache.
        growth = [limited(wanted, shards) for shards in ((1, 4) if wanted.tiny else (1, 2, 4))]
        show(growth, wanted.memory)
        compared = rates(wanted)
        report.show(compared)
    finally:
        if not wanted.keep:
            for path in chain(*files(wanted.folder, SHARDS)):
                path.unlink(missing_ok=True)
            if made:
                wanted.folder.rmdir()
    relative = 1 / compared.timings[1].record()["ratio"]
    grown = growth[-1]["peak_rss_anon_bytes"] / growth[0]["peak_rss_anon_bytes"]
    print(f"streamed: {relative:.2f} of the rate from memory (wanted: {TARGET})")
    print(f"anonymous memory of {SHARDS} times the rows: {grown:.2f} times")
    if wanted.out is not None:
        results = {
            "question": "larger_than_memory", **run, "bytes": size, "limit_bytes": wanted.memory,
            "buffers": BUFFERS, "growth": growth, "memory_growth": grown,
            "relative_rate": relative, "rates": compared.record(),
        }  # fmt: skip
        print(f"results: {report.write(wanted.out, results)}")


if __name__ == "__main__":
    main()
