"""Models for other runtimes, and networks from elsewhere; layers as plain values."""

from xpnn.export.imports import NetworkImportError, from_torch, from_weights
from xpnn.export.model_file import ModelFileError, layer_from_config, layer_to_config
from xpnn.export.onnx_graph import OPSETS, OnnxError

__all__ = [
    "OPSETS",
    "ModelFileError",
    "NetworkImportError",
    "OnnxError",
    "from_torch",
    "from_weights",
    "layer_from_config",
    "layer_to_config",
]
