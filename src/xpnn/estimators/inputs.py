"""What comes in: checked as scikit-learn checks it, on whatever library it lives."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from xpnn.backends import (
    Array,
    Backend,
    Device,
    InputError,
    Namespace,
    Part,
    as_floating,
    device_name,
    device_of,
    dtype_name,
    feeder_for,
    from_dlpack,
    is_array,
    is_half,
    library_name,
    namespace,
    on_device,
    to_device,
    to_float,
    to_host,
)
from xpnn.engine import HostRows
from xpnn.training.host_rows import HostTable, SparseRows, fits

SPARSE = ["csr", "csc", "coo"]

_lock = threading.RLock()


@contextmanager
def one_at_a_time() -> Generator[None]:
    """Context (or decorator) for calls of scikit-learn that check arrays and labels.

    For a moment these change the filters of warnings, which before Python 3.14 belong to the
    process: threads that did so at once would not put back what they found.
    """
    with _lock:
        yield


def _renew_lock() -> None:
    """Make another lock in a forked child: the thread that had this one is not there."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def is_foreign(x: Any) -> bool:
    """Whether something is an array of another library than NumPy."""
    return is_array(x) and not isinstance(x, np.ndarray | np.generic) and not issparse(x)


def view_memory(x: Any, backend: Backend | None = None) -> Any:
    """View an object that shares its memory as an array; all else is passed on."""
    if x is None or is_array(x):
        return x
    found = from_dlpack(x) if backend is None else from_dlpack(x, backend.xp, backend.device)
    return x if found is None else found


@contextmanager
def unchanged_if_refused(model: Any) -> Generator[None]:
    """Bring a model back to what it was where what is asked of it cannot be done."""
    before = vars(model).copy()
    try:
        yield
    except BaseException:
        vars(model).clear()
        vars(model).update(before)
        raise


def check_foreign(model: Any, x: Array, name: str, reset: bool) -> Array:
    """Check an array of another library as scikit-learn checks NumPy's."""
    if getattr(x, "is_sparse", False) or "sparse" in str(getattr(x, "layout", "")):
        raise InputError(
            f"{name} is a sparse {type(x).__name__}; expected a dense one, or a SciPy matrix"
        )
    xp = namespace(**{name: x})
    if x.ndim != 2:
        raise InputError(
            f"Expected 2D array, got {x.ndim}D array instead. Reshape your data either using "
            "reshape(-1, 1) if it has a single feature or reshape(1, -1) if it is one sample."
        )
    rows, features = (int(n) for n in x.shape)
    if rows == 0 or features == 0:
        raise InputError(
            f"Found array with {rows} sample(s) and {features} feature(s) "
            f"(shape={(rows, features)}) while a minimum of 1 is required."
        )
    with on_device(device_of(x)):
        if xp.isdtype(x.dtype, "complex floating"):
            raise InputError("Complex data not supported")
        x = as_floating(x, xp)
        if not to_float(xp.all(xp.isfinite(x))):
            raise InputError(f"Input {name} contains NaN, infinity or a value too large.")
    if reset:
        model.n_features_in_ = features
        if hasattr(model, "feature_names_in_"):
            del model.feature_names_in_
    elif features != model.n_features_in_:
        raise InputError(
            f"X has {features} features, but {type(model).__name__} is expecting "
            f"{model.n_features_in_} features as input."
        )
    return x


def plain_rows(model: Any, X: Any, backend: Backend) -> Any:
    """Take the short way with NumPy's rows for a model on NumPy: all is right but, maybe, values.

    Returns the rows in the model's dtype, or None where there is more to look at.
    """
    if (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.shape[0] > 0
        and X.dtype.kind == "f"
        and X.shape[1] == model.n_features_in_
        and backend.name == "numpy"
        and "feature_names_in_" not in vars(model)
    ):
        if X.dtype == backend.dtype:
            return X
        with np.errstate(over="ignore"):
            return X.astype(backend.dtype)
    return None


