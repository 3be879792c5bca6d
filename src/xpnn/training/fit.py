"""From a call of `Network.fit` to a trainer: data checked and in place, options resolved."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from numbers import Real
from typing import Any

from xpnn.backends import (
    Array,
    HostGenerator,
    InputError,
    Namespace,
    device_errors,
    generator,
    is_half,
    library_name,
    on_device,
    to_float,
)
from xpnn.data.streams import Source
from xpnn.distributed import ProcessGroup, check_single_process, process_group
from xpnn.optimizers import Constant
from xpnn.training.callbacks import Callback, EarlyStopping, as_callbacks, as_early_stopping
from xpnn.training.checkpoint import CheckpointManager
from xpnn.training.dataset import CHUNK, ArrayDataset, Dataset, StreamDataset
from xpnn.training.history import History
from xpnn.training.options import TrainOptions
from xpnn.training.sampler import Sampler
from xpnn.training.trainer import Trainer

_KEPT = "the network keeps the weights of its last report"

Data = tuple[Any, Any, Any]
"""Rows, targets and weights as a caller gave them."""


def fit_network(
    network: Any,
    data: Data,
    validation: Data,
    options: TrainOptions,
    *,
    validation_fraction: float | None,
    shuffle: bool,
    early_stopping: Any,
    callbacks: Any,
    progress: bool,
    seed: int | HostGenerator | None,
    checkpoint: Any,
    resume: Any,
    distributed: Any,
) -> History:
    """Train a network; see `Network.fit`, whose arguments these are."""
    if network.size == 0:
        raise InputError("the network has no parameters to learn; add a Dense layer")
    group = process_group(distributed)
    check_single_process(options.deterministic, group)
    group = None if group is None or group.size == 1 else group
    rng = network.generator if seed is None else generator(seed)
    stopping = as_early_stopping(early_stopping)
    calls = _callbacks(stopping, callbacks, progress and (group is None or group.is_main))
    with nullcontext() if group is None else group.session(), device_errors(_KEPT):
        with network.unchanged_if_refused(rng):
            if group is not None:
                group.broadcast_generator(rng)
            checkpoints = CheckpointManager("network", checkpoint, resume, group)
            checkpoints.start(rng)
            train = _training_data(network, data, options, group)
            if group is not None:
                network.theta = group.broadcast_array(network.theta)
            held = _validation_data(
                network, train, data, validation, validation_fraction, rng, group, options
            )
            if isinstance(held, tuple):
                train, held = held
            for call in calls:
                if isinstance(call, EarlyStopping):
                    call.check_monitor(held is not None, network.loss.kind)
            checkpoints.check(
                lambda: _identity(network, train, held, options, shuffle, seed, stopping),
                rng,
                options.epochs,
            )
            trainer = Trainer(
                network,
                train,
                Sampler(rng, shuffle),
                options,
                validator=None if held is None else _Validator(network, held, group),
                callbacks=calls,
                checkpoints=checkpoints,
                group=group,
            )
        history = trainer.run()
        if group is not None:  # a callback may have put other weights in, or noted something
            network.theta = group.broadcast_array(network.theta)
            vars(history).update(group.broadcast(vars(history)))
        return history


def _callbacks(stopping: EarlyStopping | None, callbacks: Any, progress: bool) -> list[Callback]:
    """All callbacks; early stopping first, so that the others see the weights it restored."""
    calls = [*([] if stopping is None else [stopping]), *as_callbacks(callbacks)]
    if progress:
        from xpnn.training.progress import ProgressBar

        calls.append(ProgressBar())
    return calls


def _training_data(
    network: Any, data: Data, options: TrainOptions, group: ProcessGroup | None
) -> Dataset:
    """Check rows to learn from, and bring them in place."""
    X, y, sample_weight = data
    if not isinstance(X, Source):
        x, _, _ = network.prepare(X)
        return ArrayDataset(x, *network.prepare_targets(x, y, sample_weight))
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise InputError(f"{name} is given beside a source, which brings its own; leave it out")
    if options.batch_size is None:
        raise InputError("batch_size is None, for all rows at once; a source needs a number")
    X.check_once(options.epochs)
    if X.rows is None and not isinstance(options.schedule, Constant):
        if X.once:
            raise InputError(
                f"a schedule needs to know the number of rows; say it: stream({X.name}, rows=...)"
            )
        X.rows = X.count() if group is None else group.broadcast_from_main(X.count)
    return network.stream_dataset(X, options.batch_size, group=group)


def _validation_data(
    network: Any,
    train: Dataset,
    data: Data,
    validation: Data,
    fraction: float | None,
    rng: HostGenerator,
    group: ProcessGroup | None,
    options: TrainOptions,
) -> Any:
    """Bring validation rows in place; a pair with the training rows where they are set apart."""
    X_val, y_val, weight_val = validation
    if X_val is None:
        for name, value in (("y_val", y_val), ("sample_weight_val", weight_val)):
            if value is not None:
                raise InputError(f"{name} is given without X_val")
    if fraction is not None:
        if X_val is not None:
            raise InputError("validation_fraction is given beside X_val; give one of them")
        if isinstance(train, StreamDataset):
            raise InputError(
                f"validation_fraction is {fraction!r}; no rows of a source are set apart: give "
                "X_val, another source or an array"
            )
        assert isinstance(train, ArrayDataset)
        return _split(network, train, fraction, rng)
    if X_val is None:
        return None
    if isinstance(X_val, Source):
        for name, value in (("y_val", y_val), ("sample_weight_val", weight_val)):
            if value is not None:
                raise InputError(f"{name} is given beside a source, which brings its own")
        X_val.check_once(-(-options.epochs // options.report_every))
        return network.stream_dataset(X_val, CHUNK, group=group)
    with validation_errors():
        x, _, _ = network.prepare(X_val)
        return ArrayDataset(x, *network.prepare_targets(x, y_val, weight_val))


@contextmanager
def validation_errors() -> Generator[None]:
    """Say of an error that it is about the validation rows: their checks name X and y."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.args = (f"in the validation data (X_val, y_val): {error}",)
        raise


