"""Model files of every kind: networks, fitted estimators, tables' models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpnn import export
from xpnn.backends import Backend, Device, DType
from xpnn.data.arrays_file import read_header
from xpnn.export import ModelFileError, read_record
from xpnn.export.model_file import MODEL, NETWORK, kind_of, naming
from xpnn.training import Network

__all__ = ["ModelFileError", "load", "read_record", "save"]


def save(model: Any, path: str | Path, record: dict[str, Any] | None = None) -> Path:
    """Write a model to a file that holds data and nothing that runs.

    Parameters
    ----------
    model : Network, MLPClassifier, MLPRegressor or TableModel
        On any library and device; its arrays are copied to the host. An estimator's
        optimizer state goes along, so that `partial_fit` can go on.
    path : path
        Usually ends in ``.safetensors``. The file is written beside, synced and renamed:
        an older one there stays whole until the new one is.
    record : dict, optional
        What shall be remembered of the training, such as ``history.to_dict()``: plain
        values and arrays, for JSON. `xpnn.export.read_record` reads it.

    Returns
    -------
    Path
        Where it is.

    Raises
    ------
    ModelFileError
        A parameter cannot be saved, such as a function of the user's own; names it.
    OSError
        The file cannot be written; an older one is still there.
    """
    if isinstance(model, Network):
        return export.save(model, path, record=record)
    # scikit-learn is imported only where a model needs it.
    from xpnn.estimators import files

    return files.save_estimator(model, path, record=record)


def load(
    path: str | Path,
    backend: Backend | str | None = None,
    device: Device | str | None = None,
    dtype: DType | str | None = None,
) -> Any:
    """Read a model from a file; no code in it is run, as there is none.

    Parameters
    ----------
    path : path
        A file that `save` wrote, in this version of xpnn or an earlier one.
    backend : Backend or str, optional
        Where the parameters shall live. Default: a network follows its first data; an
        estimator goes where it was, or to NumPy, with a warning, where that is not
        possible.
    device : str or object, optional
        Device of that library.
    dtype : str or dtype, optional
        Dtype of the parameters. Default: the one that they were saved in, or that of a
        `Backend`.

    Returns
    -------
    Network, MLPClassifier, MLPRegressor or TableModel
        Predicts what the saved one does, bit for bit on the same library. The random
        generator of a network is a new one.

    Raises
    ------
    ModelFileError
        The file is not a whole model file, is damaged, from a newer xpnn, or contradicts
        itself.
    """
    header = read_header(path, MODEL)
    with naming(path):
        kind = kind_of(header)
    if kind == NETWORK:
        return export.load(path, backend, device, dtype)
    from xpnn.estimators import files

    return files.load_estimator(path, backend, device, dtype)
