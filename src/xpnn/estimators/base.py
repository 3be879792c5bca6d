"""What the classifier and the regressor share: scikit-learn's face on the engine."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from xpnn.backends import (
    HOST_NAMESPACE,
    Array,
    Device,
    Namespace,
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
from xpnn.engine import MODES, Predictor
from xpnn.estimators.inputs import (
    SPARSE,
    bring,
    check_foreign,
    check_namespace,
    check_rows,
    host_column,
    is_foreign,
)
from xpnn.estimators.lbfgs import fit_lbfgs
from xpnn.estimators.rows import SparseRows
from xpnn.estimators.stochastic import Data, Training, split
from xpnn.estimators.structure import Structure, hidden_widths, make_structure, start_weights
from xpnn.layers import Chain, unflatten, walk
from xpnn.optimizers import Optimizer, Schedule
from xpnn.training import Callback, OnEpoch

STOCHASTIC = ("sgd", "adam")


def stochastic(model: Any) -> bool:
    """Whether a model's solver goes step by step; the error that it does not, else."""
    if model.solver not in STOCHASTIC and model.optimizer is None:
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{model.solver} is not stochastic."
        )
    return True


@dataclass
class _Model:
    """Parameters as one vector, the arrays that were cut from it, and what predicts with it."""

    theta: Array
    parts: list[Array]
    predictor: Predictor | None = None


