"""Model files: safetensors with the parameters, and the structure as JSON in its header.

Nothing in such a file is run when it is read: layers are made from the list `LAYERS`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

from xpnn import __version__
from xpnn.backends import (
    DTYPES,
    Array,
    Backend,
    Device,
    DType,
    dtype_name,
    host,
    is_array,
    select,
    to_host,
)
from xpnn.data.files import replacing
from xpnn.layers import Activation, Chain, Dense, Dropout, Layer, RawErrorDense, walk
from xpnn.training import Loss, Network

FORMAT = 1
LAYERS: dict[str, type[Layer]] = {
    kind.__name__: kind for kind in (Activation, Chain, Dense, Dropout, RawErrorDense)
}

_KEY = "xpnn"
# safetensors' name of the dtype that a network's parameters are stored in. NumPy has no
# bfloat16, and what was never placed on a library is float64.
_STORED = {"float16": "F16", "bfloat16": "F32", "float32": "F32", "float64": "F64", None: "F64"}
_HOST = {"F16": "float16", "F32": "float32", "F64": "float64"}


class ModelFileError(ValueError):
    """A model file cannot be written or read; the message says why."""


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
    given = {name: value for name, value in config.items() if name != "type"}
    try:
        _check_fields(kind, given)
        if kind is Chain:
            given["layers"] = tuple(layer_from_config(inner) for inner in given.get("layers", ()))
        return kind(**given)
    except ModelFileError:
        raise
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"layer {config['type']} cannot be made: {error}") from error


def _check_fields(kind: type[Layer], given: dict[str, Any]) -> None:
    """Hold the values against the annotations, so that no layer fails only in use."""
    hints = {"layers": list} if kind is Chain else get_type_hints(kind)
    for name, value in given.items():
        if name not in hints:
            raise ValueError(f"it has no {name}")
        # As in Python itself, an integer goes for a truth value and for a fraction.
        allowed = hints[name] if hints[name] in (str, list) else hints[name] | int
        if not isinstance(value, allowed):
            expected = getattr(hints[name], "__name__", None) or str(hints[name])
            raise ValueError(f"{name} is {value!r}; expected {expected}")


def _plain(value: Any) -> Any:
    """Give JSON the values of arrays and NumPy numbers."""
    if is_array(value):
        return to_host(value).tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _header(network: Network, dtype: str | None, record: dict[str, Any] | None) -> str:
    if type(network.loss) is not Loss:
        raise ModelFileError(
            f"a loss of the class {type(network.loss).__name__} cannot be saved: a model file "
            "holds no code"
        )
    if record is not None and not isinstance(record, dict):
        raise ModelFileError(f"record is {record!r}; expected a dictionary of plain values")
    structure = {
        "inputs": network.inputs,
        "layers": layer_to_config(network.layers)["layers"],
        "loss": vars(network.loss),
    }
    content = {
        "format": FORMAT,
        "xpnn": __version__,
        "network": structure,
        "dtype": dtype,
        "record": record or {},
    }
    try:
        text = json.dumps(content, default=_plain)
    except (TypeError, ValueError) as error:
        raise ModelFileError(
            f"record cannot be saved: {error}; expected numbers, text, lists and dictionaries"
        ) from error
    # What `load` would refuse is refused here, while the network is still there.
    _structure(json.loads(text)["network"])
    return text


def save(network: Network, path: str | Path, *, record: dict[str, Any] | None = None) -> Path:
    """Write a network to a model file.

    Parameters
    ----------
    network : Network
        On any library and device; its arrays are copied to the host.
    path : path
        Usually ends in ``.safetensors``. An older file there stays whole until the new
        one is.
    record : dict, optional
        What shall be remembered of the training, such as ``history.to_dict()``, names of
        classes, or the scaling of the data: plain values and arrays, for JSON.

    Returns
    -------
    Path
        Where it is.

    Raises
    ------
    ModelFileError
        A layer is not one of xpnn's own, or `record` holds what JSON cannot.
    """
    from safetensors.numpy import save_file

    dtype = network.dtype
    header = _header(network, dtype, record)
    stored = _HOST[_STORED[dtype]]
    # safetensors writes the memory as it lies, so it must lie in C order.
    tensors = {
        name: host.array(to_host(values), dtype=stored, order="C")
        for name, values in network.parameters().items()
    }
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={_KEY: header})
    return Path(path)


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Open a model file: the safetensors file, and xpnn's header in it."""
    from safetensors import SafetensorError, safe_open

    if Path(path).is_dir():
        raise ModelFileError(f"{path}: a folder; expected a model file")
    try:
        with safe_open(path, framework="numpy") as file:
            yield file, _read_header(file.metadata() or {})
    except SafetensorError as error:
        raise ModelFileError(f"{path}: not a safetensors file, or not whole: {error}") from error
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except RecursionError as error:
        raise ModelFileError(f"{path}: its layers are nested too deeply") from error