def check_rows(model: Any, X: Any, backend: Backend) -> Any:
    """Check rows to predict; NumPy's take the short way where nothing can be wrong with them."""
    x = plain_rows(model, X, backend)
    if x is not None and _finite(x):
        return x
    X = view_memory(X, backend)
    if is_foreign(X):
        return check_foreign(model, X, "X", reset=False)
    options = {"accept_sparse": SPARSE, "dtype": (np.float64, np.float32), "reset": False}
    with one_at_a_time():
        x = validate_data(model, X, **options)
    if issparse(x):
        return SparseRows(x, x.dtype)
    dtype = dtype_name(backend.dtype)
    if x.dtype.itemsize > np.dtype(dtype).itemsize:
        largest = np.finfo(dtype).max
        if max(x.max(), -x.min()) > largest:
            raise InputError(f"Input X contains a value too large for dtype({dtype!r}).")
    return x


def _finite(x: Any) -> bool:
    """Whether there is no infinity or NaN. Either would show in the sum, but so may others."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(x.sum()) or np.isfinite(x).all())


def place_of(x: Any) -> tuple[str, str]:
    """Library and device of rows; those that stay on the host are NumPy's."""
    if isinstance(x, HostRows):
        return "numpy", "cpu"
    return library_name(namespace(X=x)), device_name(device_of(x))


def check_namespace(model: Any, x: Any, backend: Backend, method: str) -> None:
    """Refuse rows that live elsewhere than those of `fit`."""
    library, where = place_of(x)
    own, home = backend.name, device_name(backend.device)
    if (library, where) != (own, home):
        raise InputError(
            f"Inputs passed to {type(model).__name__}.{method}() must use the same namespace "
            f"and the same device as those passed to fit(). X is an array of {library} on "
            f"{where}; fit() saw {own} on {home}. Move X there, or the "
            f"model to X with to({library!r}, {where!r})."
        )


def check_known_labels(y: Any, known: Any) -> None:
    """Refuse labels that a model cannot learn any more, in scikit-learn's words."""
    # For plain labels the same, without looking once more what kind they are.
    classes = np.unique(y) if y.ndim == 1 and y.dtype.kind in "biufU" else unique_labels(y)
    if len(np.setdiff1d(classes, known, assume_unique=True)):
        raise InputError(
            f"`y` has classes not in `self.classes_`. `self.classes_` has {known}. "
            f"'y' has {classes}."
        )


def host_column(y: Any) -> Any:
    """Bring labels, values or weights to the host, where scikit-learn looks at them."""
    if y is None or isinstance(y, np.ndarray):
        return y
    y = view_memory(y)
    return to_host(y) if is_foreign(y) else y


def sender(backend: Backend) -> Callable[[Any], Array]:
    """Make what brings one host array after another to where a model is.

    An array that was brought may be read until the next is asked for; see
    `xpnn.backends.pinned`.
    """
    feeder = feeder_for(backend.xp, backend.device)
    if feeder is None:
        xp, device, dtype = backend.xp, backend.device, backend.dtype
        return lambda rows: to_device(rows, xp, device, dtype, copy=None)
    return lambda rows: feeder.to_device([Part.of(rows, dtype_name(backend.dtype))])[0]


def rows_to_backend(x: Any, backend: Backend) -> Any:
    """Bring checked rows to where a model is: at once, or batch by batch where there is no room."""
    dtype = dtype_name(backend.dtype)
    if isinstance(x, SparseRows):
        return SparseRows(x.matrix, dtype)
    there = namespace(X=x) is backend.xp and device_of(x) == backend.device
    size = int(x.shape[0]) * int(x.shape[1]) * np.dtype(dtype).itemsize
    if not there and not fits(size, backend.xp, backend.device):
        return HostTable(to_host(x), dtype)
    return to_device(x, backend.xp, backend.device, backend.dtype, copy=None)


def float_of(dtype: Any, xp: Namespace, device: Device) -> str:
    """Name of the dtype to compute in, for rows of another dtype.

    Half precision has to be asked for: rows that happen to be in it would make a poor
    model. Some devices, and JAX by default, have no float64.
    """
    name = dtype_name(dtype)
    known = xp.__array_namespace_info__().dtypes(device=device, kind="real floating")
    return "float32" if is_half(dtype) or name not in known else name


def check_fitted(model: Any) -> Backend:
    """Return where a fitted model is."""
    network = vars(model).get("network_")
    if network is None:
        check_is_fitted(model, "network_")
        raise AssertionError("unreachable")
    return network.backend
