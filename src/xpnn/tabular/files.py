"""Tabular estimators as plain values and arrays, for model files.

What was learned of the columns is plain values: no class of scikit-learn or pandas is in a file,
so that it is read with the same bits by any version of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from decimal import Decimal
from typing import Any, get_type_hints

import numpy as np
from sklearn.base import clone

from xpnn.data.optional import import_optional
from xpnn.estimators.files import estimator_content, estimator_from
from xpnn.estimators.plain import fits, read, write
from xpnn.export.model_file import ModelFileError, wrap_errors
from xpnn.tabular.columns import KINDS as COLUMN_KINDS
from xpnn.tabular.columns import Column, parts_of
from xpnn.tabular.estimators import BaseTabular, TabularClassifier, TabularRegressor
from xpnn.tabular.preprocessor import TabularPreprocessor
from xpnn.tabular.text_types import KINDS as TEXT_KINDS
from xpnn.tabular.text_types import TextType

CLASSES: dict[str, Any] = {kind.__name__: kind for kind in (TabularClassifier, TabularRegressor)}
_PARAMETERS = ("column_types", "validation_fraction", "random_state")
_NUMBERS = ("target_mean_", "target_scale_")


def is_fitted(model: Any) -> bool:
    """Whether a tabular estimator has a network."""
    return "estimator_" in vars(model)


def tabular_content(
    model: BaseTabular, for_inference: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a fitted tabular estimator as plain values and arrays."""
    name = type(model).__name__
    if not is_fitted(model):
        raise ModelFileError(f"the {name} is not fitted; call fit, and save it then")
    network, arrays = estimator_content(model.estimator_, for_inference)
    own = {
        "class": name,
        "parameters": {key: write(getattr(model, key), key, {}) for key in _PARAMETERS},
        "columns": [_column_content(column) for column in model.preprocessor_.columns_],
        "has_names": "feature_names_in_" in vars(model),
        "target": getattr(model, "target_name_", None),
        "target_type": write(model.target_type_ and asdict(model.target_type_), "target_type", {}),
    }
    if isinstance(model, TabularClassifier):
        own["classes"] = _labels_content(model.classes_)
        own["prior"] = model.class_prior_.tolist()
    else:
        own |= {key: float(getattr(model, key)) for key in _NUMBERS}
    return {"kind": "tabular", "tabular": own, "estimator": network}, arrays


def tabular_from(content: Mapping[str, Any], arrays: dict[str, Any]) -> BaseTabular:
    """Make a tabular estimator of what `tabular_content` gave; its network is on NumPy."""
    own, network = content.get("tabular"), estimator_from(content.get("estimator"), arrays)
    if not isinstance(own, dict) or own.get("class") not in CLASSES:
        raise ModelFileError(f"the tabular estimator is {str(own)[:80]}")
    with wrap_errors("the tabular estimator"):
        given = {key: read(own["parameters"][key], key, {}) for key in _PARAMETERS}
        model = CLASSES[own["class"]](clone(network), **given)
        model._check_parameters()
        columns = [_column_from(value, i) for i, value in enumerate(own["columns"])]
        preprocessor = TabularPreprocessor(given["column_types"])
        preprocessor.columns_, preprocessor.n_features_in_ = columns, len(columns)
        if own["has_names"]:
            names = np.asarray([column.name for column in columns], object)
            preprocessor.feature_names_in_ = names
        model._publish(preprocessor)
        model.estimator_, model.validation_indices_ = network, None
        if own["target"] is not None:
            model.target_name_ = str(own["target"])
        kept = read(own["target_type"], "target_type", {})
        model.target_type_ = None if kept is None else TextType(**kept)
        if isinstance(model, TabularClassifier):
            model.classes_ = _labels_from(own["classes"])
            model.class_prior_ = np.asarray(own["prior"], np.float64)
            weights = model.estimator.class_weight
            if isinstance(weights, Mapping):  # of the network's codes; the caller's are of labels
                labels = model.classes_.tolist()
                named = {labels[code]: weight for code, weight in weights.items()}
                model.estimator.set_params(class_weight=named)
        else:
            for key in _NUMBERS:
                setattr(model, key, float(own[key]))
        _check(model, network)
    return model


def _check(model: Any, network: Any) -> None:
    """Refuse a network that is not of these columns and classes."""
    features = len(model.preprocessor_.get_feature_names_out())
    if network.n_features_in_ != features:
        raise ModelFileError(
            f"the network takes {network.n_features_in_} features; the columns give {features}"
        )
    if isinstance(model, TabularRegressor):
        if not (np.isfinite(model.target_mean_) and model.target_scale_ > 0):
            raise ModelFileError(f"its target_scale_ is {model.target_scale_}")
        return
    count = len(model.classes_)
    if list(network.classes_) != list(range(count)) or model.class_prior_.shape != (count,):
        raise ModelFileError(f"there are {count} labels; the network has {network.classes_}")


