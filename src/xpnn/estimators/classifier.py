"""`MLPClassifier`: scikit-learn's, on any array library."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_matrix, issparse
from sklearn.base import ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_class_weight, compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import column_or_1d

from xpnn.backends import (
    Array,
    InputError,
    device_of,
    is_half,
    library_name,
    namespace,
    on_device,
    to_device,
    to_host,
)
from xpnn.data.streams import Source
from xpnn.estimators.inputs import (
    check_known_labels,
    host_column,
    one_at_a_time,
    unchanged_if_refused,
)
from xpnn.estimators.losses import CLASSIFIER, classifier_loss, has_only_scores, has_probabilities
from xpnn.estimators.mlp import MISSING_TARGET, BaseMLP, Encoded, FitData
from xpnn.estimators.parameters import CONSTRAINTS, has_partial_fit
from xpnn.estimators.validator import score_of
from xpnn.functional import CustomLoss, sigmoid, softmax
from xpnn.training import Loss


@dataclass(eq=False, repr=False)
class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """Multi-layer perceptron that tells classes apart, in place of scikit-learn's.

    Parameters, fitted attributes, methods, warnings and errors of
    `sklearn.neural_network.MLPClassifier` 1.9 are all here, and so are the numbers: with the
    same `random_state`, float64 NumPy data gives the same weights, to rounding. `X` may be an
    array of any library that follows the array API standard; it decides where the model lives
    and what it returns.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (100,)
        Number of units of each hidden layer; an empty sequence gives a linear model.
    activation : str, Layer, pair of callables, or a sequence of them, default 'relu'
        Activation of the hidden layers: 'identity', 'logistic', 'tanh', 'relu' as in
        scikit-learn, any other name in `xpnn.functional.ACTIVATIONS`, an activation layer, or
        a pair of pure functions ``(forward, backward)``, see `xpnn.layers.CustomActivation`.
        A sequence has one for each hidden layer.
    solver : {'adam', 'sgd', 'lbfgs'}, default 'adam'
        How weights are optimized: 'adam' (Kingma & Ba 2015), stochastic gradient descent, or
        SciPy's L-BFGS-B, which looks at all rows at once and suits small data.
    alpha : float, default 0.0001
        Strength of the L2 penalty ``alpha / 2 * sum(weights**2)``, divided by the rows of a
        batch when added to the loss; biases do not count.
    batch_size : int or 'auto', default 'auto'
        Rows in a step of the stochastic solvers; 'auto' is ``min(200, n_samples)``.
    learning_rate : {'constant', 'invscaling', 'adaptive'} or Schedule, default 'constant'
        How the learning rate changes with solver 'sgd': stays; is
        ``learning_rate_init / (rows seen + 1)**power_t`` after each epoch; is divided by 5
        whenever two epochs in a row fail to improve by `tol`. A schedule of
        `xpnn.optimizers` goes with every solver but 'lbfgs'.
    learning_rate_init : float, default 0.001
        Initial learning rate of 'sgd' and 'adam'.
    power_t : float, default 0.5
        Exponent of 'invscaling'.
    max_iter : int, default 200
        Most epochs of a stochastic solver, or most iterations of 'lbfgs'.
    shuffle : bool, default True
        Whether the stochastic solvers shuffle the rows before each epoch.
    random_state : int, RandomState instance or None, default None
        Source of initial weights, the validation split, row orders and dropout. With the same
        one the numbers are those of scikit-learn.
    tol : float, default 1e-4
        Training stops (or an 'adaptive' learning rate shrinks) when loss or score fail to
        improve by this much for `n_iter_no_change` epochs in a row; gradient tolerance of
        'lbfgs'.
    verbose : bool or int, default False
        Whether to print the loss of each epoch.
    warm_start : bool, default False
        Whether `fit` goes on from the weights of the last call.
    momentum : float, default 0.9
        Momentum of 'sgd', 0 to 1.
    nesterovs_momentum : bool, default True
        Whether that is Nesterov's.
    early_stopping : bool, default False
        Whether to stop when the score of validation rows fails to improve, and keep the best
        weights. Without `X_val` in `fit`, `validation_fraction` of the rows is set apart,
        keeping the classes' shares.
    validation_fraction : float, default 0.1
        Fraction of the rows to set apart for early stopping.
    beta_1, beta_2 : float, default 0.9 and 0.999
        Decay rates of Adam's first and second moments.
    epsilon : float, default 1e-8
        Adam's guard against a division by zero.
    n_iter_no_change : int or inf, default 10
        Epochs without an improvement by `tol` before the stochastic solvers stop.
    max_fun : int, default 15000
        Most evaluations of the loss by 'lbfgs'.
    loss : str, Loss, CustomLoss or pair of callables, default 'log_loss'
        'log_loss' is scikit-learn's: a softmax cross-entropy for several classes, else a
        binary one. 'softmax_cross_entropy', 'binary_cross_entropy' and 'hinge' are also known;
        the last two set each class against the rest, and 'hinge' has no probabilities. A
        `Loss` brings its own options; a pair of pure functions ``(forward, backward)`` is a
        loss of your own, see `xpnn.training.as_loss`.
    class_weight : dict, list of dict, 'balanced' or None, default None
        Weights of the classes: of each label, of each label of several, or inversely
        proportional to how often a class comes. They multiply the sample weights, of
        validation rows too.
    label_smoothing : float, default 0
        Share of each target that is spread evenly over the classes (Szegedy et al. 2016).
    dropout : float or sequence of float, default 0
        Fraction of the hidden units that a step drops (Srivastava et al. 2014), for all
        hidden layers or for each.
    optimizer : Optimizer, optional
        In place of `solver`: one of `xpnn.optimizers`, with its own learning rate.
    weight_decay : float, default 0
        Decoupled weight decay (Loshchilov & Hutter 2019), of all parameters.
    clip_norm : float, optional
        Largest Euclidean norm of a step's gradient.
    monitor : {'score', 'loss'}, scorer name or callable, default 'score'
        What early stopping monitors on the validation rows: the accuracy, the loss, or a scorer,
        called as ``monitor(model, X, y)`` with everything on the host; larger is better.
    dtype : {'float16', 'float32', 'float64'}, optional
        Of the parameters; default, that of `X`, for other dtypes than float32 and float64 the
        library's own: float64 on NumPy, float32 on PyTorch and JAX.
    compute_dtype : {'float16', 'bfloat16'}, optional
        Dtype of forward and backward of a step, where it is not to be that of the
        parameters; sums and the loss are float32 then. Needs a float32 or float64 `dtype`.
    loss_scale : 'dynamic', LossScaler or float, optional
        With a compute dtype: what the loss is multiplied by before the backward, so that
        small gradients are not lost. Default: 'dynamic' for float16, none for bfloat16.
    precision : {'highest', 'high', 'medium'}, default 'highest'
        How exactly float32 matrices are multiplied: 'high' allows TensorFloat-32, 'medium'
        bfloat16, on devices and libraries that have them.
    gradient_accumulation_steps : int, default 1
        Parts of a batch that go through the network one after the other, their gradients
        added up before the step: for batches whose hidden layers would not fit in memory.
    deterministic : bool, default False
        Whether the same bits are promised on the same machine: libraries that can are held to
        it, and what cannot is refused.
    backend : str, optional
        Library to compute with, whatever `X` is: 'numpy', 'cupy', 'torch', 'jax' or 'auto';
        default, that of `X`.
    device : str, optional
        Device to compute on, such as 'cpu' or 'cuda:0'; default, that of `X`. Rows of more
        than a quarter of a GPU's memory (``XPNN_DEVICE_SHARE=0.25``) go there batch by batch.
    engine : {'auto', 'planned', 'native', 'pure'}, default 'auto'
        How steps run on NumPy: as native code (needs llvmlite), as calls of NumPy on memory that
        is planned once, or as the plain pure functions; the numbers are the same to the last bit,
        and 'auto' takes what pays. On other libraries see `xpnn.engine.make_runner`.
    progress : bool, default False
        Whether to draw a progress bar on standard error.
    distributed : {'mpi'}, MPIOptions or None, default None
        Share each batch out among the processes that `mpiexec` started, all of which make the
        same calls; `batch_size` is that of the whole batch.

    Attributes
    ----------
    classes_ : numpy.ndarray, shape (classes,)
        Labels, in the order of `predict_proba`'s columns.
    loss_ : float
        Loss of the last epoch (or of L-BFGS's end), the penalty included.
    best_loss_ : float or None
        Lowest loss of all epochs; None with early stopping.
    loss_curve_ : list of float
        Loss of each epoch of a stochastic solver.
    validation_scores_ : list of float or None
        Score of the validation rows after each epoch, with early stopping.
    best_validation_score_ : float or None
        The best of them.
    validation_loss_curve_ : list of float
        Loss on the validation rows after each epoch, where there are any.
    stopped_ : bool
        Whether a rule ended the training before `max_iter`.
    t_ : int
        Training rows seen by a stochastic solver.
    n_iter_ : int
        Epochs or iterations of the last fit.
    coefs_, intercepts_ : list of array
        Weights, of shape (inputs, units), and biases of each layer, on the library and device
        of the model. Assigning to them, or to their entries, changes the model.
    network_ : Network
        The network inside.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : numpy.ndarray of str, shape (n_features_in_,)
        Their names, where `X` had names that are all strings.
    n_layers_ : int
        Number of layers, input and output included.
    n_outputs_ : int
        Number of outputs.
    out_activation_ : str
        Activation of the output.

    See Also
    --------
    MLPRegressor : The same for a regression.

    Examples
    --------
    >>> from xpnn import MLPClassifier
    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(n_samples=100, random_state=1)
    >>> model = MLPClassifier(random_state=1, max_iter=300).fit(X, y)
    >>> model.predict(X[:5])
    array([0, 0, 0, 0, 1])
    """

    loss: Any = field(default="log_loss", kw_only=True)
    class_weight: Any = field(default=None, kw_only=True)
    label_smoothing: float = field(default=0.0, kw_only=True)

    _TARGETS: ClassVar[dict[str, Any]] = {}
    _METRIC = staticmethod(accuracy_score)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS,
        "loss": [StrOptions(set(CLASSIFIER)), Loss, CustomLoss, tuple],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    # Targets

    @one_at_a_time()
    def _encode_targets(self, y: Any, incremental: bool, validation: bool) -> tuple[Any, Any, int]:
        given = y
        if issparse(y):
            y = y.toarray()
        if y.ndim == 2 and y.shape[1] == 1:
            given = y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        known = "_label_binarizer" in vars(self)
        if not validation and (not known or (not self.warm_start and not incremental)):
            self._learn_classes(given)
        else:
            self._check_classes(y, exactly=self.warm_start and not validation)
            if y.ndim == 2 and not self._label_binarizer.y_type_.startswith("multilabel"):
                raise InputError(
                    "The object was not fitted with multilabel input. y has shape "
                    f"{y.shape}; expected one label a row"
                )
        if self._make_loss().kind == "multiclass":
            # Codes of the classes: what a softmax needs, and less memory than a table.
            return y, np.searchsorted(self.classes_, y).astype(np.int32), len(self.classes_)
        table = self._label_binarizer.transform(y)
        if issparse(table):
            table = table.toarray()
        return y, table.astype(np.float64), int(table.shape[1])

    def _learn_classes(self, labels: Any) -> None:
        self._label_binarizer = LabelBinarizer().fit(labels)
        self.classes_ = self._label_binarizer.classes_

    @one_at_a_time()
    def _learn_or_check_classes(self, labels: Any, single: bool) -> None:
        """Learn the labels of a source; a warm start knows them."""
        if "_label_binarizer" in vars(self) and self.warm_start and single:
            self._check_classes(labels, exactly=True)
        else:
            self._learn_classes(labels)

    def _check_classes(self, y: Any, exactly: bool) -> None:
        """Refuse labels that the model cannot learn any more, in scikit-learn's words."""
        if not exactly:
            check_known_labels(y, self.classes_)
            return
        classes, known = unique_labels(y), self.classes_
        if set(classes) != set(known):
            raise InputError(
                "warm_start can only be used where `y` has the same classes as in the "
                f"previous call to fit. Previously got {known}, `y` has {classes}"
            )

    def _out_activation(self) -> str:
        names = {"softmax_cross_entropy": "softmax", "hinge": "identity"}
        loss = self._make_loss()
        if loss.custom is not None and loss.kind == "multiclass":
            return "softmax"
        return names.get(loss.name, "logistic")

    def _make_loss(self) -> Loss:
        kind, search = self._label_binarizer.y_type_, self.solver == "lbfgs"
        line_search = search and self.optimizer is None
        return classifier_loss(self.loss, kind, self.label_smoothing, line_search)

    @one_at_a_time()
    def _row_weights(self, labels: Any, sample_weight: Any, train: Encoded | None = None) -> Any:
        if self.class_weight is None:
            return sample_weight
        if train is not None and train.class_weight is not None:
            weight = train.class_weight[np.searchsorted(self.classes_, labels)]
        elif train is not None and isinstance(self.class_weight, str):
            rows = len(train.labels)
            both, first = np.concatenate([train.labels, labels]), np.arange(rows)
            weight = compute_sample_weight(self.class_weight, both, indices=first)[rows:]
        elif labels.ndim == 1:
            if isinstance(self.class_weight, list):
                raise InputError(
                    f"class_weight is {self.class_weight!r}, a list for several labels a row; y "
                    "has one: expected a dict or 'balanced'"
                )
            known = self.classes_
            own = compute_class_weight(self.class_weight, classes=known, y=labels)
            weight = own[np.searchsorted(known, labels)]
        else:
            weight = compute_sample_weight(self.class_weight, labels)
        if not np.all((weight >= 0) & np.isfinite(weight)):
            raise InputError(f"class_weight is {self.class_weight!r}; expected weights, 0 or more")
        return weight if sample_weight is None else weight * sample_weight

    def _class_weights(self, train: Encoded) -> Any:
        if self.class_weight is None or train.class_weight is not None:
            return train.class_weight
        if train.labels.ndim == 2:
            raise InputError("class_weight does not go with a source of several labels a row")
        return self._row_weights(self.classes_, None, train)

    def _stratify(self, labels: Any) -> Any:
        # As scikit-learn, whose error then names a class by its target, true or false.
        return (labels == self.classes_[-1])[:, None] if self.n_outputs_ == 1 else None

    # Learning

    @with_callbacks  # type: ignore[untyped-decorator]
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        callbacks: Any = (),
        checkpoint: Any = None,
        resume: Any = False,
    ) -> MLPClassifier:
        """Learn from labelled rows.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows; an array of any library. Sparse ones are made dense batch by batch. A
            source, see `xpnn.data.stream`, brings targets and weights.
        y : array_like, shape (n,) or (n, outputs)
            Labels, on the host or beside `X`; a table of 0 and 1 for multi-label.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows, 0 or more.
        X_val, y_val : array_like or Source, optional
            Validation rows to look at after each epoch; early stopping then sets none apart. A
            source brings its own targets. In a Pipeline, ``transform_input=["X_val"]`` lets
            the steps before transform them.
        sample_weight_val : array_like, shape (n,), optional
            Weights of the validation rows in loss and score; those of their
            classes multiply them.
        callbacks : Callback, callable, or iterable of them
            Called on the way, a function with a `Run` after each epoch, whose `model` is this
            estimator. What they return is ignored; ``run.stop("why")`` ends the training.
            Those of scikit-learn are set with `set_callbacks`.
        checkpoint : Checkpoint or path, optional
            Where to write down what the training needs to go on, and how often; a path means
            after every epoch.
        resume : bool or path, default False
            True goes on from the file of `checkpoint`, and begins anew where there is none; a
            path goes on from there. Parameters and data that change the numbers have to be as
            they were; `max_iter` may be more.

        Returns
        -------
        MLPClassifier
            The fitted estimator itself.
        """
        data = FitData(X, y, sample_weight, X_val, y_val, sample_weight_val)
        return self._fit(data, callbacks=callbacks, checkpoint=checkpoint, resume=resume)

    @available_if(has_partial_fit)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        classes: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        callbacks: Any = (),
    ) -> MLPClassifier:
        """Go through the rows once, going on from what was learned before.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows.
        y : array_like, shape (n,) or (n, outputs)
            Labels.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows, 0 or more.
        classes : array_like, shape (classes,), optional
            All labels that may ever come; the first call needs them.
        X_val, y_val, sample_weight_val : array_like or Source, optional
            Validation rows, their labels and weights. Early stopping needs them; look at
            `stopped_`.
        callbacks : Callback, callable, or iterable of them
            Called on the way; a function is called with a `Run` after the epoch.

        Returns
        -------
        MLPClassifier
            The estimator itself.
        """
        if isinstance(self.class_weight, str):
            raise InputError(
                "class_weight 'balanced' is not supported for partial_fit, which never sees all "
                "rows; hand in a dict, say of sklearn.utils.compute_class_weight"
            )
        classes = X.classes if classes is None and isinstance(X, Source) else classes
        if y is None and not isinstance(X, Source):
            raise InputError(MISSING_TARGET.format(type(self).__name__))
        data = FitData(X, y, sample_weight, X_val, y_val, sample_weight_val)
        with nullcontext() if "network_" in vars(self) else unchanged_if_refused(self):
            with one_at_a_time():
                first = _check_partial_fit_first_call(self, classes)
            if first:
                host = X.target_of(X.sample()) if isinstance(X, Source) else host_column(y)
                with one_at_a_time():
                    multilabel = type_of_target(host).startswith("multilabel")
                    self._label_binarizer = LabelBinarizer().fit(host if multilabel else classes)
            return self._fit(data, incremental=True, callbacks=callbacks)

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
            On the library and device of `X`; in NumPy where that library cannot hold the labels
            exactly (strings, or integers and floats too wide for it), and a sparse matrix where
            that of `fit` was one.
        """
        labels = self._predict_from_scores(*self._scores(X, "predict"))
        return csr_matrix(labels) if self._label_binarizer.sparse_input_ else labels

    def _predict_from_scores(self, scores: Array, to_caller: Callable[[Array], Array]) -> Any:
        xp, device = namespace(scores=scores), device_of(scores)
        with on_device(device):
            if self._label_binarizer.y_type_.startswith("multilabel"):
                wide = _held_as("int64", xp, device) is not None
                return to_caller(xp.astype(scores > 0, xp.int64 if wide else xp.int32))
            if len(self.classes_) == 1:
                codes = xp.zeros(scores.shape[0], dtype=xp.int32)
            elif scores.shape[1] == 1:
                codes = xp.astype(scores[:, 0] > 0, xp.int32)
            else:
                codes = xp.argmax(scores, axis=1)
        codes = to_caller(codes)  # a device may be too narrow for the labels themselves
        if type(codes) is np.ndarray:
            return self.classes_[codes]
        xp, device = namespace(codes=codes), device_of(codes)
        classes = _classes_for(self.classes_, xp, device)
        if classes is None:
            return self.classes_[to_host(codes)]
        with on_device(device):
            return to_device(classes, xp, device)[codes]

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
        scores, to_caller = self._scores(X, "decision_function")
        if scores.shape[1] == 2 == len(self.classes_) and self.out_activation_ == "softmax":
            return to_caller(scores[:, 1] - scores[:, 0])
        return to_caller(scores[:, 0] if scores.shape[1] == 1 else scores)

    def _proba(self, X: Any, method: str) -> tuple[Array, Callable[[Array], Array]]:
        scores, to_caller = self._scores(X, method)
        xp = namespace(scores=scores)
        with on_device(device_of(scores)):
            if is_half(scores.dtype):  # rounded to 16 bits they would miss a sum of 1
                scores = xp.astype(scores, xp.float32)
            if self.out_activation_ == "softmax":
                return softmax(scores, xp=xp), to_caller
            p = sigmoid(scores, xp=xp)
            if self._label_binarizer.y_type_ == "multiclass":  # each class against the rest
                whole = xp.sum(p, axis=1, keepdims=True, dtype=p.dtype)
                return p / xp.where(whole > 0, whole, xp.ones_like(whole)), to_caller
            return (xp.concat([1.0 - p, p], axis=1) if p.shape[1] == 1 else p), to_caller

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
            In the order of `classes_`; float32 where the model is float16.
        """
        proba, to_caller = self._proba(X, "predict_proba")
        return to_caller(proba)

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
        proba, to_caller = self._proba(X, "predict_log_proba")
        xp = namespace(proba=proba)
        with on_device(device_of(proba)), np.errstate(divide="ignore"):
            return to_caller(xp.log(proba))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Accuracy: share of rows whose label is predicted right.

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
        return score_of(self, X, y, sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _held_as(name: str, xp: Any, device: Any) -> Any:
    """The dtype of that name, where a library's device has it."""
    return xp.__array_namespace_info__().dtypes(device=device).get(name)


def _classes_for(classes: Any, xp: Any, device: Any) -> Any:
    """Labels in a dtype that a library can hold and pick from, exactly, or None."""
    if classes.dtype.kind not in "biuf":
        return None
    wanted = ["bool"] if classes.dtype.kind == "b" else []
    if classes.dtype.kind in "iu":
        wanted = [classes.dtype.name, "int64", "int32"]
    if classes.dtype.kind == "f":
        wanted = [classes.dtype.name, "float32"]
    for name in wanted:
        if _held_as(name, xp, device) is not None:
            with np.errstate(all="ignore"):
                found = classes.astype(name)
                same = np.array_equal(found.astype(classes.dtype), classes)
            if same and np.array_equal(
                np.sign(found.astype(float)), np.sign(classes.astype(float))
            ):
                return found
    # PyTorch lists no wide unsigned integers, but holds them and picks from them.
    return classes if classes.dtype.kind == "u" and library_name(xp) == "torch" else None
