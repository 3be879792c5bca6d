"""The `xpnn` command."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from xpnn.cli.bench import bench
from xpnn.cli.demo import demos

app = typer.Typer(
    help="Neural networks written once for every array library.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(bench)
app.add_typer(demos, name="demo", help="Run a tutorial, or the digit reader.")


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
) -> None:
    if version:
        from xpnn import __version__

        print(__version__)
        raise typer.Exit


@app.command()
def backends() -> None:
    """List the array libraries: version, devices, memory, or why one cannot be used."""
    from xpnn.cli.report import show_backends

    show_backends()


@app.command()
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
    from xpnn.cli.report import show_check

    raise typer.Exit(0 if show_check(backends) else 1)


def main() -> None:
    """Run the command line; what a user got wrong ends with a line, not with a traceback."""
    # JAX reads this when it is imported; the tutorials' figures need 64 bits.
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    from xpnn.backends import BackendUnavailableError

    try:
        app()
    except (BackendUnavailableError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
