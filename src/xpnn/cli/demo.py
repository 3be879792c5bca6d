"""`xpnn demo`: the tutorials and the digit reader."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer

from xpnn.cli import options
from xpnn.cli.output import UsageError
from xpnn.demos import DEMOS
from xpnn.demos import demo as function_of

_SINGLE = ("mnist", "digits")  # what is computed in float32; the tutorials' figures are float64


def demo(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help=" ".join(f"{name}: {text}" for name, text in DEMOS.items())
        ),
    ],
    backend: options.Backend = "auto",
    device: options.Device = None,
    dtype: Annotated[
        str | None, typer.Option(help="float16, bfloat16, float32 or float64.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for what is written; default: xpnn-NAME.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="mnist: folder with IDX or CSV files; default: here.")
    ] = None,
    hidden: Annotated[
        str | None,
        typer.Option(help="mnist, two-layer, digits: hidden units, such as 200; 128,64."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="mnist: the text's learning rate.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="mnist, digits: times through the rows.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="mnist, two-layer, neuron, digits."),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option("--input", help="first-network: three numbers to ask it about."),
    ] = None,
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="Do not draw a progress bar.")
    ] = False,
) -> None:
    """Run a tutorial, or the digit reader.

    Each prints what its text shows and writes its pictures to a folder.

    Example: xpnn demo digits
    """
    if name not in DEMOS:
        raise UsageError(f"demo {name!r} is not known; expected one of {', '.join(DEMOS)}")
    run = function_of(name)
    known = {key: p.default for key, p in signature(run).parameters.items()}
    widths = None if hidden is None else options.widths_of(hidden)
    given: dict[str, Any] = {
        "data": data,
        "hidden": widths,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "seed": seed,
        "input": inputs,
    }
    given = {key: value for key, value in given.items() if value is not None}
    for key in given:
        if key not in known:
            own = ["device", "dtype", *known]
            names = ", ".join(f"--{one.replace('_', '-')}" for one in own if one != "progress")
            raise UsageError(
                f"the demo {name!r} has no --{key.replace('_', '-')}; its options are {names}"
            )
    if widths is not None and isinstance(known["hidden"], int):
        if len(widths) != 1:
            raise UsageError(f"--hidden is {hidden!r}; this demo has one hidden layer")
        given["hidden"] = widths[0]
    if "progress" in known:
        given["progress"] = not no_progress
    from xpnn.backends import select

    chosen = select(backend, device, dtype or ("float32" if name in _SINGLE else "float64"))
    print(f"backend: {chosen.describe()}")
    run(chosen, out if out is not None else Path(f"xpnn-{name}"), **given)
