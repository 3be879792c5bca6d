"""`Perceptron`: scikit-learn's, on any array library, with the tutorial's table."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    unique_labels,
)
from sklearn.utils.validation import check_X_y, validate_data

from xpnn.backends import on_device
from xpnn.estimators.inputs import (
    bring,
    check_foreign,
    check_namespace,
    host_column,
    is_foreign,
    seen,
)
from xpnn.estimators.labels import check_known
from xpnn.estimators.orders import Draws
from xpnn.estimators.perceptron_fitted import FittedPerceptron
from xpnn.estimators.perceptron_training import (
    amounts,
    row_weights,
    rule_of,
    start_table,
    validation_score,
)
from xpnn.estimators.rows import SparseRows
from xpnn.units.perceptron_history import PerceptronHistory
from xpnn.units.perceptron_learning import Course, Examples, learn_epochs


class Perceptron(FittedPerceptron):
    """Linear classifier that learns by Rosenblatt's rule, in place of scikit-learn's.

    Parameters but the last, fitted attributes, methods, warnings and errors are those of
    `sklearn.linear_model.Perceptron` 1.9, and so are the orders of rows and the numbers:
    float64 NumPy data gives the same weights after as many epochs, to rounding. `X` may be
    an array of any library that follows the array API standard; it decides where the units
    live and what comes out. `history_` shows what was learned from which example.

    Two classes make one unit, which fires for the second of them; more make one unit for
    each class against the rest. Linearly separable classes take at most
    ``(R / margin)**2`` updates of a unit (Novikoff 1962).

    Parameters
    ----------
    penalty, alpha, l1_ratio, fit_intercept, max_iter, tol, shuffle, verbose, eta0, \
