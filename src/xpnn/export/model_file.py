"""What all model files have in common: their errors, and layers as plain values.

Nothing in such a file is run when it is read: layers are made from a closed table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_type_hints

from xpnn.backends import InputError
from xpnn.layers import Activation, Chain, Dense, Dropout, Layer, RawErrorDense

LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind for kind in (Activation, Chain, Dense, Dropout, RawErrorDense)
}


class ModelFileError(InputError):
    """A model file cannot be written or read; the message says why."""


@contextmanager
def wrap_errors(what: str) -> Iterator[None]:
    """Let an error on the way from a file's values to an object be a `ModelFileError`."""
    try:
        yield
    except ModelFileError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"{what} cannot be made: {error}") from error


def layer_to_config(layer: Layer) -> dict[str, Any]:
    """Write a layer as plain values.

    Parameters
    ----------
    layer : Layer
        One of `LAYERS`; a chain may hold chains.

    Returns
    -------
    dict
        ``{"type": name, field: value, ...}``.

    Raises
    ------
    ModelFileError
        The layer's class is not one that xpnn knows.
    """
    name = type(layer).__name__
    if LAYERS.get(name) is not type(layer):
        raise ModelFileError(
            f"a layer of the class {type(layer).__module__}.{name} cannot be saved: a model file "
            f"holds no code, so only {', '.join(LAYERS)} can be made again from it. Save "
            "network.parameters() instead, and build the network in your program"
        )
    if isinstance(layer, Chain):
        return {"type": name, "layers": [layer_to_config(inner) for inner in layer.layers]}
    return {"type": name, **vars(layer)}


def layer_from_config(config: Any) -> Layer:
    """Make a layer from what `layer_to_config` gave.

    Parameters
    ----------
    config : dict
        ``{"type": name, field: value, ...}``.

    Returns
    -------
    Layer

    Raises
    ------
    ModelFileError
        The type is not known, or the fields are not its own.
    """
    if not isinstance(config, dict) or not isinstance(config.get("type"), str):
        raise ModelFileError(f"a layer is {config!r}; expected a type and its fields")
    kind = LAYERS.get(config["type"])
    if kind is None:
        raise ModelFileError(
            f"layer type {config['type']!r} is not known; expected one of {', '.join(LAYERS)}"
        )
    fields = {name: value for name, value in config.items() if name != "type"}
    with wrap_errors(f"layer {config['type']}"):
        _check_fields(kind, fields)
        if kind is Chain:
            fields["layers"] = tuple(layer_from_config(inner) for inner in fields.get("layers", ()))
        return kind(**fields)


def _check_fields(kind: type[Layer], fields: dict[str, Any]) -> None:
    """Compare the values with the annotations, so that no layer fails only in use."""
    hints = {"layers": list} if kind is Chain else get_type_hints(kind)
    for name, value in fields.items():
        if name not in hints:
            raise ValueError(f"it has no {name}")
        # As in Python itself, an integer goes for a boolean and for a fraction.
        allowed = hints[name] if hints[name] in (str, list) else hints[name] | int
        if not isinstance(value, allowed):
            expected = getattr(hints[name], "__name__", None) or str(hints[name])
            raise ValueError(f"{name} is {value!r}; expected {expected}")


def check_arrays(arrays: dict[str, Any], shapes: dict[str, tuple[int, ...]], dtype: str) -> None:
    """Compare the arrays of a file with what its structure says."""
    missing, extra = sorted(shapes.keys() - arrays.keys()), sorted(arrays.keys() - shapes.keys())
    if missing or extra:
        said = [f"{n} is missing" for n in missing] + [f"{n} is not a parameter" for n in extra]
        raise ModelFileError(f"its parameters do not fit its layers: {', '.join(said)}")
    for name, shape in shapes.items():
        found = arrays[name]
        if found.shape != shape or found.dtype != dtype:
            raise ModelFileError(
                f"{name} has shape {found.shape} and type {found.dtype}; expected {shape} and "
                f"{dtype}"
            )
