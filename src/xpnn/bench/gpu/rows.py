"""The table: what is compared with what, and how many times faster it shall be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xpnn.bench.gpu.ours import OURS

EAGER, CAPTURED = "PyTorch eager, fused Adam", "PyTorch, a captured step"
REDUCED = "PyTorch, torch.compile reduce-overhead"
COMPILED = "PyTorch, torch.compile"
SKLEARN = "scikit-learn"
SAME = 0.003  # difference of accuracies that counts as none
REACH = 0.98


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    work : str
        Where it is measured.
    title, against : str
        For the reader.
    target : float
        How many times faster than the fastest of `peers` the fastest of `ours` shall be.
    peers : tuple of str
        Contenders to be beaten; those that are not there are left out, with the reason.
    ours : tuple of str
        This library's.
    all_needed : bool, default False
        Whether there is no ratio unless every peer was measured.
    as_accurate : bool, default False
        Whether it also has to read as many test rows right, to `SAME`.
    """

    work: str
    title: str
    against: str
    target: float
    peers: tuple[str, ...]
    ours: tuple[str, ...] = OURS
    all_needed: bool = False
    as_accurate: bool = False


ROWS = (
    Row("mnist", "MNIST 784-100-10, batch 200, an epoch", "PyTorch eager", 4.0, (EAGER,)),
    Row("mnist", "the same", "PyTorch with CUDA graphs", 1.0, (CAPTURED, REDUCED)),
    Row("tabular", "tabular 20-64-32-2, batch 200, an epoch", "PyTorch eager", 5.0, (EAGER,)),
    Row("large", "4096 (4 times)-1000, batch 8192, 16 bits", "PyTorch compiled", 0.95, (COMPILED,)),
    Row("estimator", "784-512-512-10, batch 256, MLPClassifier.fit", "scikit-learn on the CPU",
        20.0, (SKLEARN,), as_accurate=True),
    Row("predict", "predict, 784-100-10, 1,000,000 rows", "PyTorch compiled", 1.0, (COMPILED,),
        (OURS[-1],)),
    Row("time98", "784-512-512-10 to 98 % of the test rows, from nothing",
        "scikit-learn, PyTorch eager", 1.0, (SKLEARN, EAGER), all_needed=True),
)  # fmt: skip


def _fastest(names: Sequence[str], found: Mapping[str, Mapping[str, Any]]) -> str | None:
    there = [name for name in names if name in found and "seconds" in found[name]]
    return min(there, key=lambda name: found[name]["seconds"], default=None)


def _missing(names: Sequence[str], found: Mapping[str, Mapping[str, Any]], why: str) -> str:
    reasons: dict[str, list[str]] = {}
    for name in names:
        if "seconds" not in found.get(name, {}):
            reason = found[name]["skipped"] if name in found else why or "not measured"
            reasons.setdefault(reason, []).append(name)
    return "; ".join(f"{' and '.join(who)}: {reason}" for reason, who in reasons.items())


def verdict(row: Row, results: Sequence[Mapping[str, Any]], why: str = "") -> dict[str, Any]:
    """Say whether a row holds.

    Parameters
    ----------
    row : Row
        The line of the table.
    results : sequence of dict
        Of the row's work, as `Timing.record` gives them.
    why : str
        What went wrong with the work as a whole; empty where nothing did.

    Returns
    -------
    dict
        `ratio` and `held` are None where there is no figure; `reason` then says why.
    """
    found = {result["name"]: result for result in results}
    own, peer = _fastest(row.ours, found), _fastest(row.peers, found)
    said: dict[str, Any] = {
        "work": row.work, "title": row.title, "against": row.against, "target": row.target,
        "xpnn": own, "peer": peer, "seconds": None, "peer_seconds": None, "ratio": None,
        "held": None, "reason": "",
    }  # fmt: skip
    lacking = _missing(row.peers, found, why)
    if own is not None:
        said["seconds"] = found[own]["seconds"]
    if peer is not None:
        said["peer_seconds"] = found[peer]["seconds"]
    if own is None or peer is None or (row.all_needed and lacking):
        ours = _missing(row.ours, found, why) if own is None else ""
        said["reason"] = "; ".join(text for text in (ours, lacking) if text)
        return said
    said["reason"] = lacking  # of a peer that a faster one may have stood in for
    said["ratio"] = found[peer]["seconds"] / found[own]["seconds"]
    said["held"] = said["ratio"] >= row.target
    if row.as_accurate:
        ours, theirs = found[own]["accuracy"], found[peer]["accuracy"]
        said |= {"accuracy": ours, "peer_accuracy": theirs}
        if ours < theirs - SAME:
            said |= {"held": False, "reason": f"accuracy {ours:.4f} is below {theirs:.4f}"}
    return said
