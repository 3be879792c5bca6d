"""`Perceptron`: scikit-learn's, on any array library, with the tutorial's table."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import cache
from itertools import zip_longest
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Perceptron as SklearnPerceptron
from sklearn.linear_model._base import SparseCoefMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_X_y, compute_class_weight
from sklearn.utils import multiclass as labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from xpnn.backends import (
    Array,
    Backend,
    backend_of,
    default_float,
    device_name,
    dtype_name,
    named_dtype,
    on_device,
    select,
    to_device,
    to_host,
)
from xpnn.estimators.inputs import (
    check_foreign,
    check_known_labels,
    check_namespace,
    check_rows,
    float_of,
    host_column,
    is_foreign,
    one_at_a_time,
    unchanged_if_refused,
    view_memory,
)
from xpnn.estimators.sgd_randomness import draw, permutations
from xpnn.functional import linear
from xpnn.training.host_rows import SparseRows
from xpnn.training.network import can_restore
from xpnn.training.warn import print_line
from xpnn.units.perceptron import PerceptronHistory, Rule, Trace, Unit


@dataclass(eq=False, repr=False)
class Perceptron(SparseCoefMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Linear classifier that learns by Rosenblatt's rule, a drop-in replacement for scikit-learn's.

    All parameters but the last, attributes, methods, warnings and errors are those of
    `sklearn.linear_model.Perceptron` 1.9, and so are the orders of rows and the numbers, to
    rounding. `X` may be an array of any library that follows the array API standard; weights
    and predictions live where it lives, but learning, row by row, is done on the host.
    `history_` shows what was learned from which example.

    Two classes make one unit, which fires for the second; more make one for each class against
    the rest. Linearly separable classes take at most ``(R / margin)**2`` updates of a unit.

    Parameters
    ----------
    penalty : {'l2', 'l1', 'elasticnet'} or None, default None
        Penalty on the weights, which shrinks them at every example.
    alpha : float, default 0.0001
        Strength of the penalty.
    l1_ratio : float, default 0.15
        Share of L1 in the penalty 'elasticnet', between 0 (all L2) and 1 (all L1).
    fit_intercept : bool, default True
        Whether units have a bias.
    max_iter : int, default 1000
        Most epochs of `fit`.
    tol : float or None, default 1e-3
        `fit` stops when the mean loss (with early stopping: the validation score) improved by
        less than this in `n_iter_no_change` epochs. None: it goes on until nothing changes.
    shuffle : bool, default True
        Whether every epoch has an order of its own, or that of the rows.
    verbose : int, default 0
        1 or more prints a line for each epoch.
    eta0 : float, default 1
        Learning rate.
    n_jobs : int or None, default None
        Accepted and not used: all units learn in one thread.
    random_state : int, RandomState instance or None, default 0
        Seed of the orders and of the choice of validation rows; None draws one.
    early_stopping : bool, default False
        Whether to set validation rows apart, and stop when their score stops improving.
    validation_fraction : float, default 0.1
        Fraction of the rows that early stopping sets apart, in every class alike.
    n_iter_no_change : int, default 5
        Epochs without improvement after which to stop.
    class_weight : dict, 'balanced' or None, default None
        Weights of classes by label, else 1; 'balanced': ``n / (classes * rows of the class)``.
    warm_start : bool, default False
        Whether `fit` begins with what the previous one has learned.
    fires_at_zero : bool, default False
        Whether a unit fires at a score of 0, as the threshold unit of McCulloch and Pitts does.
        If not, as in scikit-learn, such an example is an error for either class.

    Attributes
    ----------
    coef_ : array, shape (units, features)
        Weights, where the data of `fit` lives.
    intercept_ : array, shape (units,)
        Biases.
    classes_ : numpy.ndarray, shape (classes,)
        The labels, sorted, on the host.
    n_iter_ : int
        Epochs until the last unit stopped. Those after one that changed nothing are counted, as
        in scikit-learn, but neither run nor in `history_`.
    t_ : float
        ``n_iter_ * n + 1``, summed up over calls of `partial_fit`.
    converged_ : bool
        Whether every unit came to an epoch that changed nothing; with a penalty none does.
    history_ : PerceptronHistory
        Prints as a table, example by example; `partial_fit` adds to it.
    n_features_in_ : int
        Features of the rows.
    feature_names_in_ : numpy.ndarray of str, shape (n_features_in_,)
        Their names, where `X` is a frame whose column names are all strings.

    References
    ----------
    F. Rosenblatt, "The perceptron", Psychological Review 65 (1958), 386-408.
    A. B. J. Novikoff, "On convergence proofs on perceptrons", Symposium on the
    Mathematical Theory of Automata 12 (1962), 615-622.

    Examples
    --------
    >>> from xpnn import Perceptron
    >>> unit = Perceptron(shuffle=False)
    >>> unit = unit.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1])
    >>> unit.predict([[1, 1], [1, 0]])
    array([1, 0])
    >>> unit.history_
    PerceptronHistory(converged: epoch 9 changed nothing (18 updates in all))
    """

    _: KW_ONLY
    penalty: str | None = None
    alpha: float = 0.0001
    l1_ratio: float = 0.15
    fit_intercept: bool = True
    max_iter: int = 1000
    tol: float | None = 1e-3
    shuffle: bool = True
    verbose: bool | int = 0
    eta0: float = 1.0
    n_jobs: int | None = None
    random_state: Any = 0
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 5
    class_weight: Any = None
    warm_start: bool = False
    fires_at_zero: bool = False

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SklearnPerceptron._parameter_constraints,
        "fires_at_zero": ["boolean"],
    }

    # Learning

    def fit(
        self,
        X: Any,
        y: Any,
        coef_init: Any = None,
        intercept_init: Any = None,
        sample_weight: Any = None,
        *,
        record: bool | str = "auto",
    ) -> Perceptron:
        """Learn from labelled rows.

        Parameters
        ----------
        X : array_like, sparse matrix or frame, shape (n, features)
            Rows. Sparse ones move the bias by a hundredth of a step, as in scikit-learn.
        y : array_like, shape (n,)
            Labels, on the host or on the device of `X`.
        coef_init : array_like, shape (units, features), optional
            Weights to begin with; default, 0, or `coef_` with ``warm_start=True``.
        intercept_init : array_like, shape (units,), optional
            Biases to begin with.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows.
        record : bool or 'auto', default 'auto'
            Whether `history_` keeps what happened at every example; 'auto' does until it
            holds 100,000 numbers. The updates of each epoch are always there.

        Returns
        -------
        Perceptron
            The perceptron itself.

        Raises
        ------
        ValueError
            A parameter, shape or value is wrong, `y` has one class only, or weights overflow.
        """
        with unchanged_if_refused(self):
            x, y = self._validate(X, y, record, reset=True)
            if self.warm_start and hasattr(self, "coef_"):
                coef_init = self.coef_ if coef_init is None else coef_init
                intercept_init = self.intercept_ if intercept_init is None else intercept_init
            with one_at_a_time():
                self.classes_ = labels.unique_labels(y)
            self._start(x, coef_init, intercept_init)
            self._learn(x, y, sample_weight, int(self.max_iter), record)
        if self.tol is not None and self.n_iter_ == self.max_iter:
            warnings.warn(
                "Maximum number of iteration reached before convergence. Consider increasing "
                f"max_iter to improve the fit. The perceptron {self.history_.verdict()}",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        *,
        record: bool | str = "auto",
    ) -> Perceptron:
        """Go through the rows once, continuing from what was learned before.

        Parameters
        ----------
        X : array_like, sparse matrix or frame, shape (n, features)
            Rows, where those of the first call were.
        y : array_like, shape (n,)
            Labels, on the host or on the device of `X`.
        classes : array_like, shape (classes,), optional
            All labels that may ever come; the first call needs them.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows.
        record : bool or 'auto', default 'auto'
            As in `fit`.

        Returns
        -------
        Perceptron
            The perceptron itself.

        Raises
        ------
        ValueError
            `y` holds a label that is not among `classes` (scikit-learn would take it for
            the rest, or for the first of two classes), or as in `fit`.
        """
        first = not hasattr(self, "classes_")
        if first and self.early_stopping:
            raise ValueError("early_stopping should be False with partial_fit")
        if first and self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit. In order to use "
                "'balanced' weights, use compute_class_weight('balanced', classes=classes, y=y) "
                "and pass the resulting weights as the class_weight parameter."
            )
        with unchanged_if_refused(self):
            x, y = self._validate(X, y, record, reset=first)
            with one_at_a_time():
                labels._check_partial_fit_first_call(self, classes)
                check_known_labels(y, self.classes_)
            if hasattr(self, "coef_"):
                rows = SparseRows(x, x.dtype) if issparse(x) else x
                check_namespace(self, rows, self._backend, "partial_fit")
                self.densify()
            else:
                self._start(x, None, None)
            self._learn(x, y, sample_weight, 1, record)
        return self

    @one_at_a_time()
    def _validate(self, X: Any, y: Any, record: bool | str, reset: bool) -> tuple[Any, Any]:
        self._validate_params()
        if not isinstance(record, bool) and record != "auto":
            raise ValueError(f"record is {record!r}; expected True, False or 'auto'")
        X = view_memory(X, self._backend if hasattr(self, "coef_") else None)
        y = host_column(y)
        if is_foreign(X):
            x = check_foreign(self, X, "X", reset)
            _, y = check_X_y(np.broadcast_to(np.zeros(1), (int(x.shape[0]), 1)), y)
        else:
            x, y = validate_data(
                self, X, y, accept_sparse="csr", dtype=(np.float64, np.float32), reset=reset
            )
        labels.check_classification_targets(y)
        return x, y

    @property
    def _backend(self) -> Backend:
        """Where the weights are."""
        return backend_of(self.intercept_)

    def _start(self, x: Any, coef: Any, intercept: Any) -> None:
        """Take weights and biases to begin with to the rows; forget what was learned before."""
        classes = self.classes_.tolist()
        if len(classes) < 2:
            raise ValueError(
                f"The number of classes has to be greater than one; got {len(classes)} class"
            )
        units = tuple(classes if len(classes) > 2 else classes[1:])
        found = []
        for name, value, shape in (
            ("coef_init", coef, (len(units), self.n_features_in_)),
            ("intercept_init", intercept, (len(units),)),
        ):
            value = value.toarray() if issparse(value) else value
            array = np.zeros(shape) if value is None else np.asarray(to_host(value))
            if len(units) == 1:  # a vector, or a number, will do
                array = array.reshape((*shape[:-1], -1))
            if array.shape != shape:
                raise ValueError(
                    f"Provided {name} does not match dataset. Its shape is {array.shape}; "
                    f"expected {shape}"
                )
            found.append(array)
        place = backend_of(x.data if issparse(x) else x)
        dtype = named_dtype(float_of(x.dtype, place.xp, place.device), place.xp)
        self.coef_: Any = to_device(found[0], place.xp, place.device, dtype)
        self.intercept_: Any = to_device(found[1], place.xp, place.device, dtype)
        self.t_ = 1.0
        self.history_ = PerceptronHistory(units)

    def _learn(self, X: Any, y: Any, sample_weight: Any, max_iter: int, record: bool | str) -> None:
        where, x = self._backend, X if issparse(X) else to_host(X)
        x = x.astype(dtype_name(where.dtype), copy=issparse(x) and not x.has_canonical_format)
        if issparse(x):
            x.sum_duplicates()
        weight = host_column(sample_weight)
        with one_at_a_time():
            weight = _check_sample_weight(weight, x, dtype=np.float64)
            units = self._units(y, weight, issparse(x))
        fraction = float(self.validation_fraction) if self.early_stopping else None
        validation, seeds = draw(self.random_state, y, len(units), fraction)
        if self.early_stopping and not weight[validation].any():
            raise ValueError(
                "The sample weights for validation set are all zero, consider using a different "
                "random state."
            )
        rows, weight = x[validation], weight[validation]
        orders = permutations(validation, seeds, bool(self.shuffle))
        inputs = cache(x.copy)  # What is recorded does not change with the caller's array.
        while live := [unit for unit in units if not unit.stopped]:
            indices = next(orders)
            self._run_epoch(live, x, indices, inputs, record)
            for unit in live:
                loss = unit.loss
                if self.early_stopping:
                    fires = unit.rule.fires(unit.validation_scores(rows, len(indices)))
                    right = fires == (unit.targets[validation] > 0)
                    loss = -float(np.average(right, weights=weight))
                unit.stop_if_done(loss, self.tol, self.n_iter_no_change, max_iter)
        place = where.xp, where.device, where.dtype
        self.coef_ = to_device(np.stack([unit.weights for unit in units]), *place)
        self.intercept_ = to_device([unit.bias for unit in units], *place)
        self.n_iter_ = max(unit.epochs for unit in units)
        self.t_ += self.n_iter_ * len(y)
        self.history_.stopped = any(not u.settled and u.epochs < max_iter for u in units)
        self.converged_ = self.history_.converged = all(unit.settled for unit in units)

    def _units(self, y: Any, weight: Any, sparse: bool) -> list[Unit]:
        """Make the units as they are now; the rest of several classes has class weight 1."""
        l1_share = {"l1": 1.0, "elasticnet": self.l1_ratio}.get(self.penalty or "", 0.0)
        alpha = self.alpha if self.penalty else 0.0
        rule = Rule(
            eta0=float(self.eta0),
            # As in scikit-learn, sparse rows move the bias less.
            bias_step=(0.01 if sparse else 1.0) if self.fit_intercept else 0.0,
            fires_at_zero=bool(self.fires_at_zero),
            l2=float(alpha * (1 - l1_share)),
            l1=float(alpha * l1_share),
        )
        by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        own, rest = by_class, np.ones_like(by_class)
        if len(by_class) == 2:
            own, rest = by_class[1:], by_class[:1]
        coef, intercept = to_host(self.coef_), to_host(self.intercept_).tolist()
        units = []
        for u, label in enumerate(self.classes_[-len(own) :]):
            targets = np.where(y == label, 1.0, -1.0)
            weights = weight * np.where(y == label, own[u], rest[u])
            units.append(Unit(rule, coef[u], intercept[u], targets, weights, u))
        return units

    def _run_epoch(
        self, units: list[Unit], x: Any, indices: Any, inputs: Callable[[], Any], record: bool | str
    ) -> None:
        """Show every unit all rows, in the order of its column of `indices`."""
        history, traces, epoch = self.history_, [], units[0].epochs + 1
        room = history.has_room(len(indices) * len(units), x.shape[1])
        if record is True or (record == "auto" and room):
            traces = [Trace(unit, indices[:, unit.number], inputs()) for unit in units]
        for unit, trace in zip_longest(units, traces):
            unit.run_epoch(x, indices[:, unit.number], trace)
        if not all(np.isfinite(u.bias) and np.isfinite(u.weights).all() for u in units):
            raise ValueError(
                f"Floating-point under-/overflow occurred at epoch #{epoch}. Scaling input "
                "data with StandardScaler or MinMaxScaler might help."
            )
        history.add(units, traces)
        if self.verbose:
            updates, loss = sum(u.updates for u in units), sum(u.loss for u in units)
            print_line(f"Epoch {epoch}: {updates} updates, average loss {loss:.6f}")

    # Predicting

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
        return self._scores(X, "decision_function")

    def _scores(self, X: Any, method: str) -> Array:
        check_is_fitted(self)
        where, coef, intercept = self._backend, self.coef_, self.intercept_
        coef, xp = coef.toarray() if issparse(coef) else coef, where.xp
        x = check_rows(self, X, where)
        is_list = isinstance(X, list | tuple)
        if not is_list:
            check_namespace(self, x, where, method)
        with on_device(where.device):
            if isinstance(x, SparseRows):
                scores = x.matrix @ coef.T + intercept
            else:
                x = where.asarray(x, copy=None) if is_list else x
                dtype = xp.result_type(x, coef)
                x, coef, intercept = (xp.astype(a, dtype, copy=False) for a in (x, coef, intercept))
                scores = linear(x, coef.T, intercept, xp=xp)
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
        scores = self._scores(X, "predict")
        where = self._backend
        xp, device = where.xp, where.device
        with on_device(device):
            if len(self.classes_) == 2:
                fires = Rule(fires_at_zero=bool(self.fires_at_zero)).fires(scores)
                codes = xp.astype(fires, xp.int32)
            else:
                codes = xp.argmax(scores, axis=1)
            if where.name == "numpy" or self.classes_.dtype.kind not in "biuf":
                return self.classes_[to_host(codes)]
            dtypes = xp.__array_namespace_info__().dtypes(device=device)
            short = self.classes_.dtype.kind == "f" and "float64" not in dtypes
            dtype = default_float(xp, device) if short else None
            return xp.take(to_device(self.classes_, xp, device, dtype), codes, axis=0)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy: the share of rows whose label is predicted right.

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
        predicted, y, weight = to_host(self.predict(X)), host_column(y), host_column(sample_weight)
        with one_at_a_time():
            return float(accuracy_score(y, predicted, sample_weight=weight))

    # Moving

    def sparsify(self) -> Perceptron:
        """Keep `coef_` as a SciPy sparse array, where it is NumPy's; `densify` undoes it."""
        check_is_fitted(self)
        library = self._backend.name
        if library != "numpy":
            raise ValueError(f"coef_ is an array of {library}; only NumPy's can be sparse")
        self.coef_ = csr_array(self.coef_)
        return self

    def to(self, backend: str, device: str | None = None) -> Perceptron:
        """Move a fitted perceptron to another library or device, in place.

        Parameters
        ----------
        backend : str
            'numpy', 'cupy', 'torch', 'jax', ...
        device : str, optional
            'cpu', 'cuda:0', ...; default, the library's own.

        Returns
        -------
        Perceptron
            The perceptron itself. It then takes and gives arrays of that library.
        """
        self.densify()
        chosen = select(backend, device, dtype_name(self._backend.dtype))
        # Both first: if there is no room, the perceptron stays where it is.
        self.coef_, self.intercept_ = [
            to_device(to_host(array), chosen.xp, chosen.device, chosen.dtype)
            for array in (self.coef_, self.intercept_)
        ]
        return self

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if is_foreign(state.get("coef_")):
            where = self._backend
            state["_where"] = where.name, device_name(where.device)
        return {k: to_host(v) if is_foreign(v) else v for k, v in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        place = state.pop("_where", None)
        super().__setstate__(state)
        if place is not None:
            self.restore_device(*place)

    def restore_device(self, library: str, device: str) -> None:
        """Go where the saved model was; where that is not possible here, warn and stay."""
        if can_restore(library, device, dtype_name(self._backend.dtype)):
            self.to(library, device)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags
