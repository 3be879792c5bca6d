"""What the classifier and the regressor share: scikit-learn's face on the trainer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass, replace
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_sample_weight, check_X_y, validate_data

from xpnn.backends import (
    HOST_NAMESPACE,
    Array,
    Backend,
    InputError,
    device_errors,
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
from xpnn.data.streams import Source
from xpnn.distributed import MPIOptions, ProcessGroup, process_group
from xpnn.engine import HostRows
from xpnn.engine.trees import map_tree
from xpnn.estimators.callbacks import ScikitLearnCallbacks
from xpnn.estimators.inputs import (
    SPARSE,
    check_fitted,
    check_foreign,
    check_namespace,
    check_rows,
    float_of,
    host_column,
    is_foreign,
    one_at_a_time,
    place_of,
    plain_rows,
    rows_to_backend,
    sender,
    unchanged_if_refused,
    view_memory,
)
from xpnn.estimators.lbfgs import fit_lbfgs
from xpnn.estimators.losses import network_loss
from xpnn.estimators.parameters import (
    CONSTRAINTS,
    WITHOUT_EFFECT,
    biases_of,
    check_combinations,
    hidden_ends,
    hidden_widths,
    initial_weights,
    make_layers,
    make_optimizer,
    make_schedule,
    uses_steps,
    weights_of,
)
from xpnn.estimators.rules import AdjustedRate, ScikitLearnRules, SolverState
from xpnn.estimators.sources import check_source, encoder, find_targets, predict_dataset
from xpnn.estimators.validator import EstimatorValidator, score_of
from xpnn.layers import Chain, unflatten
from xpnn.optimizers import (
    Optimizer,
    Schedule,
)
from xpnn.training import DivergenceError, Network, TrainOptions
from xpnn.training.callbacks import Callback, as_callbacks
from xpnn.training.checkpoint import CheckpointManager
from xpnn.training.dataset import CHUNK, ArrayDataset, Dataset, StreamDataset
from xpnn.training.fit import data_identity, validation_errors
from xpnn.training.host_rows import SparseRows, chunks
from xpnn.training.options import Precision, refuse_given
from xpnn.training.sampler import RandomStateSampler
from xpnn.training.trainer import Trainer
from xpnn.training.warn import warn_caller


@dataclass(frozen=True)
class FitData:
    """Rows, targets and weights as a caller gave them; see `MLPClassifier.fit`."""

    X: Any
    y: Any = None
    sample_weight: Any = None
    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None


@dataclass(frozen=True)
class FitCall:
    """One call of `fit`, or (`incremental`) of `partial_fit`, of a stochastic solver."""

    data: FitData
    incremental: bool
    callbacks: list[Callback]
    checkpoints: CheckpointManager | None
    group: ProcessGroup | None

    @property
    def speaks(self) -> bool:
        """Whether this process prints and warns: of several, rank 0."""
        return self.group is None or self.group.is_main


@dataclass(frozen=True)
class Encoded:
    """Checked rows to learn from or to validate on, not yet where the model is.

    `x` is where it came, all else on the host: `labels` are targets as metrics want them,
    `targets` as the loss wants them; `weight` includes that of a row's class. Of a source there is
    the first row only, and the weights of the classes. `outputs` are the columns of the scores.
    """

    x: Any
    labels: Any
    targets: Any
    weight: Any
    outputs: int
    source: Source | None = None
    class_weight: Any = None


@dataclass
class _Weights:
    """The arrays that were cut from the network's parameters, to notice when one is replaced."""

    theta: Array
    coefs: list[Any]
    intercepts: list[Any]

    def __post_init__(self) -> None:
        self.made = [*self.coefs, *self.intercepts]

    def refill(self, network: Network) -> None:
        """Cut the lists anew; they stay the same objects, as scikit-learn's do."""
        arrays = list(network.parameters().values())
        self.theta, self.coefs[:], self.intercepts[:] = network.theta, arrays[::2], arrays[1::2]
        self.made = arrays[::2] + arrays[1::2]

    @property
    def replaced(self) -> bool:
        """Whether somebody put another array into one of the lists."""
        now = [*self.coefs, *self.intercepts]
        return len(now) != len(self.made) or any(
            a is not b for a, b in zip(now, self.made, strict=True)
        )


