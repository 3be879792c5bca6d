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
from xpnn.estimators.parameters import _Momentum
from xpnn.estimators.rules import AdjustedRate
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
from xpnn.training.options import Precision

_KINDS: tuple[type, ...] = (
    SGD, _Momentum, Adam, AdamW, RMSprop, OptimizerChain, clip_by_global_norm, add_decayed_weights,
    AdjustedRate, Constant, CosineWarmup, InverseScaling, ReduceOnPlateau, StepDecay, Loss,
    LossScaler, Precision,
)  # fmt: skip
OBJECTS: dict[str, type] = {kind.__name__.lstrip("_"): kind for kind in _KINDS}
_NAMES = {kind: name for name, kind in OBJECTS.items()}
_TEXT_BYTES = 2**24  # that an array of texts may take, however short they are
Arrays = dict[str, Any]
_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


def write(value: Any, name: str, arrays: Arrays) -> Any:
    """Write a value for JSON; arrays of numbers go to `arrays`, under names that are not taken.

    Raises `ModelFileError`, which names what cannot be saved.
    """

    def inner(v: Any) -> Any:
        return write(v, name, arrays)

    if isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64):
        value = value.tolist()
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if type(value) is list:
        return list(map(inner, value))
    if type(value) is tuple:
        return {"tuple": list(map(inner, value))}
    if type(value) is dict:
        return {"dict": [list(map(inner, pair)) for pair in value.items()]}
    if isinstance(value, np.ndarray):
        return _write_array(value, name, arrays, inner)
    if isinstance(value, np.random.RandomState):
        return {"RandomState": generator_state(value)}
    if isinstance(value, Layer) or type(value) in _NAMES:
        return _write_object(value, name, inner)
    raise ModelFileError(
        f"{name} holds {value!r}, which cannot be saved: a model file holds no code, only "
        "plain values, arrays, and xpnn's own layers, losses, optimizers and schedules"
    )


def _write_object(value: Any, name: str, inner: Callable[[Any], Any]) -> Any:
    if type(value) in _NAMES:
        config = {f.name: inner(getattr(value, f.name)) for f in fields(value)}
        return {"object": _NAMES[type(value)], "fields": config}
    try:
        return {"layer": layer_to_config(value)}
    except ModelFileError as error:
        raise ModelFileError(f"{name} cannot be saved: {error}") from error


def _write_array(value: Any, name: str, arrays: Arrays, inner: Callable[[Any], Any]) -> Any:
    if value.dtype.kind in "UO":
        entries = [inner(v) for v in value.reshape(-1).tolist()]
        if value.dtype.kind == "U":
            _check_width(value.dtype, entries, name)
        return {"texts": entries, "as": value.dtype.str, "shape": list(value.shape)}
    dated = value.dtype.kind in "Mm"
    if not dated and value.dtype.str[1:] not in _NUMBERS:
        raise ModelFileError(f"{name} has the dtype {value.dtype}, which cannot be saved")
    key, number = name, 1
    while key in arrays:
        number += 1
        key = f"{name}.{number}"
    # Products of a matrix in another order differ in the last digits.
    turned = value.ndim > 1 and value.flags.f_contiguous and not value.flags.c_contiguous
    stored = value.T if turned else value
    arrays[key] = stored.view(np.int64) if dated else stored
    written = {"array": key} | ({"as": value.dtype.str} if dated else {})
    return written | ({"order": "F"} if turned else {})


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


def read(value: Any, name: str, arrays: Arrays) -> Any:
    """Make the value again that `write` was given.

    Raises `ModelFileError` for what `write` does not give.
    """

    def inner(v: Any) -> Any:
        return read(v, name, arrays)

    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return list(map(inner, value))
    try:
        for key, make in _READ.items():
            if key in value:
                return make(value, arrays, inner)
    except ModelFileError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{name} cannot be made: {error}") from error
    raise ModelFileError(f"{name} is {str(value)[:80]}, which nothing can be made of")


def _read_array(value: Any, arrays: Arrays, inner: Any) -> Any:
    found = arrays[value["array"]]
    found = found.T if value.get("order") == "F" else found
    if "as" not in value:
        return found
    dtype = np.dtype(str(value["as"]))
    if dtype.kind not in "Mm" or found.dtype != np.int64:
        raise ValueError(f"{dtype} of {found.dtype}")
    return found.view(dtype)


def _read_texts(value: Any, arrays: Arrays, inner: Callable[[Any], Any]) -> Any:
    dtype, texts = np.dtype(str(value["as"])), value["texts"]
    if dtype.kind not in "UO" or not isinstance(texts, list):
        raise ValueError(f"texts of the dtype {dtype}")
    made: Any = np.empty(len(texts), object)
    if dtype.kind == "O":
        for i, text in enumerate(texts):
            made[i] = inner(text)
    elif not all(isinstance(text, str) for text in texts):
        raise ValueError("there is something else among its texts")
    else:
        _check_width(dtype, texts, "it")
        made[:] = texts
        made = made.astype(dtype)
    return made.reshape([int(n) for n in value["shape"]])


def _read_object(value: Any, arrays: Arrays, inner: Callable[[Any], Any]) -> Any:
    kind = OBJECTS[value["object"]]
    given = {key: inner(v) for key, v in value["fields"].items()}
    hints = get_type_hints(kind)
    for key, v in given.items():
        if key not in hints or not fits(v, hints[key]):
            raise ValueError(f"{key} of {value['object']} is {v!r}")
    return kind(**given)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says; integers go for fractions."""
    if isinstance(hint, UnionType):
        return any(fits(value, part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(fits(v, get_args(hint)[0]) for v in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint)


def _read_random_state(value: Any, arrays: Arrays, inner: Any) -> Any:
    made = np.random.RandomState(0)
    restore_generator(made, value["RandomState"])
    return made


_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_READ: dict[str, Callable[[Any, Arrays, Callable[[Any], Any]], Any]] = {
    "float": lambda v, arrays, inner: _FLOATS[v["float"]],
    "tuple": lambda v, arrays, inner: tuple(inner(list(v["tuple"]))),
    "dict": lambda v, arrays, inner: dict(inner(list(v["dict"]))),
    "array": _read_array,
    "texts": _read_texts,
    "RandomState": _read_random_state,
    "layer": lambda v, arrays, inner: layer_from_config(v["layer"]),
    "object": _read_object,
}
