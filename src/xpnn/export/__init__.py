"""Export: a trained network as a file that holds data and nothing that runs; and import."""

from xpnn.export.imports import NetworkImportError, from_torch, from_weights
from xpnn.export.layer_config import ModelFileError, layer_from_config, layer_to_config
from xpnn.export.model_file import load, read_record, save
from xpnn.export.onnx_file import to_onnx
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
    "load",
    "read_record",
    "save",
    "to_onnx",
]
