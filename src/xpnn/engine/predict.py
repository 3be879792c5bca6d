"""Prediction: a forward function, planned for the batch sizes that come again."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpnn.backends import Array, Namespace, device_of, dtype_name, host, library_name
from xpnn.engine.trace import NAMESPACE, UnknownOperationError
from xpnn.engine.trees import plain, same_bytes

# Bytes of the widest result of the rows that go through at once. It bounds memory; in smaller
# parts cores wait for each other more often.
CHUNK_BYTES = 2**23
FEWEST = 256  # rows
_KEPT = 4  # plans that are kept, the latest ones
_OFTEN = 4  # times that a number of rows comes before it gets a plan

Forward = Callable[[Array, Array], Any]
"""``forward(theta, x)``: pure; gives scores, or scores and a finite probe.

The probe is a number that is not finite if something in the rows is not: what a caller
would otherwise have to look through them for, made where they are in the cache.
"""


class Predictor:
    """Runs a pure forward function, many rows in chunks.

    On NumPy a number of rows that comes for the fourth time gets a plan; other libraries, and
    forwards with an operation that the engine does not know, run as they are. Parameters are
    an input like the rows: a plan outlives them, and holds on to neither.

    Parameters
    ----------
    make_forward : callable
        ``make_forward(xp) -> forward``.
    theta : array, shape (parameters,)
        Parameters of the kind that will be handed in.
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
        self.make_forward, self.xp = make_forward, xp
        self._kind = _kind(theta)
        self._forward = make_forward(xp)
        self._lock = threading.Lock()
        self._plans: OrderedDict[int, _Planned | int] = OrderedDict()  # or how often rows came
        self._on_numpy = library_name(xp) == "numpy" and isinstance(theta, host.ndarray)
        self.plannable = self._on_numpy
        self.reason = "" if self.plannable else "only NumPy's predictions are planned"

    def fits(self, theta: Array) -> bool:
        """Whether parameters are of the kind that this was made for."""
        return self._kind == _kind(theta)

    def __call__(self, theta: Array, x: Array) -> Array:
        """Compute scores.

        Parameters
        ----------
        theta : array, shape (parameters,)
            Parameters; the caller changes no array that was handed in, but hands in another.
        x : array, shape (n, inputs)
            In the dtype of `theta`.

        Returns
        -------
        array, shape (n, outputs)
            Memory of its own.
        """
        return self.probed(theta, x)[0]

    def probed(self, theta: Array, x: Array) -> tuple[Array, list[Any]]:
        """Compute scores, and the probes of all chunks that the rows went through in."""
        rows = x.shape[0]
        if rows <= self.rows:
            scores, probe = self._chunk(theta, x)
            return scores, [probe]
        starts = range(0, rows, self.rows)
        parts = [self._chunk(theta, x[i : min(i + self.rows, rows), :]) for i in starts]
        return self.xp.concat([scores for scores, _ in parts]), [p for _, p in parts]

    def _chunk(self, theta: Array, x: Array) -> tuple[Array, Any]:
        if self._on_numpy:
            x = plain(x)
        if not self.plannable:
            return _pair(self._forward(theta, x))
        # Another thread may be using the buffers: then this one goes without.
        if not theta.flags.c_contiguous or not self._lock.acquire(blocking=False):
            return self._pure(theta, x)
        try:
            found = self._plan_for(theta, x)
            if found is None:
                return self._pure(theta, x)
            replay, results = found.on(theta)
            replay(x)
            scores, *probe = (result.copy() for result in results)
            if not found.checked:
                right = self._pure(theta, x)
                if not all(map(same_bytes, (scores, *probe), right)):
                    self._distrust()
                    return right
                found.checked = True
            return scores, probe[0] if probe else None
        finally:
            self._lock.release()

    def _pure(self, theta: Any, x: Any) -> tuple[Any, Any]:
        """Run the forward function on NumPy as it is; a view of its input is copied."""
        scores, probe = _pair(self._forward(theta, x))
        if any(host.may_share_memory(scores, a) for a in (x, theta)):
            scores = scores.copy()
        return scores, probe

    def _distrust(self) -> None:
        """Predict without plans from now on."""
        self.plannable, self.reason = False, "a plan gave other numbers"
        warnings.warn(
            "a planned prediction gave other numbers than the pure function, which runs in its "
            "place from now on: slower, but right. This is a bug of xpnn, please report it",
            RuntimeWarning,
            stacklevel=2,
        )

    def _plan_for(self, theta: Any, x: Any) -> _Planned | None:
        """Find the plan for so many rows; a number that has not come often has none yet."""
        rows = x.shape[0]
        found = self._plans.get(rows, 0)
        if isinstance(found, int):
            found += 1
            if found >= _OFTEN:
                try:
                    found = self._plan(theta, x)
                except UnknownOperationError as error:
                    self.plannable, self.reason = False, f"the engine has no rule for {error}"
                    return None
        self._plans[rows] = found
        self._plans.move_to_end(rows)
        if len(self._plans) > _KEPT:
            self._plans.popitem(last=False)
        return None if isinstance(found, int) else found

    def _plan(self, theta: Any, x: Any) -> _Planned:
        from xpnn.engine.plan import Call, compile_calls, make_plan, moved

        # Memory that nobody writes to takes no room: a replay is handed others' in its place.
        template, place = host.zeros(theta.shape, theta.dtype), host.zeros(x.shape, x.dtype)
        plan = make_plan(self.make_forward(NAMESPACE), (template, place), ["theta", "x"], {})
        calls = plan.calls
        if host.may_share_memory(plan.outputs[0], place) or not _only_whole(calls, place):
            # Something looks at a part of x, so the plan reads rows where it was made.
            given = host.zeros(x.shape, x.dtype)
            calls = [Call(host.copyto, (place, given), "copy"), *calls]
            place = given
        bind = compile_calls(calls, parameter=place)

        def with_parameters(theta: Any) -> _Bound:
            move = moved([(template, theta)])
            return bind(move), [move(output) for output in plan.outputs]

        return _Planned(with_parameters)


_Bound = tuple[Callable[[Any], None], list[Any]]
"""What replays a plan on rows, and where its results are."""


@dataclass
class _Planned:
    """A plan for one number of rows: its replay reads the parameters where they are."""

    bind: Callable[[Any], _Bound]
    theta: Any = None
    bound: _Bound | None = None
    checked: bool = False  # whether its first results were those of the pure function

    def on(self, theta: Any) -> _Bound:
        """Bind the plan to parameters, unless it is."""
        if self.bound is None or self.theta is not theta:
            self.bound, self.theta = self.bind(theta), theta
        return self.bound


def _kind(theta: Array) -> Any:
    return type(theta), theta.dtype, tuple(theta.shape), str(device_of(theta))


def _pair(result: Any) -> tuple[Any, Any]:
    return result if isinstance(result, tuple) else (result, None)


def _only_whole(calls: list[Any], x: Any) -> bool:
    """Whether every call that reads `x` reads all of it, so that another may take its place."""
    return all(
        argument is x
        or not isinstance(argument, host.ndarray)
        or not host.may_share_memory(argument, x)
        for call in calls
        for argument in call.arguments
    )
