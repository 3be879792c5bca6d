"""The user's MODEL: a tabular estimator, or one that takes plain numbers, behind one face."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpnn.cli.output import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from xpnn.tabular import ReadOptions, TableFile


def open_model(path: Path, backend: str | None = None, device: str | None = None) -> Any:
    """Read a model of any kind, to compute on a library and device; see `xpnn.select`."""
    from xpnn import Perceptron, files, select
    from xpnn.backends import device_name

    if backend is None:
        return files.load(path)
    chosen = select(backend, device)
    model = files.load(path, chosen.name, chosen.device)
    # Tables come from the host, and shall go there.
    inner = inner_model(model)
    if "backend" in getattr(inner, "get_params", dict)():
        inner.set_params(backend=chosen.name, device=device_name(chosen.device))
    elif isinstance(inner, Perceptron) and chosen.name != "numpy":
        raise UsageError(
            f"--backend is {backend!r}; a Perceptron computes where its rows are, and those of a "
            "table are on the host: expected numpy"
        )
    return model


def inner_model(model: Any) -> Any:
    """The network's estimator inside a tabular one; else the model itself."""
    return getattr(model, "estimator_", model)


def for_tables(model: Any, target: str | None) -> Any:
    """Make any model one that takes frames, and knows the name of its target if anybody does."""
    from xpnn.tabular.estimators import BaseTabular

    if not isinstance(model, BaseTabular):
        return NumericModel(model, target)
    own = getattr(model, "target_name_", None)
    if target is not None and own is not None and target != own:
        raise UsageError(f"--target is {target!r}; the model has learned {own!r}")
    if target is not None:
        model.target_name_ = target
    return model


def task_of(model: Any) -> str:
    """What a model for tables does: 'classification' or 'regression'."""
    return "classification" if hasattr(model, "classes_") else "regression"


def parts_of(model: Any, table: TableFile, need_target: bool) -> Iterator[tuple[Any, Any]]:
    """Rows of a table as a model takes them, with their targets or None, chunk by chunk.

    Rows whose target is missing are left out where targets are needed.
    """
    name = getattr(model, "target_name_", None)
    if need_target and (name is None or name not in table.columns):
        raise UsageError(
            f"{table.path}: no column {name!r} with the true labels"
            if name
            else f"{table.path}: which column has the true labels? Say --target COLUMN"
        )
    types = _types_of(model, name, table.options, lambda: table.types)
    for frame in table.chunks(types=types):
        y: Any = frame.pop(name) if name in frame.columns else None
        if need_target:
            known = y.notna().to_numpy()
            frame, y = frame[known], y[known]
        yield frame, y


def _types_of(
    model: Any, target: str | None, options: ReadOptions, decided: Callable[[], Mapping[str, Any]]
) -> Any:
    """How a model reads columns of text; None where their content shall tell it."""
    from xpnn.tabular import TextType

    if isinstance(model, NumericModel):
        return None
    classify = task_of(model) == "classification"
    types = {c.name: c.reads_as for c in model.preprocessor_.columns_}
    if target is not None:
        types[target] = model.target_type_ or TextType("text" if classify else "number")
        if not classify and types[target].kind == "integer":  # others may have fractions
            types[target] = replace(types[target], kind="number", format="")
    if options.says_how:  # what is said of this file is not what was said of the training's
        types |= {n: found for n, found in decided().items() if types.get(n, found).kind != "text"}
    return types


class NumericModel:
    """A network or an estimator of plain numbers that takes frames.

    Columns are taken by the names that it was fitted on; where it knows none, in the order of the
    table.
    """

    def __init__(self, model: Any, target: str | None) -> None:
        from xpnn import Network

        self.model, self.target_name_ = model, target
        if isinstance(model, Network):
            self.inputs, dtype, names = model.inputs, model.dtype, None
            classes = _classes_of_network(model)
            probabilities = classes is not None and model.loss.name != "hinge"
        else:
            self.inputs, names = model.n_features_in_, getattr(model, "feature_names_in_", None)
            dtype = model.network_.dtype if hasattr(model, "network_") else model.coef_.dtype.name
            classes, probabilities = _classes_of(model), hasattr(model, "predict_proba")
        # Half precision takes float32, and what was never placed float64.
        self.dtype = dtype if dtype in ("float32", "float64", None) else "float32"
        self.names = None if names is None else [str(name) for name in names]
        if classes is not None:
            self.classes_ = classes
        if probabilities:
            self.predict_proba = self._predict_proba

    def _rows(self, frame: pd.DataFrame) -> Any:
        """Rows of numbers, or a frame of them where the model knows names."""
        import numpy as np

        from xpnn.tabular.cells import numbers_of
        from xpnn.tabular.frames import take_columns

        if self.names is not None:
            frame = take_columns(frame, self.names)
        if frame.shape[1] != self.inputs:
            raise UsageError(
                f"the table has {frame.shape[1]} columns beside the target; the model takes "
                f"{self.inputs} numbers. --target names a column that is no input"
            )
        x = np.empty(frame.shape, self.dtype or "float64")
        for i, name in enumerate(frame.columns):
            values, _ = numbers_of(frame[name], "numeric", None)
            bad = ~np.isfinite(values)
            if bad.any():
                place = int(np.argmax(bad))
                raise UsageError(
                    f"row {frame.index[place]}, column {name!r}: found "
                    f"{frame[name].iloc[place]!r}; expected a number; this model takes them as "
                    "they are, and fills in none"
                )
            x[:, i] = values
        return x if self.names is None else type(frame)(x, columns=self.names)

    def predict(self, frame: pd.DataFrame) -> Any:
        """Labels or values of rows."""
        from xpnn.backends import to_host

        found = to_host(self.model.predict(self._rows(frame))).reshape(len(frame))
        # A network tells the numbers of classes, which are their labels.
        codes = hasattr(self, "classes_") and not hasattr(self.model, "classes_")
        return found.astype("int64") if codes else found

    def _predict_proba(self, frame: pd.DataFrame) -> Any:
        """Probabilities of rows, in the order of `classes_`."""
        import numpy as np

        from xpnn.backends import to_host

        found = to_host(self.model.predict_proba(self._rows(frame)))
        return found if found.shape[1] > 1 else np.concatenate([1 - found, found], axis=1)


def _classes_of_network(network: Any) -> Any:
    """Class codes of a network; None for values."""
    import numpy as np

    outputs, kind = network.layers.widths(network.inputs)[-1], network.loss.kind
    if kind != "multiclass" and outputs > 1:
        raise UsageError(f"the network predicts {outputs} things at once; expected one")
    return None if kind == "regression" else np.arange(max(outputs, 2))


def _classes_of(estimator: Any) -> Any:
    """Classes of an estimator; None for values."""
    if hasattr(estimator, "classes_"):
        binarizer = getattr(estimator, "_label_binarizer", None)
        if binarizer is not None and binarizer.y_type_.startswith("multilabel"):
            raise UsageError("the model predicts several classes at once; expected one")
        return estimator.classes_
    if estimator.n_outputs_ > 1:
        raise UsageError(f"the model predicts {estimator.n_outputs_} numbers; expected one")
    return None
