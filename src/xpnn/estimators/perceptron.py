"""`Perceptron`: scikit-learn's, on any array library, with the tutorial's table."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Perceptron as SklearnPerceptron
from sklearn.metrics import accuracy_score
from sklearn.utils import check_X_y, compute_class_weight
from sklearn.utils import multiclass as labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from xpnn.backends import (
    HOST_NAMESPACE,
    Array,
    Backend,
    Device,
    Namespace,
    default_float,
    device_name,
    device_of,
    library_name,
    namespace,
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
    unchanged_if_refused,
    view_memory,
)
from xpnn.estimators.sgd_randomness import draw, permutations
from xpnn.functional import linear
from xpnn.training.host_rows import SparseRows
from xpnn.training.network import can_restore
from xpnn.training.warn import print_line
from xpnn.units.perceptron_history import PerceptronHistory
from xpnn.units.perceptron_rule import Rule, Trace, Unit

SPARSE_BIAS_STEP = 0.01
"""Factor on the updates of the bias where rows are sparse: scikit-learn's."""


class Perceptron(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Linear classifier that learns by Rosenblatt's rule, a drop-in replacement for scikit-learn's.

    All parameters but the last, attributes, methods, warnings and errors are those of
    `sklearn.linear_model.Perceptron` 1.9, and so are the orders of rows and the numbers, to
    rounding. `X` may be an array of any library that follows the array API standard; weights
    and predictions live where it lives, but learning, row by row, is done on the host.
    `history_` shows what was learned from which example.

    Two classes make one unit, which fires for the second of them; more make one unit for
    each class against the rest. Linearly separable classes take at most
    ``(R / margin)**2`` updates of a unit (Novikoff 1962).

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
        Whether a unit fires at a score of 0, as the threshold unit of McCulloch and Pitts and
        that of many texts does. If not, as in scikit-learn, such an example is an error for
        either class, and always changes the unit.

    Attributes
    ----------
    coef_ : array, shape (units, features)
        Weights, where the data of `fit` lives.
    intercept_ : array, shape (units,)
        Biases.
    classes_ : numpy.ndarray, shape (classes,)
        The labels, sorted, on the host.
    n_iter_ : int
        Epochs until the last unit stopped. Once an epoch changed nothing no other can: those
        that follow are counted, as in scikit-learn, but neither run nor in `history_`.
    t_ : float
        ``n_iter_ * n + 1``, summed up over calls of `partial_fit`.
    converged_ : bool
        Whether every unit came to an epoch that changed nothing. Weights with a penalty
        always change.
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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **SklearnPerceptron._parameter_constraints,
        "fires_at_zero": ["boolean"],
    }

    coef_: Any
    intercept_: Any
    n_iter_: int
    history_: PerceptronHistory

    def __init__(
        self,
        *,
        penalty: str | None = None,
        alpha: float = 0.0001,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: bool | int = 0,
        eta0: float = 1.0,
        n_jobs: int | None = None,
        random_state: Any = 0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: Any = None,
        warm_start: bool = False,
        fires_at_zero: bool = False,
    ) -> None:
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.eta0 = eta0
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.fires_at_zero = fires_at_zero

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
            Rows; an array of any library. Sparse ones move the bias by a hundredth of a
            step, as in scikit-learn.
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
            A parameter, a shape or a value is wrong, `y` holds one class only, or weights
            overflowed.
        """
        with unchanged_if_refused(self):
            x, y = self._validate(X, y, record, reset=True)
            if self.warm_start and hasattr(self, "coef_"):
                coef_init = self.coef_ if coef_init is None else coef_init
                intercept_init = self.intercept_ if intercept_init is None else intercept_init
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

    def _place(self) -> tuple[Namespace, Device, Any]:
        """Library, device and dtype of the weights."""
        chosen = select(self._library, self._device_name, self._dtype_name)
        return chosen.xp, chosen.device, chosen.dtype

    @property
    def _backend(self) -> Backend:
        """Where the weights are."""
        xp, device, dtype = self._place()
        return Backend(self._library, xp, device, dtype)

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
        xp, device = (HOST_NAMESPACE, "cpu") if issparse(x) else (namespace(X=x), device_of(x))
        self._library, self._device_name = library_name(xp), device_name(device)
        self._dtype_name = float_of(x.dtype, xp, device)
        self.coef_, self.intercept_ = (to_device(a, *self._place()) for a in found)
        self.t_ = 1.0
        self.history_ = PerceptronHistory(units)

    def _learn(self, X: Any, y: Any, sample_weight: Any, max_iter: int, record: bool | str) -> None:
        x = X if issparse(X) else to_host(X)
        x = x.astype(self._dtype_name, copy=issparse(x) and not x.has_canonical_format)
        if issparse(x):
            x.sum_duplicates()
        weight = np.ones(len(y))
        if sample_weight is not None:
            weight = _check_sample_weight(host_column(sample_weight), x, dtype=np.float64)
        units = self._units(y, weight, issparse(x))
        fraction = float(self.validation_fraction) if self.early_stopping else None
        validation, seeds = draw(self.random_state, y, len(units), fraction)
        if self.early_stopping and not weight[validation].any():
            raise ValueError(
                "The sample weights for validation set are all zero, consider using a different "
                "random state."
            )
        rows, rule = x[validation], units[0].rule

        def loss(unit: Unit, steps: int) -> float:
            if not self.early_stopping:
                return unit.loss
            right = rule.fires(unit.validation_scores(rows, steps)) == (
                unit.targets[validation] > 0
            )
            return -float(np.average(right, weights=weight[validation]))

        orders = permutations(validation, seeds, bool(self.shuffle))
        self._run_epochs(units, x, orders, loss, max_iter, record)
        place = self._place()
        self.coef_ = to_device(np.stack([unit.weights for unit in units]), *place)
        self.intercept_ = to_device([unit.bias for unit in units], *place)
        self.n_iter_ = max(unit.epochs for unit in units)
        self.t_ += self.n_iter_ * len(y)
        self.history_.stopped = any(not u.settled and u.epochs < max_iter for u in units)
        self.converged_ = self.history_.converged = all(unit.settled for unit in units)

    def _units(self, y: Any, weight: Any, sparse: bool) -> list[Unit]:
        """Make the units as they are now; the rest of several classes has class weight 1."""
        by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        own, rest = by_class, np.ones_like(by_class)
        if len(by_class) == 2:
            own, rest = by_class[1:], by_class[:1]
        fires = y[:, None] == self.classes_[-len(own) :]
        coef, intercept = to_host(self.coef_), to_host(self.intercept_)
        return [
            Unit(
                self._rule(sparse),
                coef[u],
                float(intercept[u]),
                targets=np.where(fires[:, u], 1.0, -1.0),
                sample_weight=weight * np.where(fires[:, u], own[u], rest[u]),
                number=u,
            )
            for u in range(len(own))
        ]

    def _rule(self, sparse: bool) -> Rule:
        l1_share = {"l1": 1.0, "elasticnet": self.l1_ratio}.get(self.penalty or "", 0.0)
        alpha = self.alpha if self.penalty else 0.0
        return Rule(
            eta0=float(self.eta0),
            bias_step=(SPARSE_BIAS_STEP if sparse else 1.0) if self.fit_intercept else 0.0,
            fires_at_zero=bool(self.fires_at_zero),
            l2=float(alpha * (1 - l1_share)),
            l1=float(alpha * l1_share),
        )

    def _run_epochs(
        self,
        units: list[Unit],
        x: Any,
        orders: Iterator[Any],
        loss: Callable[[Unit, int], float],
        max_iter: int,
        record: bool | str,
    ) -> None:
        """Let units learn, epoch by epoch, until each of them stops."""
        inputs, history = None, self.history_
        for epoch in range(1, max_iter + 1):
            live = [unit for unit in units if not unit.stopped]
            if not live:
                return
            indices, traces = next(orders), []
            room = history.has_room(len(indices) * len(live), x.shape[1])
            if record is True or (record == "auto" and room):
                # What was recorded does not change with the caller's array.
                inputs = x.copy() if inputs is None else inputs
                traces = [Trace(unit, indices[:, unit.number], inputs) for unit in live]
            for unit, trace in zip_longest(live, traces):
                unit.run_epoch(x, indices[:, unit.number], trace)
            if not all(unit.finite for unit in live):
                raise ValueError(
                    f"Floating-point under-/overflow occurred at epoch #{epoch}. Scaling input "
                    "data with StandardScaler or MinMaxScaler might help."
                )
            history.add(live, traces)
            if self.verbose:
                updates, losses = sum(u.updates for u in live), sum(u.loss for u in live)
                print_line(f"Epoch {epoch}: {updates} updates, average loss {losses:.6f}")
            for unit in live:
                unit.stop_if_done(
                    loss(unit, len(indices)),
                    tol=self.tol,
                    n_iter_no_change=self.n_iter_no_change,
                    max_iter=max_iter,
                )

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
        where = self._backend
        x = check_rows(self, X, where)
        is_list = isinstance(X, list | tuple)
        if not is_list:
            check_namespace(self, x, where, method)
        xp, device = where.xp, where.device
        coef, intercept = self.coef_, self.intercept_
        coef = coef.toarray() if issparse(coef) else coef
        with on_device(device):
            if isinstance(x, SparseRows):
                x = x.matrix
            else:
                x = to_device(x, where.xp, where.device, coef.dtype if is_list else None, copy=None)
                dtype = xp.result_type(x, coef)
                x, coef = (xp.astype(a, dtype, copy=False) for a in (x, coef))
            intercept = xp.astype(intercept, coef.dtype, copy=False)
            # SciPy's sparse rows know only the operator.
            scores = x @ coef.T + intercept if issparse(x) else linear(x, coef.T, intercept, xp=xp)
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
        xp, device, _ = self._place()
        with on_device(device):
            if len(self.classes_) == 2:
                codes = xp.astype(self._rule(sparse=False).fires(scores), xp.int32)
            else:
                codes = xp.argmax(scores, axis=1)
            if self._library == "numpy" or self.classes_.dtype.kind not in "biuf":
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
        predicted = to_host(self.predict(X))
        return float(
            accuracy_score(host_column(y), predicted, sample_weight=host_column(sample_weight))
        )

    # Moving

    def densify(self) -> Perceptron:
        """Make `coef_` dense again, after `sparsify`."""
        check_is_fitted(self)
        if issparse(self.coef_):
            self.coef_ = self.coef_.toarray()
        return self

    def sparsify(self) -> Perceptron:
        """Keep `coef_` as a SciPy sparse array, where it is NumPy's."""
        check_is_fitted(self)
        if self._library != "numpy":
            raise ValueError(f"coef_ is an array of {self._library}; only NumPy's can be sparse")
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
        chosen = select(backend, device, self._dtype_name)
        # Both first: if there is no room, the perceptron stays where it is.
        coef, intercept = (
            to_device(to_host(array), chosen.xp, chosen.device, chosen.dtype)
            for array in (self.coef_, self.intercept_)
        )
        self.coef_, self.intercept_ = coef, intercept
        self._library, self._device_name = chosen.name, device_name(chosen.device)
        return self

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {k: to_host(v) if is_foreign(v) else v for k, v in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if vars(self).get("_library", "numpy") != "numpy" and hasattr(self, "coef_"):
            self.restore_device()

    def restore_device(self) -> None:
        """Put arrays that were saved on the host where they were, if that is possible here."""
        wanted = (self._library, self._device_name)
        self._library, self._device_name = "numpy", "cpu"
        if can_restore(*wanted, self._dtype_name):
            self.to(*wanted)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags
