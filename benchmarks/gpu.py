"""What do training and prediction take on one GPU, beside PyTorch and scikit-learn?

    python benchmarks/gpu.py [--data FOLDER_WITH_MNIST] [--work mnist,large,...] [--quick]
                             [--device cuda:0] [--engine auto] [--out FILE.json]

Each work runs in a process of its own with a time limit, so that what fails there, or takes too
long, costs no other: after an error a process can often do nothing more on a GPU, and a peer may
compile for minutes. All of it takes less than eight minutes. ``--device cpu --tiny`` goes
through it without a GPU. Let the machine rest meanwhile.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from contenders import (
    BINARY,
    ENDLESS,
    MNIST,
    WIDE,
    Paused,
    TorchTraining,
    Workload,
    begun,
    estimator_epoch,
    installed,
    network_of,
    our_estimator,
    sklearn_estimator,
    torch_model,
)
from rounds import (
    THREAD_VARIABLES,
    Comparison,
    Contender,
    SkipError,
    Timing,
    Work,
    chosen_works,
    describe_run,
    make_parser,
    measure,
    print_table,
    reason_of,
    short_time,
    show,
    shown_command,
    write,
)
from sklearn_dropin import Fit, Split
from xpnn.backends import select
from xpnn.data import load_mnist
from xpnn.optimizers import Adam

OURS, SKLEARN = "xpnn", "scikit-learn"
EAGER, CAPTURED = "PyTorch eager", "PyTorch, a captured step"
REDUCED, COMPILED = "PyTorch, torch.compile reduce-overhead", "PyTorch, torch.compile"
SAME = 0.003  # difference of accuracies that counts as none
REACH, LONG = 0.98, 10  # accuracy to be reached, and the epochs to do it in
HALF = "bfloat16" if importlib.util.find_spec("ml_dtypes") else "float16"
LARGE = Workload("large", "large", (4096, 4096, 4096, 4096, 1000), 8192, 65536)
FITTED = replace(WIDE, title="MNIST", rows=60_000)
RESERVE = 5.0  # seconds that preparing a contender leaves to the rounds
TO_END = 8.0  # seconds before a process's limit at which it begins no further round


@dataclass(frozen=True)
class Row:
    """A line of the table of targets."""

    work: str  # or what the names of several works begin with
    title: str
    against: str
    target: float  # how many times faster than the fastest of the peers this library shall be
    peers: tuple[str, ...]
    all_needed: bool = False  # no ratio unless every peer was measured
    as_accurate: bool = False  # not held unless the accuracy is the peer's, to `SAME`


ROWS = (
    Row("mnist", "MNIST 784-100-10, an epoch", "PyTorch eager", 4.0, (EAGER,)),
    Row("mnist", "the same", "PyTorch, CUDA graphs", 1.0, (CAPTURED, REDUCED)),
    Row("tabular", "20-64-32-1, an epoch", "PyTorch eager", 5.0, (EAGER,)),
    Row("large", "4096 (4 times)-1000, 16 bits", "PyTorch compiled", 0.95, (COMPILED,)),
    Row("estimator", "784-512-512-10, fit", "scikit-learn", 20.0, (SKLEARN,), as_accurate=True),
    Row("predict", "784-100-10, 1,000,000 rows", "PyTorch compiled", 1.0, (COMPILED,)),
    Row("time98", "to 98 %, from nothing", "both", 1.0, (SKLEARN, EAGER), all_needed=True),
)


def verdict(row: Row, results: Sequence[Mapping[str, Any]], why: str = "") -> dict[str, Any]:
    """Say whether a row holds; `ratio` and `held` are None, with a `reason`, without figures."""
    found = {result["name"]: result for result in results}
    there = {name: one["seconds"] for name, one in found.items() if "seconds" in one}
    missing = [name for name in (OURS, *row.peers) if name not in there]
    reasons = [f"{n}: {found.get(n, {}).get('skipped') or why or 'not measured'}" for n in missing]
    peer = min((n for n in row.peers if n in there), key=lambda n: there[n], default=None)
    said = {"work": row.work, "title": row.title, "against": row.against, "target": row.target}
    said |= {"peer": peer, "seconds": there.get(OURS), "peer_seconds": there.get(peer or "")}
    said |= {"ratio": None, "held": None, "reason": "; ".join(reasons)}
    if OURS not in there or peer is None or (row.all_needed and missing):
        return said
    said["ratio"] = there[peer] / there[OURS]
    said["held"] = said["ratio"] >= row.target
    if row.as_accurate and found[OURS]["accuracy"] < found[peer]["accuracy"] - SAME:
        accuracies = f"{found[OURS]['accuracy']:.4f} is below {found[peer]['accuracy']:.4f}"
        said |= {"held": False, "reason": f"accuracy {accuracies}"}
    return said


# The contenders


def backend_of(options: argparse.Namespace) -> Any:
    """Where this library runs: its library, device and dtype."""
    return select("numpy" if options.device == "cpu" else "cupy", options.device, "float32")


def wait(options: argparse.Namespace) -> None:
    """Wait for what the device was told to do."""
    if options.device != "cpu":
        installed("cupy").cuda.Device(0).synchronize()


def placement(options: argparse.Namespace) -> dict[str, Any]:
    """Where and how the estimators run."""
    library = "numpy" if options.device == "cpu" else "cupy"
    return {"backend": library, "device": options.device, "engine": options.engine}


def our_epoch(work: Workload, x: Any, t: Any, options: argparse.Namespace, half: str = "") -> Work:
    """One long `Network.fit`; an epoch ends by reading its loss, which waits for the device."""
    put, network = backend_of(options).asarray, network_of(work)
    rows, targets = put(x), put(t)
    given = {"batch_size": work.batch, "engine": options.engine, "optimizer": Adam(0.001)}
    return Paused(
        lambda turns: network.fit(
            rows, targets, epochs=ENDLESS, callbacks=[turns], compute_dtype=half or None, **given
        )
    )


def captured_epoch(training: TorchTraining) -> Work:
    """Make an epoch of one captured step of PyTorch, gathering included, and its replays."""
    torch, work, device = training.torch, training.work, training.device
    if device.type != "cuda":
        raise SkipError("CUDA graphs need a CUDA device")
    full = work.rows // work.batch * work.batch
    indices = torch.arange(work.batch, device=device)
    total = torch.zeros((), device=device)
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # PyTorch asks for steps on another stream beforehand
            training.step(training.loss_of, indices)
    torch.cuda.current_stream().wait_stream(side)
    training.adam.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        loss = training.loss_of(*(column.index_select(0, indices) for column in training.columns))
        loss.backward()
        training.adam.step()
        with torch.no_grad():
            total.add_(loss * work.batch)

    def epoch() -> float:
        total.zero_()
        order = torch.randperm(work.rows, device=device)
        for batch in order[:full].split(work.batch):
            indices.copy_(batch)
            graph.replay()
        rest = 0.0
        if full < work.rows:
            rest = float(training.step(training.loss_of, order[full:])) * (work.rows - full)
        return (float(total) + rest) / work.rows

    return epoch


def torch_contender(
    work: Workload, x: Any, t: Any, options: argparse.Namespace, mode: str = "", half: str = ""
) -> Callable[[], Work]:
    """Make PyTorch's training; compiling is left out where it was asked for."""

    def make() -> Work:
        if mode and (options.quick or options.tiny):
            raise SkipError("left out: nothing that takes long to prepare")
        return TorchTraining(work, x, t, options.device, half).epoch(mode)

    return make


