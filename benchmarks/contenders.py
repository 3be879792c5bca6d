"""The trainings that are compared: shapes, data, the floor, this library, and its peers.

A maker prepares a training and returns a function that goes on with it by an epoch. The peers'
programs are written in their own words, each with its best usual settings; all start from the
same weights.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rounds import SkipError, Work
from xpnn import Adam, MLPClassifier, MLPRegressor, Network
from xpnn.data import load_mnist
from xpnn.training import Callback

LEARNING_RATE, BETA1, BETA2, EPS = 0.001, 0.9, 0.999, 1e-8  # Adam's, the same for everybody
ENDLESS = 10**9  # epochs of a training that ends when it is told to


@dataclass(frozen=True)
class Workload:
    """A network with ReLU between its layers, trained with Adam in float32, and its data."""

    name: str
    title: str
    widths: tuple[int, ...]  # inputs, hidden layers, outputs
    batch: int  # rows in a step
    rows: int  # rows in an epoch
    task: str = "multiclass"  # or binary: logistic loss, or regression: squared error
    dropout: float = 0.0  # of each hidden layer
    clip_norm: float | None = None  # largest norm of a gradient
    weighted: bool = False  # whether rows have weights

    @property
    def shape(self) -> str:
        return "-".join(map(str, self.widths))

    def describe(self) -> str:
        return f"{self.title} {self.shape}, batch {self.batch}, {self.rows:,} rows, float32, Adam"

    def sized(self, tiny: bool) -> Workload:
        """Return the same, or with two small batches: what compiles, compiles once."""
        return replace(self, batch=20, rows=40) if tiny else self

    def data(self, folder: Path | None = None) -> tuple[Any, Any]:
        """Make rows and targets: random ones, or for MNIST those of a folder."""
        if folder is not None and self.name.startswith("mnist"):
            mnist = load_mnist(folder)
            x = mnist.train_images[: self.rows].astype("float32") / np.float32(255)
            return x, mnist.train_labels[: self.rows].astype("int64")
        rng = np.random.default_rng(0)
        x = rng.random((self.rows, self.widths[0]), dtype="float32")
        if self.task == "regression":
            return x, x @ rng.standard_normal(self.widths[0], dtype="float32")
        return x, rng.integers(0, max(self.widths[-1], 2), self.rows)

    def weights(self) -> list[tuple[Any, Any]]:
        """Draw start weights (He) and zero biases of each layer."""
        rng = np.random.default_rng(1)
        return [
            ((rng.standard_normal((a, b)) * (2 / a) ** 0.5).astype("f4"), np.zeros(b, "f4"))
            for a, b in pairwise(self.widths)
        ]

    def sample_weight(self) -> Any:
        """Weights of the rows; None where they have none."""
        if not self.weighted:
            return None
        return np.random.default_rng(4).uniform(0.5, 1.5, self.rows).astype("float32")


MNIST = Workload("mnist", "MNIST", (784, 100, 10), 200, 60_000)
WIDE = Workload("wide", "wide", (784, 512, 512, 10), 256, 20_000)
BINARY = Workload("tabular", "tabular", (20, 64, 32, 1), 200, 50_000, "binary")
_DROPOUT = replace(MNIST, name="mnist-dropout", title="MNIST with dropout 0.2 and clipping,")
WORKLOADS = (
    MNIST,
    WIDE,
    BINARY,
    replace(BINARY, name="regression", title="regression", task="regression"),
    replace(_DROPOUT, dropout=0.2, clip_norm=1.0),
    replace(MNIST, name="mnist-weighted", title="MNIST with sample weights,", weighted=True),
)


def installed(name: str) -> Any:
    """Import a module, or leave the contender out."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SkipError(f"{name.partition('.')[0]} is not installed ({error})") from error


# The floor


