"""Model files: safetensors with the parameters, and the structure as JSON in its header.

Nothing in such a file is run when it is read: layers are made from a closed list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpnn.backends import (
    DTYPES,
    Backend,
    Device,
    DType,
    dtype_name,
    select,
    to_host,
)
from xpnn.data.arrays_file import FileKind, read_arrays, read_header, to_json, write_arrays
from xpnn.export.layer_config import ModelFileError, layer_from_config, layer_to_config
from xpnn.layers import Chain, walk
from xpnn.training import Loss, Network

FORMAT = 2
MODEL = FileKind("xpnn", "model file", FORMAT, sealed=2, error=ModelFileError)
NETWORK = "network"
# The dtype that a network's parameters are stored in. NumPy has no bfloat16, and what was
# never placed on a library is float64.
_STORED = {
    "float16": "float16", "bfloat16": "float32", "float32": "float32", "float64": "float64",
    None: "float64",
}  # fmt: skip


def _content(network: Network, dtype: str | None) -> dict[str, Any]:
    """Write a network's structure as plain values."""
    if type(network.loss) is not Loss:
        raise ModelFileError(
            f"a loss of the class {type(network.loss).__name__} cannot be saved: a model file "
            "holds no code"
        )
    structure = {
        "inputs": network.inputs,
        "layers": layer_to_config(network.layers)["layers"],
        "loss": vars(network.loss),
    }
    try:
        # What `load` would refuse is refused here, while the network is still there.
        _structure(json.loads(to_json(structure)))
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"the network cannot be saved: {error}") from error
    return {"network": structure, "dtype": dtype}


def write_model(
    path: str | Path, kind: str, content: Any, arrays: Any, record: dict[str, Any] | None
) -> Path:
    """Write a model file of any kind; see `save`.

    Parameters
    ----------
    path : path
        Where it shall be.
    kind : str
        What is in it: 'network', ...
    content : dict
        Plain values that it is made again from.
    arrays : dict of str to numpy.ndarray
        Its arrays.
    record : dict or None
        As in `save`.

    Returns
    -------
    Path

    Raises
    ------
    ModelFileError
        `record` holds what JSON cannot.
    """
    if record is not None and not isinstance(record, dict):
        raise ModelFileError(f"record is {record!r}; expected a dictionary of plain values")
    try:
        return write_arrays(path, MODEL, {"kind": kind, **content, "record": record or {}}, arrays)
    except ModelFileError:
        raise
    except (TypeError, ValueError) as error:
        raise ModelFileError(
            f"record cannot be saved: {error}; expected numbers, text, lists and dictionaries"
        ) from error


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
    OSError
        The file cannot be written; an older one is still there.
    """
    dtype = network.dtype
    stored = _STORED[dtype]
    arrays = {
        name: to_host(values).astype(stored, copy=False)
        for name, values in network.parameters().items()
    }
    return write_model(path, NETWORK, _content(network, dtype), arrays, record)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Let errors about a file's content begin with its name."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except RecursionError as error:
        raise ModelFileError(f"{path}: its layers are nested too deeply") from error


def kind_of(header: dict[str, Any]) -> str:
    """What is in a model file, from its header.

    Raises
    ------
    ModelFileError
        The header does not say, or has no record.
    """
    kind = header.get("kind") if header["format"] > 1 else NETWORK
    if not isinstance(kind, str):
        raise ModelFileError(f"its header has the kind {kind!r}")
    if not isinstance(header.get("record"), dict):
        raise ModelFileError(f"its header has the record {header.get('record')!r}")
    return kind


def _check_header(header: dict[str, Any]) -> None:
    kind = kind_of(header)
    if kind != NETWORK:
        raise ModelFileError(f"it holds a model of the kind {kind!r}; xpnn.load reads it")
    for key, kinds in (("network", dict), ("dtype", str | None)):
        if key not in header or not isinstance(header[key], kinds):
            raise ModelFileError(f"its header has the {key} {header.get(key)!r}")
    if header["dtype"] not in _STORED:
        raise ModelFileError(
            f"dtype {header['dtype']!r} is not known; expected one of {', '.join(DTYPES)}"
        )


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


def check_arrays(arrays: dict[str, Any], shapes: dict[str, tuple[int, ...]], dtype: str) -> None:
    """Hold the arrays of a file against what its structure says.

    Parameters
    ----------
    arrays : dict of str to numpy.ndarray
        From the file.
    shapes : dict of str to tuple
        Which ones there should be.
    dtype : str
        Of all of them.

    Raises
    ------
    ModelFileError
        Names what is missing, what nobody knows, or what is of another shape or type.
    """
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


def check_place(
    backend: Backend | str | None, device: Device | str | None, dtype: DType | str | None
) -> str | None:
    """Check where a model shall go; return the name of the dtype."""
    if backend is None and device is not None:
        raise ValueError(f"device={device!r} goes with a backend; say which library it is of")
    wanted = dtype if dtype is None or isinstance(dtype, str) else dtype_name(dtype)
    if wanted is not None and wanted not in DTYPES:
        raise ValueError(f"dtype={wanted!r} is not known; expected one of {', '.join(DTYPES)}")
    return wanted


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
        The file is not a whole model file, is from a newer xpnn, is damaged, contradicts
        itself, or holds another kind of model.
    ValueError
        A device without a library, or a name that is not known.
    """
    wanted = check_place(backend, device, dtype)
    header, arrays = read_arrays(path, MODEL)
    with naming(path):
        _check_header(header)
        inputs, layers, loss = _structure(header["network"])
        shapes = {p.name: tuple(p.shape) for p in walk(layers.parameters(inputs))}
        check_arrays(arrays, shapes, _STORED[header["dtype"]])
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
        A model file of any kind.

    Returns
    -------
    dict
        The `record` given to `save`; its arrays came back as lists, its keys as text.

    Raises
    ------
    ModelFileError
        The file is not a whole model file, or is from a newer xpnn.
    """
    header = read_header(path, MODEL)
    with naming(path):
        kind_of(header)
    return dict(header["record"])
