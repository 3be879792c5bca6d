"""What was found: the table, each work, the file and the picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from xpnn.bench.gpu.rows import ROWS, verdict
from xpnn.bench.report import console, short_time, show, write
from xpnn.bench.rounds import Comparison, Timing


def verdicts(works: Mapping[str, Mapping[str, Any]], tiny: bool = False) -> list[dict[str, Any]]:
    """Say of each line of the table whether it holds, of the works that were asked for."""
    found = [
        verdict(row, works[row.work].get("results", ()), works[row.work].get("reason", ""))
        for row in ROWS
        if row.work in works
    ]
    if tiny:
        for said in found:
            said["held"] = None
            said["reason"] = said["reason"] or "very little data"
    return found


def _cell(said: Mapping[str, Any]) -> tuple[str, str]:
    if said["ratio"] is None:
        return "-", f"no figure: {said['reason']}"
    text = {None: "-", True: "yes", False: "no"}[said["held"]]
    return f"{said['ratio']:.2f}", f"{text}; {said['reason']}" if said["reason"] else text


def _time(seconds: float | None, name: str | None) -> str:
    if seconds is None or name is None:
        return "-"
    return f"{short_time(seconds)}\n{name.removeprefix('xpnn, ').removeprefix('PyTorch, ')}"


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Make the table of the targets."""
    table = Table(title="targets", title_justify="left", show_lines=True)
    for header in ("work", "against", "xpnn", "peer", "ratio", "target", "held"):
        right = header in ("ratio", "target")
        table.add_column(header, justify="right" if right else "left", no_wrap=right)
    for said in rows:
        ratio, held = _cell(said)
        own, peer = _time(said["seconds"], said["xpnn"]), _time(said["peer_seconds"], said["peer"])
        words = said["title"], said["against"], own, peer, ratio, f"{said['target']:g}", held
        table.add_row(*map(escape, words))
    return table


def _shown(found: Mapping[str, Any]) -> Comparison:
    timings = []
    for result in found["results"]:
        if "skipped" in result:
            timings.append(Timing(result["name"], skipped=result["skipped"]))
            continue
        rounds, ratio = result["rounds"], result["ratio"] / result["seconds"]
        facts = {"accuracy": result["accuracy"]} if "accuracy" in result else {}
        timings.append(Timing(result["name"], rounds, [s * ratio for s in rounds], facts=facts))
    notes = [found["note"]]
    if (share := found["facts"].get("share_of_product_rate")) is not None:
        notes.append(f"The fastest of ours reaches {share:.0%} of the measured matrix products.")
    return Comparison(found["name"], found["title"], timings, " ".join(notes))


def show_all(
    run: Mapping[str, Any],
    works: Mapping[str, Mapping[str, Any]],
    path: Path | None,
    picture: Path | None,
) -> None:
    """Print everything, write the file, draw the picture.

    Parameters
    ----------
    run : dict
        Machine, versions, date, command.
    works : dict
        What each work found, by its name.
    path : Path or None
        JSON file.
    picture : Path or None
        Roofline picture.
    """
    device = run["device"]
    print(f"\n{run['machine']['cpu']}; {device.get('name', device.get('device', 'no device'))}")
    for found in works.values():
        if "title" in found:
            show(_shown(found))
    rows = verdicts(works, run["tiny"])
    if rows:
        console().print(table_of(rows))
    if run["tiny"]:
        print("--tiny: so little data that times mean nothing")
    ceilings = works.get("ceilings", {}).get("ceilings", {})
    for line in ceiling_lines(ceilings):
        print(line)
    points = [
        {"work": name, **point}
        for name, found in works.items()
        for point in found.get("points", ())
    ]
    results = {**run, "rows": rows, "works": [*works.values()], "points": points}
    print(f"{run['seconds']:.0f} s in all")
    if path is not None:
        print(f"results: {write(path, results)}")
    if picture is not None:
        from xpnn.bench.gpu.roofline import draw_roofline
        from xpnn.plots.figure import save_figure

        try:
            figure = draw_roofline(ceilings, points, device.get("name", device.get("device", "")))
        except ValueError as error:
            print(f"no picture: {error}")
            return
        print(f"roofline: {save_figure(figure, picture)}")


def ceiling_lines(ceilings: Mapping[str, Any]) -> list[str]:
    """Say what the device can do, a line each."""
    if not ceilings:
        return []
    if ceilings["reason"]:
        return [f"ceilings: {ceilings['reason']}"]
    lines = [f"copy within the device's memory: {ceilings['copy'] / 1e9:,.0f} GB/s"]
    for kind, rate in ceilings["products"].items():
        what = "not there" if rate is None else f"{rate / 1e12:,.2f} TFLOP/s"
        lines.append(f"matrix product, {kind}, {ceilings['side']} square: {what}")
    return lines