def bare_products(work: Workload, x: Any) -> Work:
    """Make the floor: the matrix products of an epoch and nothing else.

    Forward, and both gradients of each layer but for the first layer's input; into buffers
    allocated once, on slices of unshuffled rows.
    """
    weights = [w for w, _ in work.weights()]
    gradients = [np.empty_like(w) for w in weights]
    rng = np.random.default_rng(2)
    outs = [np.empty((work.batch, w.shape[1]), "f4") for w in weights]
    deltas = [rng.standard_normal(out.shape, dtype="f4") for out in outs]
    backs = [np.empty_like(out) for out in outs]

    def products(batch: Any) -> None:
        n, a = len(batch), batch
        for w, out in zip(weights, outs, strict=True):
            a = np.dot(a, w, out=out[:n])
        for i in reversed(range(len(weights))):
            below = batch if i == 0 else outs[i - 1][:n]
            np.dot(below.T, deltas[i][:n], out=gradients[i])
            if i:
                np.dot(deltas[i][:n], weights[i].T, out=backs[i - 1][:n])

    def epoch() -> None:
        for start in range(0, work.rows, work.batch):
            products(x[start : start + work.batch])

    return epoch


# This library


class _Turns(Callback):
    """A callback that holds a training at the start of each epoch until it is let go."""

    def __init__(self) -> None:
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.over = False

    def on_train_begin(self, run: Any) -> None:
        self.go.acquire()

    def on_epoch_end(self, run: Any) -> None:
        self.done.release()
        self.go.acquire()
        if self.over:
            run.stop("enough")


class Paused:
    """One long training that goes on by an epoch with each call.

    A call of `fit` for each epoch would plan the step anew and lose the optimizer's state, which
    no training of several epochs does. So the training, ``train(callback)`` for `ENDLESS` epochs,
    runs in a thread of its own, which stands still between two calls.
    """

    def __init__(self, train: Callable[[Any], Any]) -> None:
        self.turns = _Turns()
        self.error: BaseException | None = None
        # A daemon: a benchmark that is interrupted does not wait for it.
        self.thread = threading.Thread(target=self._run, args=(train,), daemon=True)
        self.thread.start()

    def _run(self, train: Callable[[Any], Any]) -> None:
        try:
            train(self.turns)
        except BaseException as error:  # raised again in the caller's thread
            self.error = error
        finally:
            self.turns.done.release()

    def __call__(self) -> None:
        self.turns.go.release()
        self.turns.done.acquire()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """End the training."""
        self.turns.over = True
        self.turns.go.release()
        self.thread.join()
        if self.error is not None:
            raise self.error


def parameters(work: Workload, epochs: int = ENDLESS) -> dict[str, Any]:
    """Say a workload in the words of scikit-learn's constructors; nothing ends it early."""
    return {
        "hidden_layer_sizes": work.widths[1:-1],
        "batch_size": work.batch,
        "alpha": 0.0,
        "learning_rate_init": LEARNING_RATE,
        "beta_1": BETA1,
        "beta_2": BETA2,
        "epsilon": EPS,
        "random_state": 0,
        "max_iter": epochs,
        "tol": 0.0,
        "n_iter_no_change": np.inf,
    }


def our_estimator(work: Workload, epochs: int = ENDLESS, **more: Any) -> Any:
    """Make this library's estimator for a workload."""
    kind = MLPRegressor if work.task == "regression" else MLPClassifier
    return kind(**parameters(work, epochs), dropout=work.dropout, clip_norm=work.clip_norm, **more)


def estimator_epoch(work: Workload, x: Any, t: Any, **more: Any) -> Work:
    """One `fit` of the estimator that goes on by an epoch with each call."""
    model = our_estimator(work, **more)
    return Paused(lambda turns: model.fit(x, t, work.sample_weight(), callbacks=[turns]))


def network_of(work: Workload) -> Network:
    """Make the `Network` of a workload without dropout, with the weights that all start from."""
    loss = {
        "multiclass": "softmax_cross_entropy",
        "binary": "binary_cross_entropy",
        "regression": "mean_squared_error",
    }
    hidden = [spec for width in work.widths[1:-1] for spec in (width, "relu")]
    network = Network(work.widths[0], [*hidden, work.widths[-1]], loss=loss[work.task], seed=0)
    for number, (w, b) in enumerate(work.weights()):
        network.assign(**{f"{2 * number}.weights": w, f"{2 * number}.bias": b})
    return network.to("numpy", dtype="float32")