@dataclass(eq=False, repr=False)
class BaseMLP(
    CallbackSupportMixin,  # type: ignore[misc]
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Base of `MLPClassifier` and `MLPRegressor`; not for use by itself."""

    # The constructor's parameters: scikit-learn's first, then those that only we have.
    loss: Any
    hidden_layer_sizes: Any = (100,)
    activation: Any = "relu"
    _: KW_ONLY
    solver: str = "adam"
    alpha: float = 0.0001
    batch_size: int | str = "auto"
    learning_rate: str | Schedule = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool | int = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: float = 10
    max_fun: int = 15000
    dropout: Any = 0.0
    optimizer: Optimizer | None = None
    weight_decay: float = 0.0
    clip_norm: float | None = None
    monitor: Any = "score"
    dtype: str | None = None
    compute_dtype: str | None = None
    loss_scale: Any = None
    precision: str = "highest"
    gradient_accumulation_steps: int = 1
    deterministic: bool = False
    backend: str | None = None
    device: str | None = None
    engine: str = "auto"
    progress: bool = False
    distributed: str | MPIOptions | None = None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CONSTRAINTS
    _METRIC: ClassVar[Callable[..., float]]
    _TARGETS: ClassVar[dict[str, Any]]

    # What a subclass says

    def _out_activation(self) -> str:
        raise NotImplementedError

    def _encode_targets(self, y: Any, incremental: bool, validation: bool) -> tuple[Any, Any, int]:
        """Check targets on the host: ``(labels for metrics, targets for the loss, outputs)``."""
        raise NotImplementedError

    def _make_loss(self) -> Any:
        raise NotImplementedError

    def _row_weights(self, labels: Any, sample_weight: Any, train: Encoded | None = None) -> Any:
        """Weights of rows, those of their classes included: of validation rows those of `train`."""
        return sample_weight

    def _class_weights(self, train: Encoded) -> Any:
        """Weights of the classes for validation rows of a source, in their order; None for none."""
        return None

    def _stratify(self, labels: Any) -> Any:
        """Labels by which the validation split keeps the classes' shares; None for none."""
        return None

    def _predict_from_scores(self, scores: Array, to_caller: Callable[[Array], Array]) -> Any:
        raise NotImplementedError

    # Parameters of the network

    def _published(self) -> _Weights:
        """The network's parameters as scikit-learn's lists: views where there are any."""
        if "network_" not in vars(self):
            raise AttributeError(f"this {type(self).__name__} has no coefs_ before it is fitted")
        made = vars(self).get("_cut")
        if made is None or made.theta is not self.network_.theta:
            if made is None:
                made = self._cut = _Weights(self.network_.theta, [], [])
            made.refill(self.network_)
        return made

    @property
    def coefs_(self) -> list[Array]:
        """Weights of each layer; assign to it, or to an entry, to change the model."""
        return self._published().coefs

    @coefs_.setter
    def coefs_(self, arrays: Any) -> None:
        self._published().coefs = list(arrays)

    @property
    def intercepts_(self) -> list[Array]:
        """Biases of each layer; assign to it, or to an entry, to change the model."""
        return self._published().intercepts

    @intercepts_.setter
    def intercepts_(self, arrays: Any) -> None:
        self._published().intercepts = list(arrays)

    def _fitted_network(self) -> Network:
        """The network, with what the user assigned to `coefs_` and `intercepts_` in it."""
        check_fitted(self)
        made, network = vars(self).get("_cut"), self.network_
        if made is None or made.theta is not network.theta or not made.replaced:
            return network
        where = network.backend
        values = to_host(network.theta).copy()
        for name, given, places in (
            ("coefs_", made.coefs, weights_of(network.tree)),
            ("intercepts_", made.intercepts, biases_of(network.tree)),
        ):
            if len(given) != len(places):
                raise InputError(f"{name} has {len(given)} arrays; expected {len(places)}")
            for i, (array, p) in enumerate(zip(given, places, strict=True)):
                new = to_host(array)
                if new.shape != p.shape:
                    raise InputError(f"{name}[{i}] has shape {new.shape}; expected {p.shape}")
                values[p.offset : p.offset + p.size] = new.reshape(-1)
        if where.name == "numpy" and network.theta.flags.writeable:
            network.theta[...] = values  # views that the user holds stay the model's
        else:
            network.theta = to_device(values, where.xp, where.device, network.theta.dtype)
        made.refill(network)
        return network

    @property
    def _follows(self) -> bool:
        """Whether the model lives where its data does."""
        return self.backend is None and self.device is None

    # Fitting

    def _fit(
        self,
        data: FitData,
        *,
        incremental: bool = False,
        callbacks: Any = (),
        checkpoint: Any = None,
        resume: Any = False,
    ) -> Any:
        if not get_config()["skip_parameter_validation"]:
            self._validate_params()
        group = process_group(self.distributed, self.deterministic)
        weights_of = "the model keeps the weights of its last epoch"
        with nullcontext() if group is None else group.session(), device_errors(weights_of):
            hidden, calls = hidden_widths(self.hidden_layer_sizes), as_callbacks(callbacks)
            steps_only = {
                "X_val": data.X_val is not None,
                "callbacks": bool(calls),
                "checkpoint": checkpoint is not None,
                "resume": resume is not False,
            }
            check_combinations(self, hidden, steps_only)
            first = "network_" not in vars(self) or (not self.warm_start and not incremental)
            with unchanged_if_refused(self):
                encoded = self._encode(data, incremental, first, group)
                validation = self._encode_validation(data, encoded, first)
                loss = self._loss = self._make_loss()
                self._random_state = check_random_state(self.random_state)
                checkpoints = None
                if checkpoint is not None or resume is not False or group is not None:
                    checkpoints = CheckpointManager("estimator", checkpoint, resume, group)
                    self._random_state = _own_generator(self._random_state, checkpoints)
                    checkpoints.start(self._random_state)
                self._prepare_network(encoded, hidden, loss, first, group)
                if group is not None:
                    self.network_.theta = group.broadcast_array(self.network_.theta)
                train = self._dataset(encoded, group)
                if uses_steps(self):
                    self._begin_curves()
                    call = FitCall(data, incremental, calls, checkpoints, group)
                    validator = None
                    if validation is not None or self.early_stopping:
                        train, validator = self._hold_out(train, encoded, validation, call)
                    if checkpoints is not None:
                        checkpoints.check(self._identity(train, validator), self.max_iter)
                    earlier = self._earlier_state(train, call)
                    trainer = self._make_trainer(train, validator, call, earlier)
            if uses_steps(self):
                self._fit_in_steps(trainer, earlier, call)
            else:
                fit_lbfgs(self, train, encoded.weight, loss, group)
            if not np.isfinite(to_host(self.network_.theta)).all():
                raise InputError(_NOT_FINITE)
            if "_cut" in vars(self):
                self._published()  # lists that somebody holds show the new weights
        return self

    def _encode(
        self, data: FitData, incremental: bool, first: bool, group: ProcessGroup | None
    ) -> Encoded:
        """Check what there is to learn from."""
        if isinstance(data.X, Source):
            if not uses_steps(self):
                raise InputError(
                    "solver='lbfgs' looks at all rows at once; a source goes with 'adam', 'sgd' or "
                    "an optimizer"
                )
            own = "beside a source, which brings its own; leave it out"
            refuse_given(own, y=data.y, sample_weight=data.sample_weight)
            row, outputs, class_weight = find_targets(self, data.X, incremental, first, group)
            return Encoded(row, None, None, None, outputs, data.X, class_weight)
        x, y, weight = self._validate(data.X, data.y, data.sample_weight, first, first)
        if not first and self._follows:
            method = "partial_fit" if incremental else "fit"
            check_namespace(self, x, self.network_.backend, method)
        labels, targets, outputs = self._encode_targets(y, incremental, False)
        return Encoded(x, labels, targets, self._row_weights(labels, weight), outputs)

    def _encode_validation(self, data: FitData, train: Encoded, first: bool) -> Encoded | None:
        """Check the validation rows that were given, as training rows are checked."""
        given = {"y_val": data.y_val, "sample_weight_val": data.sample_weight_val}
        if data.X_val is None:
            refuse_given("without X_val", **given)
            return None
        if isinstance(data.X_val, Source):
            refuse_given("beside a source, which brings its own", **given)
            check_source(self, data.X_val)
            if self.early_stopping and self.monitor not in ("score", "loss"):
                raise InputError(
                    f"monitor is {self.monitor!r}; on validation rows from a source it can be "
                    "'score' or 'loss'"
                )
            weights = self._class_weights(train)
            return Encoded(None, None, None, None, train.outputs, data.X_val, weights)
        with validation_errors():
            x, y, weight = self._validate(
                data.X_val, data.y_val, data.sample_weight_val, False, first
            )
            labels, targets, found = self._encode_targets(y, True, True)
        if found != train.outputs:
            raise InputError(f"y_val has {found} outputs; the model has {train.outputs}")
        weight = self._row_weights(labels, weight, train)
        return Encoded(x, labels, targets, weight, found)

    def _validate(
        self, X: Any, y: Any, sample_weight: Any, reset: bool, first: bool
    ) -> tuple[Any, Any, Any]:
        """Check rows, targets and weights together; rows stay where they are, weights go to NumPy.

        With `reset` the model learns the number and names of the features.
        """
        if y is None:
            raise InputError(MISSING_TARGET.format(type(self).__name__))
        own = None if first or "network_" not in vars(self) else self.network_.backend
        X, y = view_memory(X, own), host_column(y)
        options = dict(self._TARGETS, multi_output=True)
        weight = host_column(sample_weight)
        with one_at_a_time():
            if is_foreign(X):
                x = check_foreign(self, X, "X", reset)
                _, y = check_X_y(_stand_in(x), y, **options)
            else:
                options |= {"accept_sparse": SPARSE, "dtype": (np.float64, np.float32)}
                x, y = validate_data(self, X, y, reset=reset, **options)
                x = SparseRows(x, x.dtype) if issparse(x) else x
            if weight is not None:
                weight = _check_sample_weight(
                    weight, _stand_in(x), dtype=np.float64, ensure_non_negative=True
                )
        return x, y, weight

    def _resolve_backend(self, x: Any, group: ProcessGroup | None) -> Backend:
        """Where a new model is to live."""
        on_host = isinstance(x, HostRows)
        xp, device = (HOST_NAMESPACE, "cpu") if on_host else (namespace(X=x), device_of(x))
        if not self._follows or self.dtype is not None:
            where = device_name(device) if self._follows else self.device
            if group is not None and where is None:
                where = group.device(self.backend)
            chosen = select(self.backend or library_name(xp), where, self.dtype)
            xp, device = chosen.xp, chosen.device
        name = self.dtype or float_of(x.dtype, xp, device)
        return Backend(library_name(xp), xp, device, getattr(xp, name))

    def _prepare_network(
        self,
        encoded: Encoded,
        hidden: list[int],
        loss: Any,
        first: bool,
        group: ProcessGroup | None,
    ) -> None:
        """Make the network anew, or check that it can go on."""
        if first:
            self._initialize(encoded, hidden, loss, self._resolve_backend(encoded.x, group))
            return
        network = self._fitted_network()
        own = [network.layers.widths(network.inputs)[end] for end in hidden_ends(network.layers)]
        if encoded.outputs != self.n_outputs_ or hidden != own:
            raise InputError(
                f"warm_start and partial_fit go on with hidden layers {own} and "
                f"{self.n_outputs_} outputs; now there are {hidden} and {encoded.outputs}"
            )
        now = (self.dtype, self.backend, self.device)
        if self._requested != now:
            raise InputError(
                f"dtype, backend and device are {self.dtype!r}, {self.backend!r} and "
                f"{self.device!r}; warm_start and partial_fit go on with {self._requested} of the "
                "first fit. Fit anew, or move the model with to()"
            )
        layers = make_layers(hidden, self.n_outputs_, self.activation, self.dropout)
        if layers != network.layers:
            self._set_network(layers, loss, network.theta)

    def _set_network(self, layers: Chain, loss: Any, theta: Array) -> None:
        self.network_ = Network(
            self.n_features_in_,
            layers,
            loss=network_loss(loss),
            seed=self._random_state,
            theta=theta,
        )

    def _initialize(self, encoded: Encoded, hidden: list[int], loss: Any, backend: Backend) -> None:
        """Forget what was learned before, and draw initial weights."""
        self.n_outputs_, self.n_layers_ = encoded.outputs, len(hidden) + 2
        self._requested = (self.dtype, self.backend, self.device)
        self.n_iter_, self.t_ = 0, 0
        layers = make_layers(hidden, encoded.outputs, self.activation, self.dropout)
        dtype = np.dtype(dtype_name(backend.dtype))
        theta = initial_weights(
            self.n_features_in_, layers, self.activation, self._random_state, dtype
        )
        there = to_device(theta, backend.xp, backend.device, backend.dtype, copy=None)
        self._set_network(layers, loss, there)
        self.out_activation_ = self._out_activation()
        self._best_theta, self.stopped_ = None, False
        curves = ("loss_curve_", "validation_loss_curve_", "validation_scores_", "best_loss_")
        for name in ("_solver_state", "_cut", *curves):
            self.__dict__.pop(name, None)
        if uses_steps(self):
            self._begin_curves()

    def _begin_curves(self) -> None:
        """Begin what is noted of a training, where another solver or option noted nothing."""
        known, monitors = vars(self), bool(self.early_stopping)
        if "loss_curve_" not in known:
            self.loss_curve_: list[float] = []
            self.validation_loss_curve_: list[float] = []
            self._no_improvement_count = 0
        if "best_loss_" not in known or (monitors is (self.validation_scores_ is None)):
            self.best_loss_ = None if monitors else np.inf
            self.validation_scores_: list[float] | None = [] if monitors else None
            self.best_validation_score_ = -np.inf if monitors else None

    def _dataset(
        self, encoded: Encoded, group: ProcessGroup | None, batch_size: int | None = None
    ) -> Dataset:
        """Bring rows, targets and weights to where the model is."""
        backend = self.network_.backend
        xp, device = backend.xp, backend.device
        # Targets and weights in half precision would lose digits, or overflow.
        numbers = xp.float32 if dtype_name(backend.dtype) == "float16" else backend.dtype
        if encoded.source is not None:
            return StreamDataset(
                encoded.source,
                batch_size or self._batch_size(encoded.source.rows or 0),
                backend,
                encoder(self, encoded.source, encoded.class_weight),
                number_dtype=numbers,
                group=group,
            )
        with on_device(device):
            x, weight = rows_to_backend(encoded.x, backend), encoded.weight
            dtype = numbers if encoded.targets.dtype.kind == "f" else None
            t = to_device(encoded.targets, xp, device, dtype, copy=None)
            if weight is not None:
                weight = to_device(weight, xp, device, numbers)
        return ArrayDataset(x, t, weight)

    def _batch_size(self, rows: int) -> int:
        """Rows in a step; `rows` is 0 where nobody knows how many there are."""
        if self.batch_size == "auto":
            return min(200, rows) if rows else 200
        size = int(self.batch_size)
        if rows and size > rows:
            warn_caller(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
            )
            return rows
        return size

    # The stochastic solvers

    def _make_trainer(
        self,
        train: Dataset,
        validator: EstimatorValidator | None,
        call: FitCall,
        earlier: SolverState,
    ) -> Trainer:
        options = TrainOptions(
            epochs=1 if call.incremental else self.max_iter,
            batch_size=self._batch_size(train.rows),
            optimizer=earlier.optimizer,
            learning_rate=earlier.schedule,
            l2=float(self.alpha),
            l2_per_row=True,
            count_rows=True,
            allow_infinite_loss=True,
            precision=earlier.precision,
            engine=self.engine,
            gradient_accumulation_steps=self.gradient_accumulation_steps,
            deterministic=self.deterministic,
        )
        verbose = bool(self.verbose) and call.speaks
        rules = ScikitLearnRules(self, earlier.schedule, validator, call.incremental, verbose)
        callbacks: list[Callback] = [rules, *call.callbacks]
        if self.progress and call.speaks:
            from xpnn.training.progress import ProgressBar

            callbacks.append(ProgressBar())
        if getattr(self, "_skl_callbacks", None) and not call.incremental:
            callbacks.append(ScikitLearnCallbacks(self, call.data))
        return Trainer(
            self.network_,
            train,
            RandomStateSampler(self._random_state, self.shuffle),
            options,
            loss=self._loss,
            validator=validator,
            callbacks=callbacks,
            checkpoints=call.checkpoints,
            group=call.group,
            model=self,
            state=earlier.training,
        )

    def _fit_in_steps(self, trainer: Trainer, earlier: SolverState, call: FitCall) -> None:
        """Train, keep what `partial_fit` goes on with, and say how it ended."""
        try:
            trainer.run()
        except DivergenceError as error:
            self._report_divergence(error, trainer, call)
        finally:
            # A state that ran away would spoil whatever is learned later.
            ran_away = trainer.history.stopped == "diverged"
            earlier.training = None if ran_away else trainer.state(live=call.incremental)
            self._solver_state = earlier
        if trainer.history.stopped == "interrupted":
            warn_caller("Training interrupted by user.")
        elif trainer.history.stopped == "finished" and not call.incremental and call.speaks:
            warn_caller(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached "
                "and the optimization hasn't converged yet.",
                ConvergenceWarning,
            )

    def _report_divergence(self, error: DivergenceError, trainer: Trainer, call: FitCall) -> None:
        """Raise in scikit-learn's words; warn where early stopping has weights to end with."""
        best = trainer.run_state.weights_epoch == trainer.history.best_epoch
        if call.incremental or not self.early_stopping or not best:
            raise InputError(
                f"{_NOT_FINITE} The loss became {error.loss} in epoch {error.epoch}; the model "
                "keeps the weights of the epoch before. A smaller learning_rate_init, clip_norm, "
                "or a StandardScaler before the model helps"
            ) from error
        if call.speaks:
            warn_caller(
                f"The loss became {error.loss} in epoch {error.epoch}; training ends with the "
                "best weights so far. A smaller learning_rate_init or clip_norm helps.",
                ConvergenceWarning,
            )

    def _earlier_state(self, train: Dataset, call: FitCall) -> SolverState:
        """What `partial_fit` goes on with; a new one at first, and for `fit`."""
        earlier = vars(self).get("_solver_state") if call.incremental else None
        if earlier is None:
            precision = Precision(self.compute_dtype, self.loss_scale, self.precision)
            earlier = SolverState(make_optimizer(self), make_schedule(self), precision)
        adjusted = isinstance(earlier.schedule, AdjustedRate)
        if isinstance(train, StreamDataset) and not train.rows and not adjusted:
            raise InputError(
                "a schedule needs to know the number of rows; say it: "
                f"stream({train.source.name}, rows=...)"
            )
        return earlier

    def _hold_out(
        self, train: Dataset, encoded: Encoded, validation: Encoded | None, call: FitCall
    ) -> tuple[Dataset, EstimatorValidator]:
        """Bring validation rows in place: those that were given, or some of the training's."""
        if validation is not None:
            if validation.source is not None:
                validation.source.check_once(1 if call.incremental else self.max_iter)
            data = self._dataset(validation, call.group, CHUNK)
            return train, EstimatorValidator(self, data, validation, call.group)
        if call.incremental:
            raise InputError("partial_fit does not support early_stopping=True without X_val")
        if not isinstance(train, ArrayDataset):
            raise InputError(
                "early_stopping=True sets no rows of a source apart; give X_val, an array with "
                "y_val or another source"
            )
        # The parameters are checked; else the fraction is refused by another name.
        with one_at_a_time(), config_context(skip_parameter_validation=True):
            learn, hold = train_test_split(
                np.arange(train.rows),
                random_state=self._random_state,
                test_size=self.validation_fraction,
                stratify=self._stratify(encoded.labels),
            )
        if len(hold) < 2:
            raise InputError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        weight = None if encoded.weight is None else encoded.weight[hold]
        validation = Encoded(None, encoded.labels[hold], None, weight, encoded.outputs)
        rows = train.take(hold, self.network_.backend)
        validator = EstimatorValidator(self, rows, validation, call.group)
        return train.take(learn, self.network_.backend), validator

    def _identity(self, train: Dataset, validator: EstimatorValidator | None) -> dict[str, Any]:
        """What a checkpoint has to be of, and what all processes have to be given."""
        given = {k: v for k, v in self.get_params().items() if k not in WITHOUT_EFFECT}
        given |= data_identity(train, None if validator is None else validator.data)
        given["dtype"] = self.network_.dtype
        if hasattr(self, "classes_"):
            given["classes"] = list(self.classes_)
        return given

    def initialize(self, X: Any, y: Any) -> Any:
        """Draw initial weights for data like these, and learn nothing.

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
        if not get_config()["skip_parameter_validation"]:
            self._validate_params()
        hidden = hidden_widths(self.hidden_layer_sizes)
        check_combinations(self, hidden, {})
        with unchanged_if_refused(self):
            x, y, _ = self._validate(X, y, None, True, True)
            labels, targets, outputs = self._encode_targets(y, False, False)
            self._loss = self._make_loss()
            self._random_state = check_random_state(self.random_state)
            encoded = Encoded(x, labels, targets, None, outputs)
            self._initialize(encoded, hidden, self._loss, self._resolve_backend(x, None))
        return self

    # Use

    def _scores(self, X: Any, method: str) -> tuple[Array, Callable[[Array], Array]]:
        """Outputs before their activation, and what brings results to where `X` is."""
        network = self._fitted_network()
        x = plain_rows(self, X, network.backend)
        if x is not None:
            scores, probes = network.scores_and_probe(x)
            if all(np.isfinite(probe) for probe in probes):
                return scores, identity
        x, to_caller = self._rows(X, method)
        return self._map(network.predictor, x), to_caller

    def _map(self, function: Callable[[Array], Array], x: Any) -> Array:
        """Apply a function of rows to checked rows, part by part where they stay on the host."""
        network = self.network_
        backend = network.backend
        if isinstance(x, Source):
            return predict_dataset(self, x).map(function)
        if not isinstance(x, HostRows):
            return function(x)
        with on_device(backend.device):
            send = sender(backend)
            return backend.xp.concat([function(send(x[part])) for part in chunks(x)])

    def _rows(self, X: Any, method: str) -> tuple[Any, Callable[[Array], Array]]:
        """Rows where the model is, and what brings results to where `X` is."""
        backend = check_fitted(self)
        if isinstance(X, Source):
            check_source(self, X)
            return X, identity
        x = check_rows(self, X, backend)
        if (
            type(x) is np.ndarray is type(X)
            and backend.name == "numpy"
            and x.dtype == backend.dtype
        ):
            return x, identity
        if self._follows:
            check_namespace(self, x, backend, method)
        came = place_of(x)
        home = None if isinstance(x, HostRows) else (namespace(X=x), device_of(x))
        x = rows_to_backend(x, backend)
        if came == (backend.name, device_name(backend.device)):
            return x, identity
        xp, device = (HOST_NAMESPACE, "cpu") if home is None else home
        return x, lambda result: to_device(result, xp, device, copy=None)

    def _score(self, X: Any, y: Any, sample_weight: Any) -> float:
        return score_of(self, X, y, sample_weight)

    def transform(self, X: Any, layer: int = -1) -> Array:
        """Activations of a hidden layer.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows.
        layer : int, default -1
            Which hidden layer; -1 is the last one.

        Returns
        -------
        array, shape (n, units)
        """
        network = self._fitted_network()
        x, to_caller = self._rows(X, "transform")
        ends = hidden_ends(network.layers)
        if not isinstance(layer, Integral) or not -len(ends) <= layer < len(ends):
            raise InputError(
                f"layer is {layer!r}; expected one of the model's {len(ends)} hidden layers, "
                "counted from 0, or from -1 backwards"
            )
        backend, count = network.backend, ends[layer]
        part = Chain(network.layers.layers[:count])
        with on_device(backend.device):
            params = unflatten(network.tree, network.theta, xp=backend.xp)[:count]
            found = self._map(lambda rows: part.forward(params, rows, None, xp=backend.xp)[0], x)
        if _get_output_config("transform", self)["dense"] != "default":
            self._transformed_width = int(found.shape[1])
        return to_caller(found)

    @property
    def _n_features_out(self) -> int:
        ends = hidden_ends(self.network_.layers)
        return self.network_.layers.widths(self.network_.inputs)[ends[-1] if ends else -1]

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Name the columns of `transform`.

        Parameters
        ----------
        input_features : ignored
            As in scikit-learn's transformers.

        Returns
        -------
        numpy.ndarray of str objects, shape (units of the last hidden layer,)
        """
        names = super().get_feature_names_out(input_features)
        # `set_output` asks for the names of what was just made, whatever the layer.
        width = self.__dict__.pop("_transformed_width", len(names))
        prefix = type(self).__name__.lower()
        return np.asarray([f"{prefix}{i}" for i in range(width)], dtype=object)

    # Copies, pickles, and other devices

    def __getstate__(self) -> dict[str, Any]:
        if "network_" in vars(self):
            self._fitted_network()  # with what was assigned to coefs_
        state = {k: v for k, v in super().__getstate__().items() if k != "_cut"}
        if state.get("_best_theta") is not None:
            state["_best_theta"] = to_host(state["_best_theta"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "network_" in vars(self):
            if self.network_.backend.name != "numpy":
                self._move_rest(self.network_.backend)
            self._published()

    def _move_rest(self, backend: Backend) -> None:
        """Bring what `partial_fit` goes on with to where the network is."""

        def moved(value: Any) -> Any:
            return to_device(to_host(value), backend.xp, backend.device)

        solver = vars(self).get("_solver_state")
        with on_device(backend.device):
            if solver is not None and solver.training is not None:
                # A shallow copy shares the old one.
                self._solver_state = replace(solver, training=solver.training.detached(moved))
            if vars(self).get("_best_theta") is not None:
                self._best_theta = map_tree(moved, self._best_theta)

    def to(self, backend: str, device: str | None = None) -> Any:
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
        network = self._fitted_network().copy()  # a shallow copy of the model has it too
        chosen = select(backend, device, network.dtype)
        # The parameters first: if there is no room, the model stays where it is.
        network.to(chosen)
        self.network_ = network
        self._move_rest(chosen)
        self._published()
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        tags.target_tags.required = True
        return tags


MISSING_TARGET = "This {} estimator requires y to be passed, but the target y is None."
_NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


def _own_generator(rng: Any, checkpoints: CheckpointManager) -> Any:
    """Return the generator to draw from: NumPy's own is everybody's, and cannot be put back."""
    shared = checkpoints.found is not None or checkpoints.group is not None
    if shared and rng is np.random.mtrand._rand:
        rng = np.random.RandomState()
    if checkpoints.group is not None:
        checkpoints.group.broadcast_generator(rng)
    return rng


def identity(result: Array) -> Array:
    """Return a result as it is: it is where the caller's rows are."""
    return result


def _stand_in(x: Any) -> Any:
    """An array of as many rows, for scikit-learn's checks of what belongs to them."""
    return np.broadcast_to(np.zeros(1), (int(x.shape[0]), 1))