@contextmanager
def time_limit(until: float) -> Iterator[None]:
    """Break off what takes longer; only Python's own code can be broken off."""
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise SkipError("left out: no time was left for it")

    def over(*_: object) -> None:
        raise SkipError(f"it took longer than the {seconds:.0f} s that were left")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measured(
    title: str, listed: Mapping[str, Callable[[], Work]], options: argparse.Namespace, **more: Any
) -> Comparison:
    """Take rounds until there are enough or no time is left; slow preparation is broken off."""
    until = time.monotonic() + options.seconds

    def prepared(make: Callable[[], Work]) -> Callable[[], Work]:
        def made() -> Work:
            with time_limit(until - RESERVE):
                work = make()
                if more.get("warm", True):
                    work()  # compiles; the next one, `measure`'s own, may still record
                return work

        return made

    contenders = [
        Contender(n, prepared(m), rounds=2 if n == SKLEARN else None) for n, m in listed.items()
    ]
    note = more.get("note", "Random rows on the device.")
    return measure(title, contenders, options.rounds, note=note, tolerate=Exception, until=until)


# The works: each returns a comparison, and what else was found


def small(whole: Workload, options: argparse.Namespace) -> tuple[Comparison, dict[str, Any]]:
    """An epoch of a small network in float32, rows on the device."""
    work = whole.sized(options.tiny)
    x, t = work.data(options.data)
    if work.task == "multiclass":
        ours: Callable[[], Work] = partial(our_epoch, work, x, t, options)
    else:
        put = backend_of(options).asarray
        ours = partial(estimator_epoch, work, put(x), put(t), **placement(options))
    listed = {
        OURS: ours,
        EAGER: torch_contender(work, x, t, options),
        CAPTURED: lambda: captured_epoch(TorchTraining(work, x, t, options.device)),
        REDUCED: torch_contender(work, x, t, options, "reduce-overhead"),
    }
    return measured(f"a further epoch: {work.describe()}", listed, options), {}


