"""`xpnn plot`: pictures of a model or of a training."""

from __future__ import annotations

import json as json_format
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpnn.cli import options
from xpnn.cli.output import Screen, UsageError
from xpnn.cli.tables import opened, own_target

if TYPE_CHECKING:
    pass

_SMALL = 12  # units in a layer that a diagram is the default for


def _read_source(path: Path) -> tuple[Any, dict[str, Any]]:
    """Read a model and its record, or only the record of a checkpoint or of JSON."""
    from xpnn.cli.models import open_model
    from xpnn.data.arrays_file import read_header
    from xpnn.files import MODEL, ModelFileError
    from xpnn.training.checkpoint import CheckpointError, read_checkpoint

    with path.open("rb") as file:
        begin = file.read(4096).lstrip()[:1]
    if begin in (b"{", b"["):
        return None, _from_json(path)
    try:
        header = read_header(path, MODEL)
    except ModelFileError:
        try:
            return None, read_checkpoint(path).history().to_dict()
        except CheckpointError:
            pass
        raise
    model = open_model(path, "numpy", "cpu")
    return model, header["record"]


def _from_json(path: Path) -> dict[str, Any]:
    try:
        found = json_format.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: no JSON: {error}") from error
    if isinstance(found, list):
        return {"loss": found}
    record = found.get("record")
    return dict(record if isinstance(record, dict) else found)


def _names(model: Any, kind: str) -> dict[str, Any]:
    """Names for `draw` that a tabular estimator knows."""
    from xpnn import Network

    if isinstance(model, Network) or not hasattr(model, "preprocessor_"):
        return {}
    names = model.preprocessor_.get_feature_names_out().tolist()
    if kind == "weights":
        # Weights of images are shown as images, where names would ask for a heat map.
        pixels = [f"p{i}" for i in range(len(names))]
        return {"names": None if names == pixels else names}
    classes = [str(c) for c in model.classes_] if hasattr(model, "classes_") else None
    single = model.estimator_.n_outputs_ == 1
    target = getattr(model, "target_name_", None)
    return {"names": names, "classes": [target or "target"] if single else classes}


def _default_kind(model: Any, record: dict[str, Any], frame: Any) -> str:
    """Choose the picture that fits what there is."""
    from xpnn.cli.models import inner_model
    from xpnn.plots import fitting

    if frame is not None and hasattr(model, "preprocessor_"):
        if [column.kind for column in model.preprocessor_.used_columns] == ["numeric"] * 2:
            return "regions"
        if hasattr(model, "classes_"):
            return "confusion"
    if fitting(record):
        return "loss"
    inner = inner_model(model)
    found = fitting(inner)
    if not found:
        raise UsageError("there is nothing in it to be drawn; --data brings rows to look at")
    biases = getattr(inner, "intercepts_", None)
    widths = None if biases is None else [int(b.shape[0]) for b in biases[:-1]]
    small = widths is not None and max([*widths, inner.n_features_in_]) <= _SMALL
    return next(k for k in ("loss", "network" if small else "weights", *found) if k in found)


def _make_figure(
    model: Any, record: dict[str, Any], kind: str, table: Any, target: str | None, screen: Screen
) -> Any:
    from xpnn.cli.models import for_tables, inner_model
    from xpnn.plots import draw, fitting

    if kind == "loss":
        return draw(kind, record if model is None or fitting(record) else inner_model(model))
    if model is None:
        raise UsageError(f"{kind!r} is drawn from a model; this file holds a training's history")
    if kind in ("weights", "network"):
        return draw(kind, inner_model(model), **_names(model, kind))
    if table is None:
        raise UsageError(f"--kind {kind} needs rows to look at: --data FILE")
    if kind == "regions" and not hasattr(model, "preprocessor_"):
        raise UsageError("regions are drawn of models that xpnn train made; this is none")
    model = for_tables(model, target)
    if getattr(model, "target_name_", None) is None:
        model.target_name_ = own_target(table)
    # The pictures ask for predictions of frames, and look at nothing else of the model.
    known = SimpleNamespace(predict=model.predict)
    if hasattr(model, "classes_"):
        known.classes_ = model.classes_
    return draw(kind, known, *_rows(model, kind, table, screen))


def _rows(model: Any, kind: str, table: Any, screen: Screen) -> tuple[Any, Any]:
    """Rows and targets as the pictures take them."""
    from pandas import concat

    from xpnn.cli.models import parts_of
    from xpnn.tabular.target import codes_of, values_of

    need = kind == "confusion" or model.target_name_ in table.columns
    frames, targets = zip(*parts_of(model, table, need_target=need), strict=True)
    frame, y = concat(frames), None
    if need:
        y = concat(targets)
        if hasattr(model, "classes_"):
            codes = codes_of(y, model.classes_)
            if (codes < 0).any():
                screen.note(f"{int((codes < 0).sum()):,} rows of unknown classes are ignored")
            frame, y = frame[codes >= 0], model.classes_[codes[codes >= 0]]
        else:
            y = values_of(y)
    if kind != "regions":
        return frame, y
    used = model.preprocessor_.used_columns
    if [column.kind for column in used] != ["numeric", "numeric"]:
        raise UsageError(
            "decision regions need a model of exactly two columns of numbers; this one uses "
            f"{len(used)} columns"
        )
    points = frame[[column.name for column in used]].astype("float64")
    whole = points.notna().all(axis=1).to_numpy()
    if not whole.all():
        screen.note(f"{int((~whole).sum()):,} rows with missing numbers are ignored")
    return points[whole], None if y is None else y[whole]


@options.reads_tables
def plot(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL|HISTORY",
            help="A model file, a checkpoint, or JSON: a history, or what train --json printed.",
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            "-k",
            help="loss, weights, network, confusion or regions; default: what fits best.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Rows to look at: for confusion and regions."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Ends in .png, .svg or .pdf; default: the name of MODEL, the kind, and .png.",
        ),
    ] = None,
    target: options.Target = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    *,
    reading: options.Reading,
) -> None:
    """Draw a training's curves, a model's weights or diagram, or its predictions.

    loss: curves by epoch. weights: of the first layer. network: units and
    weights. confusion: true and predicted classes. regions: what a model of two
    columns predicts over their plane. The last two look at --data.

    Example: xpnn plot pets.safetensors --kind confusion --data new-pets.csv
    """
    from xpnn.plots import KINDS, save_figure
    from xpnn.plots.figure import ENDINGS

    screen = Screen(json, quiet)
    if out is not None:
        options.check_out(out, "--out", [source, *([data] if data else [])], ENDINGS)
    with screen.notes():
        model, record = _read_source(source)
        with nullcontext() if data is None else opened(data, reading, screen) as table:
            if kind is not None and kind not in KINDS:
                raise UsageError(f"--kind is {kind!r}; expected one of {', '.join(KINDS)}")
            kind = kind or _default_kind(model, record, table)
            figure = _make_figure(model, record, kind, table, target, screen)
        path = save_figure(figure, out or Path(f"{source.stem}-{kind}.png"))
        screen.say(f"{kind}: {path}")
        screen.result({"source": str(source), "kind": kind, "out": str(path)})
