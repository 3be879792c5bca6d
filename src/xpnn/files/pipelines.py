"""Estimators, tables' models and scikit-learn's pipelines round them in model files.

A step of a pipeline is written as its parameters and its fitted attributes. Nothing is made
when it is read but objects of the classes in `TRANSFORMERS` and estimators of xpnn.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import sklearn
from sklearn import compose, decomposition, feature_selection, impute, pipeline, preprocessing
from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from xpnn.backends import Device
from xpnn.estimators.files import KINDS, estimator_content, estimator_from, is_fitted, placed
from xpnn.estimators.plain import read, write
from xpnn.estimators.table_model import TableModel
from xpnn.export.model_file import ModelFileError, wrap_errors

TRANSFORMERS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        pipeline.Pipeline, pipeline.FeatureUnion, compose.ColumnTransformer,
        compose.TransformedTargetRegressor, decomposition.PCA, decomposition.TruncatedSVD,
        feature_selection.VarianceThreshold, impute.MissingIndicator, impute.SimpleImputer,
        preprocessing.Binarizer, preprocessing.FunctionTransformer, preprocessing.KBinsDiscretizer,
        preprocessing.MaxAbsScaler, preprocessing.MinMaxScaler, preprocessing.Normalizer,
        preprocessing.OneHotEncoder, preprocessing.OrdinalEncoder,
        preprocessing.PolynomialFeatures, preprocessing.PowerTransformer,
        preprocessing.QuantileTransformer, preprocessing.RobustScaler,
        preprocessing.StandardScaler, preprocessing.TargetEncoder,
    )
}  # fmt: skip
"""Classes of scikit-learn that a model file can hold, by their names."""

_STEPS: dict[str, Any] = {**TRANSFORMERS, **KINDS}
_PIPELINES = (pipeline.Pipeline, compose.TransformedTargetRegressor)
_TYPES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        bool, int, float, str, object, np.number, np.integer, np.floating, np.float16, np.float32,
        np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32,
        np.uint64, np.bool_, np.object_,
    )
}  # fmt: skip
_SELECTOR = ("pattern", "dtype_include", "dtype_exclude")
_CALLBACKS = "_skl_callbacks"  # of `set_callbacks`: what a training calls is no part of a model


# Models


def model_content(model: Any, for_inference: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a model as plain values for the header, and arrays of the host."""
    kinds = (*KINDS.values(), TableModel, *_PIPELINES)
    if type(model) not in kinds:
        known = ", ".join(["Network", *(kind.__name__ for kind in kinds)])
        raise ModelFileError(
            f"a {type(model).__module__}.{type(model).__name__} cannot be saved; expected one of "
            f"{known}"
        )
    if isinstance(model, _PIPELINES):
        content, arrays = _pipeline_content(model, for_inference)
        return {"kind": "pipeline", "pipeline": content}, arrays
    if isinstance(model, TableModel):
        content, arrays = estimator_content(model.estimator, for_inference)
        return {"kind": "table", "table": model.to_config(), "estimator": content}, arrays
    content, arrays = estimator_content(model, for_inference)
    return {"kind": "estimator", "estimator": content}, arrays


