"""The user's MODEL: a table's model, or one that takes numbers, behind one face."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from xpnn import TableModel
    from xpnn.estimators.table_target import Target


def open_model(path: Path, backend: str | None = None, device: str | None = None) -> Any:
    """Read a model of any kind to use it.

    Parameters
    ----------
    path : Path
        A file that `xpnn.save` wrote.
    backend, device : str, optional
        Where it shall compute; see `xpnn.select`.

    Returns
    -------
    TableModel, MLPClassifier, MLPRegressor or Network
    """
    from xpnn import Network, files, select
    from xpnn.backends import device_name

    if backend is None:
        return files.load(path)
    chosen = select(backend, device)
    model = files.load(path, chosen.name, chosen.device)
    if not isinstance(model, Network):  # tables come from the host, and shall go there
        inner = getattr(model, "estimator", model)
        inner.set_params(backend=chosen.name, device=device_name(chosen.device))
    return model


def for_tables(model: Any, target: str | None = None, frame: pd.DataFrame | None = None) -> Any:
    """Make any model one that takes tables.

    Parameters
    ----------
    model : TableModel, MLPClassifier, MLPRegressor or Network
        Those but the first take numbers as they are: all columns but the target, in the
        order of the table.
    target : str, optional
        The column that is no input of such a model.
    frame : pandas.DataFrame, optional
        Rows with the target, for the baseline of such a model.

    Returns
    -------
    TableModel

    Raises
    ------
    ValueError
        The model tells several things at once, or `target` is not the one of the model.
    """
    from xpnn import TableModel

    if isinstance(model, TableModel):
        own = model._target().name
        if target not in (None, own):
            raise ValueError(f"--target is {target!r}; the model has learned {own!r}")
        return model
    return _numeric(model, target, frame)


class _AsTheyAre:
    """Preprocessing that does nothing: numbers, in the order of the columns."""

    def __init__(self, inputs: int, dtype: str) -> None:
        self.inputs, self.dtype = inputs, dtype

    def transform(self, frame: pd.DataFrame) -> Any:
        """Rows of numbers."""
        import numpy as np

        from xpnn.data.cells import CellError, numbers_of

        if frame.shape[1] != self.inputs:
            raise ValueError(
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
        return x


class _Labels:
    """A network as an estimator that tells classes, on the host."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def predict(self, x: Any) -> Any:
        """Numbers of the classes."""
        from xpnn.backends import to_host

        return to_host(self.network.predict(x)).reshape(len(x)).astype("int64")

    def _proba(self, x: Any) -> Any:
        import numpy as np

        from xpnn.backends import to_host

        found = to_host(self.network.predict_proba(x))
        return found if found.shape[1] > 1 else np.concatenate([1 - found, found], axis=1)


class _Probabilities(_Labels):
    """One whose loss speaks of probabilities."""

    predict_proba = _Labels._proba


class _Values(_Labels):
    """A network as an estimator that tells numbers."""

    def predict(self, x: Any) -> Any:
        """Values."""
        from xpnn.backends import to_host

        return to_host(self.network.predict(x)).reshape(len(x))


def _numeric(model: Any, target: str | None, frame: pd.DataFrame | None) -> TableModel:
    """A model that takes numbers, with preprocessing that does nothing."""
    from xpnn import Network, TableModel

    if isinstance(model, Network):
        classes, estimator = _of_network(model)
        inputs, dtype = model.inputs, model.dtype or "float64"
    else:
        classes, estimator = _of_estimator(model), model
        inputs, dtype = model.n_features_in_, model._dtype_name
    dtype = dtype if dtype in ("float32", "float64") else "float32"
    found = _target(target or "", classes, frame)
    made = TableModel(found.task)
    made.target, made.estimator = found, estimator
    made.preprocessing = _AsTheyAre(inputs, dtype)  # type: ignore[assignment]
    return made


def _target(name: str, classes: Any, frame: pd.DataFrame | None) -> Target:
    """What such a model tells; the baseline is learned from the rows, if there are any."""
    from xpnn.estimators.table_split import with_target
    from xpnn.estimators.table_target import Target, with_rows

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
        raise ValueError(f"no row has a target in column {name!r} that the model can tell")
    return with_rows(target, known, scaled=False)


def _of_network(network: Any) -> tuple[Any, Any]:
    """Classes and estimator of a network; None for values."""
    import numpy as np

    outputs = network.layers.widths(network.inputs)[-1]
    kind = network.loss.kind
    if kind != "multiclass" and outputs > 1:
        raise ValueError(f"the network tells {outputs} things at once; expected one")
    if kind == "regression":
        return None, _Values(network)
    used = _Labels if network.loss.name == "hinge" else _Probabilities
    return np.arange(max(outputs, 2)), used(network)


def _of_estimator(model: Any) -> Any:
    """Classes of an estimator; None for values."""
    if hasattr(model, "classes_"):
        if model._label_binarizer.y_type_.startswith("multilabel"):
            raise ValueError("the model tells several classes at once; expected one")
        return model.classes_
    if model.n_outputs_ > 1:
        raise ValueError(f"the model tells {model.n_outputs_} numbers at once; expected one")
    return None
