"""The user's MODEL: a table's model, or one that takes numbers, behind one face."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpnn.cli.output import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from xpnn.estimators.table_target import Target


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
    """The estimator inside a table's model; else the model itself."""
    return getattr(model, "estimator", model)


def for_tables(model: Any, target: str | None = None, frame: pd.DataFrame | None = None) -> Any:
    """Make any model one that takes tables.

    Networks and estimators take the columns that they were fitted on by their names; where they
    know none, all columns but the target in the order of the table. `frame` has rows with the
    target, for their baseline.
    """
    from xpnn import Network, TableModel

    if isinstance(model, TableModel):
        own = model._target().name
        if target not in (None, own):
            raise UsageError(f"--target is {target!r}; the model has learned {own!r}")
        return model
    if isinstance(model, Network):
        classes, estimator = _classes_of_network(model), _NetworkEstimator(model)
        columns: Any = _Numbers(model.inputs, _float(model.dtype))
    else:
        classes, estimator = _classes_of(model), model
        names = getattr(model, "feature_names_in_", None)
        names = None if names is None else [str(name) for name in names]
        dtype = model.network_.dtype if hasattr(model, "network_") else model.coef_.dtype.name
        columns = _Numbers(model.n_features_in_, _float(dtype), names)
    found = _target(target or "", classes, frame)
    made = TableModel(found.task)
    made.target, made.estimator, made.preprocessing = found, estimator, columns
    return made


def _float(dtype: str | None) -> str:
    """The dtype of rows for parameters of a dtype: half precision takes float32."""
    return dtype if dtype in ("float32", "float64") else "float32" if dtype else "float64"


class _Numbers:
    """Preprocessing that does nothing: numbers, by name or in the order of the columns."""

    def __init__(self, inputs: int, dtype: str, names: Sequence[str] | None = None) -> None:
        self.inputs, self.dtype, self.names = inputs, dtype, names

    def transform(self, frame: pd.DataFrame) -> Any:
        """Rows of numbers."""
        import numpy as np

        from xpnn.data.cells import CellError, numbers_of
        from xpnn.data.optional import import_optional

        if self.names is not None:
            frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
            lacking = [name for name in self.names if name not in frame.columns]
            if lacking:
                raise UsageError(f"the table lacks the columns {', '.join(lacking)}")
            frame = frame[list(self.names)]
        if frame.shape[1] != self.inputs:
            raise UsageError(
                f"the table has {frame.shape[1]} columns beside the target; the model takes "
                f"{self.inputs} numbers. --target names a column that is no input"
            )
        x = np.empty(frame.shape, self.dtype)
        for i in range(self.inputs):
            x[:, i] = numbers_of(frame.iloc[:, i])
        row, column = (found[:1] for found in np.nonzero(np.isnan(x)))
        if len(row):
            expected = "a number; this model takes them as they are, and fills in none"
            raise CellError(frame.iloc[:, column[0]], int(row[0]), expected)
        if self.names is None:
            return x
        return import_optional("pandas").DataFrame(x, columns=list(self.names))


class _NetworkEstimator:
    """A network as an estimator that answers on the host: class codes, or values."""

    def __init__(self, network: Any) -> None:
        self.network, self.classifies = network, network.loss.kind != "regression"
        if self.classifies and network.loss.name != "hinge":
            self.predict_proba = self._probabilities

    def predict(self, x: Any) -> Any:
        from xpnn.backends import to_host

        found = to_host(self.network.predict(x)).reshape(len(x))
        return found.astype("int64") if self.classifies else found

    def _probabilities(self, x: Any) -> Any:
        import numpy as np

        from xpnn.backends import to_host

        found = to_host(self.network.predict_proba(x))
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


def _target(name: str, classes: Any, frame: pd.DataFrame | None) -> Target:
    """What such a model predicts; the baseline is learned from the rows, if there are any."""
    from xpnn.estimators.table_target import Target, with_rows, with_target

    target = Target(name, "regress")
    if classes is not None:
        kinds = {"b": "bool", "i": "int64", "u": "int64", "f": "float64"}
        dtype = kinds.get(classes.dtype.kind, "str")
        target = Target(name, "classify", "", dtype, tuple(classes.tolist()))
    if frame is None:
        return target
    rows = with_target(frame, name)[name]
    known = rows if classes is None else rows[target.codes(rows) >= 0]
    if not len(known):
        raise UsageError(f"no row has a target in column {name!r} that the model knows")
    return with_rows(target, known, scaled=False)
