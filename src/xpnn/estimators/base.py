"""What the classifier and the regressor share: scikit-learn's face on the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, validate_data

from xpnn.backends import (
    HOST_NAMESPACE,
    Array,
    Device,
    Namespace,
    deterministic_mode,
    device_errors,
    device_name,
    device_of,
    library_name,
    matmul_precision,
    namespace,
    on_device,
    select,
    to_host,
)
from xpnn.data.streams import Source
from xpnn.distributed import Group, as_group, check_alone
from xpnn.estimators import resuming
from xpnn.estimators.combinations import check_combinations
from xpnn.estimators.fitted import FittedMLP
from xpnn.estimators.inputs import (
    SPARSE,
    bring,
    bring_rows,
    check_foreign,
    check_namespace,
    float_of,
    host_column,
    is_foreign,
    seen,
)
from xpnn.estimators.lbfgs import fit_lbfgs
from xpnn.estimators.parameters import CONSTRAINTS
from xpnn.estimators.rows import SparseRows
from xpnn.estimators.stochastic import Data, Training, split
from xpnn.estimators.stream_training import StreamTraining
from xpnn.estimators.streamed import StreamData, check_stream, take_source
from xpnn.estimators.structure import hidden_widths, start_weights
from xpnn.training import as_callback

STOCHASTIC = ("sgd", "adam")


def as_list(callbacks: Any) -> list[Any]:
    """List what was handed in as callbacks: none, one, or several."""
    if callbacks is None:
        return []
    return list(callbacks) if hasattr(callbacks, "__iter__") else [callbacks]


def stochastic(model: Any) -> bool:
    """Whether a model's solver goes step by step; the error that it does not, else."""
    if model.solver not in STOCHASTIC and model.optimizer is None:
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{model.solver} is not stochastic."
        )
    return True


