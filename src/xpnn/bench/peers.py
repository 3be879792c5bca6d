"""The same trainings in scikit-learn, PyTorch, skorch and JAX, each with its best usual settings.

These programs are written in the peers' own words: the one place beside
`xpnn.backends` that imports PyTorch and JAX.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from xpnn.bench.rounds import SkipError, Work
from xpnn.bench.workloads import BETA1, BETA2, EPS, RATE, Workload


def installed(name: str) -> Any:
    """Import a module, or leave the contender out."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SkipError(f"{name.partition('.')[0]} is not installed ({error})") from error


def sklearn_parameters(work: Workload) -> dict[str, Any]:
    """Say a workload in the words of scikit-learn's constructor."""
    return {
        "hidden_layer_sizes": work.widths[1:-1], "batch_size": work.batch, "alpha": 0.0,
        "learning_rate_init": RATE, "beta_1": BETA1, "beta_2": BETA2, "epsilon": EPS,
        "random_state": 0,
    }  # fmt: skip


def begun(model: Any, work: Workload, x: Any, t: Any) -> Any:
    """Show a classifier its first batch, and which classes there are."""
    rows = slice(work.batch)  # two classes get one output: scikit-learn's own choice
    return model.partial_fit(x[rows], t[rows], classes=np.arange(work.widths[-1]))


def sklearn_classifier(work: Workload, x: Any, t: Any) -> Any:
    """Make an `MLPClassifier` that has seen one batch."""
    made = installed("sklearn.neural_network").MLPClassifier(**sklearn_parameters(work))
    return begun(made, work, x, t)


def sklearn_epoch(work: Workload, x: Any, t: Any) -> Work:
    """`partial_fit` on all rows is one epoch: shuffled, in batches, Adam's state kept."""
    model = sklearn_classifier(work, x, t)
    return lambda: model.partial_fit(x, t)


def torch_layers(torch: Any, widths: tuple[int, ...]) -> Any:
    """Linear layers with ReLU between them."""
    layers: list[Any] = []
    for a, b in pairwise(widths):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def torch_epoch(work: Workload, x: Any, t: Any, threads: int, compiled: bool = False) -> Work:
    """Eager modules with fused Adam, or the model with its loss through `torch.compile`."""
    torch = installed("torch")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = torch_layers(torch, work.widths)
    adam = torch.optim.Adam(model.parameters(), lr=RATE, betas=(BETA1, BETA2), eps=EPS, fused=True)
    rows, labels = torch.from_numpy(x), torch.from_numpy(t)

    def loss_of(x: Any, t: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(x), t)

    # Static shapes: the last, smaller batch is compiled by itself.
    function = torch.compile(loss_of, dynamic=False) if compiled else loss_of

    def epoch() -> float:
        total = torch.zeros(())
        for numbers in torch.randperm(work.rows).split(work.batch):
            loss = function(rows.index_select(0, numbers), labels.index_select(0, numbers))
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            with torch.no_grad():
                total += loss * len(numbers)
        return float(total) / work.rows

    return epoch


def torch_compiled_epoch(work: Workload, x: Any, t: Any, threads: int) -> Work:
    """`torch.compile`, where it finds what it needs, such as a C++ compiler."""
    epoch = torch_epoch(work, x, t, threads, compiled=True)
    try:
        epoch()
    except Exception as error:  # it raises errors of many kinds
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else ""
        raise SkipError(f"could not compile here: {type(error).__name__}: {reason}") from error
    return epoch