def large(options: argparse.Namespace) -> tuple[Comparison, dict[str, Any]]:
    """An epoch of a large network in 16 bits, and its share of the rate of bare products."""
    work = replace(LARGE, widths=(16, 32, 8), batch=16, rows=32) if options.tiny else LARGE
    x, t = work.data()
    listed = {
        OURS: partial(our_epoch, work, x, t, options, HALF),
        EAGER: torch_contender(work, x, t, options, half=HALF),
        COMPILED: torch_contender(work, x, t, options, "default", HALF),
    }
    title = f"a further epoch: {work.describe().replace('float32', HALF)}, float32 parameters"
    found = measured(title, listed, options)
    rate, ours = product_rate((work.batch, *work.widths[:2]), options), found.timings[0]
    if rate is None or ours.skipped:
        return found, {}
    products = [2.0 * work.rows * a * b for a, b in pairwise(work.widths)]
    # Forward, for the weights, and for the inputs of all layers but the first.
    share = (3 * sum(products) - products[0]) / median(ours.seconds) / rate
    found.note += f" xpnn reaches {share:.0%} of the rate of bare products in {HALF}."
    return found, {"product_rate": rate, "share_of_product_rate": share}


def predict(options: argparse.Namespace) -> tuple[Comparison, dict[str, Any]]:
    """Labels of a million rows that are on the device."""
    rows = 200 if options.tiny else 1_000_000
    block = np.random.default_rng(0).random((min(rows, 50_000), 784), dtype="float32")
    x = np.resize(block, (rows, 784))

    def ours() -> Work:
        library, network = placement(options)["backend"], network_of(MNIST)
        network.to(library, options.device, dtype="float32")
        on_device = backend_of(options).asarray(x)
        return lambda: (network.predict(on_device), wait(options))

    def theirs(compiled: bool) -> Work:
        if compiled and (options.quick or options.tiny):
            raise SkipError("left out: nothing that takes long to prepare")
        torch = installed("torch")
        model = torch_model(torch, MNIST).to(options.device).eval()
        on_device = torch.from_numpy(x).to(options.device)

        def labels_of(rows: Any) -> Any:
            return model(rows).argmax(dim=1)

        function = torch.compile(labels_of, dynamic=False) if compiled else labels_of

        def call() -> None:
            with torch.inference_mode():
                function(on_device)
            if options.device != "cpu":
                torch.cuda.synchronize()

        return call

    listed = {OURS: ours, EAGER: partial(theirs, False), COMPILED: partial(theirs, True)}
    return measured(f"predict: 784-100-10, {rows:,} rows, float32", listed, options), {}


