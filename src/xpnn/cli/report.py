"""Tables for `xpnn backends` and `xpnn check`."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from xpnn.backends import (
    LIBRARIES,
    BackendUnavailableError,
    available,
    select,
    status,
)
from xpnn.backends.cuda_health import diagnose_cuda
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


def _memory(size: int | None) -> str:
    return "" if size is None else f" ({size / 2**30:.1f} GiB)"


def show_backends() -> None:
    """Print each library with version and devices, or why it cannot be used."""
    table = _table("library", "version", "devices, or why not", title="array libraries")
    for found in available():
        if found.usable:
            text = ", ".join(f"{name}{_memory(size)}" for name, size in found.devices.items())
            table.add_row(found.name, found.version, text)
        else:
            table.add_row(f"[dim]{found.name}", found.version or "-", escape(found.reason))
    _console().print(table)


def require_backend(name: str, device: str | None = None) -> None:
    """Print one library with version and devices; on a GPU, something is computed first."""
    if name not in LIBRARIES:
        raise UsageError(f"--require is {name!r}; expected one of {', '.join(LIBRARIES)}")
    trouble = diagnose_cuda(device) if name == "cupy" else ""
    if trouble:
        raise BackendUnavailableError(trouble)
    chosen, found = select(name, device), status(name)
    devices = ", ".join(f"{at}{_memory(size)}" for at, size in found.devices.items())
    print(f"{chosen.describe()}; it has: {devices}")


def _wanted(names: str) -> list[str]:
    if names == "all":
        return list(LIBRARIES)
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in LIBRARIES:
            raise UsageError(
                f"--backends holds {name!r}; expected all, or some of {', '.join(LIBRARIES)}"
            )
        found = status(name)
        if not found.usable:
            raise BackendUnavailableError(found.reason)
    return wanted


def show_check(names: str) -> bool:
    """Run the comparison and print its tables; return whether everything agrees."""
    from xpnn.checks import check_device

    console = _console()
    count = failed = 0
    for name in _wanted(names):
        found = status(name)
        if not found.usable:
            console.print(f"[dim]skipped: {escape(found.reason)}")
            continue
        heads = ("device", "dtype", "computation", "largest absolute", "largest relative")
        table = _table(*heads, "allowed", "", title=f"{name} {found.version} against numpy float64")
        last = ("", "")
        for f in (f for device in found.devices for f in check_device(name, device)):
            where = (f.device, f.dtype)
            if last not in (("", ""), where):
                table.add_section()
            shown = where if where != last else ("", "")
            figures = f"{f.absolute:.2e}", f"{f.relative:.2e}", f"{f.allowed:.1e}"
            why = escape(f" {f.problem or f.worst}") if f.problem or not f.passed else ""
            verdict = "[green]pass" if f.passed else "[bold red]FAIL"
            table.add_row(*shown, f.case, *figures, verdict + why)
            last = where
            count += 1
            failed += not f.passed
        console.print(table)
    console.print(f"{count} comparisons, {count - failed} passed, {failed} failed")
    return failed == 0
