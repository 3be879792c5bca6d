"""The solver 'lbfgs': SciPy's L-BFGS-B on the flat vector, with the sums of a training step."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.utils.optimize import _check_optimize_result

from xpnn.backends import (
    Namespace,
    deterministic_mode,
    matmul_precision,
    on_device,
    to_device,
    to_float,
    to_host,
)
from xpnn.distributed import ProcessGroup, shard_bounds
from xpnn.engine import HostRows, Runner, make_runner
from xpnn.estimators.parameters import packing, weights_of
from xpnn.functional import l2_penalty, l2_penalty_backward
from xpnn.optimizers import SGD
from xpnn.training.dataset import ArrayDataset, Dataset
from xpnn.training.host_rows import chunks
from xpnn.training.step import Batch, Step, upcast


class _Objective:
    """Loss and gradient as SciPy wants them: float64, on the host, in scikit-learn's order."""

    def __init__(
        self, model: Any, data: ArrayDataset, weight: Any, loss: Any, group: ProcessGroup | None
    ) -> None:
        network = model.network_
        self.backend, self.group, self.reduction = network.backend, group, loss.reduction
        self.alpha = float(model.alpha)
        self.mass = float(data.rows if weight is None else weight.sum())
        self.rows, self.on_host = data.rows, isinstance(data.x, HostRows)
        self.data = data if group is None else _own(data, group, self.on_host)
        self.packing, self.size = packing(network.tree), network.size
        step = Step(network.layers, network.tree, loss, SGD(), self.alpha, l2_per_row=True)
        self.sums = step.sums(self.backend.xp)
        self.runner = None
        if not self.on_host and group is None:
            self.runner = self._runner(step, network, int(model.max_iter))
        self.decays = np.zeros(network.size, bool)
        for p in weights_of(network.tree):
            self.decays[p.offset : p.offset + p.size] = True

    def _runner(self, step: Step, network: Any, calls: int) -> Runner:
        """What computes loss and gradient of all rows, for some `calls`."""
        backend = self.backend

        def make_update(xp: Namespace) -> Any:
            gradient = step.gradient(xp)

            def update(carry: Any, totals: Any, batch: Any) -> Any:
                theta, _, _ = carry
                x, t, weight, _, _ = batch
                value, found = gradient(theta, Batch(x, t, weight))
                return (theta, found, value), totals

            return update

        # A compiled epoch of JAX is no gain for single calls.
        mode = "auto" if backend.name in ("numpy", "torch") else "pure"
        with on_device(backend.device):
            like = upcast(network.copy_theta(), backend.xp)
            carry = (network.copy_theta(), like, like[0])
            where = {"xp": backend.xp, "device": backend.device, "dtype": like.dtype}
            return make_runner(
                make_update, carry, self.data.columns, **where, steps=calls, mode=mode
            )

    def __call__(self, packed: Any) -> tuple[float, Any]:
        flat = np.empty_like(packed)
        flat[self.packing] = packed
        with on_device(self.backend.device):
            theta = to_device(
                flat, self.backend.xp, self.backend.device, self.backend.dtype, copy=None
            )
            if self.runner is None:
                loss, gradient = self._in_parts(theta, flat)
            else:
                self.runner.set_theta(theta)
                self.runner.run(self.rows, self.rows, None, [0.0], lambda rows: None, 0)
                _, found, value = self.runner.carry
                loss, gradient = to_float(value), to_host(found)
        return loss, np.asarray(gradient[self.packing], np.float64)

    def _in_parts(self, theta: Any, flat: Any) -> tuple[float, Any]:
        """Add up chunks of rows that stay on the host, and what processes have found."""
        found = np.zeros(self.size + 1)  # the loss behind the gradient
        for batch in self._batches():
            sums = self.sums(theta, batch)
            found[:-1] += to_host(sums.gradient)
            found[-1] += to_float(sums.loss)
        if self.group is not None:
            found = self.group.all_reduce(found)
        if self.reduction == "mean":
            found /= self.mass or 1.0
        penalty, saved = l2_penalty(flat * self.decays, self.alpha / self.mass)
        gradient = found[:-1] + l2_penalty_backward(saved, self.alpha / self.mass)
        return found[-1] + float(penalty), gradient

    def _batches(self) -> list[Batch] | Any:
        data = self.data
        if not data.rows:
            return []
        if not self.on_host:
            return [Batch(*data.columns)]
        return (self._batch(part) for part in chunks(data.x))

    def _batch(self, part: slice) -> Batch:
        x, t, weight = self.data.columns
        rows = to_device(
            x[part], self.backend.xp, self.backend.device, self.backend.dtype, copy=None
        )
        return Batch(rows, t[part, ...], None if weight is None else weight[part])


def _own(data: ArrayDataset, group: ProcessGroup, on_host: bool) -> ArrayDataset:
    """Take this process's rows."""
    first, last = shard_bounds(data.rows, group.rank, group.size)
    x, t, weight = data.columns
    x = x.pick(np.arange(first, last)) if on_host else x[first:last, ...]
    return ArrayDataset(x, t[first:last, ...], None if weight is None else weight[first:last])


def fit_lbfgs(
    model: Any, data: Dataset, weight: Any, loss: Any, group: ProcessGroup | None
) -> None:
    """Minimize over all rows; sets `n_iter_`, `loss_` and the parameters.

    `weight` is on the host. Warns in scikit-learn's words where SciPy stopped too early.
    """
    assert isinstance(data, ArrayDataset)  # a source has been refused
    network = model.network_
    objective = _Objective(model, data, weight, loss, group)
    start = np.asarray(to_host(network.theta), np.float64)[objective.packing]
    xp, device = network.backend.xp, network.backend.device
    bits = deterministic_mode(xp, device) if model.deterministic else nullcontext()
    with bits, matmul_precision(model.precision, xp), np.errstate(over="ignore", invalid="ignore"):
        found = minimize(
            objective,
            start,
            method="L-BFGS-B",
            jac=True,
            options={"maxfun": model.max_fun, "maxiter": model.max_iter, "gtol": model.tol},
        )
    model.n_iter_ = _check_optimize_result("lbfgs", found, model.max_iter)
    model.loss_ = float(found.fun)
    flat = np.empty_like(found.x)
    flat[objective.packing] = found.x
    with on_device(device):
        network.theta = to_device(flat, xp, device, network.backend.dtype, copy=None)
