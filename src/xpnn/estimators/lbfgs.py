"""The solver 'lbfgs': SciPy's L-BFGS-B on the flat vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from sklearn.utils.optimize import _check_optimize_result

from xpnn.backends import Array, Device, Namespace, on_device, to_device, to_host
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
        self, model: BaseMLP, data: Data, xp: Namespace, device: Device, dtype: Any
    ) -> None:
        self.data, self.xp, self.device, self.dtype = data, xp, device, dtype
        self.weight = None
        if data.weight is not None:
            self.weight = to_device(data.weight, xp, device, model._numbers(xp))
        structure = model._structure
        self.packing = structure.packing()
        self.sparse = isinstance(data.x, HostRows)
        self.averages = model._objective.averages
        self.alpha = float(model.alpha)
        # The penalty of a sparse matrix's chunks is added once, at the end.
        self.slope = slope(structure, model._objective, 0.0 if self.sparse else self.alpha, xp)
        self.decays = np.zeros(structure.size, bool)
        for p in structure.weights:
            self.decays[p.offset : p.offset + p.size] = True

    def __call__(self, packed: Any) -> tuple[float, Any]:
        flat = np.empty_like(packed)
        flat[self.packing] = packed
        with on_device(self.device):
            theta = bring(flat, self.xp, self.device, self.dtype)
            if self.sparse:
                loss, gradient = self._in_chunks(theta, flat)
            else:
                value, slopes = self.slope(theta, self.data.x, self.data.t, self.weight)
                loss, gradient = float(to_host(value)), to_host(slopes)
        return loss, np.asarray(gradient[self.packing], np.float64)

    def _in_chunks(self, theta: Array, flat: Any) -> tuple[float, Any]:
        rows = self.data.rows
        shares = np.ones(rows) if self.data.weight is None else self.data.weight
        loss, gradient = 0.0, np.zeros(flat.shape)
        for part in chunks(self.data.x):
            x = bring(self.data.x[part], self.xp, self.device, self.dtype)
            weight = None if self.weight is None else self.weight[part]
            value, slopes = self.slope(theta, x, self.data.t[part, ...], weight)
            share = shares[part].sum() / shares.sum() if self.averages else 1.0
            loss += share * float(to_host(value))
            gradient += share * to_host(slopes)
        penalty, saved = l2_penalty(flat * self.decays, self.alpha / shares.sum())
        return loss + float(penalty), gradient + l2_penalty_backward(
            saved, self.alpha / shares.sum()
        )


def fit_lbfgs(model: BaseMLP, data: Data, theta: Array, xp: Namespace, device: Device) -> None:
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

    Warns
    -----
    ConvergenceWarning
        SciPy stopped before it converged; in scikit-learn's words.
    """
    objective = _Objective(model, data, xp, device, theta.dtype)
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
