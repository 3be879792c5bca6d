"""`xpnn demo`: the tutorials and the digit reader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xpnn.cli.options import BackendOption, DeviceOption
from xpnn.cli.output import UsageError
from xpnn.demos import DEMOS
from xpnn.demos import demo as function_of

# Options of each demo beside those of all, and the dtype of its figures where it is not float64.
_OPTIONS = {
    "first-network": ("input",),
    "mnist": ("data", "hidden", "learning-rate", "epochs", "seed", "progress"),
    "two-layer": ("seed",),
    "digits": ("hidden", "epochs", "seed", "progress"),
}
_SINGLE = ("mnist", "digits")


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(word) for word in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise UsageError(f"--hidden is {text!r}; expected widths such as 128 or 128,64")
    return widths


def _options(name: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Take the options that were given, as the demo's function calls them."""
    given = {key: value for key, value in asked.items() if value is not None}
    known = _OPTIONS.get(name, ())
    for key in given:
        if key not in known and key != "progress":
            raise UsageError(
                f"the demo {name!r} has no --{key}; its options are "
                f"{', '.join(f'--{own}' for own in ('backend', 'device', 'dtype', 'out', *known))}"
            )
    if "progress" not in known:
        given.pop("progress", None)
    if "hidden" in given:
        widths = _widths(given["hidden"])
        if name == "mnist" and len(widths) > 1:
            raise UsageError(f"--hidden is {given['hidden']!r}; this demo has one hidden layer")
        given["hidden"] = widths[0] if name == "mnist" else widths
    names = {"input": "new", "learning-rate": "learning_rate"}
    return {names.get(key, key): value for key, value in given.items()}


def demo(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help=" ".join(f"{name}: {text}" for name, text in DEMOS.items())
        ),
    ],
    backend: BackendOption = "auto",
    device: DeviceOption = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", help="float16, bfloat16, float32 or float64."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for what is written; default: xpnn-NAME."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="mnist: folder with IDX or CSV files; default: here."),
    ] = None,
    hidden: Annotated[
        str | None,
        typer.Option("--hidden", help="mnist, digits: hidden units, such as 200; 128,64."),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="mnist: the text's learning rate.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="mnist, digits: times through the rows.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=2**32 - 1, help="mnist, two-layer, digits."),
    ] = None,
    new: Annotated[
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
    options = _options(
        name,
        {
            "data": data,
            "hidden": hidden,
            "learning-rate": learning_rate,
            "epochs": epochs,
            "seed": seed,
            "input": new,
            "progress": not no_progress,
        },
    )
    from xpnn.backends import select

    chosen = select(backend, device, dtype or ("float32" if name in _SINGLE else "float64"))
    print(f"backend: {chosen.describe()}")
    function_of(name)(chosen, out if out is not None else Path(f"xpnn-{name}"), **options)
