"""Export: a trained network as a file that holds data and nothing that runs."""

from xpnn.export.layer_config import ModelFileError, layer_from_config, layer_to_config
from xpnn.export.model_file import load, read_record, save

__all__ = [
    "ModelFileError",
    "layer_from_config",
    "layer_to_config",
    "load",
    "read_record",
    "save",
]
