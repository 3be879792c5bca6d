"""One-hot encoding."""

from __future__ import annotations

from xpnn.backends import Array, DType, Namespace, default_float, device_of, namespace, on_device


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
    device = device_of(labels)
    # Not in the labels' dtype: int8 cannot hold 200 classes.
    with on_device(device):
        columns = xp.arange(classes, device=device)
        hits = columns[None, :] == xp.astype(labels, columns.dtype, copy=False)[:, None]
        return xp.astype(hits, default_float(xp, device) if dtype is None else dtype)