def _read_header(metadata: dict[str, str]) -> dict[str, Any]:
    if _KEY not in metadata:
        raise ModelFileError("a safetensors file, but not one that xpnn wrote")
    try:
        header = json.loads(metadata[_KEY])
    except ValueError as error:
        raise ModelFileError(f"its header is not JSON: {error}") from error
    form = header.get("format") if isinstance(header, dict) else None
    if not isinstance(form, int) or isinstance(form, bool) or form < 1:
        raise ModelFileError(f"its header has the format {form!r}; expected {FORMAT}")
    if form > FORMAT:
        raise ModelFileError(
            f"its format is {form}, written by xpnn {header.get('xpnn')}; xpnn {__version__} reads "
            f"up to format {FORMAT}: install a newer xpnn"
        )
    for key, kinds in (("network", dict), ("dtype", str | None), ("record", dict)):
        if key not in header or not isinstance(header[key], kinds):
            raise ModelFileError(f"its header has the {key} {header.get(key)!r}")
    if header["dtype"] not in _STORED:
        raise ModelFileError(
            f"dtype {header['dtype']!r} is not known; expected one of {', '.join(DTYPES)}"
        )
    return header


def _structure(config: dict[str, Any]) -> tuple[int, Chain, Loss]:
    if set(config) != {"inputs", "layers", "loss"} or not isinstance(config["loss"], dict):
        raise ModelFileError("its network is not described by inputs, layers and loss")
    inputs = config["inputs"]
    if isinstance(inputs, bool) or not isinstance(inputs, int) or inputs < 1:
        raise ModelFileError(f"inputs is {inputs!r}; expected a positive integer")
    layers = layer_from_config({"type": "Chain", "layers": config["layers"]})
    assert isinstance(layers, Chain)
    try:
        return inputs, layers, Loss(**config["loss"])
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"loss {config['loss']!r} cannot be made: {error}") from error


def _read_arrays(
    file: Any, shapes: dict[str, tuple[int, ...]], dtype: str | None
) -> dict[str, Array]:
    """Read the parameters, once all of them are known to fit."""
    names = set(file.keys())
    missing, extra = sorted(shapes.keys() - names), sorted(names - shapes.keys())
    if missing or extra:
        said = [f"{n} is missing" for n in missing] + [f"{n} is not a parameter" for n in extra]
        raise ModelFileError(f"its parameters do not fit its layers: {', '.join(said)}")
    for name, shape in shapes.items():
        tensor = file.get_slice(name)
        found, kind = tuple(tensor.get_shape()), tensor.get_dtype()
        if found != shape or kind != _STORED[dtype]:
            raise ModelFileError(
                f"{name} has shape {found} and type {kind}; expected {shape} and {_STORED[dtype]}"
            )
    return {name: file.get_tensor(name) for name in shapes}


def load(
    path: str | Path,
    backend: Backend | str | None = None,
    device: Device | str | None = None,
    dtype: DType | str | None = None,
) -> Network:
    """Read a network from a model file.

    Parameters
    ----------
    path : path
        A file that `save` wrote.
    backend : Backend or str, optional
        Where the parameters shall live. Default: where the first data comes in.
    device : str or object, optional
        Device of that library.
    dtype : str or dtype, optional
        Dtype of the parameters. Default: the one that they were saved in, or that of a
        `Backend`.

    Returns
    -------
    Network
        Its random generator is a new one.

    Raises
    ------
    ModelFileError
        The file is not a whole model file, is from a newer xpnn, or contradicts itself.
    ValueError
        A device without a library, or a name that is not known.
    """
    if backend is None and device is not None:
        raise ValueError(f"device={device!r} goes with a backend; say which library it is of")
    wanted = dtype if dtype is None or isinstance(dtype, str) else dtype_name(dtype)
    if wanted is not None and wanted not in DTYPES:
        raise ValueError(f"dtype={wanted!r} is not known; expected one of {', '.join(DTYPES)}")
    with _opened(path) as (file, header):
        inputs, layers, loss = _structure(header["network"])
        shapes = {p.name: tuple(p.shape) for p in walk(layers.parameters(inputs))}
        arrays = _read_arrays(file, shapes, header["dtype"])
    network = Network(inputs, layers, loss=loss, dtype=wanted or header["dtype"])
    network.assign(**arrays)
    if isinstance(backend, Backend):
        place = backend.device if device is None else device
        network.to(select(backend.name, place, wanted or backend.dtype))
    elif backend is not None:
        network.to(select(backend, device, wanted or header["dtype"]))
    return network


def read_record(path: str | Path) -> dict[str, Any]:
    """Read what a model file remembers of its training.

    Parameters
    ----------
    path : path
        A file that `save` wrote.

    Returns
    -------
    dict
        The `record` given to `save`; its arrays came back as lists, its keys as text.

    Raises
    ------
    ModelFileError
        The file is not a whole model file, or is from a newer xpnn.
    """
    with _opened(path) as (_, header):
        return dict(header["record"])