def model_from(header: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """Make a model of what `model_content` gave, on the host."""
    kind = header["kind"]
    if kind == "pipeline":
        return _pipeline_from(header.get("pipeline"), arrays)
    if kind not in ("estimator", "table"):
        raise ModelFileError(f"it holds a model of the kind {kind!r}, which is not known")
    estimator = estimator_from(header.get("estimator"), arrays)
    if kind == "estimator":
        return estimator
    with wrap_errors("the table's model"):
        return TableModel.from_config(header.get("table"), estimator)


def place_model(
    model: Any, library: str | None, device: Device | str | None, dtype: str | None
) -> Any:
    """Bring the estimators in a model that was read to a library, by default to where they were."""
    for estimator in _estimators_in(model.estimator if isinstance(model, TableModel) else model):
        placed(estimator, library, device, dtype)
    return model


def _estimators_in(value: Any) -> list[Any]:
    """All fitted estimators of xpnn in a model, however deep."""
    if type(value) in KINDS.values():
        return [value] if is_fitted(value) else []
    if isinstance(value, BaseEstimator):
        value = list(vars(value).values())
    elif isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return []
    return [found for inner in value for found in _estimators_in(inner)]


# Writing pipelines


def _pipeline_content(model: Any, for_inference: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a fitted pipeline as plain values and arrays."""
    _check_steps(model, "")
    try:
        check_is_fitted(model)
    except ValueError as error:
        raise ModelFileError(
            f"the {type(model).__name__} is not fitted; call fit, and save it then"
        ) from error
    arrays: dict[str, Any] = {}

    def other(value: Any, name: str, found: dict[str, Any]) -> Any:
        if isinstance(value, BaseEstimator):
            return _write_step(value, name, found, other, for_inference)
        return _write_value(value, name, found)

    step = write(model, "pipeline", arrays, other)
    return {"scikit-learn": sklearn.__version__, "step": step}, arrays


def _inner_steps(model: Any) -> list[tuple[str, Any]]:
    """Name and value of the steps that a step holds, as the user gave them."""
    if isinstance(model, pipeline.Pipeline):
        return list(model.steps)
    if isinstance(model, pipeline.FeatureUnion):
        return list(model.transformer_list)
    if isinstance(model, compose.ColumnTransformer):
        return [(name, step) for name, step, _ in model.transformers]
    if isinstance(model, compose.TransformedTargetRegressor):
        return [("regressor", model.regressor), ("transformer", model.transformer)]
    return []


def _check_steps(model: Any, where: str) -> None:
    """Refuse a step of an unknown class by its name."""
    for name, step in _inner_steps(model):
        place = f"{where}{name}"
        if step is None or isinstance(step, str):
            continue
        if _STEPS.get(type(step).__name__) is not type(step):
            raise ModelFileError(
                f"the step {place!r} is a {type(step).__module__}.{type(step).__name__}, which "
                f"cannot be saved; expected one of {', '.join(_STEPS)}"
            )
        _check_steps(step, f"{place}.")


def _write_step(
    step: Any, name: str, arrays: dict[str, Any], other: Any, for_inference: bool
) -> dict[str, Any]:
    kind = type(step).__name__
    if _STEPS.get(kind) is not type(step):
        raise ModelFileError(f"{name} holds a {type(step).__module__}.{kind}, which is not known")
    if kind in KINDS and is_fitted(step):
        content, own = estimator_content(step, for_inference)
        count = len({key.partition("/")[0] for key in arrays if "/" in key})
        prefix = f"{name}.{count}/"
        arrays |= {f"{prefix}{key}": value for key, value in own.items()}
        return {"estimator": content, "arrays": prefix}
    parameters = step.get_params(deep=False)
    fitted = {k: v for k, v in vars(step).items() if k not in parameters and k != _CALLBACKS}
    parts = {
        part: {key: write(v, f"{name}.{key}", arrays, other) for key, v in values.items()}
        for part, values in (("parameters", parameters), ("fitted", fitted))
    }
    return {"transformer": kind, **parts}


def _write_value(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    """Write what parameters and attributes of transformers hold beside plain values."""
    if isinstance(value, slice):
        return {"slice": [_index(v) for v in (value.start, value.stop, value.step)]}
    if isinstance(value, np.dtype) and value.kind in "biufOUSM":
        return {"dtype": value.str}
    own = getattr(value, "__name__", "")
    if isinstance(value, type) and _TYPES.get(own) is value:
        return {"type": own}
    if isinstance(value, np.ufunc) and getattr(np, own, None) is value:
        return {"ufunc": own}
    if type(value) is set:
        return {"set": [write(v, name, arrays) for v in sorted(value, key=repr)]}
    if type(value) is compose.make_column_selector:
        fields = [write(getattr(value, key), name, arrays, _write_value) for key in _SELECTOR]
        return {"selector": fields}
    return None


def _index(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else int(value)


# Reading pipelines


def _pipeline_from(content: Any, arrays: dict[str, Any]) -> Any:
    """Make a pipeline of what `_pipeline_content` gave; its arrays stay on the host."""
    if not isinstance(content, dict) or not isinstance(content.get("scikit-learn"), str):
        raise ModelFileError(f"its pipeline is {str(content)[:80]}")
    found = read(content.get("step"), "pipeline", arrays, _READ)
    if not isinstance(found, _PIPELINES):
        raise ModelFileError(f"its pipeline is a {type(found).__name__}")
    try:
        check_is_fitted(found)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise ModelFileError(f"its pipeline is not a fitted one: {error}") from error
    written = content["scikit-learn"]
    if written != sklearn.__version__:
        warnings.warn(
            InconsistentVersionWarning(
                estimator_name=type(found).__name__,
                current_sklearn_version=sklearn.__version__,
                original_sklearn_version=written,
            ),
            stacklevel=2,
        )
    return found


def _read_step(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    kind = _STEPS.get(value["transformer"])
    if kind is None:
        raise ModelFileError(
            f"{name} is a step of the class {value['transformer']!r}; expected one of "
            f"{', '.join(TRANSFORMERS)}"
        )
    parts = {
        part: {key: read(v, f"{name}.{key}", arrays, _READ) for key, v in value[part].items()}
        for part in ("parameters", "fitted")
    }
    step = kind(**parts["parameters"])
    for key, fitted in parts["fitted"].items():
        # Nothing in a file takes the place of a method or a setting of the class.
        if not key.isidentifier() or inspect.getattr_static(kind, key, None) is not None:
            raise ModelFileError(
                f"{name} has the fitted attribute {key!r}, which no {kind.__name__} has"
            )
        setattr(step, key, fitted)
    return step


def _read_estimator(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    prefix = value["arrays"]
    own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    return estimator_from(value["estimator"], own)


def _read_ufunc(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    found = getattr(np, value["ufunc"])
    if not isinstance(found, np.ufunc):
        raise ValueError(f"{value['ufunc']!r} is no function of NumPy")
    return found


def _read_selector(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    fields = [read(v, name, arrays, _READ) for v in value["selector"]]
    return compose.make_column_selector(**dict(zip(_SELECTOR, fields, strict=True)))


_READ = {
    "transformer": _read_step,
    "estimator": _read_estimator,
    "ufunc": _read_ufunc,
    "selector": _read_selector,
    "slice": lambda v, name, arrays: slice(*(_index(i) for i in v["slice"])),
    "dtype": lambda v, name, arrays: np.dtype(str(v["dtype"])),
    "type": lambda v, name, arrays: _TYPES[v["type"]],
    "set": lambda v, name, arrays: {read(i, name, arrays) for i in v["set"]},
}
