"""The solver 'lbfgs': SciPy's L-BFGS-B on the flat vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from sklearn.utils.optimize import _check_optimize_result

from xpnn.backends import Array, Device, Namespace, on_device, to_device, to_host
from xpnn.distributed import ProcessGroup, shard_bounds
from xpnn.engine import HostRows
from xpnn.estimators.inputs import bring
from xpnn.estimators.learner import slope
from xpnn.estimators.rows import chunks
from xpnn.estimators.stochastic import Data
from xpnn.functional import l2_penalty, l2_penalty_backward

if TYPE_CHECKING:
    from xpnn.estimators.base import BaseMLP


class _Objective:
    """Loss and slope as SciPy wants them: float64, on the host, in scikit-learn's order."""

    def __init__(
        self, model: BaseMLP, data: Data, xp: Namespace, device: Device, dtype: Any,
        group: ProcessGroup | None,
    ) -> None:  # fmt: skip
        self.group, self.on_host = group, isinstance(data.x, HostRows)
        if group is not None:
            data = self._own(group, data, model._objective.averages)
        self.data, self.xp, self.device, self.dtype = data, xp, device, dtype
        self.weight = None
        if data.weight is not None:
            self.weight = to_device(data.weight, xp, device, model._numbers(xp))
        structure = model._structure
        self.packing = structure.packing()
        self.averages = model._objective.averages
        self.alpha = float(model.alpha)
        # The penalty of several parts is added once, at the end.
        parts = self.on_host or group is not None
        self.slope = slope(structure, model._objective, 0.0 if parts else self.alpha, xp)
        self.decays = np.zeros(structure.size, bool)
        for p in structure.weights:
            self.decays[p.offset : p.offset + p.size] = True

    def __call__(self, packed: Any) -> tuple[float, Any]:
        flat = np.empty_like(packed)
        flat[self.packing] = packed
        with on_device(self.device):
            theta = bring(flat, self.xp, self.device, self.dtype)
            if self.on_host or self.group is not None:
                loss, gradient = self._in_parts(theta, flat)
            else:
                value, slopes = self.slope(theta, self.data.x, self.data.t, self.weight)
                loss, gradient = float(to_host(value)), to_host(slopes)
        return loss, np.asarray(gradient[self.packing], np.float64)

    def _own(self, group: ProcessGroup, data: Data, averages: bool) -> Data:
        """Take this process's rows."""
        self.mass = float(data.rows if data.weight is None else data.weight.sum())
        first, last = shard_bounds(data.rows, group.rank, group.size)
        own = slice(first, last)
        x = data.x.pick(np.arange(first, last)) if self.on_host else data.x[own, ...]
        weight = None if data.weight is None else data.weight[own]
        return Data(x, data.t[own, ...], data.y[own], weight)

    def _in_parts(self, theta: Array, flat: Any) -> tuple[float, Any]:
        """Add up chunks of rows that stay on the host, and what processes have found."""
        rows = self.data.rows
        shares = np.ones(rows) if self.data.weight is None else self.data.weight
        mass = shares.sum() if self.group is None else self.mass
        found = np.zeros(len(flat) + 1)  # the loss behind the gradient
        for part in self._parts():
            x, t, weight = self.data.x, self.data.t, self.weight
            if part is not None:
                x = bring(x[part], self.xp, self.device, self.dtype)
                t, weight = t[part, ...], None if weight is None else weight[part]
            value, slopes = self.slope(theta, x, t, weight)
            own = shares if part is None else shares[part]
            share = own.sum() / mass if self.averages else 1.0
            found[:-1] += share * to_host(slopes)
            found[-1] += share * float(to_host(value))
        if self.group is not None:
            found = self.group(found)
        penalty, saved = l2_penalty(flat * self.decays, self.alpha / mass)
        return found[-1] + float(penalty), found[:-1] + l2_penalty_backward(
            saved, self.alpha / mass
        )

    def _parts(self) -> Any:
        if self.on_host:
            return chunks(self.data.x)
        return [None] if self.data.rows else []


def fit_lbfgs(
    model: BaseMLP, data: Data, theta: Array, xp: Namespace, device: Device,
    group: ProcessGroup | None = None,
) -> None:  # fmt: skip
    """Minimize over all rows; sets `n_iter_`, `loss_` and the parameters.

    Parameters
    ----------
    model : BaseMLP
        What learns.
    data : Data
        Rows to learn from.
    theta : array, shape (parameters,)
        Where to begin.
    xp, device
        Where it lives.
    group : ProcessGroup, optional
        Processes that share the rows out.

    Warns
    -----
    ConvergenceWarning
        SciPy stopped before it converged; in scikit-learn's words.
    """
    objective = _Objective(model, data, xp, device, theta.dtype, group)
    start = np.asarray(to_host(theta), np.float64)[objective.packing]
    found = minimize(
        objective, start, method="L-BFGS-B", jac=True,
        options={"maxfun": model.max_fun, "maxiter": model.max_iter, "gtol": model.tol},
    )  # fmt: skip
    model.n_iter_ = _check_optimize_result("lbfgs", found, model.max_iter)
    model.loss_ = float(found.fun)
    flat = np.empty_like(found.x)
    flat[objective.packing] = found.x
    with on_device(device):
        model._set_theta(bring(flat, xp, device, theta.dtype))