random_state, early_stopping, validation_fraction, n_iter_no_change, class_weight, warm_start
        As in scikit-learn. A tutorial's rule, which goes through the rows in their order
        until nothing changes, is ``shuffle=False, tol=None``. With ``tol=0`` rounding may
        decide whether a loss that stays the same has fallen.
    n_jobs : int or None, default None
        Accepted and not used: all units learn in one thread.
    fires_at_zero : bool, default False
        What a unit says where its score is 0. True: it fires, as the threshold unit of
        McCulloch and Pitts does, which is right for an example of its class and changes
        nothing; many texts have the rule like this. False is scikit-learn's: neither, so
        that every such example changes the unit; it then predicts that it does not fire.

    Attributes
    ----------
    coef_ : array, shape (units, features)
        Weights, where the data of `fit` lives.
    intercept_ : array, shape (units,)
        Biases.
    classes_ : numpy.ndarray, shape (classes,)
        The labels, sorted, on the host.
    n_iter_ : int
        Epochs until the rule for stopping held, as scikit-learn counts them. Once an epoch
        changed nothing no other can; those that follow are counted without being run, and
        are not in `history_`.
    t_ : float
        ``n_iter_ * n + 1``, summed up over calls of `partial_fit`.
    converged_ : bool
        Whether every unit came to an epoch that changed nothing. Weights with a penalty
        always change.
    history_ : PerceptronHistory
        Prints as a table, example by example; `partial_fit` adds to it.
    n_features_in_, feature_names_in_
        As in scikit-learn.

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
        "penalty": [StrOptions({"l2", "l1", "elasticnet"}), None],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "shuffle": ["boolean"],
        "verbose": ["verbose"],
        "eta0": [Interval(Real, 0, None, closed="neither")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "warm_start": ["boolean"],
        "fires_at_zero": ["boolean"],
    }

    n_iter_: int
    t_: float
    converged_: bool
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
        self, X: Any, y: Any, coef_init: Any = None, intercept_init: Any = None,
        sample_weight: Any = None, *, record: bool | str = "auto",
    ) -> Perceptron:  # fmt: skip
        """Learn from labelled rows; reads from the device once per epoch.

        Parameters
        ----------
        X : array_like, sparse matrix or frame, shape (n, features)
            Rows; an array of any library. Sparse ones move the bias by a hundredth of a
            step, as in scikit-learn.
        y : array_like, shape (n,)
            Labels, on the host or beside `X`.
        coef_init : array_like, shape (units, features), optional
            Weights to begin with; default, 0, or `coef_` with ``warm_start=True``.
        intercept_init : array_like, shape (units,), optional
            Biases to begin with.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows.
        record : bool or 'auto', default 'auto'
            Whether `history_` keeps what happened at every example; 'auto' does until it
            holds `xpnn.units.perceptron_learning.RECORD_LIMIT` numbers. The updates of each
            epoch are always there.

        Returns
        -------
        Perceptron
        """
        self._check_parameters(record)
        x, y = self._validate(X, y, reset=True)
        if self.warm_start and hasattr(self, "coef_"):
            coef_init = self.coef_ if coef_init is None else coef_init
            intercept_init = self.intercept_ if intercept_init is None else intercept_init
        self.classes_ = unique_labels(y)
        self._place(x)
        self._begin(coef_init, intercept_init)
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
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, *,
        record: bool | str = "auto",
    ) -> Perceptron:  # fmt: skip
        """Go through the rows once, going on from what was learned before.

        Parameters
        ----------
        X, y, sample_weight, record
            As in `fit`.
        classes : array_like, shape (classes,), optional
            All labels that may ever come; the first call needs them.

        Returns
        -------
        Perceptron

        Raises
        ------
        ValueError
            `y` holds a label that is not among `classes`. (scikit-learn would take it for
            the rest, or for the first of two classes.)
        """
        self._check_parameters(record)
        first = not hasattr(self, "classes_")
        if first and self.early_stopping:
            raise ValueError("early_stopping should be False with partial_fit")
        if first and self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit. In order to use "
                "'balanced' weights, use compute_class_weight('balanced', classes=classes, y=y) "
                "and pass the resulting weights as the class_weight parameter."
            )
        x, y = self._validate(X, y, reset=first)
        _check_partial_fit_first_call(self, classes)
        check_known(y, self.classes_, exactly=False)
        if hasattr(self, "coef_"):
            check_namespace(self, SparseRows(x, x.dtype) if issparse(x) else x, "partial_fit")
            self.densify()
        else:
            self._place(x)
            self._begin(None, None)
        self._learn(x, y, sample_weight, 1, record)
        return self

    def _check_parameters(self, record: bool | str) -> None:
        self._validate_params()
        if not isinstance(record, bool) and record != "auto":
            raise ValueError(f"record is {record!r}; expected True, False or 'auto'")

    def _validate(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None."
            )
        X, y = seen(self, X), host_column(y)
        if is_foreign(X):
            x = check_foreign(self, X, "X", reset)
            _, y = check_X_y(np.broadcast_to(np.zeros(1), (int(x.shape[0]), 1)), y)
        else:
            x, y = validate_data(
                self, X, y, accept_sparse="csr", dtype=(np.float64, np.float32), reset=reset
            )
        check_classification_targets(y)
        return x, y

    def _begin(self, coef: Any, intercept: Any) -> None:
        """Take weights and biases to begin with, and forget what was learned before."""
        table = start_table(len(self.classes_), self.n_features_in_, coef, intercept)
        self._set_theta(bring(table, *self._home()))
        self.t_ = 1.0
        labels = self.classes_.tolist()
        self.history_ = PerceptronHistory(tuple(labels if len(labels) > 2 else labels[1:]))

    def _learn(self, x: Any, y: Any, sample_weight: Any, epochs: int, record: bool | str) -> None:
        xp, device, dtype = self._home()
        sparse = issparse(x)
        if sparse:
            x = x.astype(dtype, copy=False)
        else:
            with on_device(device):
                x = bring(x, xp, device, dtype)
        units = self.classes_ if len(self.classes_) > 2 else self.classes_[1:]
        targets = (y[:, None] == units).astype(np.float64)
        weight = row_weights(sample_weight, len(y))
        share = float(self.validation_fraction) if self.early_stopping else None
        draws = Draws(self.random_state, y, len(units), share)
        score = None
        if self.early_stopping:
            with on_device(device):
                score = validation_score(self, x, targets, weight, draws.held, xp)
        course = Course(
            epochs, self.tol, int(self.n_iter_no_change), score, record, bool(self.verbose)
        )
        weight = amounts(self.class_weight, self.classes_, y, targets, weight)
        learned = learn_epochs(
            rule_of(self, sparse),
            Examples(x, targets, weight, draws.orders(bool(self.shuffle))),
            self.coef_, self.intercept_, course, self.history_, xp=xp, device=device,
        )  # fmt: skip
        self.coef_, self.intercept_ = learned.weights, learned.bias
        self.n_iter_ = learned.epochs
        self.t_ += self.n_iter_ * len(y)
        self.converged_ = self.history_.converged
