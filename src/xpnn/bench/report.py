"""Tables on the terminal and results in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xpnn.bench.rounds import Comparison
from xpnn.data.files import atomic_write

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


def console(stderr: bool = False) -> Console:
    """Make a console; in a pipe, one that keeps a table's rows whole."""
    made = Console(stderr=stderr)
    if made.is_terminal:
        return made
    return Console(stderr=stderr, width=int(os.environ.get("COLUMNS", 120)))


def _three(value: float) -> str:
    """Write three digits, and all four of a number that a unit's size leaves below 1024."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def short_time(seconds: float) -> str:
    """Write a time with three digits and a fitting unit."""
    size, unit = next((pair for pair in _UNITS if seconds >= pair[0]), _UNITS[-1])
    return f"{_three(seconds / size)} {unit}"


def short_size(size: float) -> str:
    """Write a number of bytes with a fitting unit."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{_three(size)} {unit}"
        size /= 1024
    return f"{_three(size)} GiB"


# Header and text of the columns beside the times.
FACTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "accuracy": ("accuracy", "{:.4f}".format),
    "r2": ("R2", "{:.4f}".format),
    "peak_bytes": ("peak memory", short_size),
}


def show(comparison: Comparison) -> None:
    """Print a comparison as a table."""
    baseline = comparison.timings[0].name
    table = Table(title=comparison.title, title_justify="left", caption_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("median time", justify="right")
    table.add_column(f"times {baseline}", justify="right")
    table.add_column("lowest to highest", justify="right")
    facts = {name: FACTS[name] for timing in comparison.timings for name in timing.facts}
    for header, _ in facts.values():
        table.add_column(header, justify="right")
    left_out = []
    for timing in comparison.timings:
        if timing.skipped:
            table.add_row(f"[dim]{escape(timing.name)}", *"-" * (3 + len(facts)))
            left_out.append(f"{timing.name}: {timing.skipped}")
            continue
        found = timing.record()
        spread = f"{found['ratio_lowest']:.2f} to {found['ratio_highest']:.2f}"
        values = [(timing.facts.get(name), text) for name, (_, text) in facts.items()]
        more = ["-" if value is None else text(value) for value, text in values]
        row = [short_time(found["seconds"]), f"{found['ratio']:.2f}", spread, *more]
        table.add_row(escape(timing.name), *row)
    notes = [comparison.note] if comparison.note else []
    table.caption = escape("\n".join([*notes, *left_out])) or None
    console().print(table)


def write(path: str | Path, results: dict[str, Any]) -> Path:
    """Write results as JSON, beside its place and then moved there."""
    with atomic_write(path) as beside:
        beside.write_text(json.dumps(results, indent=1) + "\n")
    return Path(path)


def records(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return comparisons as plain values."""
    return [comparison.record() for comparison in comparisons]
