"""`xpnn export`: a model for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xpnn.cli import options
from xpnn.cli.output import Screen


def export(
    model: options.Model,
    onnx: Annotated[Path, typer.Option("--onnx", help="Where the ONNX file shall be.")],
    opset: Annotated[
        int | None, typer.Option(help="Version of ONNX's operators, 18 to 26; default: 18.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a model with its preprocessing as an ONNX file.

    It takes raw columns, each an input of its own. Needs the extra 'onnx'.

    Example: xpnn export pets.safetensors --onnx pets.onnx
    """
    from xpnn.cli.models import open_model
    from xpnn.estimators import to_onnx

    screen = Screen(json, quiet)
    options.check_out(onnx, "--onnx", [model])
    with screen.notes():
        graph = to_onnx(open_model(model), onnx, opset=opset)
        opsets = {entry.domain or "ai.onnx": entry.version for entry in graph.opset_import}
        ends = {
            "inputs": [_value(value) for value in graph.graph.input],
            "outputs": [_value(value) for value in graph.graph.output],
        }
        screen.say(f"{onnx}: opset {', '.join(f'{k} {v}' for k, v in opsets.items())}")
        for name, values in ends.items():
            screen.say(name)
            for value in values:
                shape = " x ".join(map(str, value["shape"]))
                screen.say(f"  {value['name']}: {value['type']}, {shape}")
        screen.result({"model": str(model), "onnx": str(onnx), "opset": opsets, **ends})


def _value(value: Any) -> dict[str, Any]:
    """Name, dtype and shape of an input or output."""
    from xpnn.data.optional import import_optional

    tensor = value.type.tensor_type
    name = import_optional("onnx", "onnx").TensorProto.DataType.Name(tensor.elem_type).lower()
    shape = [d.dim_param or d.dim_value for d in tensor.shape.dim]
    return {"name": value.name, "type": name, "shape": shape}
