"""A plan: a pure function, traced and bound to memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xpnn.backends import Array, host
from xpnn.engine.buffers import aligned
from xpnn.engine.calls import Call
from xpnn.engine.describe import describe
from xpnn.engine.plan import Planner
from xpnn.engine.replay import compile_calls, unmoved
from xpnn.engine.rewrite import rank_one_updates
from xpnn.engine.trace import Trace, UnknownOperationError, record, without_unread
from xpnn.engine.trees import leaves


def owned_copy(array: Array) -> Any:
    """Copy an array into memory of the engine's own."""
    copy = aligned(array.shape, array.dtype)
    host.copyto(copy, array)
    return copy


@dataclass
class Plan:
    """The bound calls of one function for one set of shapes.

    Parameters
    ----------
    trace : Trace
        The recorded operations.
    calls : list of Call
        In order.
    replay : callable
        All calls, compiled.
    bind : callable
        ``bind(move)`` makes a replay on other arrays; see `compile_calls`.
    outputs : list of numpy.ndarray
        Where the results are after a replay.
    buffers : int
        Number of buffers beside inputs and constants.
    bytes : int
        Their size.
    arrays : list of numpy.ndarray
        The inputs' memory.
    elsewhere : dict of int to numpy.ndarray
        Outputs that are not written where the input is that they replace.
    turns : int
        Number of buffers that steps take in turn for such inputs and for batches.
    """

    trace: Trace
    calls: list[Call]
    replay: Callable[[], None]
    outputs: list[Any]
    buffers: int
    bytes: int
    arrays: list[Any]
    bind: Callable[[Callable[[Any], Any]], Callable[[], None]]
    elsewhere: dict[int, Any]
    turns: int = 1

    def describe(self) -> str:
        """List inputs, operations, buffers and bytes, so that one sees what a step is made of."""
        return describe(self)


def make_plan(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    labels: list[str],
    homes: dict[int, int],
    kernels: bool = False,
    elsewhere: dict[int, Any] | None = None,
    hidden: Sequence[int] = (),
) -> Plan:
    """Trace a pure function and bind it to its arguments' memory.

    Parameters
    ----------
    function : callable
        Pure, made for `xpnn.engine.trace.NAMESPACE`.
    arguments : tuple
        Engine-owned arrays in nested tuples; a replay reads them.
    labels : list of str
        A name for each of them.
    homes : dict of int to int
        Number of an output to the number of the input that it replaces.
    kernels : bool, default False
        Whether elementwise operations become compiled kernels (needs Numba).
    elsewhere : dict of int to numpy.ndarray, optional
        Memory that some of the outputs in `homes` go to instead.
    hidden : sequence of int
        Outputs in `homes` that nobody looks at: need not be there where no step reads them.

    Returns
    -------
    Plan

    Raises
    ------
    UnknownOperationError
        The engine has no rule for something that the function does.
    """
    trace = rank_one_updates(recorded_update(function, arguments, labels, homes, hidden))
    elsewhere = elsewhere or {}
    planner = Planner(trace, leaves(arguments), homes, kernels, elsewhere)
    calls = planner.make()
    places = {
        number: elsewhere.get(number, planner.array[id(trace.inputs[home])])
        for number, home in homes.items()
    }
    outputs = bring_home(planner, places)
    bind = compile_calls(calls)
    return Plan(
        trace, calls, bind(unmoved), outputs, planner.pool.count, planner.pool.bytes,
        leaves(arguments), bind, elsewhere,
    )  # fmt: skip


def recorded_update(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    labels: list[str],
    homes: dict[int, int],
    hidden: Sequence[int],
) -> Trace:
    """Trace a function whose results replace some of its inputs; see `make_plan`."""
    trace = record(function, arguments, labels)
    trace = without_unread(trace, {i: homes[i] for i in hidden})
    for output, home in homes.items():
        new, old = trace.outputs[output].value, trace.inputs[home].value
        if new.shape != old.shape or new.dtype != old.dtype:
            raise UnknownOperationError("a result unlike what it replaces in shape or dtype")
    return trace


def bring_home(planner: Planner, places: dict[int, Any]) -> list[Any]:
    """Copy results to the places where they belong; return where all of them end up."""
    outputs = [planner.array[id(node)] for node in planner.trace.outputs]
    moves = {number: p for number, p in places.items() if outputs[number] is not p}
    for number, array in enumerate(outputs):
        # The copies below would overwrite an old value that goes on living somewhere else.
        if any(host.may_share_memory(array, place) for place in moves.values()):
            _, outputs[number] = planner.pool.take(array.shape, array.dtype)
            planner.copy(array, outputs[number], "copy aside")
    for number, place in moves.items():
        planner.copy(outputs[number], place, "copy into place")
        outputs[number] = place
    return outputs
