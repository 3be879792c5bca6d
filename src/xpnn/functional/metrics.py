"""How well predictions fit, as 0-d arrays that stay where the data is.

For everything else (confusion matrix, ROC, ...) copy predictions to the host and use
`sklearn.metrics`.
"""

from __future__ import annotations

from xpnn.backends import Array, DType, Namespace
from xpnn.functional.half_precision import find_namespace


@find_namespace
def accuracy(
    predicted: Array, labels: Array, *, dtype: DType = None, xp: Namespace = None
) -> Array:
    """Share of equal entries.

    Parameters
    ----------
    predicted, labels : array, shape (n,) or (n, outputs)
        Integers or booleans. With several outputs a row counts where all are right.
    dtype : dtype, optional
        Dtype of the result; default, float32.
    xp : module, optional
        Namespace of the arrays; default, looked up.

    Returns
    -------
    array, 0-d
    """
    right = predicted == labels
    if right.ndim > 1:
        right = xp.all(right, axis=1)
    return xp.mean(xp.astype(right, dtype if dtype is not None else xp.float32))