def _split(
    network: Any, data: ArrayDataset, fraction: float, rng: HostGenerator
) -> tuple[ArrayDataset, ArrayDataset]:
    """Set a fraction of the rows, drawn at random, apart for validation."""
    between = isinstance(fraction, Real) and 0 < fraction < 1
    count = round(data.rows * fraction) if between else 0
    if not 0 < count < data.rows:
        raise InputError(
            f"validation_fraction is {fraction!r}; expected a number above 0 and below 1 that "
            f"leaves rows on both sides of {data.rows}"
        )
    indices = rng.permutation(data.rows)
    backend = network.backend
    return data.take(indices[count:], backend), data.take(indices[:count], backend)


def _identity(
    network: Any,
    train: Dataset,
    held: Dataset | None,
    options: TrainOptions,
    shuffle: bool,
    seed: Any,
    stopping: Callback | None,
) -> dict[str, Any]:
    """What a checkpoint has to be of: everything that changes the numbers."""
    x, t, weight = train.columns
    found = {
        **options.identity(),
        "shuffle": shuffle,
        "seed": seed,
        "early_stopping": stopping,
        "inputs": network.inputs,
        "layers": network.layers,
        "loss": network.loss,
        "dtype": network.dtype,
        "X": x,
        "y": t,
        "sample_weight": weight,
        "rows": train.rows,
        "source": train.source.shuffle if isinstance(train, StreamDataset) else None,
    }
    if held is not None:
        names = ("X_val", "y_val", "sample_weight_val")
        found |= dict(zip(names, held.columns, strict=True))
    return found


class _Validator:
    """Loss and accuracy of validation rows."""

    def __init__(self, network: Any, data: Dataset, group: ProcessGroup | None) -> None:
        self.network, self.data, self.group = network, data, group

    def __call__(self) -> tuple[float, float | None]:
        if isinstance(self.data, StreamDataset):
            return evaluate_source(self.network, self.data)
        x, t, weight = self.data.columns
        loss, xp = self.network.loss, self.network.backend.xp
        scores = self.predicted(x)
        value = to_float(loss.forward(scores, t, weight, xp=xp)[0])
        accuracy = loss.accuracy(scores, t, xp=xp)
        return value, None if accuracy is None else to_float(accuracy)

    def predicted(self, x: Array) -> Array:
        """Scores of the rows; processes share them out."""
        predict = self.network.predictor
        return predict(x) if self.group is None else self.group.map_rows(predict, x)


def evaluate_source(network: Any, data: StreamDataset) -> tuple[float, float | None]:
    """Loss of all rows of a source, by its weights, and their accuracy without them.

    Parameters
    ----------
    network : Any
        Its loss tells both.
    data : StreamDataset
        The rows; on several processes each reads a share.

    Returns
    -------
    loss : float
    accuracy : float or None
    """
    rule, backend = network.loss, network.backend
    xp, predict = backend.xp, network.predictor
    total, mass, right, seen, classifies = 0.0, 0.0, 0.0, 0.0, True
    with on_device(backend.device):
        for window, (x, t, weight) in data.windows():
            rows = window.counted
            if not rows:
                continue
            scores = predict(x)
            value = to_float(rule.forward(scores, t, weight, xp=xp)[0])
            means = rule.reduction == "mean"
            own = float(rows) if weight is None or not means else _weight_of(weight, xp)
            total += value * own if means else value
            mass += own
            share = rule.accuracy(scores, t, xp=xp)
            classifies = classifies and share is not None
            right += 0.0 if share is None else to_float(share) * rows
            seen += rows
    if data.group is not None:
        total, mass, right, seen = data.group.all_reduce_numbers([total, mass, right, seen])
    loss = total / (mass or 1.0) if rule.reduction == "mean" else total
    return loss, right / seen if classifies else None


def _weight_of(weight: Array, xp: Namespace) -> float:
    """Sum weights, those of 16 bits in 32."""
    return to_float(xp.sum(xp.astype(weight, xp.float32) if is_half(weight.dtype) else weight))


def plan_step(network: Any, X: Any, y: Any, options: TrainOptions) -> Any:
    """Plan a step, and run nothing; see `Network.plan_step`."""
    network = network.copy()  # which data place, and noise moves on
    x, xp, _ = network.prepare(X)
    data = ArrayDataset(x, *network.prepare_targets(x, y, None))
    if library_name(xp) == "cupy":
        options = replace(options, engine="kernels")
    trainer = Trainer(network, data, Sampler(network.generator), options)
    return trainer.compiled.plan(data.columns, trainer.batch_size, trainer.noise)
