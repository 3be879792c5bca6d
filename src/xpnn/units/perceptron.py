"""The perceptron: threshold units that learn by Rosenblatt's rule."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from xpnn.backends import (
    Array,
    ArrayLike,
    HostGenerator,
    Namespace,
    as_array,
    as_floating,
    device_of,
    generator,
    host,
    on_device,
    placement,
    to_device,
    to_host,
)
from xpnn.functional import accuracy, heaviside, linear, one_hot
from xpnn.units.arguments import beside, positive_integer
from xpnn.units.labels import host_labels
from xpnn.units.perceptron_history import Details, Epoch, PerceptronHistory
from xpnn.units.perceptron_rule import State, Trace, run_epoch, step_for

RECORD_LIMIT = 1_000_000
"""Numbers that a history recorded with ``record="auto"`` keeps: 8 MB in float64."""


class NonConvergenceWarning(UserWarning):
    """The perceptron still changed when it ran out of epochs."""


class Perceptron:
    """Linear classifier that learns by Rosenblatt's rule, one example at a time.

    Two classes make one unit, which fires for the second of them; more make one unit for
    each class against the rest. Weights begin at 0. Learning stops at the first epoch in
    which no example changes anything, which comes if the classes are linearly separable,
    after at most ``(R / margin)**2`` updates of a unit (Novikoff 1962).

    Parameters
    ----------
    eta0 : float, default 1
        Learning rate; from zero weights it scales them all and changes nothing else.
    max_iter : int, default 1000
        Epochs after which to give up.
    shuffle : bool, default False
        Whether each epoch shows the examples in a new order.
    fit_intercept : bool, default True
        Whether the units have a bias.
    random_state : int or generator, optional
        For the orders; the same on every library.

    Attributes
    ----------
    coef_ : array, shape (units, features)
        Weights, where the data of `fit` lives.
    intercept_ : array, shape (units,)
        Biases; 0 without `fit_intercept`.
    classes_ : numpy.ndarray, shape (classes,)
        The labels, sorted, on the host.
    n_iter_ : int
        Epochs that were run, the last one that changed nothing included.
    converged_ : bool
        Whether there was such an epoch.
    history_ : PerceptronHistory
        Prints as a table, example by example.

    References
    ----------
    F. Rosenblatt, "The perceptron", Psychological Review 65 (1958), 386-408.
    A. B. J. Novikoff, "On convergence proofs on perceptrons", Symposium on the
    Mathematical Theory of Automata 12 (1962), 615-622.

    Examples
    --------
    >>> from xpnn import Perceptron
    >>> unit = Perceptron().fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1])
    >>> unit.predict([[1, 1], [1, 0]])
    array([1, 0])
    >>> unit.history_
    PerceptronHistory(converged: epoch 6 changed nothing (11 updates in all))
    """

    coef_: Array
    intercept_: Array
    classes_: Any
    n_iter_: int
    converged_: bool
    history_: PerceptronHistory

    def __init__(
        self,
        eta0: float = 1.0,
        max_iter: int = 1000,
        shuffle: bool = False,
        fit_intercept: bool = True,
        random_state: int | HostGenerator | None = None,
    ) -> None:
        self.eta0 = eta0
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.fit_intercept = fit_intercept
        self.random_state = random_state

    def __repr__(self) -> str:
        given = inspect.signature(type(self)).parameters.values()
        shown = [
            f"{p.name}={getattr(self, p.name)!r}"
            for p in given
            if getattr(self, p.name) is not p.default and getattr(self, p.name) != p.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def fit(self, X: ArrayLike, y: ArrayLike, *, record: bool | str = "auto") -> Perceptron:
        """Learn from labelled rows; reads from the device once per epoch.

        Parameters
        ----------
        X : array_like, shape (n, features)
            Array of any library, which decides where the unit lives; lists become NumPy,
            integers the default float.
        y : array_like, shape (n,)
            Labels: integers, booleans or strings, in a list or a NumPy array wherever `X`
            is, or in an array of `X`'s library and device.
        record : bool or 'auto', default 'auto'
            Whether `history_` keeps what happened at every example; 'auto' does until it
            holds `RECORD_LIMIT` numbers. The updates of each epoch are always there.

        Returns
        -------
        Perceptron
            The perceptron itself.

        Raises
        ------
        ValueError
            A shape does not fit, `X` holds NaN or infinity, `y` names fewer than two
            classes, or a parameter is out of range.
        TypeError
            `X` does not hold numbers, or `y` no labels.
        MixedArraysError
            `y` is an array of another library or device than `X`.

        Warns
        -----
        NonConvergenceWarning
            Every one of `max_iter` epochs changed something.
        """
        self._check_parameters(record)
        X, xp = self._check_data(X)
        classes, codes = host.unique(host_labels(y, X), return_inverse=True)
        if classes.size < 2:
            raise ValueError(f"y holds one class only, {classes[0]!s}; expected at least two")
        self.classes_ = classes
        table = one_hot(codes, classes.size, dtype=host.float64)
        table = table if classes.size > 2 else table[:, 1:]
        self._learn(X, to_device(table, xp, device_of(X), X.dtype), table, record, xp)
        if not self.converged_:
            warnings.warn(
                f"the perceptron {self.history_.verdict()}", NonConvergenceWarning, stacklevel=2
            )
        return self

    def _check_parameters(self, record: bool | str) -> None:
        positive_integer("max_iter", self.max_iter)
        if isinstance(self.eta0, bool) or not self.eta0 > 0 or self.eta0 == float("inf"):
            raise ValueError(f"eta0 is {self.eta0!r}; expected a positive number")
        if not isinstance(record, bool) and record != "auto":
            raise ValueError(f"record is {record!r}; expected True, False or 'auto'")

    def _check_data(self, X: ArrayLike) -> tuple[Array, Namespace]:
        X = as_array("X", X)
        shape = tuple(X.shape)
        if len(shape) != 2:
            raise ValueError(f"X has shape {shape}; expected (n, features)")
        if 0 in shape:
            raise ValueError(f"X has shape {shape}; expected at least one row and one feature")
        xp, device = placement(X=X)
        with on_device(device):
            X = as_floating(X, xp)
            if not to_host(xp.all(xp.isfinite(X))):
                raise ValueError("X holds NaN or infinity; expected finite numbers")
        return X, xp

    def _learn(
        self, X: Array, targets: Array, table: Any, record: bool | str, xp: Namespace
    ) -> None:
        rows, features = X.shape
        units = table.shape[1]
        device = device_of(X)
        state = State(
            to_device(host.zeros((features, units)), xp, device, X.dtype),
            to_device(host.zeros(units), xp, device, X.dtype),
            to_device(host.zeros(units), xp, device, xp.int32),
        )
        names = tuple(self.classes_.tolist())
        history = PerceptronHistory(names if units > 1 else names[1:])
        recorder = _Recorder(X, table, record)
        step = step_for(xp, float(self.eta0), bool(self.fit_intercept))
        source = generator(self.random_state)
        with on_device(device):
            for number in range(1, self.max_iter + 1):
                order = source.permutation(rows) if self.shuffle else host.arange(rows)
                before, wanted = state, recorder.wants_more()
                state, trace = run_epoch(step, state, X, targets, order.tolist(), wanted, xp=xp)
                updates = tuple(to_host(state.updates).tolist())
                details = recorder.details(order, before, trace)
                history.epochs.append(Epoch(number, updates, history.units, details))
                if not any(updates):
                    history.converged = True
                    break
        self.coef_, self.intercept_ = state.weights.T, state.bias
        self.n_iter_, self.converged_, self.history_ = number, history.converged, history

    def _fitted(self, X: ArrayLike) -> tuple[Array, Namespace]:
        if not hasattr(self, "coef_"):
            raise ValueError("the perceptron has not learned anything yet; call fit(X, y) first")
        X, xp, _ = beside("X", X, "coef_", self.coef_)
        shape, features = tuple(X.shape), int(self.coef_.shape[1])
        if len(shape) != 2 or shape[1] != features:
            raise ValueError(
                f"X has shape {shape}; expected (n, {features}), as many features as in fit"
            )
        if shape[0] == 0:
            raise ValueError(f"X has shape {shape}; expected at least one row")
        return X, xp

    def decision_function(self, X: ArrayLike) -> Array:
        """Weighted sums and biases, before the threshold.

        Parameters
        ----------
        X : array_like, shape (n, features)
            Where the data of `fit` was; lists go there.

        Returns
        -------
        array, shape (n,) for two classes, else (n, classes)
            In the dtype of `X`.

        Raises
        ------
        ValueError
            `fit` was not called, or a shape does not fit.
        MixedArraysError
            `X` lives elsewhere than the data of `fit`.
        """
        X, xp = self._fitted(X)
        with on_device(device_of(X)):
            weights = xp.astype(self.coef_, X.dtype, copy=False)
            bias = xp.astype(self.intercept_, X.dtype, copy=False)
            z = linear(X, weights.T, bias, xp=xp)
            return z[:, 0] if len(self.classes_) == 2 else z

    def predict(self, X: ArrayLike) -> Array:
        """Predict labels.

        Parameters
        ----------
        X : array_like, shape (n, features)
            Where the data of `fit` was; lists go there.

        Returns
        -------
        array, shape (n,)
            Numbers and booleans on the library and device of `X`, strings in NumPy. Of
            several classes that with the largest score.

        Raises
        ------
        ValueError
            `fit` was not called, or a shape does not fit.
        MixedArraysError
            `X` lives elsewhere than the data of `fit`.
        """
        scores = self.decision_function(X)
        xp, device = placement(scores=scores)
        if self.classes_.dtype.kind in "UT":
            xp, device, scores, classes = host, "cpu", to_host(scores), self.classes_
        else:
            classes = to_device(self.classes_, xp, device)
        with on_device(device):
            if len(self.classes_) == 2:
                return xp.where(heaviside(scores, xp=xp) > 0, classes[1], classes[0])
            return xp.take(classes, xp.argmax(scores, axis=1), axis=0)

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Share of rows whose label is predicted right.

        Parameters
        ----------
        X : array_like, shape (n, features)
            Where the data of `fit` was; lists go there.
        y : array_like, shape (n,)
            Labels, as for `fit`.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            `fit` was not called, or a shape does not fit.
        TypeError
            The labels are of another kind than those of `fit`.
        MixedArraysError
            An array lives elsewhere than the data of `fit`.
        """
        X, _ = self._fitted(X)
        labels = host_labels(y, X)
        strings = [a.dtype.kind in "UT" for a in (labels, self.classes_)]
        if strings[0] != strings[1]:
            raise TypeError(
                f"y has dtype {labels.dtype}; expected labels as in fit: {self.classes_.dtype}"
            )
        predicted = to_host(self.predict(X))
        return float(accuracy(predicted, labels, dtype=host.float64))


class _Recorder:
    """Keeps the details of epochs as long as there is room for them."""

    def __init__(self, X: Array, targets: Any, record: bool | str) -> None:
        self.X, self.targets, self.record = X, targets, record
        rows, units = targets.shape
        self.size = rows * units * (int(X.shape[1]) + 3)
        self.left = RECORD_LIMIT - rows * (int(X.shape[1]) + units)
        self.inputs: Any = None

    def wants_more(self) -> bool:
        """Whether the coming epoch shall be recorded."""
        return self.record is True or (self.record == "auto" and self.size <= self.left)

    def details(self, order: Any, before: State, trace: Trace | None) -> Details | None:
        """Bring a recorded epoch to the host."""
        if trace is None:
            return None
        self.left -= self.size
        if self.inputs is None:
            self.inputs = to_host(self.X).copy()
        weights = host.concatenate([to_host(before.weights)[None], to_host(trace.weights)])
        bias = host.concatenate([to_host(before.bias)[None], to_host(trace.bias)])
        predictions, errors = to_host(trace.predictions), to_host(trace.errors)
        return Details(order, self.inputs, self.targets, predictions, errors, weights, bias)
