"""How long does an epoch take, beside the matrix products in it and beside the peers?

    python benchmarks/train.py [--data FOLDER_WITH_MNIST] [--work mnist,wide,tabular,...]
                               [--quick] [--engine auto] [--out FILE.json]

The floor is the bare matrix products of the epoch. All but it are warm: each table times a
further epoch of a training that goes on. The works `cost-...` time what a fit costs beside its
epochs: in a warm process, and in a new one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import warnings
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from contenders import (
    BINARY,
    MNIST,
    WIDE,
    WORKLOADS,
    Workload,
    bare_products,
    estimator_epoch,
    jax_scan_epoch,
    network_epoch,
    our_estimator,
    sklearn_epoch,
    torch_compiled_epoch,
    torch_epoch,
)
from rounds import Comparison, Contender, SkipError, Work, main, make_parser, measure

EPOCHS = 5  # of a fit whose cost beside its epochs is looked for
ENDED = "seconds beside the epochs: "


def contenders(work: Workload, x: Any, t: Any, options: argparse.Namespace) -> list[Contender]:
    """List everybody for a workload, the floor first."""

    def compiled() -> Work:
        if options.tiny or options.quick:
            raise SkipError("left out: compiling takes longer than the rest")
        return torch_compiled_epoch(work, x, t, options.threads)

    kind = "MLPRegressor" if work.task == "regression" else "MLPClassifier"
    ours, pure = (partial(estimator_epoch, work, x, t, engine=e) for e in (options.engine, "pure"))
    return [
        Contender("floor", partial(bare_products, work, x)),
        Contender(f"xpnn {kind}", ours),
        Contender("xpnn Network", partial(network_epoch, work, x, t, engine=options.engine)),
        Contender(f"xpnn {kind}, engine='pure'", pure),
        Contender(f"scikit-learn {kind}", partial(sklearn_epoch, work, x, t)),
        Contender("PyTorch eager", partial(torch_epoch, work, x, t, options.threads)),
        Contender("PyTorch torch.compile", compiled),
        Contender("JAX, an epoch in one scan", partial(jax_scan_epoch, work, x, t)),
    ]


def further_epoch(whole: Workload, options: argparse.Namespace) -> Comparison:
    """Time a further epoch of everybody's training."""
    work = whole.sized(options.tiny)
    x, t = work.data(options.data)
    return measure(
        f"a further epoch: {work.describe()}",
        contenders(work, x, t, options),
        options.rounds,
        note=f"xpnn: engine={options.engine!r}. {data_note(work, options.data)}",
    )


def data_note(work: Workload, folder: Path | None) -> str:
    """Say what the rows are."""
    real = folder is not None and work.name.startswith("mnist")
    return "Data: MNIST." if real else "Data: random."


# What a fit costs beside its epochs


def cost_of_fit(work: Workload, x: Any, t: Any, engine: str) -> float:
    """Seconds of a fit without its epochs, each counted as one of the last three."""
    marks = [time.perf_counter()]
    model = our_estimator(work, EPOCHS, engine=engine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many epochs are asked for
        model.fit(x, t, callbacks=[lambda run: marks.append(time.perf_counter())])
    seconds = time.perf_counter() - marks[0]
    epoch = median(b - a for a, b in list(pairwise(marks))[-3:])
    return seconds - EPOCHS * epoch


def in_new_process(words: list[str]) -> float:
    """Let a new process of this script measure the cost; importing xpnn is not in it."""
    done = subprocess.run(
        [sys.executable, __file__, "--only-cost", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the process ended with {done.returncode}: {done.stderr[-2000:]}")
    return float(done.stdout.rpartition(ENDED)[2])


def cost_beside_epochs(whole: Workload, options: argparse.Namespace) -> Comparison:
    """Time the rest of a fit, in this process and in new ones."""
    work = whole.sized(options.tiny)
    words = [whole.name, options.engine, *(["--tiny"] if options.tiny else [])]
    x, t = work.data()
    makers = {
        "a warm process": partial(cost_of_fit, work, x, t, options.engine),
        "a new process": partial(in_new_process, words),
    }
    return measure(
        f"what a fit costs beside its epochs: {work.describe()}",
        [Contender(name, lambda f=f: f, reports=True) for name, f in makers.items()],
        options.rounds,
        note=f"A fit of {EPOCHS} epochs through the estimator, less {EPOCHS} further epochs.",
    )


def only_cost(name: str, engine: str, tiny: bool) -> None:
    """Measure the cost in this process, which is a new one."""
    work = next(work for work in WORKLOADS if work.name == name).sized(tiny)
    print(f"{ENDED}{cost_of_fit(work, *work.data(), engine)}")


WORKS = {work.name: partial(further_epoch, work) for work in WORKLOADS}
WORKS |= {f"cost-{work.name}": partial(cost_beside_epochs, work) for work in (MNIST, WIDE, BINARY)}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--only-cost"]:
        only_cost(sys.argv[2], sys.argv[3], "--tiny" in sys.argv)
    else:
        parser = make_parser(__doc__, 7)
        parser.add_argument("--data", type=Path, help="folder with the MNIST database")
        parser.add_argument("--quick", action="store_true", help="without torch.compile")
        parser.add_argument("--engine", default="auto", help="xpnn's; default: %(default)s")
        main(__doc__, WORKS, parser=parser)
