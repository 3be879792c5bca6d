"""Whole trainings through the estimator: the time of a fit, and until 98 % are read right."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from xpnn import MLPClassifier
from xpnn.bench.dropin import Fit
from xpnn.bench.gpu.asked import Asked
from xpnn.bench.gpu.cost import train_cost
from xpnn.bench.gpu.ours import ENGINES, Clock, estimator_options, named, placed
from xpnn.bench.gpu.rows import EAGER, REACH, SKLEARN
from xpnn.bench.gpu.torch_side import TorchTraining, torch_device
from xpnn.bench.gpu.within import Deadline, measure_within, reason_of, time_limit
from xpnn.bench.gpu.works import Found
from xpnn.bench.peers import installed, sklearn_parameters
from xpnn.bench.problems import PROBLEMS, Split
from xpnn.bench.rounds import Contender, Timing
from xpnn.bench.workloads import WORKLOADS, Workload

WORK = replace(WORKLOADS[1], title="MNIST", rows=60_000)  # 784-512-512-10, batch 256
EPOCHS = 3  # of a fit that is timed
LONG = 10  # in which 98 % have to be reached
NOISE = 0.25  # of generated rows


def generated(rows: int, test_rows: int, noise: float = NOISE) -> Split:
    """Rows of MNIST's shape that can be learned: a picture for each class, under noise."""
    rng = np.random.default_rng(0)
    pictures = rng.random((10, 784), dtype="float32") * 0.15

    def some(count: int) -> tuple[Any, Any]:
        labels = rng.integers(0, 10, count)
        drawn = rng.standard_normal((count, 784), dtype="float32") * np.float32(noise)
        return np.clip(pictures[labels] + drawn, 0.0, 1.0), labels

    (x, y), (x_test, y_test) = some(rows), some(test_rows)
    return Split(x, y, x_test, y_test)


def learned(asked: Asked) -> tuple[Workload, Split, str]:
    """The work, its rows, and what they are."""
    work = replace(WORK, widths=(784, 16, 10), batch=20, rows=500) if asked.tiny else WORK
    if asked.folder is None:
        split = generated(work.rows, work.rows // 6, 0.02 if asked.tiny else NOISE)
        return work, split, "Data: generated rows of MNIST's shape (--data DIR takes MNIST)."
    mnist = next(problem for problem in PROBLEMS if problem.name == "mnist")
    return work, mnist.load(asked.folder).first(work.rows, work.rows), "Data: MNIST."


def sklearn_options(work: Workload, epochs: int) -> dict[str, Any]:
    """Parameters of scikit-learn's classifier that does the same."""
    rest = {"max_iter": epochs, "tol": 0.0, "n_iter_no_change": epochs}
    return sklearn_parameters(work) | rest


def estimator(asked: Asked, deadline: Deadline) -> Found:
    """Whole fits of `MLPClassifier` from NumPy's arrays, beside scikit-learn's."""
    work, split, note = learned(asked)
    epochs = 1 if asked.quick else 2 if asked.tiny else EPOCHS
    made: dict[str, Fit] = {}

    def ours(engine: str) -> Fit:
        options = estimator_options(work, asked, epochs, engine)
        made[named(engine)] = Fit(partial(MLPClassifier, **options), split)
        return made[named(engine)]

    def theirs() -> Fit:
        kind = installed("sklearn.neural_network").MLPClassifier
        made[SKLEARN] = Fit(partial(kind, **sklearn_options(work, epochs)), split)
        return made[SKLEARN]

    listed = [
        *(Contender(named(engine), partial(ours, engine)) for engine in ENGINES),
        Contender(SKLEARN, theirs),
    ]
    timings = measure_within(listed, asked.count(9), deadline, few=(SKLEARN,))
    for timing in timings:
        if not timing.skipped:
            timing.facts["accuracy"] = made[timing.name].score()
    shape = "-".join(map(str, work.widths))
    return Found(
        f"fit: {shape}, batch {work.batch}, {work.rows:,} rows, {epochs} epochs, float32", timings,
        f"{note} From the host's arrays; compiling was done before, scikit-learn has two rounds.",
        train_cost(work.widths, work.batch), epochs * work.rows / work.batch,
    )  # fmt: skip


# Until 98 %

Curve = list[tuple[float, float]]


def _ours(engine: str, work: Workload, split: Split, asked: Asked, deadline: Deadline) -> Curve:
    place = placed(asked, engine)
    clock = Clock(lambda: float(model.score(split.x_test, split.y_test)))

    def epoch_ended(run: Any) -> None:
        place.wait()
        clock.epoch()

    options = estimator_options(work, asked, LONG, engine)
    clock.began = time.perf_counter()
    model = MLPClassifier(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(split.x, split.y, callbacks=[epoch_ended])
    return clock.points


def _torch(work: Workload, split: Split, asked: Asked, deadline: Deadline) -> Curve:
    torch, device = torch_device(asked.device)
    x_test, y_test = (torch.from_numpy(a) for a in (split.x_test, split.y_test))

    def score() -> float:
        with torch.inference_mode():
            right = training.model(x_test.to(device)).argmax(1) == y_test.to(device)
            return float(right.float().mean())

    clock = Clock(score)
    training = TorchTraining(work, split.x, split.y, asked.device)
    epoch = training.eager()
    for _ in range(LONG):
        epoch()
        clock.epoch()
    return clock.points


def _sklearn(work: Workload, split: Split, asked: Asked, deadline: Deadline) -> Curve:
    # Its fit cannot be looked into: an epoch is a partial_fit of all rows.
    kind = installed("sklearn.neural_network").MLPClassifier
    model = kind(**sklearn_options(work, LONG))
    clock = Clock(lambda: float(model.score(split.x_test, split.y_test)))
    for _ in range(LONG):
        model.partial_fit(split.x, split.y, classes=np.unique(split.y))
        clock.epoch()
        seconds, share = clock.points[-1]
        if share >= REACH or deadline.left < 1.2 * seconds / len(clock.points):
            break  # the rest takes long, and says no more
    return clock.points


CURVES: dict[str, Callable[..., Curve]] = {
    **{named(engine): partial(_ours, engine) for engine in ENGINES},
    EAGER: _torch,
    SKLEARN: _sklearn,
}


def time98(asked: Asked, deadline: Deadline) -> Found:
    """Seconds from the start of one cold fit until 98 % of the test rows are read right."""
    work, split, note = learned(asked)
    timings, curves = [], {}
    for name, make in CURVES.items():
        if asked.only and name != asked.only:
            continue
        timing = Timing(name)
        timings.append(timing)
        try:
            with time_limit(deadline.left):
                curves[name] = curve = make(work, split, asked, deadline)
        except Exception as error:
            timing.skipped = reason_of(error)
            continue
        accuracy = max(share for _, share in curve)
        reached = [seconds for seconds, share in curve if share >= REACH]
        if reached:
            timing.seconds, timing.facts = [reached[0]], {"accuracy": curve[-1][1]}
        else:
            timing.skipped = f"read {accuracy:.4f} right at best, in {len(curve)} epochs"
    shape = "-".join(map(str, work.widths))
    return Found(
        f"from nothing to {REACH:.0%}: {shape}, batch {work.batch}, at most {LONG} epochs", timings,
        f"{note} One cold fit each, in a process of its own and without compiled kernels of an "
        "earlier run; from the host's arrays. The device has been started, and measuring the "
        "accuracy is not counted.",
        facts={"curves": curves},
    )  # fmt: skip
