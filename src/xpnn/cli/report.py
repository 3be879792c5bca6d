"""`xpnn backends` and `xpnn check`: the array libraries, and how far they agree."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from xpnn.cli import options
from xpnn.cli.output import UsageError


def _console() -> Console:
    # The file is named, as rich asks it for its codec and draws boxes that it knows.
    console = Console(file=sys.stdout)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(file=sys.stdout, width=160)  # a pipe has no width; keep rows whole


def _table(*heads: str, title: str) -> Table:
    """Make a table that breaks long words where it is narrow, and cuts nothing off."""
    return Table(*(Column(head, overflow="fold") for head in heads), title=title)


def _devices(devices: dict[str, int | None]) -> str:
    """Names of devices, with their memory where it is known."""
    return ", ".join(
        name if size is None else f"{name} ({size / 2**30:.1f} GiB)"
        for name, size in devices.items()
    )


def backends(
    require: Annotated[
        str | None,
        typer.Option(
            "--require",
            metavar="LIBRARY",
            help="Look at this one only; exit code 2 and the reason where it cannot be used.",
        ),
    ] = None,
    device: options.Device = None,
) -> None:
    """List the array libraries: version, devices, memory, or why one cannot be used.

    Example: xpnn backends --require cupy --device cuda:1
    """
    from xpnn.backends import LIBRARIES, BackendUnavailableError, available, select, status
    from xpnn.backends.cuda_health import diagnose_cuda

    if require is None:
        if device is not None:
            raise UsageError(f"--device is {device!r}; it goes with --require LIBRARY")
        table = _table("library", "version", "devices, or why not", title="array libraries")
        for found in available():
            if found.usable:
                table.add_row(found.name, found.version, _devices(found.devices))
            else:
                table.add_row(f"[dim]{found.name}", found.version or "-", escape(found.reason))
        _console().print(table)
        return
    if require not in LIBRARIES:
        raise UsageError(f"--require is {require!r}; expected one of {', '.join(LIBRARIES)}")
    # On a GPU something is computed first.
    if require == "cupy" and (trouble := diagnose_cuda(device)):
        raise BackendUnavailableError(trouble)
    chosen = select(require, device)
    print(f"{chosen.describe()}; it has: {_devices(status(require).devices)}")


def check(
    backends: Annotated[
        str,
        typer.Option("--backends", help="Comma-separated libraries; default: all that work."),
    ] = "all",
) -> None:
    """Compare each library and device with NumPy in float64.

    Prints a table of the largest deviations of activations, losses, gradients and short
    trainings. Ends with exit code 1 where one passes the stated tolerance.

    Example: xpnn check --backends numpy,cupy
    """
    from xpnn.backends import status
    from xpnn.checks import check_device

    console = _console()
    results: list[bool] = []
    for name in _wanted(backends):
        found = status(name)
        if not found.usable:
            console.print(f"[dim]skipped: {escape(found.reason)}")
            continue
        heads = ("device", "dtype", "computation", "largest absolute", "largest relative")
        table = _table(*heads, "allowed", "", title=f"{name} {found.version} against numpy float64")
        last = ("", "")
        for f in (f for device in found.devices for f in check_device(name, device)):
            where = (f.device, f.dtype)
            shown = ("", "") if where == last else where
            if where != last:
                table.add_section()
            figures = f"{f.absolute:.2e}", f"{f.relative:.2e}", f"{f.allowed:.1e}"
            why = escape(f" {f.problem or f.worst}") if f.problem or not f.passed else ""
            verdict = "[green]pass" if f.passed else "[bold red]FAIL"
            table.add_row(*shown, f.case, *figures, verdict + why)
            last = where
            results.append(f.passed)
        console.print(table)
    passed = sum(results)
    console.print(f"{len(results)} comparisons, {passed} passed, {len(results) - passed} failed")
    raise typer.Exit(0 if all(results) else 1)


def _wanted(names: str) -> list[str]:
    """Read the option `--backends`; a library that is named must work."""
    from xpnn.backends import LIBRARIES, BackendUnavailableError, status

    if names == "all":
        return list(LIBRARIES)
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in LIBRARIES:
            raise UsageError(
                f"--backends holds {name!r}; expected all, or some of {', '.join(LIBRARIES)}"
            )
        if not status(name).usable:
            raise BackendUnavailableError(status(name).reason)
    return wanted
