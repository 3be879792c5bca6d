"""`MLPClassifier`: scikit-learn's, on any array library."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_matrix, issparse
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
)
from sklearn.utils.validation import column_or_1d

from xpnn.backends import Array, device_of, namespace, on_device, to_device, to_host
from xpnn.data.streams import Source
from xpnn.distributed import MPI
from xpnn.estimators.base import BaseMLP, stochastic
from xpnn.estimators.fitted import stay
from xpnn.estimators.inputs import float_of, is_wide
from xpnn.estimators.labels import check_known, row_weights
from xpnn.estimators.losses import CLASSIFIER, classifier_loss, has_only_scores, has_probabilities
from xpnn.estimators.stochastic import Data
from xpnn.estimators.streamed import first_labels, score
from xpnn.functional import sigmoid, softmax
from xpnn.training import Loss


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """Multi-layer perceptron that tells classes apart, in place of scikit-learn's.

    Parameters before the second star, fitted attributes, methods, warnings and errors are
    those of `sklearn.neural_network.MLPClassifier` 1.9, and so are the numbers: with the
    same `random_state`, float64 NumPy data gives the same weights, to rounding. `X` may be
    an array of any library that follows the array API standard; it decides where the model
    lives and what it hands out.

    Parameters
    ----------
    hidden_layer_sizes, solver, alpha, batch_size, learning_rate_init, power_t, max_iter, \
shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, \
validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As in scikit-learn.
    activation : str, Layer, pair of functions, or a sequence of them, default 'relu'
        scikit-learn's four names and all of `xpnn.functional.ACTIVATIONS`; a sequence has
        one for each hidden layer. A pair is ``(function, derivative)``; see
        `xpnn.layers.OwnActivation`.
    learning_rate : {'constant', 'invscaling', 'adaptive'} or Schedule, default 'constant'
        As in scikit-learn; a schedule of `xpnn.optimizers` goes with every solver but
        'lbfgs'.
    loss : {'log_loss', 'softmax_cross_entropy', 'binary_cross_entropy', 'hinge'} or Loss, \
default 'log_loss'
        'log_loss' is scikit-learn's: a softmax for several classes, else yes-or-no questions.
        'binary_cross_entropy' and 'hinge' set each class against the rest; 'hinge' has no
        probabilities.
    class_weight : dict, list of dict, 'balanced' or None, default None
        Weights of the classes, as in scikit-learn's other classifiers.
    label_smoothing : float, default 0
        Share of each target that is spread evenly over the classes.
    dropout : float or sequence of float, default 0
        Share of the hidden units left out in a step, for all layers or for each.
    optimizer : Optimizer, optional
        In place of `solver`: one of `xpnn.optimizers`, with its own rate.
    weight_decay : float, default 0
        Decoupled weight decay (Loshchilov & Hutter 2019), of all parameters.
    clip_norm : float, optional
        Largest norm of a step's gradient.
    monitor : {'score', 'loss'}, scorer name or callable, default 'score'
        What early stopping watches on the validation rows. A callable is called as
        ``monitor(model, X, y)``, everything on the host; larger is better.
    dtype : {'float16', 'float32', 'float64'}, optional
        Of the parameters; default, that of `X`.
    compute_dtype, loss_scale, precision, accumulate, deterministic, distributed, progress
        As in `xpnn.training.fit`.
    backend, device : str, optional
        Where to compute, whatever `X` is; default, where `X` is. Rows of more than a quarter
        of a GPU's memory (``XPNN_DEVICE_SHARE=0.25``) go there batch by batch.
    engine : {'auto', 'plan', 'kernels', 'pure'}, default 'auto'
        See `xpnn.engine.make_runner`.

    Attributes
    ----------
    classes_, loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_, t_, \