def network_epoch(work: Workload, x: Any, t: Any, **more: Any) -> Work:
    """One `Network.fit` that goes on by an epoch with each call."""
    if work.dropout or work.weighted:
        raise SkipError("left out: the estimator's step is the same")
    network = network_of(work)
    targets = t if work.task == "multiclass" else t.reshape(-1, 1).astype("float32")
    options = {"batch_size": work.batch, "optimizer": Adam(LEARNING_RATE, BETA1, BETA2, EPS)}
    return Paused(
        lambda turns: network.fit(
            x, targets, epochs=ENDLESS, callbacks=[turns], **{**options, **more}
        )
    )


# The peers


def sklearn_estimator(work: Workload, epochs: int = ENDLESS) -> Any:
    """Make scikit-learn's estimator for a workload."""
    network = installed("sklearn.neural_network")
    kind = network.MLPRegressor if work.task == "regression" else network.MLPClassifier
    return kind(**parameters(work, epochs))


def sklearn_epoch(work: Workload, x: Any, t: Any) -> Work:
    """`partial_fit` on all rows is one epoch: shuffled, in batches, Adam's state kept."""
    if work.dropout:
        raise SkipError("scikit-learn has no dropout")
    model, weights = sklearn_estimator(work), work.sample_weight()
    return lambda: begun(model, work, x, t, weights)


def begun(model: Any, work: Workload, x: Any, t: Any, sample_weight: Any = None) -> Any:
    """Call an estimator's `partial_fit`; a classifier is told which classes there are."""
    more = {} if work.task == "regression" else {"classes": np.arange(max(work.widths[-1], 2))}
    return model.partial_fit(x, t, sample_weight=sample_weight, **more)


def torch_model(torch: Any, work: Workload) -> Any:
    """Linear layers, ReLU and dropout between them, with the weights that all start from."""
    layers: list[Any] = []
    for w, b in work.weights():
        layer = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(w.T.copy()))
            layer.bias.copy_(torch.from_numpy(b))
        layers += [layer, torch.nn.ReLU()]
        layers += [torch.nn.Dropout(work.dropout)] if work.dropout else []
    return torch.nn.Sequential(*layers[: -2 if work.dropout else -1])


def torch_loss(torch: Any, task: str) -> Callable[[Any, Any], Any]:
    """Loss of each row from scores and targets."""
    functional = torch.nn.functional
    if task == "multiclass":
        return lambda scores, t: functional.cross_entropy(scores, t, reduction="none")
    if task == "regression":
        return lambda scores, t: (scores[:, 0] - t) ** 2
    return lambda scores, t: functional.binary_cross_entropy_with_logits(
        scores[:, 0], t.to(scores.dtype), reduction="none"
    )


class TorchTraining:
    """A training in PyTorch, with fused Adam, rows and targets on the device.

    `half` is the dtype of forward and backward (``torch.autocast``); parameters stay float32.
    """

    def __init__(self, work: Workload, x: Any, t: Any, device: str = "cpu", half: str = "") -> None:
        self.torch = torch = installed("torch")
        if device != "cpu" and not torch.cuda.is_available():
            raise SkipError(f"PyTorch {torch.__version__} finds no GPU")
        torch.manual_seed(0)
        self.work, self.device = work, torch.device(device)
        self.model = torch_model(torch, work).to(self.device)
        self.row_loss = torch_loss(torch, work.task)
        self.adam = torch.optim.Adam(
            self.model.parameters(),
            lr=LEARNING_RATE,
            betas=(BETA1, BETA2),
            eps=EPS,
            fused=True,
            capturable=self.device.type == "cuda",
        )
        weights = [work.sample_weight()] if work.weighted else []
        self.columns = [torch.from_numpy(a).to(self.device) for a in (x, t, *weights)]
        self.half = getattr(torch, half) if half else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half == "float16")

    def loss_of(self, x: Any, t: Any, weight: Any = None) -> Any:
        """Mean loss of a batch."""
        cast = self.half is not None
        with self.torch.autocast(self.device.type, dtype=self.half, enabled=cast):
            scores = self.model(x)
        losses = self.row_loss(scores.float(), t)
        return losses.mean() if weight is None else (losses * weight).mean()

    def step(self, loss_of: Callable[..., Any], indices: Any) -> Any:
        """Take a step on rows; returns the loss, on the device."""
        loss = loss_of(*(column.index_select(0, indices) for column in self.columns))
        self.adam.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.work.clip_norm is not None:
            self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.work.clip_norm)
        self.scaler.step(self.adam)
        self.scaler.update()
        return loss

    def epoch(self, mode: str = "") -> Work:
        """Make an epoch of steps; with a mode, forward and backward go through `torch.compile`."""
        torch, loss_of = self.torch, self.loss_of
        if mode:  # static shapes: the last, smaller batch is compiled by itself
            loss_of = torch.compile(self.loss_of, dynamic=False, mode=mode)

        def epoch() -> float:
            total = torch.zeros((), device=self.device)
            order = torch.randperm(self.work.rows, device=self.device)
            for indices in order.split(self.work.batch):
                if mode:
                    torch.compiler.cudagraph_mark_step_begin()
                loss = self.step(loss_of, indices)
                with torch.no_grad():
                    total += loss * len(indices)
            return float(total) / self.work.rows  # waits for the device

        return epoch


