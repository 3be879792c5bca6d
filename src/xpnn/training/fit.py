"""From a call of `Network.fit` to a trainer: data checked and in place, options resolved."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from numbers import Real
from typing import Any

from xpnn.backends import (
    HostGenerator,
    InputError,
    device_errors,
    generator,
    library_name,
    on_device,
    to_float,
)
from xpnn.data.streams import Source
from xpnn.distributed import ProcessGroup, process_group
from xpnn.optimizers import Constant
from xpnn.training.callbacks import Callback, EarlyStopping, as_callbacks, as_early_stopping
from xpnn.training.checkpoint import CheckpointManager
from xpnn.training.dataset import CHUNK, ArrayDataset, Dataset, StreamDataset
from xpnn.training.history import History
from xpnn.training.options import TrainOptions, refuse_given
from xpnn.training.sampler import Sampler
from xpnn.training.step import upcast
from xpnn.training.trainer import Trainer

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
    group = process_group(distributed, options.deterministic)
    rng = network.generator if seed is None else generator(seed)
    stopping = as_early_stopping(early_stopping)
    calls = _callbacks(stopping, callbacks, progress and (group is None or group.is_main))
    weights_of = "the network keeps the weights of its last report"
    with nullcontext() if group is None else group.session(), device_errors(weights_of):
        with network.unchanged_if_refused(rng):
            if group is not None:
                group.broadcast_generator(rng)
            checkpoints = None
            if checkpoint is not None or resume is not False or group is not None:
                checkpoints = CheckpointManager("network", checkpoint, resume, group)
                checkpoints.start(rng)
            train = _training_data(network, data, options, group)
            if group is not None:
                network.theta = group.broadcast_array(network.theta)
            train, val = _validation_data(
                network, train, validation, validation_fraction, rng, group, options
            )
            for call in calls:
                if isinstance(call, EarlyStopping):
                    call.check_monitor(val is not None, network.loss.kind)
            if checkpoints is not None:
                identity = _identity(network, train, val, options, shuffle, seed, stopping)
                checkpoints.check(identity, options.epochs)
            trainer = Trainer(
                network,
                train,
                Sampler(rng, shuffle),
                options,
                validator=None if val is None else _Validator(network, val, group),
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
    refuse_given(
        "beside a source, which brings its own; leave it out", y=y, sample_weight=sample_weight
    )
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
    validation: Data,
    fraction: float | None,
    rng: HostGenerator,
    group: ProcessGroup | None,
    options: TrainOptions,
) -> tuple[Dataset, Dataset | None]:
    """Bring validation rows in place, or set some apart; what is left to learn from, and they."""
    X_val, y_val, weight_val = validation
    if X_val is None:
        refuse_given("without X_val", y_val=y_val, sample_weight_val=weight_val)
        return (train, None) if fraction is None else _split(network, train, fraction, rng)
    if fraction is not None:
        raise InputError("validation_fraction is given beside X_val; give one of them")
    if isinstance(X_val, Source):
        own = "beside a source, which brings its own"
        refuse_given(own, y_val=y_val, sample_weight_val=weight_val)
        X_val.check_once(-(-options.epochs // options.report_every))
        return train, network.stream_dataset(X_val, CHUNK, group=group)
    with validation_errors():
        x, _, _ = network.prepare(X_val)
        return train, ArrayDataset(x, *network.prepare_targets(x, y_val, weight_val))


@contextmanager
def validation_errors() -> Generator[None]:
    """Say of an error that it is about the validation rows: their checks name X and y."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.args = (f"in the validation data (X_val, y_val): {error}",)
        raise


def _split(
    network: Any, data: Dataset, fraction: float, rng: HostGenerator
) -> tuple[ArrayDataset, ArrayDataset]:
    """Set a fraction of the rows, drawn at random, apart for validation."""
    if not isinstance(data, ArrayDataset):
        raise InputError(
            f"validation_fraction is {fraction!r}; no rows of a source are set apart: give "
            "X_val, another source or an array"
        )
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
    val: Dataset | None,
    options: TrainOptions,
    shuffle: bool,
    seed: Any,
    stopping: Callback | None,
) -> dict[str, Any]:
    """What a checkpoint has to be of: everything that changes the numbers."""
    return {
        **options.identity(),
        "shuffle": shuffle,
        "seed": seed,
        "early_stopping": stopping,
        "inputs": network.inputs,
        "layers": network.layers,
        "loss": network.loss,
        "dtype": network.dtype,
        **data_identity(train, val),
    }


def data_identity(train: Dataset, validation: Dataset | None) -> dict[str, Any]:
    """What a checkpoint knows of the data: columns by name, and how a source is mixed."""
    found = dict(zip(("X", "y", "sample_weight"), train.columns, strict=True))
    found["rows"] = train.rows
    found["source"] = train.source.shuffle if isinstance(train, StreamDataset) else None
    if validation is not None:
        names = ("X_val", "y_val", "sample_weight_val")
        found |= dict(zip(names, validation.columns, strict=True))
    return found


class _Validator:
    """Loss and accuracy of validation rows."""

    def __init__(self, network: Any, data: Dataset, group: ProcessGroup | None) -> None:
        self.network, self.data, self.group = network, data, group

    def __call__(self) -> tuple[float, float | None]:
        network, loss, predict = self.network, self.network.loss, self.network.predictor
        if isinstance(self.data, StreamDataset):
            total, mass, accuracy = evaluate_stream(network, self.data, loss)
            return (total / mass if loss.reduction == "mean" else total), accuracy
        x, t, weight = self.data.columns
        scores = predict(x) if self.group is None else self.group.map_rows(predict, x)
        value = to_float(loss.forward(scores, t, weight, xp=network.backend.xp)[0])
        found = loss.accuracy(scores, t, xp=network.backend.xp)
        return value, None if found is None else to_float(found)


def evaluate_stream(
    network: Any, data: StreamDataset, loss: Any
) -> tuple[float, float, float | None]:
    """Loss of all rows of a source and their accuracy; on several processes each reads a share.

    Returns the loss added up, what to divide it by for a mean (the weights' sum, or the number
    of rows), and the accuracy, which weights do not count for; None for a regression.
    """
    xp, predict = network.backend.xp, network.predictor
    total, mass, right, seen = 0.0, 0.0, 0.0, 0.0
    with on_device(network.backend.device):
        for window, (x, t, weight) in data.windows():
            rows = window.counted
            if not rows:
                continue
            scores = predict(x)
            value = to_float(loss.forward(scores, t, weight, xp=xp)[0])
            means = loss.reduction == "mean"
            weighted = means and weight is not None
            own = to_float(xp.sum(upcast(weight, xp))) if weighted else float(rows)
            total += value * own if means else value
            mass += own
            accuracy = network.loss.accuracy(scores, t, xp=xp)
            right += 0.0 if accuracy is None else to_float(accuracy) * rows
            seen += rows
    if data.group is not None:
        total, mass, right, seen = data.group.all_reduce_numbers([total, mass, right, seen])
    return total, mass or 1.0, None if network.loss.kind == "regression" else right / seen


def plan_step(network: Any, X: Any, y: Any, options: TrainOptions) -> Any:
    """Plan a step, and run nothing; see `Network.plan_step`."""
    network = network.copy()  # which data place, and noise moves on
    x, xp, _ = network.prepare(X)
    data = ArrayDataset(x, *network.prepare_targets(x, y, None))
    if library_name(xp) == "cupy":
        options = replace(options, engine="native")
    trainer = Trainer(network, data, Sampler(network.generator), options)
    return trainer.compiled.plan(data.columns, trainer.batch_size, trainer.noise)
