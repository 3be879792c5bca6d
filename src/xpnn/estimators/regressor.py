"""`MLPRegressor`: scikit-learn's, on any array library."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import column_or_1d

from xpnn.backends import Array, device_of, on_device
from xpnn.distributed import MPIOptions
from xpnn.estimators.base import BaseMLP, stochastic
from xpnn.estimators.losses import REGRESSOR, loss_name, regressor_loss
from xpnn.estimators.streamed import score
from xpnn.training import Loss


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """Multi-layer perceptron for values, in place of scikit-learn's.

    Parameters before `delta`, fitted attributes, methods, warnings and errors are those of
    `sklearn.neural_network.MLPRegressor` 1.9, and so are the numbers; see `MLPClassifier`.

    Parameters
    ----------
    loss : {'squared_error', 'poisson', 'absolute_error', 'huber', 'mean_squared_error', \
'sum_squared_errors', 'mean_absolute_error'} or Loss, default 'squared_error'
        The first two as in scikit-learn; 'absolute_error' is 'mean_absolute_error'.
    hidden_layer_sizes, solver, alpha, batch_size, learning_rate_init, power_t, max_iter, \
shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, \
validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As in scikit-learn.
    activation, learning_rate
        As in `MLPClassifier`.
    delta : float, default 1
        Where the square of 'huber' turns into a line.
    dropout, optimizer, weight_decay, clip_norm, monitor, dtype, compute_dtype, loss_scale, \
precision, accumulate, deterministic, backend, device, engine, progress, distributed
        As in `MLPClassifier`.

    Attributes
    ----------
    loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_, t_, coefs_, \
intercepts_, n_features_in_, feature_names_in_, n_iter_, n_layers_, n_outputs_, out_activation_
        As in scikit-learn.
    validation_loss_curve_, stopped_
        As in `MLPClassifier`.

    Examples
    --------
    >>> from xpnn import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> model = MLPRegressor(random_state=1, max_iter=2000, tol=0.1).fit(X, y)
    >>> round(model.score(X, y), 2)
    0.98
    """

    _TARGETS: ClassVar[dict[str, Any]] = {"y_numeric": True}
    _METRIC = staticmethod(r2_score)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions(set(REGRESSOR)), Loss],
        "delta": [Interval(Real, 0, None, closed="neither")],
    }
    delta: float

    def __init__(
        self,
        loss: str | Loss = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        delta: float = 1.0,
        dropout: Any = 0.0,
        optimizer: Any = None,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        monitor: Any = "score",
        dtype: str | None = None,
        compute_dtype: str | None = None,
        loss_scale: Any = None,
        precision: str = "highest",
        accumulate: int = 1,
        deterministic: bool = False,
        backend: str | None = None,
        device: str | None = None,
        engine: str = "auto",
        progress: bool = False,
        distributed: str | MPIOptions | None = None,
    ) -> None:
        self._keep(locals())

    # Targets

    def _outputs(
        self, x: Any, y: Any, incremental: bool, first: bool, held: bool = False
    ) -> tuple[Any, Any, int]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if loss_name(self.loss) == "poisson" and np.any(y < 0):
            raise ValueError("y holds values below 0; loss='poisson' needs counts, 0 or more")
        table = np.asarray(y, np.float64)
        table = table.reshape(-1, 1) if y.ndim == 1 else table
        return table, table, int(table.shape[1])

    def _out_activation(self) -> str:
        return "exp" if loss_name(self.loss) == "poisson" else "identity"

    def _make_objective(self) -> Any:
        return regressor_loss(self.loss, self.delta, self._searches)

    # Learning

    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, validation_data: Any = None,
        callbacks: Iterable[Any] = (), checkpoint: Any = None, resume: Any = False,
    ) -> MLPRegressor:  # fmt: skip
        """Learn from rows and their values.

        Parameters
        ----------
        X, sample_weight, validation_data, callbacks, checkpoint, resume
            As in `MLPClassifier.fit`.
        y : array_like, shape (n,) or (n, outputs)
            Values, on the host or beside `X`.

        Returns
        -------
        MLPRegressor
        """
        return self._fit(X, y, sample_weight, False, validation_data, callbacks, checkpoint, resume)

    @available_if(stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, validation_data: Any = None,
        callbacks: Iterable[Any] = (),
    ) -> MLPRegressor:  # fmt: skip
        """Go through the rows once, going on from what was learned before.

        Parameters
        ----------
        X, y, sample_weight, validation_data, callbacks
            As in `fit`. Early stopping needs `validation_data`; look at `stopped_`.

        Returns
        -------
        MLPRegressor
        """
        return self._fit(X, y, sample_weight, True, validation_data, callbacks)

    # Use

    def predict(self, X: Any) -> Any:
        """Predict values.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows, where those of `fit` were.

        Returns
        -------
        array, shape (n,) or (n, outputs)
            On the library and device of `X`; of a source on the host.
        """
        return self._decide(*self._scores(X, "predict"))

    def _decide(self, scores: Array, give: Callable[[Array], Array]) -> Any:
        with on_device(device_of(scores)):
            if self.out_activation_ == "exp":
                scores = Loss("poisson").mean(scores, xp=self._place()[0])
            return give(scores[:, 0] if scores.shape[1] == 1 else scores)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """R squared of the prediction.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows.
        y : array_like, shape (n,) or (n, outputs)
            Values.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows.

        Returns
        -------
        float
        """
        return score(self, X, y, sample_weight)