coefs_, intercepts_, n_features_in_, feature_names_in_, n_iter_, n_layers_, n_outputs_, \
out_activation_
        As in scikit-learn. `coefs_` and `intercepts_` are lists of arrays; assign as you like.
    validation_loss_curve_ : list of float
        Loss on the validation rows after each epoch, where there are any.
    stopped_ : bool
        Whether a rule ended the training before `max_iter`.

    Examples
    --------
    >>> from xpnn import MLPClassifier
    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(n_samples=100, random_state=1)
    >>> model = MLPClassifier(random_state=1, max_iter=300).fit(X, y)
    >>> model.predict(X[:5])
    array([0, 0, 0, 0, 1])
    """

    _TARGETS: ClassVar[dict[str, Any]] = {}
    _METRIC = staticmethod(accuracy_score)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions(set(CLASSIFIER)), Loss],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
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
        loss: str | Loss = "log_loss",
        class_weight: Any = None,
        label_smoothing: float = 0.0,
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
        distributed: str | MPI | None = None,
    ) -> None:
        self._keep(locals())

    # Targets

    def _outputs(
        self, x: Any, y: Any, incremental: bool, first: bool, held: bool = False
    ) -> tuple[Any, Any, int]:
        given = y
        if issparse(y):
            y = y.toarray()
        if y.ndim == 2 and y.shape[1] == 1:
            given = y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._learn_classes(given)
        else:
            check_known(y, self.classes_, exactly=self.warm_start and not held)
        if self._make_objective().kind == "multiclass":
            # Numbers of the classes: what a softmax needs, and less memory than a table.
            return y, np.searchsorted(self.classes_, y).astype(np.int32), len(self.classes_)
        table = self._label_binarizer.transform(y)
        if issparse(table):
            table = table.toarray()
        return y, table.astype(np.float64), int(table.shape[1])

    def _learn_classes(self, labels: Any) -> None:
        self._label_binarizer = LabelBinarizer().fit(labels)
        self.classes_ = self._label_binarizer.classes_

    def _out_activation(self) -> str:
        names = {"softmax_cross_entropy": "softmax", "hinge": "identity"}
        return names.get(self._make_objective().name, "logistic")

    def _make_objective(self) -> Loss:
        return classifier_loss(
            self.loss, self._label_binarizer.y_type_, self.label_smoothing, self._searches
        )

    def _weights(self, labels: Any, sample_weight: Any) -> Any:
        return row_weights(self.class_weight, self.classes_, labels, sample_weight)

    def _stratify(self, data: Data) -> Any:
        return data.y if self.n_outputs_ == 1 else None

    # Learning

    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, validation_data: Any = None,
        callbacks: Iterable[Any] = (), checkpoint: Any = None, resume: Any = False,
    ) -> MLPClassifier:  # fmt: skip
        """Learn from labelled rows.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows; an array of any library. Sparse ones are made dense batch by batch. A
            source, see `xpnn.data.stream`, brings labels and weights.
        y : array_like, shape (n,) or (n, outputs)
            Labels, on the host or beside `X`; a table of 0 and 1 for multi-label.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows.
        validation_data : pair (X, y) or Source, optional
            Rows to look at after each epoch; early stopping then sets none apart.
        callbacks : iterable of Callback or callable
            Called after each epoch with a run whose `network` is the model; a text that
            one returns ends the training. A method ``on_batch(run, number, loss)`` is
            called after each step.
        checkpoint, resume
            As in `xpnn.training.fit`; parameters but `max_iter` have to be as they were.

        Returns
        -------
        MLPClassifier
        """
        return self._fit(X, y, sample_weight, False, validation_data, callbacks, checkpoint, resume)

    @available_if(stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, classes: Any = None, *,
        validation_data: Any = None, callbacks: Iterable[Any] = (),
    ) -> MLPClassifier:  # fmt: skip
        """Go through the rows once, going on from what was learned before.

        Parameters
        ----------
        X, y, sample_weight, validation_data, callbacks
            As in `fit`. Early stopping needs `validation_data`; look at `stopped_`.
        classes : array_like, shape (classes,), optional
            All labels that may ever come; the first call needs them.

        Returns
        -------
        MLPClassifier
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit, which never sees all "
                "rows; hand in a dict, say of sklearn.utils.compute_class_weight"
            )
        classes = X.classes if classes is None and isinstance(X, Source) else classes
        if _check_partial_fit_first_call(self, classes):
            host = first_labels(X, y)
            self._label_binarizer = LabelBinarizer()
            multilabel = type_of_target(host).startswith("multilabel")
            self._label_binarizer.fit(host if multilabel else classes)
        return self._fit(X, y, sample_weight, True, validation_data, callbacks)

    # Use

    def predict(self, X: Any) -> Any:
        """Predict labels.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows, where those of `fit` were.

        Returns
        -------
        array, shape (n,) or (n, outputs)
            On the library and device of `X`; labels that are not numbers in NumPy, and a
            sparse matrix where that of `fit` was one.
        """
        labels = self._decide(*self._scores(X, "predict"))
        return csr_matrix(labels) if self._label_binarizer.sparse_input_ else labels

    def _decide(self, scores: Array, give: Callable[[Array], Array]) -> Any:
        xp = namespace(scores=scores)
        kind = self._label_binarizer.y_type_
        with on_device(device_of(scores)):
            if kind.startswith("multilabel"):
                return give(xp.astype(scores > 0, xp.int64 if is_wide(xp) else xp.int32))
            if len(self.classes_) == 1:
                codes = xp.zeros(scores.shape[0], dtype=xp.int32)
            elif scores.shape[1] == 1:
                codes = xp.astype(scores[:, 0] > 0, xp.int32)
            else:
                codes = xp.argmax(scores, axis=1)
        words = self.classes_.dtype.kind not in "biuf"
        if words or self._library == "numpy" or give is not stay:
            labels = self.classes_[to_host(codes)]
            return labels if words else give(labels)
        device, dtype = device_of(scores), None
        if self.classes_.dtype.kind == "f":
            dtype = getattr(xp, float_of(self.classes_.dtype, xp, device))
        with on_device(device):
            classes = to_device(self.classes_, xp, device, dtype)
            return give(xp.take(classes, codes, axis=0))

    @available_if(has_only_scores)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Any:
        """Scores, for ``loss='hinge'``: others have probabilities, and scikit-learn's only those.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows.

        Returns
        -------
        array, shape (n,) for two classes, else (n, outputs)
        """
        scores, give = self._scores(X, "decision_function")
        if scores.shape[1] == 2 == len(self.classes_) and self.out_activation_ == "softmax":
            return give(scores[:, 1] - scores[:, 0])
        return give(scores[:, 0] if scores.shape[1] == 1 else scores)

    def _proba(self, X: Any, method: str) -> tuple[Array, Callable[[Array], Array]]:
        scores, give = self._scores(X, method)
        xp = namespace(scores=scores)
        with on_device(device_of(scores)):
            if self.out_activation_ == "softmax":
                return softmax(scores, xp=xp), give
            p = sigmoid(scores, xp=xp)
            if self._label_binarizer.y_type_ == "multiclass":  # each class against the rest
                whole = xp.sum(p, axis=1, keepdims=True, dtype=p.dtype)
                return p / xp.where(whole > 0, whole, xp.ones_like(whole)), give
            return (xp.concat([1.0 - p, p], axis=1) if p.shape[1] == 1 else p), give

    @available_if(has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """Predict probabilities.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows.

        Returns
        -------
        array, shape (n, classes)
            In the order of `classes_`.
        """
        proba, give = self._proba(X, "predict_proba")
        return give(proba)

    @available_if(has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of the probabilities.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows.

        Returns
        -------
        array, shape (n, classes)
        """
        proba, give = self._proba(X, "predict_log_proba")
        xp = namespace(proba=proba)
        with on_device(device_of(proba)), np.errstate(divide="ignore"):
            return give(xp.log(proba))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Share of rows whose label is predicted right.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows.
        y : array_like
            Labels; a source brings its own.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows.

        Returns
        -------
        float
        """
        return score(self, X, y, sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
