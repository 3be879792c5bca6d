"""The `xpnn` command."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from xpnn.cli.demo import demos
from xpnn.cli.evaluate import evaluate
from xpnn.cli.export import export
from xpnn.cli.inspect import inspect
from xpnn.cli.options import DeviceOption
from xpnn.cli.output import OutputClosed
from xpnn.cli.plot import plot
from xpnn.cli.predict import predict
from xpnn.cli.train import train

_TABLES, _MORE = "Your own table", "Around it"

app = typer.Typer(
    help="Neural networks written once for every array library.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (train, predict, evaluate, inspect, plot, export):
    app.command(rich_help_panel=_TABLES)(command)
app.add_typer(
    demos, name="demo", help="Run a tutorial, or the digit reader.", rich_help_panel=_MORE
)


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


@app.command(rich_help_panel=_MORE)
def backends(
    require: Annotated[
        str | None,
        typer.Option(
            "--require",
            metavar="LIBRARY",
            help="Look at this one only; exit code 2 and the reason where it cannot be used.",
        ),
    ] = None,
    device: DeviceOption = None,
) -> None:
    """List the array libraries: version, devices, memory, or why one cannot be used.

    Example: xpnn backends --require cupy --device cuda:1
    """
    from xpnn.cli.report import require_backend, show_backends

    if require is None:
        if device is not None:
            raise ValueError(f"--device is {device!r}; it goes with --require LIBRARY")
        show_backends()
    else:
        require_backend(require, device)


@app.command(rich_help_panel=_MORE)
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
    try:
        raise SystemExit(app(prog_name="xpnn", standalone_mode=False) or 0)
    except OutputClosed:
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except OSError as error:
        named = error.filename is not None and error.strerror
        _fail(f"{error.filename}: {error.strerror}" if named else str(error))
    except ValueError as error:
        _fail(str(error))
    except ImportError as error:
        # A package that is an extra; any other import that fails is a defect of xpnn.
        if "pip install" not in str(error):
            raise
        _fail(str(error))
    except Exception as error:
        # Not imported before: help shall appear at once.
        from xpnn.backends import BackendUnavailableError
        from xpnn.distributed import RankError

        if isinstance(error, BackendUnavailableError | RankError):
            _fail(str(error))
        _wrong_words(error)


def _fail(text: str) -> None:
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    raise SystemExit(2) from None


def _wrong_words(error: Any) -> None:
    """Say what is wrong with a command's words; pass on what is no such error."""
    if type(error).__name__ == "Abort":  # what older versions make of Ctrl-C
        raise SystemExit(130) from None
    if not hasattr(error, "format_message"):  # typer has click in it, or beside it
        raise error
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        raise SystemExit(2) from None
    context = getattr(error, "ctx", None)
    where = f" See {context.command_path} --help" if context else ""
    text = error.format_message().rstrip(".")
    _fail(f"{text}.{where}")
