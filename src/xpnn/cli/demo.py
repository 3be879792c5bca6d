"""`xpnn demo ...`: the tutorials and the digit reader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xpnn.cli.options import (
    BackendOption,
    DeviceOption,
    DtypeOption,
    NoProgressOption,
    OutOption,
    SeedOption,
)
from xpnn.demos import DEMOS, demo

demos = typer.Typer(no_args_is_help=True)


def _run(
    name: str, backend: str, device: str | None, dtype: str, out: Path | None, **options: Any
) -> None:
    from xpnn.backends import select

    chosen = select(backend, device, dtype)
    print(f"backend: {chosen.describe()}")
    demo(name)(chosen, out if out is not None else Path(f"xpnn-{name}"), **options)


@demos.command(help=DEMOS["weighted-sum"])
def weighted_sum(
    backend: BackendOption = "auto",
    device: DeviceOption = None,
    dtype: DtypeOption = "float64",
    out: OutOption = None,
) -> None:
    """Run the demo."""
    _run("weighted-sum", backend, device, dtype or "float64", out)


@demos.command(help=DEMOS["first-network"])
def first_network(
    backend: BackendOption = "auto",
    device: DeviceOption = None,
    dtype: DtypeOption = "float64",
    out: OutOption = None,
    new: Annotated[str, typer.Option("--input", help="Three numbers to ask it about.")] = "1 0 0",
) -> None:
    """Run the demo."""
    _run("first-network", backend, device, dtype or "float64", out, new=new)


@demos.command(help=DEMOS["mnist"])
def mnist(
    backend: BackendOption = "auto",
    device: DeviceOption = None,
    dtype: DtypeOption = "float32",
    out: OutOption = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with IDX or CSV files; default: here.")
    ] = None,
    hidden: Annotated[int, typer.Option("--hidden", help="Hidden units.")] = 200,
    rate: Annotated[float, typer.Option("--rate", help="The text's learning rate.")] = 0.1,
    epochs: Annotated[int, typer.Option("--epochs", help="Times through the records.")] = 5,
    seed: SeedOption = 1,
    no_progress: NoProgressOption = False,
) -> None:
    """Run the demo."""
    _run(
        "mnist", backend, device, dtype or "float32", out, data=data, hidden=hidden, rate=rate,
        epochs=epochs, seed=seed, progress=not no_progress,
    )  # fmt: skip


@demos.command(help=DEMOS["mcculloch-pitts"])
def mcculloch_pitts(
    backend: BackendOption = "auto",
    device: DeviceOption = None,
    dtype: DtypeOption = "float64",
    out: OutOption = None,
) -> None:
    """Run the demo."""
    _run("mcculloch-pitts", backend, device, dtype or "float64", out)


@demos.command(help=DEMOS["two-layer"])
def two_layer(
    backend: BackendOption = "auto",
    device: DeviceOption = None,
    dtype: DtypeOption = "float64",
    out: OutOption = None,
    seed: SeedOption = 1,
) -> None:
    """Run the demo."""
    _run("two-layer", backend, device, dtype or "float64", out, seed=seed)


@demos.command(help=DEMOS["neuron"])
def neuron(
    backend: BackendOption = "auto",
    device: DeviceOption = None,
    dtype: DtypeOption = "float64",
    out: OutOption = None,
) -> None:
    """Run the demo."""
    _run("neuron", backend, device, dtype or "float64", out)


@demos.command(help=DEMOS["perceptron"])
def perceptron(
    backend: BackendOption = "auto",
    device: DeviceOption = None,
    dtype: DtypeOption = "float64",
    out: OutOption = None,
) -> None:
    """Run the demo."""
    _run("perceptron", backend, device, dtype or "float64", out)


@demos.command(help=DEMOS["digits"])
def digits(
    backend: BackendOption = "auto",
    device: DeviceOption = None,
    dtype: DtypeOption = "float32",
    out: OutOption = None,
    seed: SeedOption = 0,
    epochs: Annotated[int, typer.Option("--epochs", help="Times through the digits.")] = 40,
    hidden: Annotated[
        str, typer.Option("--hidden", help="Widths of the hidden layers, such as 128,64.")
    ] = "128",
    no_progress: NoProgressOption = False,
) -> None:
    """Run the demo."""
    _run(
        "digits", backend, device, dtype or "float32", out, seed=seed, epochs=epochs,
        hidden=_widths(hidden), progress=not no_progress,
    )  # fmt: skip


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(word) for word in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise ValueError(f"--hidden is {text!r}; expected widths such as 128 or 128,64")
    return widths
