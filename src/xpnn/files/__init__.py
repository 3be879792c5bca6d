"""Model files of every kind: networks, fitted estimators, tables' models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpnn.backends import DTYPES, Backend, Device, DType, InputError, dtype_name
from xpnn.data.arrays_file import FileKind, read_arrays, read_header, to_json, write_arrays
from xpnn.export import ModelFileError
from xpnn.files.networks import network_content, network_from, place_network
from xpnn.training import Network

__all__ = ["MODEL", "ModelFileError", "load", "read_record", "save"]

MODEL = FileKind("xpnn", "model file", 2, error=ModelFileError)


def save(
    model: Any,
    path: str | Path,
    record: dict[str, Any] | None = None,
    *,
    for_inference: bool = False,
) -> Path:
    """Write a model to a file that holds data and nothing that runs.

    Parameters
    ----------
    model : Network, MLPClassifier, MLPRegressor, Perceptron, TabularClassifier or TabularRegressor
        On any library and device; estimators are fitted or initialized. Pipelines and other
        models of scikit-learn, those with an estimator of xpnn in them too, are written by
        the package skops: ``skops.io.dump(model, path)``.
    path : path
        Usually ends in ``.safetensors``. An older file there stays whole until the new one
        is, which has its permissions. A symbolic link stays; what it points to is replaced.
    record : dict, optional
        What shall be remembered of the training, such as ``history.to_dict()``: plain
        values and arrays, for JSON. `xpnn.files.read_record` reads it.
    for_inference : bool, default False
        Whether to leave out what only further training needs: the optimizer's state and the
        best weights of early stopping, usually two thirds of the file or more. `partial_fit`
        then goes on with a new optimizer.

    Returns
    -------
    Path
        Where it is.

    Raises
    ------
    ModelFileError
        The model is of another class, or a parameter cannot be saved, such as a function of
        the user's own; names it.
    OSError
        The file cannot be written; an older one is still there.

    Examples
    --------
    >>> import os, tempfile
    >>> import xpnn
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = xpnn.Perceptron(random_state=0).fit(X, y)
    >>> path = xpnn.save(model, os.path.join(tempfile.mkdtemp(), "iris.safetensors"))
    >>> bool((xpnn.load(path).predict(X) == model.predict(X)).all())
    True
    """
    if record is not None and not isinstance(record, dict):
        raise ModelFileError(f"record is {record!r}; expected a dictionary of plain values")
    if isinstance(model, Network):
        content, arrays = network_content(model)
    else:  # scikit-learn is imported only for those that need it
        from xpnn.files.models import model_content

        content, arrays = model_content(model, for_inference)
    try:
        json.loads(to_json(record), object_pairs_hook=_check_keys)
        return write_arrays(path, MODEL, {**content, "record": record or {}}, arrays)
    except ModelFileError:
        raise
    except (TypeError, ValueError) as error:
        raise ModelFileError(
            f"record cannot be saved: {error}; expected numbers, text, lists and dictionaries"
        ) from error


def _check_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of JSON's pairs; unlike keys such as 1 and "1" are the same text there."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"two keys of a dictionary are the same text, {twice!r}")
    return made


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Let errors about a file's content begin with its name."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except RecursionError as error:
        raise ModelFileError(f"{path}: its layers are nested too deeply") from error


def _check_header(header: dict[str, Any]) -> None:
    if not isinstance(header.get("kind"), str):
        raise ModelFileError(f"its header has the kind {header.get('kind')!r}")
    if not isinstance(header.get("record"), dict):
        raise ModelFileError(f"its header has the record {header.get('record')!r}")


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
        A file that `save` wrote.
    backend : Backend or str, optional
        Where the parameters shall live. Default: a network follows its first data; an
        estimator goes where it was, or with a warning to NumPy.
    device : str or object, optional
        Device of that library.
    dtype : str or dtype, optional
        Dtype of the parameters; default, that of a `Backend`, else the one in the file.

    Returns
    -------
    Network, MLPClassifier, MLPRegressor, Perceptron, TabularClassifier or TabularRegressor
        Predicts what the saved one does, bit for bit on the same library. The random
        generator of a network is a new one.

    Raises
    ------
    ModelFileError
        The file is damaged, no model file, of another format's version, or contradicts itself.
    InputError
        A device without a library, or a name that is not known.
    """
    if backend is None and device is not None:
        raise InputError(f"device={device!r} goes with a backend; say which library it is of")
    wanted = dtype if dtype is None or isinstance(dtype, str) else dtype_name(dtype)
    if wanted is not None and wanted not in DTYPES:
        raise InputError(f"dtype={wanted!r} is not known; expected one of {', '.join(DTYPES)}")
    if isinstance(backend, Backend):
        device = backend.device if device is None else device
        wanted = wanted or dtype_name(backend.dtype)
        backend = backend.name
    header, arrays = read_arrays(path, MODEL)
    with _naming(path):
        _check_header(header)
        make: Any = network_from
        place: Any = place_network
        if header["kind"] != "network":
            from xpnn.files.models import model_from as make
            from xpnn.files.models import place_model as place
        model = make(header, arrays)
    return place(model, backend, device, wanted)


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
        The file is not a whole model file, or from another version of the format.
    """
    header = read_header(path, MODEL)
    with _naming(path):
        _check_header(header)
    return dict(header["record"])