def learned(options: argparse.Namespace) -> tuple[Workload, Split]:
    """What whole fits learn from: MNIST, or a picture for each class under noise."""
    work = replace(FITTED, widths=(784, 16, 10), batch=20, rows=500) if options.tiny else FITTED
    if options.data is not None:
        found = load_mnist(options.data)
        images = (found.train_images[: work.rows], found.test_images[: work.rows])
        x, x_test = (part.astype("float32") / np.float32(255) for part in images)
        labels = (found.train_labels[: work.rows], found.test_labels[: work.rows])
        return work, (x, x_test, *(part.astype("int64") for part in labels))
    rng = np.random.default_rng(0)
    pictures = rng.random((10, 784), dtype="float32") * np.float32(0.15)
    labels = [rng.integers(0, 10, n) for n in (work.rows, work.rows // 6)]
    noise = np.float32(0.02 if options.tiny else 0.25)
    drawn = [rng.standard_normal((len(part), 784), dtype="float32") * noise for part in labels]
    rows = [np.clip(pictures[y] + d, 0.0, 1.0) for y, d in zip(labels, drawn, strict=True)]
    return work, (*rows, *labels)


def estimator(options: argparse.Namespace) -> tuple[Comparison, dict[str, Any]]:
    """Whole fits of `MLPClassifier` from NumPy's arrays, beside scikit-learn's."""
    work, split = learned(options)
    epochs = 1 if options.quick else 3
    made = {
        OURS: Fit(lambda: our_estimator(work, epochs, **placement(options)), split),
        SKLEARN: Fit(lambda: sklearn_estimator(work, epochs), split),
    }
    title = f"fit: {work.shape}, batch {work.batch}, {work.rows:,} rows, {epochs} epochs"
    listed = {name: lambda fit=fit: fit for name, fit in made.items()}
    found = measured(title, listed, options, warm=False, note="From the host's arrays.")
    for timing in found.timings:
        if not timing.skipped:
            timing.facts["accuracy"] = made[timing.name].score()
    return found, {}


def time98(who: str, options: argparse.Namespace) -> tuple[Comparison, dict[str, Any]]:
    """Seconds from the start of one cold fit to 98 %; measuring the accuracy is not counted."""
    work, (x, x_test, y, y_test) = learned(options)
    wait(options)  # starts the device
    curve: list[tuple[float, float]] = []
    not_counted, began = 0.0, time.perf_counter()

    def epoch_ended(score: Callable[[], float]) -> None:
        nonlocal not_counted
        wait(options)
        now = time.perf_counter()
        curve.append((now - began - not_counted, float(score())))
        not_counted += time.perf_counter() - now

    timing = Timing(who)
    try:
        with time_limit(time.monotonic() + options.seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            if who == OURS:
                model = our_estimator(work, LONG, **placement(options))
                score = partial(model.score, x_test, y_test)
                model.fit(x, y, callbacks=[lambda run: epoch_ended(score)])
            elif who == EAGER:
                training = TorchTraining(work, x, y, options.device)
                torch = training.torch
                test = [torch.from_numpy(a).to(training.device) for a in (x_test, y_test)]
                epoch = training.epoch()
                for _ in range(LONG):
                    epoch()
                    epoch_ended(
                        lambda: (training.model(test[0]).argmax(1) == test[1]).float().mean()
                    )
            else:
                model = sklearn_estimator(work)
                while len(curve) < LONG and (not curve or curve[-1][1] < REACH):
                    begun(model, work, x, y)  # its fit cannot be looked into: an epoch each
                    epoch_ended(partial(model.score, x_test, y_test))
    except Exception as error:
        timing.skipped = reason_of(error)
    reached = [seconds for seconds, accuracy in curve if accuracy >= REACH]
    if reached:
        timing.seconds, timing.ratios, timing.skipped = [reached[0]], [1.0], ""
        timing.facts = {"accuracy": curve[-1][1]}
    elif not timing.skipped:
        best = max(accuracy for _, accuracy in curve)
        timing.skipped = f"accuracy {best:.4f} at best, in {len(curve)} epochs"
    title = f"to {REACH:.0%}, one cold fit: {work.shape}, batch {work.batch}, at most {LONG} epochs"
    return Comparison(title, [timing]), {"curve": curve}


def product_rate(shape: tuple[int, int, int], options: argparse.Namespace) -> float | None:
    """Operations a second of a product in 16 bits, by PyTorch; None where it has none."""
    if options.device == "cpu":
        return None  # slower there than in float32
    n, k, m = shape
    try:
        torch = installed("torch")
        dtype, taken = getattr(torch, HALF), []
        # Of zeros, GPUs multiply faster than of anything else.
        a, b = (torch.randn(s, dtype=dtype, device=options.device) for s in ((n, k), (k, m)))
        for _ in range(8):
            began = time.perf_counter()
            torch.matmul(a, b)
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - began)
        return 2.0 * n * k * m / median(taken[1:])
    except Exception:  # the figure is only told beside others
        return None


# Name of a work: what does it, and the seconds of its process
WORKS: dict[str, tuple[Callable[..., Any], float]] = {
    "mnist": (partial(small, MNIST), 85),
    "tabular": (partial(small, BINARY), 45),
    "large": (large, 85),
    "estimator": (estimator, 60),
    "predict": (predict, 50),
    "time98-xpnn": (partial(time98, OURS), 25),
    "time98-pytorch": (partial(time98, EAGER), 25),
    "time98-scikit-learn": (partial(time98, SKLEARN), 60),
}


def in_this_process(name: str, options: argparse.Namespace, result: Path) -> None:
    """Measure one work and write down what was found."""
    comparison, facts = WORKS[name][0](options)
    show(comparison)
    result.write_text(json.dumps({**comparison.record(), "facts": facts}))
    sys.stdout.flush()
    os._exit(0)  # what is left to take down are devices and threads, which may hang


def in_own_process(name: str, argv: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Measure one work in a process of its own, which ends in time whatever happens."""
    limit = WORKS[name][1]
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(options.threads))}
    words = ["--only", name, "--seconds", str(limit - TO_END)]
    if options.device != "cpu":  # it sees this GPU alone, so that nothing lands on another
        index = int(options.device.partition(":")[2] or 0)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[index] if visible else str(index)
        words += ["--device", "cuda:0"]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        if name.startswith("time98"):  # no code that an earlier process compiled
            environment["CUPY_CACHE_DIR"] = f"{folder}/cupy"
        process = subprocess.Popen(
            [sys.executable, __file__, *argv, *words, "--result", str(result)],
            start_new_session=True,
            env=environment,
        )
        reason = ""
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            reason = f"was ended after {limit:.0f} s"
        finally:
            with suppress(ProcessLookupError):  # PyTorch compiles in processes of its own
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if not reason and result.exists():
            return {"reason": "", **json.loads(result.read_text())}
    return {"reason": reason or f"failed with exit code {process.returncode}"}


def describe_device(device: str) -> dict[str, str]:
    """What nvidia-smi says of the GPU; empty where it does not answer."""
    tool = shutil.which("nvidia-smi")
    if device == "cpu" or tool is None:
        return {"name": "the CPU"} if device == "cpu" else {"name": device}
    asked = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit"
    words = [tool, f"--id={device.partition(':')[2] or 0}", f"--query-gpu={asked}"]
    done = subprocess.run([*words, "--format=csv,noheader"], capture_output=True, text=True)
    return dict(zip(asked.split(","), done.stdout.strip().split(", "), strict=False))


def show_targets(works: Mapping[str, Mapping[str, Any]], tiny: bool) -> list[dict[str, Any]]:
    """Print and return a verdict for each row whose works were asked for."""
    said = []
    for row in ROWS:
        of_row = [one for name, one in works.items() if name.startswith(row.work)]
        results = [result for one in of_row for result in one.get("results", ())]
        if of_row:
            said.append(
                verdict(row, results, "; ".join(filter(None, (o["reason"] for o in of_row))))
            )
    cells = []
    for one in said:
        held = "" if tiny or one["held"] is None else ("yes" if one["held"] else "no")
        times = [short_time(s) if s else "-" for s in (one["seconds"], one["peer_seconds"])]
        ratio = "-" if one["ratio"] is None else f"{one['ratio']:.2f}"
        cells.append([f"{one['work']}: {one['title']}", one["against"], *times, ratio])
        cells[-1] += [f"{one['target']:g}", f"{held} {one['reason']}".strip()]
    headers = ["work", "against", "xpnn", "peer", "ratio", "target", "held"]
    print_table("targets: times faster than the fastest peer", headers, cells)
    return said


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the options."""
    parser = make_parser(__doc__, 60)
    parser.set_defaults(threads=os.cpu_count())
    parser.add_argument("--device", default="cuda:0", help="cuda:0, cuda:1, ... or cpu")
    parser.add_argument("--data", type=Path, help="folder with the MNIST database")
    parser.add_argument("--engine", default="auto", help="xpnn's; default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="few rounds, no torch.compile")
    parser.add_argument("--work", default="", help=f"of {','.join(WORKS)}; default: all")
    for hidden, kind in (("--only", str), ("--result", Path), ("--seconds", float)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.device != "cpu" and not options.device.startswith("cuda"):
        parser.error(f"--device is {options.device!r}; expected cpu, cuda:0, cuda:1, ...")
    if options.quick or options.tiny:
        options.rounds = min(options.rounds, 2 if options.tiny else 5)
    return options


def main(argv: Sequence[str]) -> int:
    """Run all works; 2 where there is no such device, whatever the targets say."""
    options = parse(argv)
    if options.only:
        in_this_process(options.only, options, options.result)
    names = chosen_works(options.work, list(WORKS))
    if options.device != "cpu":
        # In a process of its own, so that this one holds no memory of the GPU.
        words = ["backends", "--require", "cupy", "--device", options.device]
        done = subprocess.run(
            [sys.executable, "-m", "xpnn", *words], capture_output=True, text=True
        )
        if done.returncode:
            print(done.stderr.strip(), file=sys.stderr)
            return 2
    works = {}
    for name in names:
        works[name] = in_own_process(name, argv, options)
        if works[name]["reason"]:
            print(f"{name}: {works[name]['reason']}", flush=True)
    device = describe_device(options.device)
    run = describe_run(
        shown_command("python benchmarks/gpu.py", argv), threads=options.threads, tiny=options.tiny
    )
    print(f"\n{run['machine']['cpu']}; {device['name']}")
    rows = show_targets(works, options.tiny)
    if options.out is not None:
        write(options.out, {**run, "device": device, "rows": rows, "works": works})
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
