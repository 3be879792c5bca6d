"""Networks in model files."""

from __future__ import annotations

import json
from typing import Any

from xpnn.backends import DTYPES, Device, select, to_host
from xpnn.data.arrays_file import to_json
from xpnn.export.model_file import (
    ModelFileError,
    check_arrays,
    layer_from_config,
    layer_to_config,
    wrap_errors,
)
from xpnn.layers import Chain, walk
from xpnn.training import Loss, Network

# The dtype that a network's parameters are stored in. NumPy has no bfloat16, and what was
# never placed on a library is float64.
_STORED: dict[str | None, str] = {
    **{name: name for name in DTYPES}, "bfloat16": "float32", None: "float64",
}  # fmt: skip


def network_content(network: Network) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write a network as plain values and arrays; no network holds an optimizer's state."""
    own = network.loss.custom or network.loss
    if type(own) is not Loss:
        raise ModelFileError(
            f"a loss of the class {type(own).__name__} cannot be saved: a model file holds no code"
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
    stored = _STORED[network.dtype]
    arrays = {
        name: to_host(values).astype(stored, copy=False)
        for name, values in network.parameters().items()
    }
    return {"kind": "network", "network": structure, "dtype": network.dtype}, arrays


def network_from(content: dict[str, Any], arrays: dict[str, Any]) -> Network:
    """Make a network of what `network_content` gave."""
    for key, kinds in (("network", dict), ("dtype", str | None)):
        if key not in content or not isinstance(content[key], kinds):
            raise ModelFileError(f"its header has the {key} {content.get(key)!r}")
    dtype = content["dtype"]
    if dtype not in _STORED:
        raise ModelFileError(f"dtype {dtype!r} is not known; expected one of {', '.join(DTYPES)}")
    inputs, layers, loss = _structure(content["network"])
    shapes = {p.name: tuple(p.shape) for p in walk(layers.parameters(inputs))}
    check_arrays(arrays, shapes, _STORED[dtype])
    return Network(inputs, layers, loss=loss, dtype=dtype).assign(**arrays)


def _structure(config: dict[str, Any]) -> tuple[int, Chain, Loss]:
    if set(config) != {"inputs", "layers", "loss"} or not isinstance(config["loss"], dict):
        raise ModelFileError("its network is not described by inputs, layers and loss")
    inputs = config["inputs"]
    if isinstance(inputs, bool) or not isinstance(inputs, int) or inputs < 1:
        raise ModelFileError(f"inputs is {inputs!r}; expected a positive integer")
    layers = layer_from_config({"type": "Chain", "layers": config["layers"]})
    assert isinstance(layers, Chain)
    with wrap_errors(f"loss {config['loss']!r}"):
        loss = Loss(**config["loss"])
        if loss.custom is not None:
            raise ValueError("a file holds no functions")
    return inputs, layers, loss


def place_network(
    network: Network, library: str | None, device: Device | str | None, dtype: str | None
) -> Network:
    """Bring a network that was read to a library, by default to that of its first data."""
    if library is not None:
        return network.to(select(library, device, dtype or network.dtype))
    if dtype is None or dtype == network.dtype:
        return network
    converted = Network(network.inputs, network.layers, loss=network.loss, dtype=dtype)
    return converted.assign(**network.parameters())
