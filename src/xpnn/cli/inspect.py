"""`xpnn inspect`: what a model file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpnn.cli import options
from xpnn.cli.output import Screen
from xpnn.cli.scores import confusion_lines, indented, score_lines, short

_COUNTS = ("rows", "validation_rows", "seconds")
_LETTERS = 90  # of a value in a line


def layers_of(estimator: Any) -> list[dict[str, Any]]:
    """List the dense layers of an estimator: widths, activation, number of parameters."""
    if hasattr(estimator, "coef_"):  # a perceptron
        shapes, names = [estimator.coef_.shape[::-1]], ["heaviside"]
    else:
        shapes, hidden = [w.shape for w in estimator.coefs_], estimator.activation
        if isinstance(hidden, str) or not isinstance(hidden, list | tuple) or callable(hidden[0]):
            hidden = [hidden] * (len(shapes) - 1)
        names = [h if isinstance(h, str) else str(getattr(h, "name", h)) for h in hidden]
        names.append(estimator.out_activation_)
    return [
        {"inputs": a, "outputs": b, "activation": name, "parameters": (a + 1) * b}
        for (a, b), name in zip(shapes, names, strict=True)
    ]


def columns_of(model: Any) -> list[dict[str, str]]:
    """List what the columns of a table were taken for."""
    return [
        {"name": column.name, "kind": column.kind, "taken_for": column.taken_for}
        for column in model.preprocessor_.columns_
    ]


def _facts_of(model: Any) -> dict[str, Any]:
    """List what there is to know about a model of any kind."""
    from xpnn import Network, Perceptron
    from xpnn.cli.models import task_of
    from xpnn.layers import size

    if isinstance(model, Network):
        sizes = model.layers.widths(model.inputs)
        parts = zip(model.layers.layers, sizes, sizes[1:], model.tree, strict=False)
        layers = [
            {"layer": repr(layer), "inputs": wide, "outputs": out, "parameters": size(tree)}
            for layer, wide, out, tree in parts
        ]
        return {"loss": model.loss.name, "dtype": model.dtype, "layers": layers}
    if hasattr(model, "preprocessor_"):
        return {
            "target": {"name": getattr(model, "target_name_", None), "task": task_of(model)},
            "columns": columns_of(model),
            "features": model.preprocessor_.get_feature_names_out().tolist(),
            **_facts_of(model.estimator_),
            **({"classes": model.classes_.tolist()} if hasattr(model, "classes_") else {}),
        }
    found = {"classes": model.classes_.tolist()} if hasattr(model, "classes_") else {}
    if isinstance(model, Perceptron):
        found["dtype"] = model.coef_.dtype.name
    else:
        network = model.network_
        found |= {"dtype": network.dtype, "backend": network.backend.name}
    return {**found, "epochs": model.n_iter_, "layers": layers_of(model)}


def _facts(path: Path) -> tuple[Any, dict[str, Any]]:
    """Read a model file; return the model, and what there is to know as plain values."""
    from xpnn import __version__
    from xpnn.cli.models import open_model
    from xpnn.data.arrays_file import read_header
    from xpnn.files import MODEL

    model, header = open_model(path), read_header(path, MODEL)
    found: dict[str, Any] = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "format": header["format"],
        "written_by": header.get("xpnn"),
        "read_by": __version__,
        "class": type(model).__name__,
        **_facts_of(model),
    }
    found["parameters"] = sum(layer["parameters"] for layer in found["layers"])
    return model, {**found, "record": header["record"]}


def _layer_lines(layers: list[dict[str, Any]]) -> list[str]:
    rows = [
        (
            layer.get("layer")
            or f"{layer['inputs']:,} to {layer['outputs']:,}, {layer['activation']}",
            f"{layer['parameters']:,}",
        )
        for layer in layers
    ]
    wide, high = (max(len(row[i]) for row in rows) for i in (0, 1))
    return [f"{text:<{wide}}  {count:>{high}} parameters" for text, count in rows]


def _record_lines(record: dict[str, Any]) -> list[str]:
    """Write a record; one that the user gave to `save` may hold anything."""
    lines, rest = [], dict(record)
    if all(isinstance(record.get(name), int | float) for name in _COUNTS):
        rows, validation, seconds = (rest.pop(name) for name in _COUNTS)
        lines.append(f"{rows:,} rows for training, {validation:,} for validation, {seconds:.1f} s")
    for name in ("options", "history"):
        if isinstance(rest.get(name), dict):
            rest |= {k: v for k, v in rest.pop(name).items() if k not in record}
    for name, value in rest.items():
        numeric = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
        if name in ("epoch", "seconds") and isinstance(value, list):
            lines += [f"{len(value):,} epochs"] if name == "epoch" else []
        elif numeric and len(value) > 1:
            lines.append(f"{name}: {value[0]:.4g} at first, {value[-1]:.4g} at the end")
        elif value is not None and value not in ([], ""):
            lines.append(f"{name}: {short(str(value), _LETTERS)}")
    return lines


def _text_of(model: Any, found: dict[str, Any]) -> str:
    """Write what `_facts` gave for a person."""
    lines = [
        f"{found['file']}: {found['class']}, {found['bytes']:,} bytes, format {found['format']}, "
        f"written by xpnn {found['written_by']}"
    ]
    if "columns" in found:
        from xpnn.tabular.columns import describe

        target = f"{found['target']['name']}: target of the {found['target']['task']}"
        if "classes" in found:
            target += f", classes: {', '.join(map(str, found['classes']))}"
        told = describe(model.preprocessor_.columns_).split("\n")
        lines += ["", "columns", *indented([*told, target])]
        lines += [f"  {len(found['features']):,} features come out of the preprocessing"]
    elif "classes" in found:
        lines += ["", f"classes: {', '.join(map(str, found['classes']))}"]
    where = f" on {found['backend']}" if found.get("backend") else ""
    lines += ["", f"network: {found['parameters']:,} parameters, {found['dtype']}{where}"]
    lines += indented(_layer_lines(found["layers"]))
    if "loss" in found:
        lines.append(f"  loss: {found['loss']}")
    record, measured = dict(found["record"]), found["record"].get("validation")
    scored = isinstance(measured, dict) and "baseline" in measured  # not what a user keeps there
    if scored:
        del record["validation"]
    if training := _record_lines(record):
        lines += ["", "training", *indented(training)]
    if scored:
        lines += ["", "on the validation rows", *indented(score_lines(measured))]
        if "confusion" in measured:
            lines += ["", *confusion_lines(measured["confusion"])]
    return "\n".join(lines)


def inspect(model: options.Model, json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Say what a model file holds.

    Layers and parameters, what each column is taken for, the record of the
    training with its scores, and the versions that wrote the file. With --quiet
    the exit code alone says whether it is a whole one.

    Example: xpnn inspect pets.safetensors
    """
    screen = Screen(json, quiet)
    with screen.notes():
        read, found = _facts(model)
        screen.say(_text_of(read, found))
        screen.result(found)
