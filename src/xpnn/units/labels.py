"""Class labels: numbers, booleans or strings, on the host or where the data is."""

from __future__ import annotations

from typing import Any

from xpnn.backends import Array, ArrayLike, host, is_array, placement, to_host


def host_labels(y: ArrayLike, x: Array) -> Any:
    """Check labels against the rows, and bring them to the host.

    Parameters
    ----------
    y : array_like, shape (n,)
        Integers, booleans or strings in a list or a NumPy array, or an array of `x`'s
        library. Floats that are whole numbers count as integers.
    x : array, shape (n, features)
        The rows.

    Returns
    -------
    numpy.ndarray, shape (n,)
        Of integers, booleans or strings.

    Raises
    ------
    ValueError
        There are more or fewer labels than rows, or a label is a fraction or NaN.
    TypeError
        A label is no integer, boolean or string, or strings and others are mixed.
    MixedArraysError
        `y` is an array of another library or device than `x`.
    """
    if is_array(y) and not isinstance(y, host.ndarray | host.generic):
        placement(X=x, y=y)
    labels = _table(y)
    shape, rows = labels.shape, int(x.shape[0])
    if shape != (rows,):
        raise ValueError(f"y has shape {shape}; expected ({rows},), one label for each row of X")
    if labels.dtype.kind == "f":
        odd = labels[~(labels == host.floor(labels))]
        if odd.size or not host.all(host.isfinite(labels)):
            shown = float(odd[0]) if odd.size else "infinity"
            raise ValueError(f"y holds {shown!r}; expected class labels, not values")
        return labels.astype(host.int64)
    return labels


def _table(y: ArrayLike) -> Any:
    try:
        labels = to_host(y)
    except ValueError as error:
        raise TypeError(f"y is not a list of labels: {error}") from None
    if labels.dtype.kind in "UO" and not _only_strings(y, labels):
        raise TypeError("y holds strings and other values; expected labels of one kind")
    if labels.dtype.kind == "O":
        return labels.astype(str)
    if labels.dtype.kind not in "biufUT":
        raise TypeError(f"y has dtype {labels.dtype}; expected integers, booleans or strings")
    return labels


def _only_strings(y: ArrayLike, labels: Any) -> bool:
    """NumPy turns numbers beside strings into strings; the list still shows them."""
    values = labels.ravel().tolist() if isinstance(y, host.ndarray) else y
    if isinstance(values, str):
        return True
    return all(isinstance(v, str) for v in values)
