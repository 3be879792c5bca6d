"""The `xpnn` command."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from xpnn.cli.demo import demo
from xpnn.cli.evaluate import evaluate
from xpnn.cli.export import export
from xpnn.cli.inspect import inspect
from xpnn.cli.output import (
    OutputClosed,
    UsageError,
    in_options,
    is_unicode,
    safe_streams,
)
from xpnn.cli.plot import plot
from xpnn.cli.predict import predict
from xpnn.cli.report import backends, check
from xpnn.cli.train import train

_DEBUG, _VARIABLE = "--debug", "XPNN_DEBUG"

app = typer.Typer(
    help="Neural networks written once for every array library.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Your own table": (train, predict, evaluate, inspect, plot, export),
    "More": (demo, backends, check),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            _DEBUG,
            help=f"Show where in the code an error came from; also behind a command, and with "
            f"{_VARIABLE}=1.",
        ),
    ] = False,
) -> None:
    if version:
        from xpnn import __version__

        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line.

    What a user got wrong ends with one line on standard error and exit code 2; any other
    exception is a bug of xpnn, which is said in a line too, and ends with exit code 1.
    """
    # JAX reads this when it is imported; the tutorials' figures need 64 bits.
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    if not os.environ.get("COLUMNS", "1").isdigit() or os.environ.get("COLUMNS") == "0":
        del os.environ["COLUMNS"]  # no width that anything can be drawn in
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    shown = _DEBUG in words[:end] or os.environ.get(_VARIABLE, "0") not in ("", "0")
    words = [word for i, word in enumerate(words) if word != _DEBUG or i > end]
    with safe_streams() as (out, err):
        code = _run(words, shown)
        out.flush()
        if out.error is not None and not isinstance(out.error, BrokenPipeError):
            print(f"error: standard output: {out.error.strerror}", file=err)
            code = code or 2
    raise SystemExit(code)


def _run(words: list[str], shown: bool) -> int:
    """Run a command; return its exit code."""
    if not is_unicode(sys.stdout):
        app.rich_markup_mode = None  # it draws boxes
    try:
        return int(app(args=words, prog_name="xpnn", standalone_mode=False) or 0)
    except OutputClosed:
        return 0
    except KeyboardInterrupt:
        return 130
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except Exception as error:
        if isinstance(error, typer.Abort):  # what older versions of typer make of Ctrl-C
            return 130
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            return 2
        message = _message(error)
        if shown:
            traceback.print_exc()
        if message is None:
            what = f"{type(error).__name__}: {error}"
            hint = "" if shown else f"; {_DEBUG} shows where, which helps to report it"
            print(f"error: a bug of xpnn: {' '.join(what.split())}{hint}", file=sys.stderr)
            return 1
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        return 2


def _message(error: Any) -> str | None:
    """What a user is told of an error; None for a bug of ours."""
    if isinstance(error, OSError):
        named = error.filename is not None and error.strerror
        return f"{error.filename}: {error.strerror}" if named else str(error)
    if hasattr(error, "format_message"):  # typer has click in it, or beside it
        context = getattr(error, "ctx", None)
        where = f" See {context.command_path} --help" if context else ""
        return f"{error.format_message().rstrip('.')}.{where}"
    # Not imported before: help shall appear at once.
    from xpnn.backends import (
        BackendUnavailableError,
        DeviceLostError,
        InputError,
        MissingExtraError,
    )
    from xpnn.distributed import RankError

    expected = (
        UsageError,
        InputError,
        BackendUnavailableError,
        DeviceLostError,
        MemoryError,  # of a device too
        MissingExtraError,
        RankError,
    )
    if isinstance(error, InputError):
        return in_options(str(error))
    return (str(error) or "out of memory") if isinstance(error, expected) else None
