"""What a fitted `Perceptron` is: scores, labels, pickles, moving."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from xpnn.backends import (
    HOST_NAMESPACE,
    Array,
    Device,
    Namespace,
    default_float,
    device_name,
    device_of,
    dtype_name,
    library_name,
    namespace,
    on_device,
    select,
    to_device,
    to_host,
)
from xpnn.estimators.inputs import (
    bring,
    check_namespace,
    check_rows,
    float_of,
    host_column,
    is_foreign,
)
from xpnn.estimators.moving import land, move
from xpnn.estimators.rows import SparseRows
from xpnn.functional import heaviside, linear


class FittedPerceptron(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Base of `Perceptron`: everything that needs no training data."""

    fires_at_zero: bool
    coef_: Any
    intercept_: Any
    classes_: Any
    n_features_in_: int
    _library: str
    _device_name: str
    _dtype_name: str

    def _place(self, x: Any) -> None:
        """Live where some rows are."""
        xp, device = (HOST_NAMESPACE, "cpu") if issparse(x) else (namespace(X=x), device_of(x))
        self._library, self._device_name = library_name(xp), device_name(device)
        self._dtype_name = float_of(x.dtype, xp, device)

    def _home(self) -> tuple[Namespace, Device, Any]:
        """Library, device and dtype of the weights."""
        if self._library == "numpy":
            return HOST_NAMESPACE, "cpu", np.dtype(self._dtype_name)
        chosen = select(self._library, self._device_name, self._dtype_name)
        return chosen.xp, chosen.device, chosen.dtype

    def _fires(self, scores: Any, xp: Namespace) -> Any:
        """Say which units fire."""
        return heaviside(scores, xp=xp) > 0 if self.fires_at_zero else scores > 0

    def decision_function(self, X: Any) -> Any:
        """Scores: weighted sums and biases, before the threshold.

        Parameters
        ----------
        X : array_like, sparse matrix or frame, shape (n, features)
            Rows, where those of `fit` were; lists go there.

        Returns
        -------
        array, shape (n,) for two classes, else (n, classes)
        """
        return self._decide(X, "decision_function")

    def _decide(self, X: Any, method: str) -> Array:
        x = check_rows(self, X, method)
        if not isinstance(X, list | tuple):
            check_namespace(self, x, method)
        xp, device, _ = self._home()
        coef = self.coef_.toarray() if issparse(self.coef_) else self.coef_
        with on_device(device):
            if isinstance(x, SparseRows):
                x = x.matrix
            else:
                wide = dtype_name(coef.dtype) if isinstance(X, list | tuple) else None
                x = bring(x, xp, device, wide and getattr(xp, wide))
                dtype = xp.result_type(x, coef)
                x, coef = (xp.astype(a, dtype, copy=False) for a in (x, coef))
            bias = xp.astype(self.intercept_, coef.dtype, copy=False)
            scores = scores_of(x, coef, bias, xp)
            return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> Any:
        """Predict labels: of several classes that with the largest score.

        Parameters
        ----------
        X : array_like, sparse matrix or frame, shape (n, features)
            Rows, where those of `fit` were; lists go there.

        Returns
        -------
        array, shape (n,)
            Numbers and booleans on the library and device of `X`, other labels in NumPy.
        """
        scores = self._decide(X, "predict")
        xp, device, _ = self._home()
        with on_device(device):
            if len(self.classes_) == 2:
                codes = xp.astype(self._fires(scores, xp), xp.int32)
            else:
                codes = xp.argmax(scores, axis=1)
            if self._library == "numpy" or self.classes_.dtype.kind not in "biuf":
                return self.classes_[to_host(codes)]
            dtypes = xp.__array_namespace_info__().dtypes(device=device)
            short = self.classes_.dtype.kind == "f" and "float64" not in dtypes
            classes = to_device(
                self.classes_, xp, device, default_float(xp, device) if short else None
            )
            return xp.take(classes, codes, axis=0)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of rows whose label is predicted right.

        Parameters
        ----------
        X : array_like, sparse matrix or frame, shape (n, features)
            Rows.
        y : array_like, shape (n,)
            Labels.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows.

        Returns
        -------
        float
        """
        predicted = to_host(self.predict(X))
        return float(
            accuracy_score(host_column(y), predicted, sample_weight=host_column(sample_weight))
        )

    def densify(self) -> FittedPerceptron:
        """Make `coef_` dense again, after `sparsify`."""
        check_is_fitted(self)
        if issparse(self.coef_):
            self.coef_ = self.coef_.toarray()
        return self

    def sparsify(self) -> FittedPerceptron:
        """Keep `coef_` as a SciPy sparse array, where it is NumPy's."""
        check_is_fitted(self)
        if self._library != "numpy":
            raise ValueError(f"coef_ is an array of {self._library}; only NumPy's can be sparse")
        self.coef_ = csr_array(self.coef_)
        return self

    def to(self, backend: str, device: str | None = None) -> FittedPerceptron:
        """Move a fitted perceptron to another library or device, in place.

        Parameters
        ----------
        backend : str
            'numpy', 'cupy', 'torch', 'jax', ...
        device : str, optional
            'cpu', 'cuda:0', ...; default, the library's own.

        Returns
        -------
        estimator
            The perceptron itself. It then takes and gives arrays of that library.
        """
        return move(self.densify(), backend, device)

    def _theta(self) -> Array:
        """Weights and biases as one table, for `move`."""
        with on_device(device_of(self.coef_)):
            xp = namespace(coef_=self.coef_)
            return xp.concat([self.coef_, self.intercept_[:, None]], axis=1)

    def _set_theta(self, theta: Array) -> None:
        with on_device(device_of(theta)):
            xp = namespace(theta=theta)
            self.coef_, self.intercept_ = (
                xp.asarray(part, copy=True) for part in (theta[:, :-1], theta[:, -1])
            )

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if vars(self).get("_library", "numpy") == "numpy":
            return state
        return {k: to_host(v) if is_foreign(v) else v for k, v in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if vars(self).get("_library", "numpy") != "numpy" and hasattr(self, "coef_"):
            land(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags


def scores_of(x: Any, weights: Array, bias: Array, xp: Namespace) -> Array:
    """Compute scores of checked rows; SciPy's sparse ones know only the operator."""
    if issparse(x):
        return x @ weights.T + bias
    return linear(x, weights.T, bias, xp=xp)
