"""What comes in: checked as scikit-learn checks it, on whatever library it lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted, validate_data

from xpnn.backends import (
    Array,
    Device,
    Namespace,
    Part,
    as_floating,
    device_name,
    device_of,
    dtype_name,
    feeder_for,
    from_dlpack,
    is_array,
    is_floating,
    is_half,
    library_name,
    namespace,
    on_device,
    to_device,
    to_float,
    to_host,
)
from xpnn.engine import HostRows
from xpnn.estimators.rows import HostTable, SparseRows, fits

SPARSE = ["csr", "csc", "coo"]


def is_foreign(x: Any) -> bool:
    """Whether something is an array of another library than NumPy."""
    return is_array(x) and not isinstance(x, np.ndarray | np.generic) and not issparse(x)


def seen(model: Any, x: Any) -> Any:
    """See an object that shares its memory as an array; all else is passed on.

    Memory on a GPU is seen through the library of a fitted model that is on one.
    """
    if x is None or is_array(x):
        return x
    place = model._place() if "coefs_" in vars(model) else (None, None)
    found = from_dlpack(x, *place)
    return x if found is None else found


def check_foreign(model: Any, x: Array, name: str, reset: bool) -> Array:
    """Check an array of another library as scikit-learn checks NumPy's."""
    xp = namespace(**{name: x})
    if x.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {x.ndim}D array instead. Reshape your data either using "
            "reshape(-1, 1) if it has a single feature or reshape(1, -1) if it is one sample."
        )
    rows, features = (int(n) for n in x.shape)
    if rows == 0 or features == 0:
        raise ValueError(
            f"Found array with {rows} sample(s) and {features} feature(s) "
            f"(shape={(rows, features)}) while a minimum of 1 is required."
        )
    with on_device(device_of(x)):
        if xp.isdtype(x.dtype, "complex floating"):
            raise ValueError("Complex data not supported")
        x = as_floating(x, xp)
        if not to_float(xp.all(xp.isfinite(x))):
            raise ValueError(f"Input {name} contains NaN, infinity or a value too large.")
    if reset:
        model.n_features_in_ = features
        if hasattr(model, "feature_names_in_"):
            del model.feature_names_in_
    elif features != model.n_features_in_:
        raise ValueError(
            f"X has {features} features, but {type(model).__name__} is expecting "
            f"{model.n_features_in_} features as input."
        )
    return x


def plain_rows(model: Any, X: Any) -> Any:
    """Take the short way with NumPy's rows for a model on NumPy: all is right but, maybe, values.

    Parameters
    ----------
    model : estimator
        Fitted or not.
    X : object
        Rows.

    Returns
    -------
    numpy.ndarray or None
        The rows in the model's dtype; None where there is more to look at.
    """
    if (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.shape[0] > 0
        and "coefs_" in vars(model)
        and X.dtype.kind == "f"
        and X.shape[1] == model.n_features_in_
        and model._library == "numpy"
        and "feature_names_in_" not in vars(model)
    ):
        if X.dtype == model._dtype_name:
            return X
        with np.errstate(over="ignore"):
            return X.astype(model._dtype_name)
    return None


def check_rows(model: Any, X: Any, method: str) -> Any:
    """Check rows to predict; NumPy's take the short way where nothing can be wrong with them.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : array_like, sparse matrix or frame, shape (n, features)
        Rows.
    method : str
        Name of the calling method, for errors.

    Returns
    -------
    array or SparseRows

    Raises
    ------
    ValueError
        A shape or a value is wrong, or the rows live elsewhere than those of `fit`.
    NotFittedError
        The model is not fitted.
    """
    x = plain_rows(model, X)
    if x is not None and _finite(x):
        return x
    check_is_fitted(model)
    X = seen(model, X)
    if is_foreign(X):
        return check_foreign(model, X, "X", reset=False)
    x = validate_data(model, X, accept_sparse=SPARSE, dtype=(np.float64, np.float32), reset=False)
    if issparse(x):
        return SparseRows(x, x.dtype)
    if x.dtype.itemsize > np.dtype(model._dtype_name).itemsize:
        largest = np.finfo(model._dtype_name).max
        if max(x.max(), -x.min()) > largest:
            raise ValueError(
                f"Input X contains a value too large for dtype({model._dtype_name!r})."
            )
    return x


