"""Prediction: a forward function, planned for the batch sizes that come again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from xpnn.backends import Array, Namespace, dtype_name, host, library_name
from xpnn.engine.calls import Call
from xpnn.engine.make import Plan, make_plan
from xpnn.engine.replay import compile_calls, unmoved
from xpnn.engine.trace import NAMESPACE, UnknownOperationError

# Bytes of the widest result of the rows that go through at once. It bounds memory; in smaller
# parts cores wait for each other more often.
CHUNK_BYTES = 2**23
FEWEST = 256  # rows
_KEPT = 4  # plans that are kept, the latest ones

Forward = Callable[[Array, Array], Any]
"""``forward(theta, x)``: pure; gives scores, or scores and a witness.

A witness is a number that says of the rows what the caller would otherwise have to look
through them for: it is made where they are in the cache.
"""


class Predictor:
    """Runs a pure forward function, many rows in chunks.

    On NumPy a number of rows that comes a second time gets a plan; other libraries, and
    forwards with an operation that the engine does not know, run as they are.

    Parameters
    ----------
    make_forward : callable
        ``make_forward(xp) -> forward``.
    theta : array, shape (parameters,)
        The parameters; a plan reads them where they are.
    xp : module
        Namespace of `theta`.
    width : int
        Numbers in a row of the widest result.
    """

    def __init__(
        self, make_forward: Callable[[Namespace], Forward], theta: Array, xp: Namespace, width: int
    ) -> None:
        size = 8 if "64" in dtype_name(theta.dtype) else 4
        self.rows = max(CHUNK_BYTES // (width * size), FEWEST)
        self.make_forward, self.theta, self.xp = make_forward, theta, xp
        self.forward = make_forward(xp)
        self.lock = threading.Lock()
        self.plans: OrderedDict[int, tuple[Callable[..., None], Any, Plan] | None] = OrderedDict()
        self.plannable = library_name(xp) == "numpy" and isinstance(theta, host.ndarray)
        self.reason = "" if self.plannable else "only NumPy's predictions are planned"

    def __call__(self, x: Array) -> Array:
        """Compute scores.

        Parameters
        ----------
        x : array, shape (n, inputs)
            In the dtype of `theta`.

        Returns
        -------
        array, shape (n, outputs)
            Memory of its own.
        """
        return self.witnessed(x)[0]

    def witnessed(self, x: Array) -> tuple[Array, list[Any]]:
        """Compute scores, and the witnesses of all parts that the rows went through in."""
        rows = x.shape[0]
        if rows <= self.rows:
            scores, witness = self._chunk(x)
            return scores, [witness]
        starts = range(0, rows, self.rows)
        parts = [self._chunk(x[i : min(i + self.rows, rows), :]) for i in starts]
        return self.xp.concat([scores for scores, _ in parts]), [w for _, w in parts]

    def _chunk(self, x: Array) -> tuple[Array, Any]:
        if not self.plannable:
            return _pair(self.forward(self.theta, x))
        rows = x.shape[0]
        found = self.plans.get(rows)
        if found is None:
            if rows not in self.plans:  # first time: not worth a plan yet
                self._keep(rows, None)
                return self._pure(x)
            try:
                found = self._plan(x)
            except UnknownOperationError as error:
                self.plannable, self.reason = False, f"the engine has no rule for {error}"
                return self._pure(x)
            self._keep(rows, found)
        if not self.lock.acquire(blocking=False):  # another thread is using the buffers
            return self._pure(x)
        try:
            replay, (scores, *witness), _ = found
            replay(x)
            return scores.copy(), witness[0].copy() if witness else None
        finally:
            self.lock.release()

    def _pure(self, x: Any) -> tuple[Any, Any]:
        """Run the forward function on NumPy as it is; a view of its input is copied."""
        scores, witness = _pair(self.forward(self.theta, x))
        if any(host.may_share_memory(scores, a) for a in (x, self.theta)):
            scores = scores.copy()
        return scores, witness

    def _keep(self, rows: int, plan: Any) -> None:
        with self.lock:
            self.plans[rows] = plan
            self.plans.move_to_end(rows)
            if len(self.plans) > _KEPT:
                self.plans.popitem(last=False)

    def _plan(self, x: Array) -> tuple[Callable[..., None], Any, Plan]:
        plan = make_plan(self.make_forward(NAMESPACE), (self.theta, x), ["theta", "x"], {})
        calls, outputs = plan.calls, plan.outputs
        if host.may_share_memory(outputs[0], x) or not _only_whole(calls, x):
            # Something looks at a part of x: give the plan a place of its own for it.
            place = host.empty(x.shape, x.dtype)
            host.copyto(place, x)
            plan = make_plan(self.make_forward(NAMESPACE), (self.theta, place), ["theta", "x"], {})
            calls = [Call(host.copyto, (place, x), "copy"), *plan.calls]
            outputs = plan.outputs
        return compile_calls(calls, parameter=x)(unmoved), outputs, plan


def _pair(result: Any) -> tuple[Any, Any]:
    return result if isinstance(result, tuple) else (result, None)


def _only_whole(calls: list[Call], x: Any) -> bool:
    """Whether every call that reads `x` reads all of it, so that another may take its place."""
    return all(
        argument is x or not isinstance(argument, host.ndarray)
        or not host.may_share_memory(argument, x)
        for call in calls
        for argument in call.arguments
    )  # fmt: skip
