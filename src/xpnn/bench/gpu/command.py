"""``python benchmarks/gpu``: all works one after the other, a table, a file, a picture."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xpnn.bench.command import shown_command
from xpnn.bench.gpu.asked import Asked
from xpnn.bench.gpu.report import show_all
from xpnn.bench.machine import THREAD_VARIABLES, describe_machine, describe_versions

# Seconds for the process of each work: 450 in all, of the eight minutes that there are.
SECONDS = {
    "ceilings": 35, "mnist": 85, "tabular": 45, "large": 85, "estimator": 60, "predict": 50,
    "time98": 90,
}  # fmt: skip
TO_END = 8.0  # seconds before the limit at which a work begins no further round
PREFIX = "python benchmarks/gpu"
RESULTS = Path("benchmarks/results/gpu.json")


def _number(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_number.__name__ = "positive integer"  # for argparse's message


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog=PREFIX,
        description="Training and prediction on one GPU beside PyTorch and scikit-learn; a "
        "limit for each work keeps it under eight minutes. Let the machine rest meanwhile.",
    )
    parser.add_argument("--device", default="cuda:0", help="cuda:0, cuda:1, ... or cpu")
    parser.add_argument("--data", type=Path, help="folder with the MNIST database (IDX files)")
    parser.add_argument("--work", default="", help=f"of {','.join(SECONDS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="few rounds, no torch.compile")
    parser.add_argument("--tiny", action="store_true", help="very little data; times mean nothing")
    parser.add_argument("--threads", type=_number, help="of the CPU's part; default: all cores")
    parser.add_argument(
        "--json",
        type=Path,
        help=f"file for the results; default: {RESULTS}, of whole runs on a GPU",
    )
    parser.add_argument("--plot", type=Path, help="roofline picture: PNG, SVG or PDF")
    given = parser.parse_args(argv)
    whole = not (given.work or given.quick or given.tiny or given.device == "cpu")
    if given.json is None and whole:
        given.json = RESULTS
    given.work = [name.strip() for name in given.work.split(",") if name.strip()] or [*SECONDS]
    for name in given.work:
        if name not in SECONDS:
            parser.error(f"--work names {name!r}; expected some of {','.join(SECONDS)}")
    kind, mark, index = given.device.partition(":")
    if given.device != "cpu" and (kind != "cuda" or (mark and not index.isdigit())):
        parser.error(f"--device is {given.device!r}; expected cpu, cuda:0, cuda:1, ...")
    if given.device == "cuda":
        given.device = "cuda:0"
    if given.data is not None and not given.data.is_dir():
        parser.error(f"--data is {str(given.data)!r}; expected a folder with MNIST's files")
    if given.plot is not None and given.plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        parser.error(f"--plot is {str(given.plot)!r}; expected a .png, .svg or .pdf file")
    for option, path in (("--json", given.json), ("--plot", given.plot)):
        # Now, and not after eight minutes.
        if path is not None and (path.is_dir() or not _writable(path.absolute().parent)):
            parser.error(f"{option} is {str(path)!r}; expected a file where one can be written")
    return given


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _environment(threads: int | None, cold: Path | None) -> dict[str, str]:
    """What a work's process is started with; `cold` is an empty folder for compiled kernels."""
    found = dict(os.environ)
    if threads is not None:
        found |= {variable: str(threads) for variable in THREAD_VARIABLES}
    if cold is not None:
        found |= {"CUPY_CACHE_DIR": str(cold / "cupy"), "XPNN_CACHE_DIR": str(cold / "xpnn")}
    return found


def run_work(
    name: str, asked: Asked, seconds: float, threads: int | None = None, cold: bool = False
) -> dict[str, Any]:
    """Measure one work in a process of its own.

    Parameters
    ----------
    name : str
        The work.
    asked : Asked
        How.
    seconds : float
        After which the process, and what it started, is ended.
    threads : int, optional
        For the CPU's part.
    cold : bool, default False
        Whether kernels that an earlier process compiled are not to be found.

    Returns
    -------
    dict
        What the work found, or its `reason` where it found nothing.
    """
    options = json.dumps(asdict(replace(asked, seconds=max(seconds - TO_END, 1.0))))
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        words = [sys.executable, "-m", "xpnn.bench.gpu", name, options, str(result)]
        with (Path(folder) / "said").open("w+b") as said:
            process = subprocess.Popen(
                words, stdout=said, stderr=said, start_new_session=True,
                env=_environment(threads, Path(folder) if cold else None),
            )  # fmt: skip
            try:
                process.wait(seconds)
                reason = ""
            except subprocess.TimeoutExpired:
                reason = f"was ended after {seconds:.0f} s"
            finally:
                _end(process)
            if not reason and result.exists():
                return {"name": name, "reason": "", **json.loads(result.read_text())}
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
    reason = reason or f"failed with exit code {process.returncode}"
    return {"name": name, "reason": f"{reason}: {lines[-1]}" if lines else reason}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started: PyTorch compiles in processes of its own."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def run_parts(asked: Asked, seconds: float, threads: int | None) -> dict[str, Any]:
    """Measure the work whose contenders have a cold process each; the slowest comes last."""
    from xpnn.bench.gpu.fits import CURVES

    end = time.monotonic() + seconds
    found: dict[str, Any] = {"name": "time98", "reason": "", "results": []}
    for name in CURVES:
        left = end - time.monotonic()
        part = run_work("time98", replace(asked, only=name), max(left, 1.0), threads, cold=True)
        results = part.pop("results", None) or [{"name": name, "skipped": part["reason"]}]
        curves = found.get("facts", {}).get("curves", {})
        if "title" in part:
            curves |= part["facts"]["curves"]
            found |= part | {"results": found["results"], "facts": {"curves": curves}}
        found["results"] = [*found["results"], *results]
    return found


def measured(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what each work found."""
    folder = None if given.data is None else str(given.data.absolute())
    asked = Asked(given.device, folder, given.quick, given.tiny)
    for name in given.work:
        if name == "time98":
            yield run_parts(asked, SECONDS[name], given.threads)
        else:
            yield run_work(name, asked, SECONDS[name], given.threads)


def trouble(device: str) -> str:
    """Why the device cannot be used; empty where it can, and for the CPU."""
    if device == "cpu":
        return ""
    # In a process of its own, so that this one holds no memory of the GPU.
    words = [sys.executable, "-m", "xpnn", "backends", "--require", "cupy", "--device", device]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        Exit code: 2 where there is no such device. Whether targets were held, it does not tell.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    given, began = parse(argv), time.monotonic()
    if wrong := trouble(given.device):
        print(wrong, file=sys.stderr)
        return 2
    works: dict[str, dict[str, Any]] = {}
    for found in measured(given):
        works[found["name"] if "ceilings" not in found else "ceilings"] = found
        said = f": {found['reason']}" if found["reason"] else ""
        print(f"{found['name']} ({time.monotonic() - began:.0f} s so far){said}", flush=True)
    run = {
        "question": "gpu", "machine": describe_machine(), "versions": describe_versions(),
        "device": next((w["device"] for w in works.values() if "device" in w), {}),
        "threads": given.threads, "tiny": given.tiny, "quick": given.quick,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shown_command(PREFIX, argv), "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
    show_all(run, works, given.json, given.plot)
    return 0