class BaseMLP(FittedMLP):
    """Base of `MLPClassifier` and `MLPRegressor`; not for use by itself."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS

    def _keep(self, given: dict[str, Any]) -> None:
        """Store a constructor's arguments as they are: scikit-learn's rule for parameters."""
        for name, value in given.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    def _check_parameters(self) -> None:
        if not get_config()["skip_parameter_validation"]:
            self._validate_params()

    # What a subclass says

    def _out_activation(self) -> str:
        raise NotImplementedError

    def _outputs(
        self, x: Any, y: Any, incremental: bool, first: bool, held: bool = False
    ) -> tuple[Any, Any, int]:
        """Check targets on the host: ``(y for scores, t for the loss, outputs)``."""
        raise NotImplementedError

    def _make_objective(self) -> Any:
        raise NotImplementedError

    # Fitting

    def _validate(self, X: Any, y: Any, first: bool) -> tuple[Any, Any]:
        """Check rows and targets together; rows stay where they are."""
        if y is None:
            name = type(self).__name__
            raise ValueError(
                f"This {name} estimator requires y to be passed, but the target y is None."
            )
        X, y = seen(self, X), host_column(y)
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

    def _where(self, x: Any, group: Group | None = None) -> tuple[Namespace, Device]:
        """Where a new model is to live."""
        sparse = isinstance(x, SparseRows)
        xp, device = (HOST_NAMESPACE, "cpu") if sparse else (namespace(X=x), device_of(x))
        if self._follows and self.dtype is None:
            return xp, device
        where = device_name(device) if self._follows else self.device
        if group is not None and where is None:
            where = group.device(self.backend)
        chosen = select(self.backend or library_name(xp), where, self.dtype)
        return chosen.xp, chosen.device

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, incremental: bool, validation_data: Any,
        callbacks: Iterable[Any], checkpoint: Any = None, resume: Any = False,
    ) -> Any:  # fmt: skip
        self._check_parameters()
        group = as_group(self.distributed)
        given = (X, y, sample_weight, incremental, validation_data, callbacks, checkpoint, resume)
        check_alone(self.deterministic, group)
        group = None if group is None or group.size == 1 else group
        kept = "the model keeps the weights of its last epoch"
        with nullcontext() if group is None else group.together(), device_errors(kept):
            return self._fit_on(group, *given)

    def _fit_on(
        self, group: Group | None, X: Any, y: Any, sample_weight: Any, incremental: bool,
        validation_data: Any, callbacks: Iterable[Any], checkpoint: Any, resume: Any,
    ) -> Any:  # fmt: skip
        hidden, callbacks = hidden_widths(self.hidden_layer_sizes), as_list(callbacks)
        check_combinations(self, hidden, validation_data, callbacks, checkpoint, resume)
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        given = (self, X, y, sample_weight, incremental, first)
        if isinstance(X, Source):
            x, outputs, bring_data = take_source(*given, group)
        else:
            x, outputs, bring_data = BaseMLP._take_arrays(*given)
        objective = self._make_objective()
        self._random_state = check_random_state(self.random_state)
        keeper = resuming.begin(self, checkpoint, resume, group)
        xp, device = self._where(x, group) if first else self._place()
        if first:
            self._begin(hidden, outputs, x, xp, device)
        elif outputs != self.n_outputs_ or hidden != self._hidden:
            raise ValueError(
                f"warm_start and partial_fit go on with hidden layers {self._hidden} and "
                f"{self.n_outputs_} outputs; now there are {hidden} and {outputs}"
            )
        else:
            self._go_on()
        self._objective = objective
        data: Any = bring_data(xp, device)
        if group is not None:
            self._set_theta(group.same(self._theta()))
        theta = self._theta()
        bits = deterministic_mode(xp, device) if self.deterministic else nullcontext()
        calls = [as_callback(c) for c in callbacks]
        if self.progress and keeper.first:
            from xpnn.training.progress import ProgressBar

            calls.append(ProgressBar())
        if self.solver in STOCHASTIC or self.optimizer is not None:
            if self.early_stopping and incremental and validation_data is None:
                raise ValueError("partial_fit does not support early_stopping=True")
            data, held = self._hold_out(data, validation_data, xp, device, group)
            resuming.check(keeper, self, data, held)
            kind = StreamTraining if isinstance(data, StreamData) else Training
            with bits:
                kind(self, data, held, theta, xp, device, calls, incremental, keeper).go()
        else:
            with bits, matmul_precision(self.precision, xp):
                fit_lbfgs(self, data, theta, xp, device, group)
        if not all(np.isfinite(to_host(w)).all() for w in [*self.coefs_, *self.intercepts_]):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        return self

    def _take_arrays(
        self, X: Any, y: Any, sample_weight: Any, incremental: bool, first: bool
    ) -> tuple[Any, int, Callable[[Namespace, Device], Any]]:
        """Check arrays to learn from: rows, outputs, and what brings the data to its place."""
        x, y = self._validate(X, y, first)
        if sample_weight is not None:
            places = np.broadcast_to(np.zeros(1), (int(x.shape[0]), 1))
            sample_weight = _check_sample_weight(
                host_column(sample_weight), places, dtype=np.float64
            )
        if not first and self._follows:
            check_namespace(self, x, "partial_fit" if incremental else "fit")
        labels, targets, outputs = self._outputs(x, y, incremental, first)
        weight = self._weights(labels, sample_weight)
        return (
            x,
            outputs,
            lambda xp, device: self._bring_data(x, targets, labels, weight, xp, device),
        )

    def _begin(
        self, hidden: list[int], outputs: int, x: Any, xp: Namespace, device: Device
    ) -> None:
        """Forget what was learned before, and draw start weights."""
        for name in ("_kept", "_model", "_structure_made"):
            if name in vars(self):
                delattr(self, name)
        self._hidden, self.n_outputs_ = hidden, outputs
        self._activation, self._dropout = self.activation, self.dropout
        self._asked = (self.dtype, self.backend, self.device)
        self.n_layers_ = len(hidden) + 2
        self._library, self._device_name = library_name(xp), device_name(device)
        self._dtype_name = self.dtype or float_of(x.dtype, xp, device)
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

    def _go_on(self) -> None:
        """Take activations and dropout as they are now; refuse to move in silence."""
        now = (self.dtype, self.backend, self.device)
        if self.__dict__.setdefault("_asked", now) != now:
            raise ValueError(
                f"dtype, backend and device are {self.dtype!r}, {self.backend!r} and "
                f"{self.device!r}; warm_start and partial_fit go on with {self._asked} of the "
                "first fit. Fit anew, or move the model with to()"
            )
        if (self._activation, self._dropout) != (self.activation, self.dropout):
            self._activation, self._dropout = self.activation, self.dropout
            theta = self._theta()
            self.__dict__.pop("_structure_made", None)
            self._set_theta(theta)

    def _bring_data(
        self, x: Any, t: Any, y: Any, weight: Any, xp: Namespace, device: Device
    ) -> Data:
        floats = t.dtype.kind == "f"
        with on_device(device):
            x = bring_rows(x, xp, device, self._dtype_name)
            t = bring(t, xp, device, self._numbers(xp) if floats else None)
        return Data(x, t, y, weight)

    def _hold_out(
        self, data: Any, validation_data: Any, xp: Namespace, device: Device, group: Group | None
    ) -> tuple[Any, Any]:
        if isinstance(validation_data, Source):
            check_stream(self, validation_data)
            return data, StreamData(self, validation_data, xp, device, group=group)
        if validation_data is None:
            if not self.early_stopping:
                return data, None
            if isinstance(data, StreamData):
                raise ValueError(
                    "early_stopping=True sets no rows of a source apart; give validation_data, "
                    "a pair (X, y) or another source"
                )
            return split(self, data, self._stratify(data), xp)
        if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
            raise ValueError(
                f"validation_data is a {type(validation_data).__name__}; expected a pair (X, y)"
                " or a source"
            )
        x, y = self._validate(validation_data[0], validation_data[1], False)
        labels, targets, outputs = self._outputs(x, y, True, False, held=True)
        if outputs != self.n_outputs_:
            raise ValueError(
                f"y of validation_data has {outputs} outputs; the model has {self.n_outputs_}"
            )
        return data, self._bring_data(x, targets, labels, None, xp, device)

    def _stratify(self, data: Data) -> Any:
        return None

    def _weights(self, labels: Any, sample_weight: Any) -> Any:
        return sample_weight

    def _decide(self, scores: Array, give: Callable[[Array], Array]) -> Array:
        raise NotImplementedError

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
        self._check_parameters()
        hidden = hidden_widths(self.hidden_layer_sizes)
        check_combinations(self, hidden, None, ())
        x, y = self._validate(X, y, True)
        _, _, outputs = self._outputs(x, y, False, True)
        objective = self._make_objective()
        self._random_state = check_random_state(self.random_state)
        self._begin(hidden, outputs, x, *self._where(x))
        self._objective = objective
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        tags.target_tags.required = True
        return tags
