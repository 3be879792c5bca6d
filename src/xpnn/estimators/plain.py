"""Parameters and fitted attributes as JSON with arrays beside it, and back.

Nothing is made but plain values, arrays, and objects of the classes in closed tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from xpnn.backends import generator_state, restore_generator
from xpnn.estimators.stochastic import _Momentum
from xpnn.export import ModelFileError, layer_from_config, layer_to_config
from xpnn.layers import Layer
from xpnn.optimizers import (
    SGD,
    Adam,
    AdamW,
    Constant,
    CosineWarmup,
    InverseScaling,
    LossScaler,
    OptimizerChain,
    ReduceOnPlateau,
    RMSprop,
    StepDecay,
    add_decayed_weights,
    clip_by_global_norm,
)
from xpnn.training import Loss
from xpnn.training.precision import Precision

_KINDS: tuple[type, ...] = (
    SGD, _Momentum, Adam, AdamW, RMSprop, OptimizerChain, clip_by_global_norm, add_decayed_weights,
    Constant, CosineWarmup, InverseScaling, ReduceOnPlateau, StepDecay, Loss,
    LossScaler, Precision,
)  # fmt: skip
OBJECTS: dict[str, type] = {kind.__name__.lstrip("_"): kind for kind in _KINDS}
_NAMES = {kind: name for name, kind in OBJECTS.items()}
_TEXT_BYTES = 2**24  # that an array of texts may take, however short they are
_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


def write(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    """Write a value for JSON.

    Parameters
    ----------
    value : object
        Plain values, tuples, lists, dictionaries, NumPy's arrays and `RandomState`, layers,
        losses, optimizers and schedules of xpnn.
    name : str
        What it is called, for errors and arrays.
    arrays : dict
        Arrays of numbers are put here.

    Returns
    -------
    object
        For `read`.

    Raises
    ------
    ModelFileError
        Names what cannot be saved.
    """
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64):
        value = value.tolist()
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, list):
        return [write(v, name, arrays) for v in value]
    if type(value) is tuple:
        return {"tuple": [write(v, name, arrays) for v in value]}
    if type(value) is dict:
        return {"dict": [[write(v, name, arrays) for v in pair] for pair in value.items()]}
    if isinstance(value, np.ndarray):
        return _write_array(value, name, arrays)
    if isinstance(value, np.random.RandomState):
        return {"RandomState": generator_state(value)}
    if isinstance(value, Layer):
        try:
            return {"layer": layer_to_config(value)}
        except ModelFileError as error:
            raise ModelFileError(f"{name} cannot be saved: {error}") from error
    if type(value) in _NAMES:
        given = {f.name: getattr(value, f.name) for f in fields(value)}
        config = {key: write(v, name, arrays) for key, v in given.items()}
        return {"object": _NAMES[type(value)], "fields": config}
    raise ModelFileError(
        f"{name} holds {value!r}, which cannot be saved: a model file holds no code, only plain "
        f"values, arrays, and xpnn's own layers, losses, optimizers and schedules"
    )


def _write_array(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    if value.dtype.str[1:] in _NUMBERS:
        arrays[name] = value
        return {"array": name}
    if value.dtype.kind in "Mm":
        arrays[name] = value.view(np.int64)
        return {"array": name, "as": value.dtype.str}
    if value.dtype.kind not in "UO":
        raise ModelFileError(f"{name} has the dtype {value.dtype}, which cannot be saved")
    texts = [write(v, name, arrays) for v in value.reshape(-1).tolist()]
    if value.dtype.kind == "U":
        _check_width(value.dtype, texts, name)
    return {"texts": texts, "as": value.dtype.str, "shape": list(value.shape)}


def _check_width(dtype: Any, texts: list[str], name: str) -> None:
    """Refuse an array of texts that takes far more memory than its texts."""
    longest = max(map(len, texts), default=1)
    if dtype.itemsize > 4 * max(longest, 1):
        raise ModelFileError(
            f"{name} has texts of up to {longest} characters with the dtype {dtype}"
        )
    size, needed = dtype.itemsize * len(texts), sum(map(len, texts))
    if size > max(_TEXT_BYTES, 64 * needed):
        raise ModelFileError(
            f"{name} would take {size:,} bytes for {needed:,} characters, since one text is much "
            "longer than the others; make it an array of objects"
        )


def read(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    """Make the value again that `write` was given.

    Parameters
    ----------
    value : object
        From JSON.
    name : str
        What it is called, for errors.
    arrays : dict of str to numpy.ndarray
        Of the file.

    Returns
    -------
    object

    Raises
    ------
    ModelFileError
        `write` gives no such thing.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [read(v, name, arrays) for v in value]
    try:
        for key, made in _READ.items():
            if key in value:
                return made(value, name, arrays)
    except ModelFileError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{name} cannot be made: {error}") from error
    raise ModelFileError(f"{name} is {str(value)[:80]}, which nothing can be made of")


def _read_float(value: Any, name: str, arrays: Any) -> float:
    return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[value["float"]]


def _read_array(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    found = arrays[value["array"]]
    if "as" not in value:
        return found
    dtype = np.dtype(str(value["as"]))
    if dtype.kind not in "Mm" or found.dtype != np.int64:
        raise ValueError(f"{dtype} of {found.dtype}")
    return found.view(dtype)


def _read_texts(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    dtype, texts = np.dtype(str(value["as"])), value["texts"]
    if dtype.kind not in "UO" or not isinstance(texts, list):
        raise ValueError(f"texts of the dtype {dtype}")
    made: Any = np.empty(len(texts), object)
    if dtype.kind == "O":
        for i, text in enumerate(texts):
            made[i] = read(text, name, arrays)
    elif not all(isinstance(text, str) for text in texts):
        raise ValueError("there is something else among its texts")
    else:
        _check_width(dtype, texts, name)
        made[:] = texts
        made = made.astype(dtype)
    return made.reshape([int(n) for n in value["shape"]])


def _read_object(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    kind = OBJECTS[value["object"]]
    given = {key: read(v, name, arrays) for key, v in value["fields"].items()}
    hints = get_type_hints(kind)
    for key, v in given.items():
        if key not in hints or not _fits(v, hints[key]):
            raise ValueError(f"{key} of {value['object']} is {v!r}")
    return kind(**given)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says; integers go for fractions."""
    if isinstance(hint, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(v, get_args(hint)[0]) for v in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint)


def _read_random_state(value: Any, name: str, arrays: Any) -> Any:
    made = np.random.RandomState(0)
    restore_generator(made, value["RandomState"])
    return made


_READ: dict[str, Callable[[Any, str, dict[str, Any]], Any]] = {
    "float": _read_float,
    "tuple": lambda v, name, arrays: tuple(read(list(v["tuple"]), name, arrays)),
    "dict": lambda v, name, arrays: dict(read(list(v["dict"]), name, arrays)),
    "array": _read_array,
    "texts": _read_texts,
    "RandomState": _read_random_state,
    "layer": lambda v, name, arrays: layer_from_config(v["layer"]),
    "object": _read_object,
}
