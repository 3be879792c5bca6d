"""`xpnn export`: a model for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xpnn.cli.options import JsonOption, ModelArgument, QuietOption, check_out
from xpnn.cli.output import Screen


def export_onnx(path: Path, onnx: Path, opset: int | None) -> dict[str, Any]:
    """Write a model as ONNX; say which inputs and outputs it has."""
    from xpnn.cli.models import open_model
    from xpnn.estimators import to_onnx

    made = to_onnx(open_model(path), onnx, opset=opset)
    return {
        "onnx": str(onnx),
        "opset": {entry.domain or "ai.onnx": entry.version for entry in made.opset_import},
        "inputs": [_value(value) for value in made.graph.input],
        "outputs": [_value(value) for value in made.graph.output],
    }


def _value(value: Any) -> dict[str, Any]:
    from xpnn.data.optional import import_optional

    tensor = value.type.tensor_type
    name = import_optional("onnx", "onnx").TensorProto.DataType.Name(tensor.elem_type).lower()
    shape = [d.dim_param or d.dim_value for d in tensor.shape.dim]
    return {"name": value.name, "type": name, "shape": shape}


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
    check_out(onnx, "--onnx", [model])
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