def torch_epoch(work: Workload, x: Any, t: Any, threads: int, mode: str = "") -> Work:
    """Eager modules on the CPU, or the model with its loss through `torch.compile`."""
    training = TorchTraining(work, x, t)
    training.torch.set_num_threads(threads)
    return training.epoch(mode)


def torch_compiled_epoch(work: Workload, x: Any, t: Any, threads: int) -> Work:
    """`torch.compile`, where it finds what it needs, such as a C++ compiler."""
    epoch = torch_epoch(work, x, t, threads, "default")
    try:
        epoch()
    except Exception as error:  # it raises errors of many kinds
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else ""
        raise SkipError(f"could not compile here: {type(error).__name__}: {reason}") from error
    return epoch


def _jax_step(jax: Any, task: str) -> Any:
    """Make the pure step ``((params, m, v, count), x, t) -> (carry, loss)``."""
    jnp, tree = jax.numpy, jax.tree.map

    def loss_of(params: Any, x: Any, t: Any) -> Any:
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = params[-1]
        scores = x @ w + b
        if task == "multiclass":
            logp = jax.nn.log_softmax(scores)
            return -jnp.take_along_axis(logp, t[:, None], axis=1).mean()
        if task == "regression":
            return ((scores[:, 0] - t) ** 2).mean()
        return (jax.nn.softplus(scores[:, 0]) - t * scores[:, 0]).mean()

    def step(carry: Any, x: Any, t: Any) -> Any:
        params, m, v, count = carry
        loss, g = jax.value_and_grad(loss_of)(params, x, t)
        count = count + 1
        m = tree(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
        v = tree(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
        rate = LEARNING_RATE * jnp.sqrt(1 - BETA2**count) / (1 - BETA1**count)
        params = tree(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPS), params, m, v)
        return (params, m, v, count), loss

    return step


def jax_scan_epoch(work: Workload, x: Any, t: Any) -> Work:
    """The whole epoch as one jitted `lax.scan`, shuffled; donated parameters."""
    if work.dropout or work.weighted:
        raise SkipError("left out: not written for this work")
    jax = installed("jax")
    params = jax.tree.map(jax.numpy.asarray, work.weights())
    zeros, more = (jax.tree.map(jax.numpy.zeros_like, params) for _ in range(2))
    carry = (params, zeros, more, jax.numpy.float32(0))
    rows = jax.numpy.asarray(x)
    targets = jax.numpy.asarray(t if work.task == "regression" else t.astype("int32"))
    step, rng = _jax_step(jax, work.task), np.random.default_rng(3)
    full = work.rows // work.batch * work.batch

    def whole(carry: Any, x: Any, t: Any, order: Any) -> Any:
        def one(carry: Any, indices: Any) -> Any:
            carry, loss = step(carry, x[indices], t[indices])
            return carry, loss * len(indices)

        carry, losses = jax.lax.scan(one, carry, order[:full].reshape(-1, work.batch))
        total = losses.sum()
        if full < work.rows:
            carry, last = one(carry, order[full:])
            total = total + last
        return carry, total

    jitted = jax.jit(whole, donate_argnums=0)

    def epoch() -> float:
        nonlocal carry
        carry, total = jitted(carry, rows, targets, rng.permutation(work.rows).astype("int32"))
        jax.block_until_ready(carry)
        return float(total) / work.rows

    return epoch