def _finite(x: Any) -> bool:
    """Whether there is no infinity or NaN. Either would show in the sum, but so may others."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(x.sum()) or np.isfinite(x).all())


def check_namespace(model: Any, x: Any, method: str) -> None:
    """Refuse rows that live elsewhere than those of `fit`.

    Raises
    ------
    ValueError
        In scikit-learn's words; it names the way out.
    """
    if isinstance(x, HostRows):
        library, where = "numpy", "cpu"
    else:
        library, where = library_name(namespace(X=x)), device_name(device_of(x))
    if (library, where) != (model._library, model._device_name):
        raise ValueError(
            f"Inputs passed to {type(model).__name__}.{method}() must use the same namespace "
            f"and the same device as those passed to fit(). X is an array of {library} on "
            f"{where}; fit() saw {model._library} on {model._device_name}. Move X there, or the "
            f"model to X with to({library!r}, {where!r})."
        )


def host_column(y: Any) -> Any:
    """Bring labels or weights to the host, where scikit-learn looks at them."""
    if y is None or isinstance(y, np.ndarray):
        return y
    if not is_array(y):
        found = from_dlpack(y)
        y = y if found is None else found
    return to_host(y) if is_foreign(y) else y


def bring(values: Any, xp: Namespace, device: Device, dtype: Any = None) -> Array:
    """Bring host values, or an array that is there already, to a device."""
    if is_foreign(values) and namespace(y=values) is xp and device_of(values) == device:
        if dtype is not None and dtype_name(values.dtype) != dtype_name(dtype):
            with on_device(device):
                return xp.astype(values, dtype)
        return values
    if library_name(xp) == "numpy":
        return np.ascontiguousarray(to_host(values), dtype)
    return to_device(values, xp, device, dtype)


def sender(xp: Namespace, device: Device, dtype: str) -> Callable[[Any], Array]:
    """Make what brings one host array after another to a device.

    An array that was brought may be read until the next is asked for; see
    `xpnn.backends.pinned`.
    """
    feeder = feeder_for(xp, device)
    if feeder is None:
        return lambda rows: bring(rows, xp, device, getattr(xp, dtype))
    return lambda rows: feeder.to_device([Part.of(rows, dtype)])[0]


def bring_rows(x: Any, xp: Namespace, device: Device, dtype: str) -> Any:
    """Bring checked rows to a device: at once, or batch by batch where there is no room.

    Parameters
    ----------
    x : array or SparseRows, shape (n, features)
        Sparse rows stay on the host; batches of them go out.
    xp, device
        Where to.
    dtype : str
        Of the rows that arrive.

    Returns
    -------
    array, SparseRows or HostTable
    """
    if isinstance(x, SparseRows):
        return SparseRows(x.matrix, dtype)
    there = namespace(X=x) is xp and device_of(x) == device
    size = int(x.shape[0]) * int(x.shape[1]) * np.dtype(dtype).itemsize
    if not there and not fits(size, xp, device):
        return HostTable(to_host(x), dtype)
    return bring(x, xp, device, getattr(xp, dtype))


def float_of(dtype: Any, xp: Namespace, device: Device) -> str:
    """Name of the dtype to compute in, for rows of another dtype.

    Half precision has to be asked for: rows that happen to be in it would make a poor
    model. Some devices, and JAX by default, have no float64.
    """
    name = dtype_name(dtype)
    known = xp.__array_namespace_info__().dtypes(device=device, kind="real floating")
    return "float32" if is_half(dtype) or name not in known else name


def floating_like(y: Any) -> bool:
    """Whether an array of another library holds floats."""
    return is_foreign(y) and is_floating(y, namespace(y=y))


def is_wide(xp: Namespace) -> bool:
    """Whether a library's integers have 64 bits."""
    return str(xp.__array_namespace_info__().default_dtypes()["integral"]).endswith("int64")
