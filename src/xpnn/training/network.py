"""A network: layers with their parameters in one place, that can predict and be trained."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from xpnn.backends import (
    DTYPES,
    HOST_NAMESPACE,
    Array,
    ArrayLike,
    Backend,
    BackendUnavailableError,
    Device,
    DType,
    HostGenerator,
    InputError,
    MixedArraysError,
    Namespace,
    as_array,
    as_floating,
    backend_of,
    default_float,
    device_errors,
    device_name,
    device_of,
    dtype_name,
    generator,
    generator_state,
    host,
    is_floating,
    is_half,
    library_name,
    namespace,
    on_device,
    placement,
    restore_generator,
    select,
    to_device,
    to_host,
)
from xpnn.data.streams import Source, Window
from xpnn.distributed import MPIOptions
from xpnn.engine import Predictor
from xpnn.layers import Chain, LayerSpec, Tree, chain, draw, place, size, unflatten, walk
from xpnn.optimizers import Adam, LossScaler, Optimizer, Schedule
from xpnn.training.callbacks import EarlyStopping
from xpnn.training.checkpoint import Checkpoint
from xpnn.training.dataset import CHUNK, StreamDataset
from xpnn.training.fit import evaluate_stream, fit_network, plan_step
from xpnn.training.history import History
from xpnn.training.loss import Loss, as_loss, check_weights
from xpnn.training.options import Precision, TrainOptions, check_count
from xpnn.training.step import Batch, Step
from xpnn.training.warn import warn_caller


class Network:
    """Layers and one vector of parameters.

    Parameters
    ----------
    inputs : int
        Number of features of a row.
    layers : sequence of Layer, int or str, or Chain
        The layers, the last one giving scores. An integer is a `Dense` of that width, a
        string an `Activation` of that name: ``[100, "relu", 10]``. Softmax and sigmoid
        outputs belong to the loss; leave them out.
    loss : str, Loss, CustomLoss, or pair of callables, default 'softmax_cross_entropy'
        What training minimizes, and what the scores mean; a name in
        `xpnn.functional.LOSSES`, or a loss of your own: see `xpnn.training.as_loss`.
    seed : int or generator, optional
        For the initial weights, row orders and dropout noise; the same on every library.
    backend : Backend or str, optional
        Where the parameters live. Default: they follow the first arrays that come in.
    dtype : str, optional
        Dtype of the parameters. Default: that of the first arrays, integers counting as
        the library's default float.

    theta : array, shape (parameters,), optional
        Parameters to begin with, where they live. Default: drawn as the layers say.

    Attributes
    ----------
    theta : array, shape (parameters,)
        All parameters as one vector.

    Raises
    ------
    ValueError
        A width is not positive, or a name is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn import Network
    >>> net = Network(2, [8, "tanh", 2], seed=0)
    >>> X = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> history = net.fit(X, [0, 1, 1, 0], epochs=300, learning_rate=0.05)
    >>> net.predict(X)
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        inputs: int,
        layers: Sequence[LayerSpec] | Chain,
        *,
        loss: Any = "softmax_cross_entropy",
        seed: int | HostGenerator | None = None,
        backend: Backend | str | None = None,
        dtype: str | None = None,
        theta: Array | None = None,
    ) -> None:
        self.inputs = check_count("inputs", inputs)
        self.layers = chain(layers)
        self.loss: Loss = as_loss(loss)
        self.generator = generator(seed)
        self.tree: Tree = place(self.layers.parameters(self.inputs))
        if dtype is not None and dtype not in DTYPES:
            raise InputError(f"dtype={dtype!r} is not known; expected one of {', '.join(DTYPES)}")
        self._dtype = dtype
        self._placed = False
        self._predictor: Predictor | None = None
        if theta is None:
            self._theta: Array = draw(self.tree, self.generator)
        else:
            self.theta = theta
        if isinstance(backend, str):
            backend = select(backend, dtype=dtype)
        if backend is not None:
            self.to(backend if dtype is None else select(backend.name, backend.device, dtype))

    # For a person

    def __repr__(self) -> str:
        layers = ", ".join(repr(layer) for layer in self.layers.layers)
        return f"Network({self.inputs}, [{layers}], loss={self.loss.name!r})"

    def summary(self) -> str:
        """Describe the layers as a table: output width and number of parameters."""
        rows = [("layer", "output", "parameters"), *self._rows()]
        first = max(len(row[0]) for row in rows)
        second = max(len(row[1]) for row in rows)
        lines = [f"{a:<{first}}  {b:<{second}}  {c:>12}" for a, b, c in rows]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:], rule, self._total()])

    def _rows(self) -> list[tuple[str, str, str]]:
        widths = self.layers.widths(self.inputs)[1:]
        return [
            (repr(layer), f"(n, {width})", f"{size(branch):,}")
            for layer, width, branch in zip(self.layers.layers, widths, self.tree, strict=True)
        ]

    def _total(self) -> str:
        where = self.backend.describe() if self._placed else "not placed yet"
        return f"{self.size:,} parameters, loss {self.loss.name}, {where}"

    def _repr_html_(self) -> str:
        """The summary for a notebook."""
        from xpnn.units.html import html_table

        heads = ("layer", "output", "parameters")
        return html_table(heads, self._rows(), f"{self.inputs:,} inputs; {self._total()}", words=1)

    # Parameters, and where they are

    @property
    def outputs(self) -> int:
        """Width of the last layer's output."""
        return self.layers.outputs(self.inputs)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return size(self.tree)

    @property
    def dtype(self) -> str | None:
        """Name of the parameters' dtype; before any data, the one asked for, or None."""
        return dtype_name(self._theta.dtype) if self._placed else self._dtype

    @property
    def placed(self) -> bool:
        """Whether the parameters have a place, or follow the first data that comes in."""
        return self._placed

    @property
    def backend(self) -> Backend:
        """Library, device and dtype of the parameters."""
        return backend_of(self._theta)

    @property
    def theta(self) -> Array:
        """All parameters as one vector, where they live."""
        return self._theta

    @theta.setter
    def theta(self, values: Array) -> None:
        values = as_array("theta", values)
        if not is_floating(values, namespace(theta=values)):
            raise InputError(f"theta has dtype {values.dtype}; expected floating-point numbers")
        if tuple(values.shape) != (self.size,):
            raise InputError(f"theta has shape {tuple(values.shape)}; expected ({self.size},)")
        self._theta = values
        self._placed = True

    @contextmanager
    def unchanged_if_refused(self, rng: HostGenerator) -> Generator[None]:
        """Put parameters, where they are, and a generator back where what is asked is refused."""
        before, state = (self._theta, self._placed), generator_state(rng)
        try:
            yield
        except BaseException:
            self._theta, self._placed = before
            restore_generator(rng, state)
            raise

    def copy_theta(self) -> Array:
        """Copy all parameters as one vector, on the same device."""
        xp, device = placement(theta=self._theta)
        with on_device(device):
            return xp.asarray(self._theta, copy=True)

    def parameters(self) -> dict[str, Array]:
        """Every array of parameters under its name, such as ``'0.weights'``."""
        theta = self._theta
        xp, device = placement(theta=theta)
        with on_device(device):
            arrays = walk(unflatten(self.tree, theta, xp=xp))
            return {p.name: a for p, a in zip(walk(self.tree), arrays, strict=True)}

    def assign(self, **arrays: ArrayLike) -> Self:
        """Set arrays of parameters by name.

        Parameters
        ----------
        **arrays : array_like
            Values under the names that `parameters` gives; as the names hold a dot, pass
            a dictionary: ``network.assign(**{"0.weights": w})``.

        Returns
        -------
        Network
            The network itself.

        Raises
        ------
        ValueError
            A name is not known, or a shape does not fit.
        """
        known = {p.name: p for p in walk(self.tree)}
        values = to_host(self._theta).copy()
        for name, given in arrays.items():
            if name not in known:
                raise InputError(f"{name!r} is not a parameter; expected one of {', '.join(known)}")
            p, new = known[name], to_host(as_array(name, given))
            if new.shape != p.shape:
                raise InputError(f"{name} has shape {new.shape}; expected {p.shape}")
            values[p.offset : p.offset + p.size] = new.reshape(-1)
        theta = self._theta
        xp, device = placement(theta=theta)
        self._theta = to_device(values, xp, device, theta.dtype) if self._placed else values
        return self

    def to(self, backend: Backend | str, device: Any = None, dtype: str | None = None) -> Self:
        """Move the parameters to another library, device or dtype.

        Parameters
        ----------
        backend : Backend or str
            The library, or all three in one.
        device, dtype : optional
            For a library given by name; see `xpnn.backends.select`.

        Returns
        -------
        Network
            The network itself.
        """
        if isinstance(backend, str):
            backend = select(backend, device, dtype or self.dtype)
        self._theta = to_device(self._theta, backend.xp, backend.device, backend.dtype)
        self._placed = True
        return self

    def copy(self) -> Network:
        """Make an independent network with the same structure, parameters and generator."""
        other = object.__new__(Network)
        vars(other).update(vars(self), loss=replace(self.loss), _predictor=None)
        other._theta = self.copy_theta()
        other.generator = _copied(self.generator)
        return other

    def __getstate__(self) -> dict[str, Any]:
        # Plans are bound to memory; a copy makes its own. Parameters travel as NumPy's.
        state = {**vars(self), "_predictor": None}
        if self._placed and self.backend.name != "numpy":
            where = self.backend
            state["_theta"] = to_host(self._theta)
            state["_where"] = (where.name, device_name(where.device), self.dtype)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        where = state.pop("_where", None)
        vars(self).update(state)
        if where is not None:
            self.restore_device(*where)

    def restore_device(self, library: str, device: str, dtype: str | None) -> None:
        """Put parameters that were saved on the host where they were.

        If this process cannot use that, they stay in NumPy, and a warning says so.
        """
        if can_restore(library, device, dtype):
            self.to(library, device, dtype)

    # Data

    def _bind(self, x: Array, xp: Namespace, device: Device) -> None:
        """Place the parameters with the first data, or check that they are there."""
        if self._placed:
            own, home = placement(theta=self._theta)
            if own is not xp or (device is not None and home != device):
                raise MixedArraysError(
                    f"X is an array of {library_name(xp)} on {device_name(device)} and the "
                    f"network's parameters are of {library_name(own)} on {device_name(home)}; "
                    "move the network with network.to(...), or the data with "
                    "xpnn.backends.select(...).asarray(X)"
                )
            return
        dtype: DType = x.dtype if is_floating(x, xp) else default_float(xp, device)
        if self._dtype is not None:
            dtype = select(library_name(xp), device, self._dtype).dtype
        self._theta = to_device(self._theta, xp, device, dtype)
        self._placed = True

    def prepare(self, X: ArrayLike) -> tuple[Array, Namespace, bool]:
        """Check rows, and bring them into the form that the layers take.

        Returns the rows, (n, inputs) in the dtype of the parameters, their namespace, and
        whether there was a single row without the first axis.
        """
        theta = self._theta
        if (  # the usual case, in a fraction of the time that looking everything up takes
            type(X) is host.ndarray
            and self._placed
            and type(theta) is host.ndarray
            and X.dtype == theta.dtype
            and X.ndim in (1, 2)
            and X.shape[-1] == self.inputs
            and X.shape[0] > 0
        ):
            single = X.ndim == 1
            return X[None, :] if single else X, HOST_NAMESPACE, single
        x = as_array("X", X, theta) if self._placed else as_array("X", X)
        xp, device = placement(X=x)
        shape = tuple(x.shape)
        single = shape == (self.inputs,)
        if not single and (len(shape) != 2 or shape[1] != self.inputs):
            raise InputError(
                f"X has shape {shape}; expected (n, {self.inputs}), one row for each example"
            )
        if shape[0] == 0:
            raise InputError(f"X has shape {shape}; expected at least one row")
        self._bind(x, xp, device)
        if single:
            x = x[None, :]
        with on_device(device):
            x = as_floating(x, xp, self._theta.dtype)
            return xp.astype(x, self._theta.dtype, copy=False), xp, single

    def prepare_targets(
        self, x: Array, y: ArrayLike | None, sample_weight: ArrayLike | None
    ) -> tuple[Array, Array | None]:
        """Check targets and weights against rows from `prepare`, and give them their dtypes."""
        if y is None:
            raise InputError("y is None; expected targets, one for each row of X")
        t = as_array("y", y, x)
        weight = None if sample_weight is None else as_array("sample_weight", sample_weight, x)
        xp, device = placement(X=x, y=t, sample_weight=weight)
        if weight is not None and tuple(weight.shape) != (x.shape[0],):
            raise InputError(
                f"sample_weight has shape {tuple(weight.shape)}; expected ({x.shape[0]},)"
            )
        with on_device(device):
            numbers = _number_dtype(x.dtype, xp)
            t = self.loss.check_targets(t, x.shape[0], self.outputs, xp=xp)
            if is_floating(t, xp) or self.loss.kind != "multiclass":
                t = xp.astype(t, numbers, copy=False)
            if weight is not None:
                weight = xp.astype(weight, numbers, copy=False)
                check_weights(weight, xp)
        return t, weight

    def stream_dataset(
        self, source: Source, batch_size: int, *, targets: bool = True, group: Any = None
    ) -> StreamDataset:
        """Make a dataset of a source, whose rows go where the network is.

        A network that is nowhere yet follows the source's dtype.
        """
        if source.features != self.inputs:
            raise InputError(
                f"{source.name} has {source.features} features; expected {self.inputs}"
            )
        if not self._placed:
            self._bind(host.empty((0, self.inputs), source.dtype), HOST_NAMESPACE, None)
        encode = partial(self._encode, source) if targets else _without_targets
        backend = self.backend
        numbers = _number_dtype(backend.dtype, backend.xp)
        return StreamDataset(source, batch_size, backend, encode, number_dtype=numbers, group=group)

    def _encode(self, source: Source, window: Window) -> Window:
        """Check the targets and weights of a window, on the host."""
        t, weight, rows = source.target_of(window), window.weight, window.rows
        if weight is not None:
            if weight.shape != (rows,):
                raise InputError(f"sample_weight has shape {weight.shape}; expected ({rows},)")
            check_weights(weight, HOST_NAMESPACE)
        t = self.loss.check_targets(t, rows, self.outputs, xp=HOST_NAMESPACE)
        if self.loss.kind != "multiclass" and t.dtype.kind != "f":
            t = t.astype(host.float64)
        return replace(window, t=t)

    # Mathematics

    def forward(self, X: ArrayLike, noise: Tree = None) -> tuple[Array, Tree]:
        """Run the layers.

        Parameters
        ----------
        X : array_like, shape (n, inputs)
            One row for each example.
        noise : nested tuples of array, optional
            For dropout; None means predicting.

        Returns
        -------
        scores : array, shape (n, outputs)
        saved : nested tuples of array
            For `backward`.
        """
        x, xp, _ = self.prepare(X)
        with on_device(device_of(x)):
            params = unflatten(self.tree, self._theta, xp=xp)
            return self.layers.forward(params, x, noise, xp=xp)

    def backward(self, saved: Tree, dscores: Array) -> tuple[Array, dict[str, Array]]:
        """Go back through the layers.

        Parameters
        ----------
        saved : nested tuples of array
            From `forward`.
        dscores : array, shape (n, outputs)
            Gradient of some quantity with respect to the scores.

        Returns
        -------
        dx : array, shape (n, inputs)
            Gradient with respect to the input.
        gradients : dict of str to array
            Gradient with respect to each array of `parameters`.
        """
        xp, device = placement(dscores=dscores, theta=self._theta)
        with on_device(device):
            params = unflatten(self.tree, self._theta, xp=xp)
            dx, gradients = self.layers.backward(params, saved, dscores, xp=xp)
        return dx, {p.name: g for p, g in zip(walk(self.tree), walk(gradients), strict=True)}

    def loss_and_gradient(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, l2: float = 0.0
    ) -> tuple[Array, Array]:
        """Loss of data, and its gradient with respect to `theta`.

        Parameters
        ----------
        X : array_like, shape (n, inputs)
            One row for each example.
        y : array_like, shape (n,) or (n, outputs)
            Targets.
        sample_weight : array_like, shape (n,), optional
            Weight of each row; default 1.
        l2 : float, default 0
            Strength of the L2 penalty.

        Returns
        -------
        loss : array, 0-d
        gradient : array, shape (parameters,)
        """
        x, xp, _ = self.prepare(X)
        t, weight = self.prepare_targets(x, y, sample_weight)
        step = Step(self.layers, self.tree, self.loss, Adam(), float(l2))
        with on_device(device_of(x)):
            return step.gradient(xp)(self._theta, Batch(x, t, weight))

    # Use

    def scores(self, X: ArrayLike | Source) -> Array:
        """Compute the raw outputs (logits for a cross-entropy).

        Parameters
        ----------
        X : array_like, shape (n, inputs) or (inputs,), or Source
            One row for each example, or a single row.

        Returns
        -------
        array, shape (n, outputs) or (outputs,)
            On the library and device of `X`; of a source on the host.
        """
        if isinstance(X, Source):
            return self.stream_dataset(X, CHUNK, targets=False).map(self.scores)
        x, _, single = self.prepare(X)
        scores = self.predictor(x)
        return scores[0, :] if single else scores

    def predictor(self, x: Array) -> Array:
        """Compute the scores of rows that `prepare` has brought in place."""
        return self.scores_and_probe(x)[0]

    def scores_and_probe(self, x: Array) -> tuple[Array, list[Array]]:
        """Compute the scores of prepared rows, and numbers that tell whether the rows are finite.

        An infinity or a NaN in a row makes all of the first layer's results for it infinite or
        NaN, whatever the weights are; the layers behind may hide it. So does a sum that overflows.
        """
        theta = self._theta
        made = self._predictor
        if made is None or not made.fits(theta):
            xp, _ = placement(theta=theta)
            made = Predictor(
                self._make_forward, theta, xp, max(self.layers.widths(self.inputs)[1:])
            )
            self._predictor = made
        if made.plannable:
            with host.errstate(over="ignore", invalid="ignore"):
                return made.probed(theta, x)
        with on_device(device_of(x)), device_errors("hand in fewer rows at a time"):
            return made.probed(theta, x)

    def _make_forward(self, xp: Namespace) -> Callable[[Array, Array], Any]:
        """Make the pure function ``(theta, x) -> (scores, finite probe)``."""
        layers, tree = self.layers.layers, self.tree

        def forward(theta: Array, x: Array) -> tuple[Array, Array]:
            params = unflatten(tree, theta, xp=xp)
            scores = layers[0].forward(params[0], x, None, xp=xp)[0]
            probe = xp.sum(scores)
            for layer, own in zip(layers[1:], params[1:], strict=True):
                scores = layer.forward(own, scores, None, xp=xp)[0]
            return scores, probe

        return forward

    def predict(self, X: ArrayLike | Source) -> Array:
        """Predict labels or values, as the loss says.

        Parameters
        ----------
        X : array_like, shape (n, inputs) or (inputs,), or Source
            One row for each example, or a single row.

        Returns
        -------
        array
            Labels of shape (n,) for softmax cross-entropy; 0 and 1 for binary
            cross-entropy and hinge, values for the others, of shape (n, outputs), or (n,)
            where there is one output. Without the first axis for a single row.
        """
        if isinstance(X, Source):
            return self.stream_dataset(X, CHUNK, targets=False).map(self.predict)
        x, xp, single = self.prepare(X)
        with on_device(device_of(x)):
            predicted = self.loss.predict(self.predictor(x), xp=xp)
        return predicted[0, ...] if single else predicted

    def predict_proba(self, X: ArrayLike | Source) -> Array:
        """Predict probabilities: softmax or sigmoid of the scores, as the loss says.

        Parameters
        ----------
        X : array_like, shape (n, inputs) or (inputs,), or Source
            One row for each example, or a single row.

        Returns
        -------
        array, shape (n, outputs) or (outputs,)

        Raises
        ------
        ValueError
            The network's loss gives no probabilities.
        """
        if self.loss.kind == "regression":
            raise InputError(
                f"the loss {self.loss.name!r} has no probabilities; use predict or scores"
            )
        if isinstance(X, Source):
            return self.stream_dataset(X, CHUNK, targets=False).map(self.predict_proba)
        x, xp, single = self.prepare(X)
        with on_device(device_of(x)):
            probabilities = self.loss.mean(self.predictor(x), xp=xp)
        return probabilities[0, :] if single else probabilities

    def evaluate(
        self, X: ArrayLike | Source, y: ArrayLike | None = None
    ) -> tuple[Array, Array | None]:
        """Loss and accuracy on data, as 0-d arrays; a regression has no accuracy.

        Parameters
        ----------
        X : array_like, shape (n, inputs), or Source
            One row for each example.
        y : array_like, shape (n,) or (n, outputs)
            Targets; a source brings its own.

        Returns
        -------
        loss : array, 0-d
        accuracy : array, 0-d, or None
        """
        if isinstance(X, Source):
            data = self.stream_dataset(X, CHUNK)
            total, mass, found = evaluate_stream(self, data, self.loss)
            loss = total / mass if self.loss.reduction == "mean" else total
            return host.asarray(loss), None if found is None else host.asarray(found)
        x, xp, _ = self.prepare(X)
        t, _ = self.prepare_targets(x, y, None)
        with on_device(device_of(x)):
            scores = self.predictor(x)
            value, _ = self.loss.forward(scores, t, None, xp=xp)
            return value, self.loss.accuracy(scores, t, xp=xp)

    def accuracy(self, X: ArrayLike | Source, y: ArrayLike | None = None) -> float:
        """Fraction of rows predicted right.

        Parameters
        ----------
        X, y
            As in `evaluate`.

        Raises
        ------
        ValueError
            The network's loss is that of a regression.
        """
        found = self.evaluate(X, y)[1]
        if found is None:
            raise InputError(f"the loss {self.loss.name!r} is a regression's: it has no accuracy")
        return float(to_host(found))

    def fit(
        self,
        X: ArrayLike | Source,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: ArrayLike | Source | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        validation_fraction: float | None = None,
        epochs: int = 10,
        batch_size: int | None = 32,
        optimizer: Optimizer | None = None,
        learning_rate: float | Schedule | None = None,
        l2: float = 0.0,
        shuffle: bool = True,
        early_stopping: EarlyStopping | int | bool | None = None,
        callbacks: Any = (),
        progress: bool = False,
        report_every: int = 1,
        seed: int | HostGenerator | None = None,
        compute_dtype: str | None = None,
        loss_scale: str | LossScaler | float | None = None,
        precision: str = "highest",
        engine: str = "auto",
        checkpoint: Checkpoint | str | Path | None = None,
        resume: bool | str | Path = False,
        gradient_accumulation_steps: int = 1,
        distributed: str | MPIOptions | None = None,
        deterministic: bool = False,
    ) -> History:
        """Train the network in place.

        Parameters
        ----------
        X : array_like, shape (n, inputs), or Source
            One row for each example; decides the library and device. It may be anything that
            shares its memory (DLPack); see `xpnn.backends.from_dlpack`. A source, which
            `xpnn.data.stream` makes of data larger than memory, brings targets and weights;
            its rows go where the network is.
        y : array_like, shape (n,) or (n, outputs)
            Targets: integer labels or probabilities for softmax cross-entropy, 0 and 1 for
            binary cross-entropy and hinge, values for the others.
        sample_weight : array_like, shape (n,), optional
            Weight of each row, 0 or more; default 1.
        X_val, y_val : array_like or Source, optional
            Validation rows: their loss and accuracy are noted after each report. A source
            brings its own targets.
        sample_weight_val : array_like, shape (n,), optional
            Weights of the validation rows in their loss.
        validation_fraction : float, optional
            Fraction of the rows, drawn at random, to set apart for validation instead (not of
            a source).
        epochs : int, default 10
            Times that all rows are gone through.
        batch_size : int or None, default 32
            Rows in a step; the last batch takes what is left. None takes all rows.
        optimizer : Optimizer, optional
            Default: ``Adam()``.
        learning_rate : float or Schedule, optional
            In place of the optimizer's own.
        l2 : float, default 0
            Strength of the penalty ``l2 / 2 * sum(weights**2)``; biases do not count.
        shuffle : bool, default True
            Whether each epoch goes through the rows in a new order; those of a source are
            mixed as its `BlockShuffle` says.
        early_stopping : EarlyStopping, int or bool, optional
            When to stop early; an integer is the patience, True takes the defaults.
        callbacks : Callback, callable, or iterable of them
            Called on the way; a function is called with a `Run` after each epoch. What they
            return is ignored: ``run.stop("why")`` ends the training.
        progress : bool, default False
            Whether to draw a progress bar on standard error.
        report_every : int, default 1
            Epochs from one report to the next: after these, and after the last, the loss is
            read, validation rows are looked at, callbacks are called and the history gets an
            entry. A tiny network spends more time on that than on an epoch.
        seed : int or generator, optional
            For row orders, dropout and the validation split; default, the network's own
            generator.
        compute_dtype : {'float16', 'bfloat16'}, optional
            Dtype of forward and backward, where it is not to be that of the parameters: these
            stay float32 (or float64), sums and the loss are float32. Predictions are computed
            in the parameters' dtype.
        loss_scale : 'dynamic', LossScaler or float, optional
            What the loss is multiplied by before the backward, so that small gradients are not
            lost; default 'dynamic' for float16, none for bfloat16. A step whose gradient
            overflows is skipped and halves a dynamic scale.
        precision : {'highest', 'high', 'medium'}, default 'highest'
            How exactly float32 matrices are multiplied while steps run: 'high' allows
            TensorFloat-32, 'medium' bfloat16, on devices and libraries that have them; NumPy
            always multiplies in float32. See `xpnn.backends.matmul_precision`.
        engine : {'auto', 'planned', 'native', 'pure'}, default 'auto'
            How steps run; see `xpnn.engine.make_runner`. 'pure' runs every step as the plain
            pure functions, for comparisons.
        checkpoint : Checkpoint or path, optional
            Where to write down what the training needs to go on, and how often; a path means
            after every report. Ctrl-C writes one more.
        resume : bool or path, default False
            True goes on from the file of `checkpoint`, and begins anew where there is none; a
            path goes on from there. What changes the numbers has to be as it was; `epochs` may
            be more: then a training that was killed ends, on NumPy, with the bytes of one that
            was not.
        gradient_accumulation_steps : int, default 1
            Parts of a batch that go through the network one after the other, their gradients
            added up before the step: for batches whose hidden layers would not fit in memory.
        distributed : {'mpi'}, MPIOptions or None, default None
            Share each batch out among the processes that `mpiexec` started, all of which make
            this call: `batch_size` is that of the whole batch. Every rank needs the same
            arguments (sources are read by share); the weights, seed and checkpoint are those
            of rank 0, which alone calls callbacks and draws the progress bar. All ranks end
            with the same network and history; to rounding those of one process.
        deterministic : bool, default False
            Whether the same bits are promised on the same machine: libraries that can are held
            to it, and what cannot is refused.

        Returns
        -------
        History
            Ctrl-C ends the training early, keeps what was learned and is noted there.

        Raises
        ------
        ValueError
            An argument is out of range, or a shape does not fit.
        MixedArraysError
            Arrays live on different libraries or devices.
        CheckpointError
            The checkpoint cannot be read, or is one of another training; says what differs.
        DivergenceError
            The loss became infinite or NaN (a FloatingPointError); the message says which
            weights the network has.
        DeviceMemoryError, DeviceLostError
            A device has no room, or can be used no more; the weights are those of the last
            report.
        RankError
            Another process failed; names it and its error.
        ImportError
            `distributed` is given, and mpi4py or MPI is not installed.
        """
        options = TrainOptions(
            epochs=epochs,
            batch_size=batch_size,
            optimizer=Adam() if optimizer is None else optimizer,
            learning_rate=learning_rate,
            l2=l2,
            report_every=report_every,
            precision=Precision(compute_dtype, loss_scale, precision),
            engine=engine,
            gradient_accumulation_steps=gradient_accumulation_steps,
            deterministic=deterministic,
        )
        return fit_network(
            self,
            (X, y, sample_weight),
            (X_val, y_val, sample_weight_val),
            options,
            validation_fraction=validation_fraction,
            shuffle=shuffle,
            early_stopping=early_stopping,
            callbacks=callbacks,
            progress=progress,
            seed=seed,
            checkpoint=checkpoint,
            resume=resume,
            distributed=distributed,
        )

    def plan_step(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        batch_size: int = 32,
        optimizer: Optimizer | None = None,
        l2: float = 0.0,
        compute_dtype: str | None = None,
        loss_scale: str | LossScaler | float | None = None,
        precision: str = "highest",
        engine: str = "auto",
    ) -> Any:
        """Show what a training step on NumPy or CuPy is made of; trains nothing.

        Parameters
        ----------
        X, y, batch_size, optimizer, l2, compute_dtype, loss_scale, precision
            As in `fit`.
        engine : {'auto', 'planned', 'native'}, default 'auto'
            On NumPy one call for each operation ('planned'), or native code, where operations
            share loops; 'auto' is native code where llvmlite is installed. On CuPy all are CUDA
            kernels.

        Returns
        -------
        Plan or CudaPlan
            ``print(plan.describe())`` lists the operations, buffers and bytes; on CuPy also
            the kernels' source, and whether a step is one CUDA graph.

        Raises
        ------
        ValueError
            `X` is an array of another library, an argument is not one of these, or the engine
            has no rule for something that a step does.
        """
        options = TrainOptions(
            epochs=1,
            batch_size=batch_size,
            optimizer=Adam() if optimizer is None else optimizer,
            l2=l2,
            precision=Precision(compute_dtype, loss_scale, precision),
            engine=engine,
        )
        return plan_step(self, X, y, options)


def can_restore(library: str, device: str, dtype: str | None) -> bool:
    """Whether a saved model can go where it was; warns that it stays in NumPy where it cannot."""
    try:
        select(library, device, dtype)
    except (BackendUnavailableError, ValueError) as error:  # no such library, or device
        warn_caller(
            f"the model was on {library} ({device}), which cannot be used here; it is on NumPy "
            f"now: {error}"
        )
        return False
    return True


def _number_dtype(dtype: DType, xp: Namespace) -> DType:
    """Dtype of targets and weights: in half precision they would lose digits, or overflow."""
    return xp.float32 if is_half(dtype) else dtype


def _without_targets(window: Window) -> Window:
    """Drop targets and weights: who predicts needs none."""
    return replace(window, t=None, weight=None)


def _copied(rng: HostGenerator) -> HostGenerator:
    """Copy a generator: the copy draws the same numbers, and neither moves the other."""
    import copy

    return copy.deepcopy(rng)