class BaseMLP(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Base of `MLPClassifier` and `MLPRegressor`; not for use by itself."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [str, tuple, list, object],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"}), Schedule],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": ["array-like", Interval(Real, 0, 1, closed="left")],
        "optimizer": [None, Optimizer],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
        "monitor": [StrOptions({"score", "loss"}), str, callable],
        "dtype": [None, StrOptions({"float16", "float32", "float64"})],
        "backend": [None, str],
        "device": [None, str],
        "engine": [StrOptions(set(MODES))],
        "progress": ["boolean"],
    }
    # Fitted attributes that are made anew after unpickling.
    _CACHES: ClassVar[tuple[str, ...]] = ("_model", "_structure_made")

    hidden_layer_sizes: Any
    activation: Any
    solver: str
    alpha: float
    batch_size: Any
    learning_rate: Any
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: Any
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dropout: Any
    optimizer: Any
    weight_decay: float
    clip_norm: Any
    monitor: Any
    dtype: Any
    backend: Any
    device: Any
    engine: str
    progress: bool
    loss: str
    n_features_in_: int
    n_outputs_: int
    n_layers_: int
    n_iter_: int
    t_: int
    loss_: float
    out_activation_: str
    coefs_: list[Any]
    intercepts_: list[Any]
    loss_curve_: list[float]
    validation_loss_curve_: list[float]
    validation_scores_: Any
    best_validation_score_: Any
    best_loss_: Any
    stopped_: bool
    _no_improvement_count: int
    _hidden: list[int]
    _library: str
    _device_name: str
    _dtype_name: str
    _objective: Any
    _random_state: Any
    _best_theta: Any
    _kept: Any
    _model: _Model
    _structure_made: Any
    _activation: Any
    _dropout: Any
    _METRIC: ClassVar[Any]
    _TARGETS: ClassVar[dict[str, Any]]

    def _keep(self, given: dict[str, Any]) -> None:
        """Store a constructor's arguments as they are: scikit-learn's rule for parameters."""
        for name, value in given.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    # What a subclass says

    def _out_activation(self) -> str:
        raise NotImplementedError

    def _outputs(self, x: Any, y: Any, incremental: bool, first: bool) -> tuple[Any, Any, int]:
        """Check targets on the host: ``(y for scores, t for the loss, outputs)``."""
        raise NotImplementedError

    def _make_objective(self) -> Any:
        raise NotImplementedError

    # Parameters and arrays

    @property
    def _structure(self) -> Structure:
        made = vars(self).get("_structure_made")
        if made is None:
            made = make_structure(
                self.n_features_in_, self._hidden, self.n_outputs_, self._activation, self._dropout
            )
            self._structure_made = made
        return made

    def _place(self) -> tuple[Namespace, Device]:
        if self._library == "numpy":
            return HOST_NAMESPACE, "cpu"
        chosen = select(self._library, self._device_name, self._dtype_name)
        return chosen.xp, chosen.device

    def _set_theta(self, theta: Array) -> None:
        """Take new parameters: `coefs_` and `intercepts_` are parts of them."""
        with on_device(device_of(theta)):
            xp = namespace(theta=theta)
            self.coefs_, self.intercepts_ = self._structure.cut(theta, xp)
        # Filled in place later on, as predicting must not change what an estimator holds.
        self._model = _Model(theta, [*self.coefs_, *self.intercepts_])

    def _theta(self) -> Array:
        """Parameters as one vector: packed anew where the user assigned other arrays."""
        parts = [*self.coefs_, *self.intercepts_]
        made = vars(self).get("_model")
        if made is not None and list(map(id, parts)) == list(map(id, made.parts)):
            return made.theta
        xp, device = self._place()
        pairs = [a for pair in zip(self.coefs_, self.intercepts_, strict=True) for a in pair]
        for i, (array, wanted) in enumerate(zip(pairs, walk(self._structure.tree), strict=True)):
            if tuple(array.shape) != wanted.shape:
                name = f"{'intercepts_' if i % 2 else 'coefs_'}[{i // 2}]"
                raise ValueError(f"{name} has shape {tuple(array.shape)}; expected {wanted.shape}")
        with on_device(device):
            dtype = getattr(xp, self._dtype_name)
            flat = [
                bring(xp.reshape(bring(a, xp, device), (-1,)), xp, device, dtype) for a in pairs
            ]
            self._set_theta(xp.concat(flat))
        return self._model.theta

    def _predictor(self) -> Predictor:
        theta = self._theta()
        if self._model.predictor is None:
            xp, _ = self._place()
            structure = self._structure

            def make_forward(namespace: Namespace) -> Callable[[Array, Array], Array]:
                def forward(theta: Array, x: Array) -> Array:
                    params = unflatten(structure.tree, theta, xp=namespace)
                    return structure.layers.forward(params, x, None, xp=namespace)[0]

                return forward

            self._model.predictor = Predictor(make_forward, theta, xp)
        return self._model.predictor

    def _scores_of(self, x: Any) -> Array:
        """Outputs before their activation, for checked rows beside the parameters."""
        predictor = self._predictor()
        if isinstance(x, SparseRows):
            parts = [x[i : i + 4096] for i in range(0, x.shape[0], 4096)]
            xp, device = self._place()
            with on_device(device):
                dtype = getattr(xp, self._dtype_name)
                scores = [predictor(bring(part, xp, device, dtype)) for part in parts]
                return xp.concat(scores)
        if predictor.plannable:
            return predictor(x)
        with on_device(device_of(x)):
            return predictor(x)

    def _scores(self, X: Any, method: str) -> tuple[Array, Callable[[Array], Array]]:
        """Outputs before their activation, and what brings results to where `X` is."""
        x = check_rows(self, X, method)
        plain = x is X and type(X) is np.ndarray and x.dtype == self._dtype_name
        if plain and self._library == "numpy":
            return self._scores_of(x), _stay
        if self.backend is None:
            check_namespace(self, x, method)
        xp, device = self._place()
        if isinstance(x, SparseRows):
            home = (HOST_NAMESPACE, "cpu")
        else:
            home = (namespace(X=x), device_of(x))
            x = bring(x, xp, device, getattr(xp, self._dtype_name))
        scores = self._scores_of(x)
        if home == (xp, device) or (home[0] is xp and library_name(xp) == "numpy"):
            return scores, _stay
        return scores, lambda result: bring(to_host(result), *home)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state = {k: v for k, v in state.items() if k not in self._CACHES}
        if vars(self).get("_library", "numpy") != "numpy":
            state = {k: _to_host_tree(v) for k, v in state.items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if vars(self).get("_library", "numpy") != "numpy" and hasattr(self, "coefs_"):
            from xpnn.estimators.moving import land

            land(self)

    def to(self, backend: str, device: str | None = None) -> BaseMLP:
        """Move a fitted model to another library or device, in place.

        Parameters
        ----------
        backend : str
            'numpy', 'cupy', 'torch', 'jax', ...
        device : str, optional
            'cpu', 'cuda:0', ...; default, the library's own.

        Returns
        -------
        estimator
            The model itself. It then takes and gives arrays of that library.
        """
        check_is_fitted(self)
        from xpnn.estimators.moving import move

        return move(self, backend, device)

    # Fitting

    def _validate(self, X: Any, y: Any, first: bool) -> tuple[Any, Any]:
        """Check rows and targets together; rows stay where they are."""
        if y is None:
            name = type(self).__name__
            raise ValueError(
                f"This {name} estimator requires y to be passed, but the target y is None."
            )
        y = host_column(y)
        if is_foreign(X):
            x = check_foreign(self, X, "X", first)
            places = np.broadcast_to(np.zeros(1), (int(x.shape[0]), 1))
            _, y = self._check_pair(places, y, first, fake=True)
            return x, y
        x, y = self._check_pair(X, y, first, fake=False)
        return (SparseRows(x, x.dtype) if issparse(x) else x), y

    def _check_pair(self, X: Any, y: Any, first: bool, fake: bool) -> tuple[Any, Any]:
        options = dict(self._TARGETS, multi_output=True)
        if fake:
            from sklearn.utils.validation import check_X_y

            return check_X_y(X, y, **options)
        return validate_data(
            self, X, y, accept_sparse=SPARSE, dtype=(np.float64, np.float32), reset=first, **options
        )

    def _where(self, x: Any) -> tuple[Namespace, Device]:
        if self.backend is not None:
            chosen = select(self.backend, self.device, self.dtype)
            return chosen.xp, chosen.device
        if isinstance(x, SparseRows):
            return HOST_NAMESPACE, "cpu"
        return namespace(X=x), device_of(x)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, incremental: bool, validation_data: Any,
        callbacks: Iterable[Any],
    ) -> Any:  # fmt: skip
        self._validate_params()
        hidden = hidden_widths(self.hidden_layer_sizes)
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        x, y = self._validate(X, y, first)
        if sample_weight is not None:
            places = np.broadcast_to(np.zeros(1), (int(x.shape[0]), 1))
            sample_weight = _check_sample_weight(
                host_column(sample_weight), places, dtype=np.float64
            )
        labels, targets, outputs = self._outputs(x, y, incremental, first)
        weight = self._weights(labels, sample_weight)
        self._random_state = check_random_state(self.random_state)
        xp, device = self._where(x)
        if first:
            self._begin(hidden, outputs, x, xp, device)
        elif outputs != self.n_outputs_ or hidden != self._hidden:
            raise ValueError(
                f"warm_start and partial_fit go on with hidden layers {self._hidden} and "
                f"{self.n_outputs_} outputs; now there are {hidden} and {outputs}"
            )
        self._objective = self._make_objective()
        data = self._bring_data(x, targets, labels, weight, xp, device)
        theta = self._theta()
        calls = [c if isinstance(c, Callback) else OnEpoch(c) for c in callbacks]
        if self.progress:
            from xpnn.training.progress import ProgressBar

            calls.append(ProgressBar())
        if self.solver in STOCHASTIC or self.optimizer is not None:
            if self.early_stopping and incremental and validation_data is None:
                raise ValueError("partial_fit does not support early_stopping=True")
            data, held = self._hold_out(data, validation_data, xp, device)
            Training(self, data, held, theta, xp, device, calls, incremental).go()
        else:
            if validation_data is not None or calls:
                warnings.warn(
                    "solver='lbfgs' looks at no validation data and calls no callbacks",
                    stacklevel=3,
                )
            fit_lbfgs(self, data, theta, xp, device)
        if not all(np.isfinite(to_host(w)).all() for w in [*self.coefs_, *self.intercepts_]):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        return self

    def _begin(
        self, hidden: list[int], outputs: int, x: Any, xp: Namespace, device: Device
    ) -> None:
        """Forget what was learned before, and draw start weights."""
        for name in ("_kept", "_model", "_structure_made"):
            if name in vars(self):
                delattr(self, name)
        self._hidden, self.n_outputs_ = hidden, outputs
        self._activation, self._dropout = self.activation, self.dropout
        self.n_layers_ = len(hidden) + 2
        self._library, self._device_name = library_name(xp), device_name(device)
        self._dtype_name = self.dtype or dtype_name(x.dtype)
        self.n_iter_, self.t_ = 0, 0
        self.out_activation_ = self._out_activation()
        theta = start_weights(
            self._structure, self.activation, self._random_state, np.dtype(self._dtype_name)
        )
        self._set_theta(bring(theta, xp, device, getattr(xp, self._dtype_name)))
        self._best_theta, self.stopped_ = None, False
        if self.solver in STOCHASTIC or self.optimizer is not None:
            self.loss_curve_ = []
            self.validation_loss_curve_ = []
            self._no_improvement_count = 0
            if self.early_stopping:
                self.validation_scores_ = []
                self.best_validation_score_ = -np.inf
                self.best_loss_ = None
            else:
                self.best_loss_ = np.inf
                self.validation_scores_, self.best_validation_score_ = None, None

    def _bring_data(
        self, x: Any, t: Any, y: Any, weight: Any, xp: Namespace, device: Device
    ) -> Data:
        dtype = getattr(xp, self._dtype_name)
        if isinstance(x, SparseRows):
            x = SparseRows(x.matrix, self._dtype_name)
        else:
            with on_device(device):
                x = bring(x, xp, device, dtype)
        floats = t.dtype.kind == "f"
        with on_device(device):
            t = bring(t, xp, device, dtype if floats else None)
        return Data(x, t, y, weight)

    def _hold_out(
        self, data: Data, validation_data: Any, xp: Namespace, device: Device
    ) -> tuple[Data, Data | None]:
        if validation_data is None:
            if not self.early_stopping:
                return data, None
            return split(self, data, self._stratify(data), xp)
        if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
            raise ValueError(
                f"validation_data is a {type(validation_data).__name__}; expected a pair (X, y)"
            )
        x, y = self._validate(validation_data[0], validation_data[1], False)
        labels, targets, _ = self._outputs(x, y, True, False)
        return data, self._bring_data(x, targets, labels, None, xp, device)

    def _stratify(self, data: Data) -> Any:
        return None

    def _weights(self, labels: Any, sample_weight: Any) -> Any:
        return sample_weight

    def _validation_loss(self, held: Data) -> float:
        xp, device = self._place()
        with on_device(device):
            weight = held.weight
            if weight is not None:
                weight = to_device(weight, xp, device, getattr(xp, self._dtype_name))
            scores = self._scores_of(held.x)
            return float(to_host(self._objective.forward(scores, held.t, weight, xp=xp)[0]))

    def _validation_score(self, held: Data) -> float:
        """What early stopping watches; larger is better."""
        if self.monitor == "loss":
            return -self.validation_loss_curve_[-1]
        if self.monitor == "score":
            predicted = to_host(self._decide(self._scores_of(held.x), _stay))
            if predicted.dtype.kind == "f" and not np.isfinite(predicted).all():
                return np.nan
            return float(self._METRIC(held.y, predicted, sample_weight=held.weight))
        from sklearn.metrics import get_scorer

        scorer = get_scorer(self.monitor) if isinstance(self.monitor, str) else self.monitor
        rows = held.x.matrix if isinstance(held.x, SparseRows) else held.x
        return float(scorer(self, rows, held.y))

    def _decide(self, scores: Array, give: Callable[[Array], Array]) -> Array:
        raise NotImplementedError

    # After fitting

    @property
    def _n_features_out(self) -> int:
        return self._hidden[-1] if self._hidden else self.n_outputs_

    def transform(self, X: Any, layer: int = -1) -> Array:
        """Activations of a hidden layer.

        Parameters
        ----------
        X : array_like, sparse matrix or frame, shape (n, features)
            Rows.
        layer : int, default -1
            Which hidden layer; -1 is the last one.

        Returns
        -------
        array, shape (n, units)
        """
        x = check_rows(self, X, "transform")
        structure = self._structure
        ends: Sequence[int] = structure.hidden
        if not ends or not -len(ends) <= layer < len(ends):
            raise ValueError(f"layer is {layer!r}; the model has {len(ends)} hidden layers")
        if self.backend is None:
            check_namespace(self, x, "transform")
        xp, device = self._place()
        home = (HOST_NAMESPACE, "cpu")
        if isinstance(x, SparseRows):
            x = x[:]
        else:
            home = (namespace(X=x), device_of(x))
        count = ends[layer]
        part = Chain(structure.layers.layers[:count])
        with on_device(device):
            params = unflatten(structure.tree, self._theta(), xp=xp)[:count]
            x = bring(x, xp, device, getattr(xp, self._dtype_name))
            found = part.forward(params, x, None, xp=xp)[0]
        return found if home[0] is xp else bring(to_host(found), *home)

    def initialize(self, X: Any, y: Any) -> Any:
        """Draw start weights for data like these, and learn nothing.

        Parameters
        ----------
        X : array_like, shape (n, features)
            Rows; their number of features and their library and dtype count.
        y : array_like
            Targets; of a classifier, all classes.

        Returns
        -------
        estimator
            Can predict, and goes on with `partial_fit` or a fit with ``warm_start=True``.
        """
        self._validate_params()
        x, y = self._validate(X, y, True)
        _, _, outputs = self._outputs(x, y, False, True)
        self._random_state = check_random_state(self.random_state)
        self._begin(hidden_widths(self.hidden_layer_sizes), outputs, x, *self._where(x))
        self._objective = self._make_objective()
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        tags.target_tags.required = True
        return tags


def _stay(result: Array) -> Array:
    return result


def _to_host_tree(value: Any) -> Any:
    if is_foreign(value):
        return to_host(value)
    if isinstance(value, list):
        return [_to_host_tree(v) for v in value]
    if isinstance(value, tuple):
        return tuple(_to_host_tree(v) for v in value)
    return value
