"""Threshold units: a neuron that fires or stays silent, and logic made of it.

Excitatory inputs have positive weights, inhibitory ones negative; the unit fires when
their sum reaches its threshold. One unit is enough for AND, OR, NOT, NAND and NOR; XOR
needs two layers, because no single line separates its answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpnn.backends import Backend
from xpnn.units import McCullochPitts

UNITS = {
    "AND": McCullochPitts.and_(),
    "OR": McCullochPitts.or_(),
    "NOT": McCullochPitts.not_(),
    "NAND": McCullochPitts.nand(),
    "NOR": McCullochPitts.nor(),
}


def run(backend: Backend, out: Path) -> dict[str, Any]:
    """Print the truth tables of the units, and of XOR with its hidden units; no picture."""
    found: dict[str, Any] = {}
    for name, unit in UNITS.items():
        table = unit.truth_table(backend)
        weights = ", ".join(f"{w:+g}" for w in unit.weights)
        print(f"{name}: weights {weights}; fires when the sum reaches {unit.threshold:g}")
        print(
            f"excitatory inputs {_inputs(unit.excitatory)}, inhibitory {_inputs(unit.inhibitory)}"
        )
        print(f"{table}\n")
        found[name] = list(table.outputs)
    table = McCullochPitts.xor().truth_table(backend)
    print("XOR: an OR unit and a NAND unit, and an AND unit that reads both")
    print(table)
    return found | {"XOR": list(table.outputs), "hidden": [list(row) for row in table.hidden]}


def _inputs(places: tuple[int, ...]) -> str:
    return ", ".join(f"x{i + 1}" for i in places) or "none"
