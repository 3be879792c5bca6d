"""`xpnn export`: a model for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xpnn.cli.options import JsonOption, ModelArgument, QuietOption
from xpnn.cli.output import Screen


def export_onnx(path: Path, onnx: Path, opset: int | None) -> dict[str, Any]:
    """Do the work of `xpnn export`.

    Parameters
    ----------
    path : Path
        The model.
    onnx : Path
        Where the ONNX file shall be.
    opset : int or None
        Version of the operators.

    Returns
    -------
    dict
        Name, inputs and outputs of what was written.
    """
    from xpnn.cli.models import open_model
    from xpnn.estimators import to_onnx

    if onnx.is_dir():
        raise ValueError(f"--onnx is '{onnx}', a folder; expected a file")
    made = to_onnx(open_model(path), onnx, opset=opset)
    return {
        "onnx": str(onnx),
        "opset": {entry.domain or "ai.onnx": entry.version for entry in made.opset_import},
        "inputs": [_value(value) for value in made.graph.input],
        "outputs": [_value(value) for value in made.graph.output],
    }


def _value(value: Any) -> dict[str, Any]:
    from importlib import import_module

    kinds = import_module("onnx").TensorProto.DataType
    tensor = value.type.tensor_type
    shape = [d.dim_param or d.dim_value for d in tensor.shape.dim]
    return {"name": value.name, "type": kinds.Name(tensor.elem_type).lower(), "shape": shape}


def export(
    model: ModelArgument,
    onnx: Annotated[Path, typer.Option("--onnx", help="Where the ONNX file shall be.")],
    opset: Annotated[
        int | None, typer.Option(help="Version of ONNX's operators, 18 to 26; default: 18.")
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a model with its preprocessing as an ONNX file.

    It takes raw columns, each an input of its own. Needs the extra 'onnx'.

    Example: xpnn export pets.safetensors --onnx pets.onnx
    """
    screen = Screen(json, quiet)
    with screen.notes():
        found = export_onnx(model, onnx, opset)
        opsets = ", ".join(f"{name} {version}" for name, version in found["opset"].items())
        screen.say(f"{found['onnx']}: opset {opsets}")
        for what in ("inputs", "outputs"):
            screen.say(what)
            for value in found[what]:
                shape = " x ".join(map(str, value["shape"]))
                screen.say(f"  {value['name']}: {value['type']}, {shape}")
        screen.result({"model": str(model), **found})