def skorch_estimator(
    widths: tuple[int, int, int], epochs: int, threads: int, *, regression: bool, double: bool
) -> Callable[[], Any]:
    """Make skorch's estimators around the network of scikit-learn's defaults, with fused Adam.

    Parameters
    ----------
    widths : tuple of int
        Inputs, hidden units, outputs; two classes have two outputs here.
    epochs : int
        Epochs in a fit.
    threads : int
        PyTorch's threads.
    regression : bool
        Whether values are learned, in place of classes.
    double : bool
        Whether to compute in float64.
    """
    torch, skorch = installed("torch"), installed("skorch")
    torch.set_num_threads(threads)
    inputs, hidden, outputs = widths

    def module() -> Any:
        nn = torch.nn
        made = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
        return made.double() if double else made

    def estimator() -> Any:
        torch.manual_seed(0)
        kind, loss = skorch.NeuralNetClassifier, torch.nn.CrossEntropyLoss
        if regression:
            kind, loss = skorch.NeuralNetRegressor, torch.nn.MSELoss
        return kind(
            module, criterion=loss, max_epochs=epochs, batch_size=200, lr=RATE,
            optimizer=torch.optim.Adam, optimizer__fused=True, optimizer__eps=EPS,
            optimizer__betas=(BETA1, BETA2), optimizer__weight_decay=0.0001 / 200,
            iterator_train__shuffle=True, train_split=None, verbose=0,
        )  # fmt: skip

    return estimator


def _jax_step(jax: Any) -> Any:
    """Make the pure step ``((params, m, v, count), x, t) -> (carry, loss)``."""
    jnp, tree = jax.numpy, jax.tree.map

    def loss_of(params: Any, x: Any, t: Any) -> Any:
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = params[-1]
        logp = jax.nn.log_softmax(x @ w + b)
        return -jnp.take_along_axis(logp, t[:, None], axis=1).mean()

    def step(carry: Any, x: Any, t: Any) -> Any:
        params, m, v, count = carry
        loss, g = jax.value_and_grad(loss_of)(params, x, t)
        count = count + 1
        m = tree(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
        v = tree(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
        rate = RATE * jnp.sqrt(1 - BETA2**count) / (1 - BETA1**count)
        params = tree(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPS), params, m, v)
        return (params, m, v, count), loss

    return step


def _jax_start(work: Workload, x: Any, t: Any) -> tuple[Any, Any, Any, Any]:
    jax = installed("jax")
    params = jax.tree.map(jax.numpy.asarray, work.weights())
    zeros = jax.tree.map(jax.numpy.zeros_like, params)
    more = jax.tree.map(jax.numpy.zeros_like, params)
    carry = (params, zeros, more, jax.numpy.float32(0))
    return jax, carry, jax.numpy.asarray(x), jax.numpy.asarray(t.astype("int32"))


def jax_steps_epoch(work: Workload, x: Any, t: Any) -> Work:
    """One jitted step for each batch, its rows gathered inside; donated parameters."""
    jax, carry, rows, labels = _jax_start(work, x, t)
    step, rng = _jax_step(jax), np.random.default_rng(3)

    def whole(carry: Any, total: Any, x: Any, t: Any, numbers: Any) -> Any:
        carry, loss = step(carry, x[numbers], t[numbers])
        return carry, total + loss * len(numbers)

    jitted = jax.jit(whole, donate_argnums=(0, 1))

    def epoch() -> float:
        nonlocal carry
        order, total = rng.permutation(work.rows).astype("int32"), jax.numpy.float32(0)
        for start in range(0, work.rows, work.batch):
            numbers = order[start : start + work.batch]
            carry, total = jitted(carry, total, rows, labels, numbers)
        jax.block_until_ready(carry)
        return float(total) / work.rows

    return epoch


def jax_scan_epoch(work: Workload, x: Any, t: Any) -> Work:
    """The whole epoch as one jitted `lax.scan`, shuffled; donated parameters."""
    jax, carry, rows, labels = _jax_start(work, x, t)
    step, rng = _jax_step(jax), np.random.default_rng(3)
    full = work.rows // work.batch * work.batch

    def whole(carry: Any, x: Any, t: Any, order: Any) -> Any:
        def one(carry: Any, numbers: Any) -> Any:
            carry, loss = step(carry, x[numbers], t[numbers])
            return carry, loss * len(numbers)

        carry, losses = jax.lax.scan(one, carry, order[:full].reshape(-1, work.batch))
        total = losses.sum()
        if full < work.rows:
            carry, last = one(carry, order[full:])
            total = total + last
        return carry, total

    jitted = jax.jit(whole, donate_argnums=0)

    def epoch() -> float:
        nonlocal carry
        carry, total = jitted(carry, rows, labels, rng.permutation(work.rows).astype("int32"))
        jax.block_until_ready(carry)
        return float(total) / work.rows

    return epoch
