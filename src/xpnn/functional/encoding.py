"""Labels as numbers that a network can be held against."""

from __future__ import annotations

from xpnn.backends import Array, DType, Namespace, default_float, device_of, namespace


def one_hot(labels: Array, classes: int, *, dtype: DType = None, xp: Namespace = None) -> Array:
    """Rows of zeros with a 1 in the label's place.

    Parameters
    ----------
    labels : array of integers, shape (n,)
        Values in ``0 .. classes - 1``; others give a row of zeros.
    classes : int
        Number of columns.
    dtype : dtype, optional
        Default: the library's default float.
    xp : module, optional
        Namespace of `labels`; default, looked up.

    Returns
    -------
    array, shape (n, classes)
    """
    xp = xp or namespace(labels=labels)
    columns = xp.arange(classes, dtype=labels.dtype, device=device_of(labels))
    hits = columns[None, :] == labels[:, None]
    return xp.astype(hits, default_float(xp) if dtype is None else dtype)
