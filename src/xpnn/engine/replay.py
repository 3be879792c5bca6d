"""From bound calls to one Python function that does nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xpnn.engine.calls import Call


def compile_calls(
    calls: Sequence[Call], parameter: Any = None
) -> Callable[[Callable[[Any], Any]], Callable[..., None]]:
    """Write the calls down as the body of a function, and compile it.

    A loop over a list of calls costs a fifth of a microsecond more for each; a small
    network's step is some fifty calls of half a microsecond.

    Parameters
    ----------
    calls : sequence of Call
        In order.
    parameter : numpy.ndarray, optional
        An array in whose place the function shall take one.

    Returns
    -------
    callable
        ``bind(move) -> replay``. `move` may exchange each array for another, as `moved` in
        `xpnn.engine.turns` does. `replay` takes nothing, or the array in the parameter's
        place; returns nothing.
    """
    names: dict[int, str] = {} if parameter is None else {id(parameter): "x"}
    values: dict[str, Any] = {}

    def name(value: Any) -> str:
        if value is None or isinstance(value, bool | int | str):
            return repr(value)
        if id(value) not in names:
            names[id(value)] = f"v{len(names)}"
            values[names[id(value)]] = value
        return names[id(value)]

    lines = []
    for call in calls:
        arguments = [name(a) for a in call.arguments]
        if call.out is not None:
            arguments.append(f"out={name(call.out)}")
        lines.append(f"        {name(call.function)}({', '.join(arguments)})")
    source = (
        f"def make({', '.join(values)}):\n"
        f"    def replay({'' if parameter is None else 'x'}):\n"
        + "\n".join(lines or ["        pass"])
        + "\n    return replay\n"
    )
    scope: dict[str, Any] = {}
    exec(compile(source, "<plan>", "exec"), scope)
    make: Callable[..., Callable[..., None]] = scope["make"]
    return lambda move: make(**{key: move(value) for key, value in values.items()})


def unmoved(value: Any) -> Any:
    """Leave an array as it is."""
    return value
