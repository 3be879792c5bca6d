"""Tables for `xpnn backends` and `xpnn check`."""

from __future__ import annotations

import os

from rich.console import Console
from rich.table import Table

from xpnn.backends import (
    LIBRARIES,
    BackendUnavailableError,
    LibraryStatus,
    available,
    select,
    status,
)
from xpnn.backends.cuda_health import diagnose_cuda


def _console() -> Console:
    # In a pipe there is no width to ask for; keep the table's rows whole.
    console = Console()
    return console if console.is_terminal else Console(width=int(os.environ.get("COLUMNS", 160)))


def _memory(size: int | None) -> str:
    return "" if size is None else f" ({size / 2**30:.1f} GiB)"


def show_backends() -> None:
    """Print each library with version and devices, or why it cannot be used."""
    table = Table("library", "version", "devices, or why not", title="array libraries")
    for found in available():
        if found.usable:
            text = ", ".join(f"{name}{_memory(size)}" for name, size in found.devices.items())
            table.add_row(found.name, found.version, text)
        else:
            table.add_row(f"[dim]{found.name}", found.version or "-", _reason(found))
    _console().print(table)


def require_backend(name: str, device: str | None = None) -> None:
    """Print one library with version and devices; on a GPU, something is computed first.

    Raises
    ------
    ValueError
        The library or the device is not known.
    BackendUnavailableError
        It cannot be used; says why, and what to do.
    """
    if name not in LIBRARIES:
        raise ValueError(f"--require is {name!r}; expected one of {', '.join(LIBRARIES)}")
    trouble = diagnose_cuda(device) if name == "cupy" else ""
    if trouble:
        raise BackendUnavailableError(trouble)
    chosen, found = select(name, device), status(name)
    devices = ", ".join(f"{at}{_memory(size)}" for at, size in found.devices.items())
    print(f"{chosen.describe()}; it has: {devices}")


def _reason(found: LibraryStatus) -> str:
    # Square brackets would be read as markup.
    return found.reason.replace("[", r"\[")


def _wanted(names: str) -> list[str]:
    if names == "all":
        return list(LIBRARIES)
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in LIBRARIES:
            raise ValueError(
                f"--backends holds {name!r}; expected all, or some of {', '.join(LIBRARIES)}"
            )
        found = status(name)
        if not found.usable:
            raise BackendUnavailableError(found.reason)
    return wanted


def show_check(names: str) -> bool:
    """Run the comparison and print its table.

    Parameters
    ----------
    names : str
        Comma-separated libraries, or 'all' for those that can be used.

    Returns
    -------
    bool
        Whether everything agrees.
    """
    from xpnn.checks import check_device

    console = _console()
    count = failed = 0
    for name in _wanted(names):
        found = status(name)
        if not found.usable:
            console.print(f"[dim]skipped: {_reason(found)}")
            continue
        table = Table(
            "device", "dtype", "computation", "largest absolute", "largest relative",
            "allowed", "", title=f"{name} {found.version} against numpy float64",
        )  # fmt: skip
        last = ("", "")
        for device in found.devices:
            for f in check_device(name, device):
                where = (f.device, f.dtype)
                if last != ("", "") and where != last:
                    table.add_section()
                shown = where if where != last else ("", "")
                verdict = "[green]pass" if f.passed else "[bold red]FAIL"
                if f.problem or not f.passed:
                    verdict += f" {f.problem or f.worst}".replace("[", r"\[").replace(
                        r"\[bold red]", "[bold red]"
                    )
                table.add_row(
                    *shown, f.case, f"{f.absolute:.2e}", f"{f.relative:.2e}",
                    f"{f.allowed:.1e}", verdict,
                )  # fmt: skip
                last = where
                count += 1
                failed += not f.passed
        console.print(table)
    console.print(f"{count} comparisons, {count - failed} passed, {failed} failed")
    return failed == 0
