"""`MLPRegressor`: scikit-learn's, on any array library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import column_or_1d

from xpnn.backends import Array, InputError, device_of, namespace, on_device
from xpnn.estimators.inputs import one_at_a_time
from xpnn.estimators.losses import REGRESSOR, loss_name, regressor_loss
from xpnn.estimators.mlp import BaseMLP, FitData
from xpnn.estimators.parameters import CONSTRAINTS, has_partial_fit
from xpnn.estimators.validator import score_of
from xpnn.functional import CustomLoss
from xpnn.training import Loss


@dataclass(eq=False, repr=False)
class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """Multi-layer perceptron for a regression, in place of scikit-learn's.

    Parameters, fitted attributes, methods, warnings and errors of
    `sklearn.neural_network.MLPRegressor` 1.9 are all here, and so are the numbers: with the
    same `random_state`, float64 NumPy data gives the same weights, to rounding. `X` may be an
    array of any library that follows the array API standard; it decides where the model lives
    and what it returns.

    Parameters
    ----------
    loss : str, Loss, CustomLoss or pair of callables, default 'squared_error'
        'squared_error' and 'poisson' are scikit-learn's; 'absolute_error' (or
        'mean_absolute_error'), 'huber', 'mean_squared_error' and 'sum_squared_errors' are also
        known. A `Loss` brings its own options; a pair of pure functions ``(forward,
        backward)`` is a loss of your own, see `xpnn.training.as_loss`.
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
        weights. Without `X_val` in `fit`, `validation_fraction` of the rows is set apart.
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
    delta : float, default 1
        Where the square of 'huber' turns into a line.
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
        What early stopping monitors on the validation rows: R squared, the loss, or a scorer,
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
    MLPClassifier : The same for classes.

    Examples
    --------
    >>> from xpnn import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> model = MLPRegressor(random_state=1, max_iter=2000, tol=0.1).fit(X, y)
    >>> round(model.score(X, y), 2)
    0.98
    """

    loss: Any = "squared_error"
    delta: float = field(default=1.0, kw_only=True)

    _TARGETS: ClassVar[dict[str, Any]] = {"y_numeric": True}
    _METRIC = staticmethod(r2_score)
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS,
        "loss": [StrOptions(set(REGRESSOR)), Loss, CustomLoss, tuple],
        "delta": [Interval(Real, 0, None, closed="neither")],
    }

    # Targets

    @one_at_a_time()
    def _encode_targets(self, y: Any, incremental: bool, validation: bool) -> tuple[Any, Any, int]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if loss_name(self.loss) == "poisson" and np.any(y < 0):
            raise InputError("y holds values below 0; loss='poisson' needs counts, 0 or more")
        table = np.asarray(y, np.float64)
        table = table.reshape(-1, 1) if y.ndim == 1 else table
        return table, table, int(table.shape[1])

    def _out_activation(self) -> str:
        return "exp" if loss_name(self.loss) == "poisson" else "identity"

    def _make_loss(self) -> Any:
        search = self.solver == "lbfgs" and self.optimizer is None
        return regressor_loss(self.loss, self.delta, search)

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
    ) -> MLPRegressor:
        """Learn from rows and their values.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows; an array of any library. Sparse ones are made dense batch by batch. A
            source, see `xpnn.data.stream`, brings targets and weights.
        y : array_like, shape (n,) or (n, outputs)
            Values, on the host or beside `X`.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows, 0 or more.
        X_val, y_val : array_like or Source, optional
            Validation rows to look at after each epoch; early stopping then sets none apart. A
            source brings its own targets. In a Pipeline, ``transform_input=["X_val"]`` lets
            the steps before transform them.
        sample_weight_val : array_like, shape (n,), optional
            Weights of the validation rows in loss and score.
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
        MLPRegressor
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
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        callbacks: Any = (),
    ) -> MLPRegressor:
        """Go through the rows once, going on from what was learned before.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows.
        y : array_like, shape (n,) or (n, outputs)
            Values.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows, 0 or more.
        X_val, y_val, sample_weight_val : array_like or Source, optional
            Validation rows, their values and weights. Early stopping needs them; look at
            `stopped_`.
        callbacks : Callback, callable, or iterable of them
            Called on the way; a function is called with a `Run` after the epoch.

        Returns
        -------
        MLPRegressor
            The estimator itself.
        """
        data = FitData(X, y, sample_weight, X_val, y_val, sample_weight_val)
        return self._fit(data, incremental=True, callbacks=callbacks)

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
        return self._predict_from_scores(*self._scores(X, "predict"))

    def _predict_from_scores(self, scores: Array, to_caller: Callable[[Array], Array]) -> Any:
        with on_device(device_of(scores)):
            if self.out_activation_ == "exp":
                scores = Loss("poisson").mean(scores, xp=namespace(scores=scores))
            return to_caller(scores[:, 0] if scores.shape[1] == 1 else scores)

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
        return score_of(self, X, y, sample_weight)