def _column_content(column: Column) -> dict[str, Any]:
    """A column without what is as by default."""
    usual = Column("", "")
    return {
        key: write(value, key, {})
        for key, value in asdict(column).items()
        if value != getattr(usual, key) or key in ("name", "kind")
    }


def _column_from(value: Any, place: int) -> Column:
    where = f"column {place}"
    hints = get_type_hints(Column)
    if not isinstance(value, dict) or not {"name", "kind"} <= set(value) <= set(hints):
        raise ModelFileError(f"{where} is {str(value)[:80]}")
    given = {key: read(v, key, {}) for key, v in value.items()}
    if given.get("text_type") is not None:
        given["text_type"] = TextType(**given["text_type"])
        if given["text_type"].kind not in TEXT_KINDS:
            raise ModelFileError(f"{where}: its text holds {given['text_type'].kind!r}")
    for key, v in given.items():
        if not fits(v, hints[key]):
            raise ModelFileError(f"{where}: {key} is {v!r}")
    column = Column(**given)
    parts = len(parts_of(column.kind, column.hours))
    lengths = {len(column.fill), len(column.center), len(column.scale)}
    if column.kind not in COLUMN_KINDS or lengths != {parts}:
        raise ModelFileError(f"{where}: a {column.kind!r} with {lengths} numbers")
    if not np.isfinite([*column.fill, *column.center, *column.scale]).all():
        raise ModelFileError(f"{where}: its numbers are not finite")
    if not all(scale > 0 for scale in column.scale):
        raise ModelFileError(f"{where}: scale is {column.scale}; expected numbers above 0")
    if len(set(column.values)) != len(column.values):
        raise ModelFileError(f"{where}: a value is there twice")
    return column


# Labels


def _plain_label(value: Any) -> Any:
    """A label as JSON, by its kind: ``[kind, value]``."""
    if value is None or isinstance(value, bool | str | int):
        return [type(value).__name__, value]
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64):
        return _plain_label(value.tolist())
    if isinstance(value, float):
        return ["float", repr(value)]
    if isinstance(value, Decimal):
        return ["Decimal", str(value)]
    if all(hasattr(value, name) for name in ("left", "right", "closed")):
        return ["Interval", [_plain_label(value.left), _plain_label(value.right), value.closed]]
    pandas = import_optional("pandas")
    for kind in ("Timestamp", "Timedelta", "Period"):
        if isinstance(value, getattr(pandas, kind)):
            own = [str(value), value.freqstr] if kind == "Period" else str(value)
            return [kind, own]
    if hasattr(value, "isoformat"):  # a date of Python's
        return [type(value).__name__, value.isoformat()]
    raise ModelFileError(
        f"the label {value!r} is a {type(value).__name__}, which cannot be saved; expected text, "
        "numbers, booleans, dates or intervals"
    )


def _of_pandas(name: str) -> Callable[[Any], Any]:
    return lambda value: getattr(import_optional("pandas"), name)(value)


def _of_datetime(name: str) -> Callable[[Any], Any]:
    import datetime

    return lambda value: getattr(datetime, name).fromisoformat(value)


_LABELS: dict[str, Callable[[Any], Any]] = {
    "bool": bool, "str": str, "int": int, "float": float, "Decimal": Decimal,
    "Interval": lambda v: import_optional("pandas").Interval(
        _label_from(v[0]), _label_from(v[1]), v[2]
    ),
    "Timestamp": _of_pandas("Timestamp"), "Timedelta": _of_pandas("Timedelta"),
    "Period": lambda v: import_optional("pandas").Period(v[0], freq=v[1]),
    "date": _of_datetime("date"), "datetime": _of_datetime("datetime"),
    "time": _of_datetime("time"),
}  # fmt: skip


def _label_from(value: Any) -> Any:
    kind, own = value
    return _LABELS[kind](own)


def _labels_content(classes: Any) -> dict[str, Any]:
    return {"dtype": classes.dtype.str, "labels": [_plain_label(value) for value in classes]}


def _labels_from(content: Any) -> Any:
    dtype, labels = np.dtype(str(content["dtype"])), content["labels"]
    if dtype.kind not in "biufUSO" or not isinstance(labels, list) or len(labels) < 2:
        raise ValueError(f"labels of the dtype {dtype}")
    values = [_label_from(value) for value in labels]
    if dtype.kind != "O":
        return np.asarray(values, dtype)
    made = np.empty(len(values), object)
    made[:] = values
    return made
