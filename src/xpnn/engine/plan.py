"""A plan: a pure function, recorded, turned into calls, and bound to memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xpnn.backends import Array, host, host_erf
from xpnn.engine.describe import describe
from xpnn.engine.kernels import Writer, compile_kernel, fuse
from xpnn.engine.memory import Memory, aligned
from xpnn.engine.operations import ELEMENTWISE, REDUCTIONS, VIEWS
from xpnn.engine.rewrite import (
    UPDATE,
    rank_one_call,
    rank_one_updates,
    update_kernel,
    update_places,
)
from xpnn.engine.schedule import BLOCK, arrange
from xpnn.engine.trace import Node, Trace, UnknownOperationError, record, without_unread
from xpnn.engine.trees import leaves


@dataclass
class Call:
    """One bound call."""

    function: Any
    arguments: tuple[Any, ...]  # arrays and constants, the output buffer among them
    text: str  # what it does, for `describe`
    out: Any = None  # output buffer, where the function wants it by keyword
    chain: int = -1  # number of the chain and of the block in it, where it works on a block
    block: int = -1
    source: str = ""  # source of a kernel
    results: tuple[Any, ...] = ()  # what a kernel writes

    def operands(self) -> tuple[Any, list[Any]]:
        """Array that the call writes to, and those that it reads."""
        arrays = [a for a in self.arguments if isinstance(a, host.ndarray)]
        if self.out is not None:
            return self.out, arrays
        if self.results:
            read = [a for a in arrays if all(a is not r for r in self.results)]
            return self.results[-1], read
        if self.function is host.copyto:
            return arrays[0], arrays[1:]
        return arrays[-1], arrays[:-1]

    def sliced(self, start: int, stop: int, length: int, chain: int) -> Call:
        """Return the same on one block of a long vector."""

        def cut(value: Any) -> Any:
            if not isinstance(value, host.ndarray) or value.ndim == 0:
                return value
            return value[start:stop] if value.shape[0] == length else value[: stop - start]

        arguments = tuple(map(cut, self.arguments))
        block = start // BLOCK
        return Call(self.function, arguments, self.text, cut(self.out), chain, block)


def compile_calls(
    calls: Sequence[Call], parameter: Any = None
) -> Callable[[Callable[[Any], Any]], Callable[..., None]]:
    """Write calls down as the body of a function, and compile it: ``bind(move) -> replay``.

    A loop over a list of calls costs a fifth of a microsecond more for each; a small
    network's step is some fifty calls of half a microsecond.

    `move` may exchange each array for another, as `moved` does. `replay` takes nothing, or an
    array in the place of `parameter`.
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


def moved(pairs: Sequence[tuple[Any, Any]]) -> Callable[[Any], Any]:
    """Make what finds an array's place in other memory, from pairs of old and new memory.

    It takes anything; a view of old memory becomes the same view of the new, all else is
    passed on.
    """
    ranges = [(old.ctypes.data, old.nbytes, new) for old, new in pairs if old is not new]

    def move(value: Any) -> Any:
        if isinstance(value, host.ndarray):
            for first, size, new in ranges:
                offset = value.ctypes.data - first
                if 0 <= offset < size:
                    return host.ndarray(value.shape, value.dtype, new, offset, value.strides)
        return value

    return move


def owned_copy(array: Array) -> Any:
    """Copy an array into memory of the engine's own."""
    copy = aligned(array.shape, array.dtype)
    host.copyto(copy, array)
    return copy


class Planner(Memory):
    """Makes the calls, one operation after the other; with `kernels`, compiled loops of many."""

    def __init__(
        self, trace: Trace, arrays: list[Any], donated: dict[int, int], kernels: bool = False,
        elsewhere: dict[int, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(trace, arrays, donated, elsewhere)
        self.kernels = kernels
        self.calls: list[Call] = []

    def make(self) -> list[Call]:
        """Make the calls."""
        for group in (fuse if self.kernels else arrange)(self.trace.operations()):
            if len(group) == 1:
                self._one(group[0])
            elif self.kernels:
                self._kernel(group)
            else:
                self._chain(group)
        return self.calls

    def _one(self, node: Node) -> None:
        if node.is_view:
            self._view(node)
            return
        if node.op == "concat":
            self._join(node)
        else:
            self._compute(node)
        for parent in node.parents():
            self._read(parent)

    def _kernel(self, nodes: list[Node]) -> None:
        """Do several operations in one compiled loop."""
        writer = Writer(nodes, self._read_outside(nodes))
        with self._at_once(nodes):
            self._store(nodes, writer.stored)
            source, arrays = writer.write(lambda node: self.array[id(node)])
            text = "kernel " + ", ".join(node.op for node in nodes)
            written = tuple(self.array[id(n)] for n in nodes if id(n) in writer.stored)
            call = Call(compile_kernel(source), tuple(arrays), text, source=source, results=written)
            self.calls.append(call)

    def _store(self, nodes: list[Node], stored: set[int]) -> None:
        """Find places for the results that a kernel stores; those that only it reads get none."""
        for node in nodes:
            if id(node) in stored:
                self._output(node)
            for parent in node.parents():
                self._read(parent)

    def _read_outside(self, nodes: list[Node]) -> set[int]:
        """`id` of everything that is an output, or is read by an operation not among `nodes`."""
        outside = set(map(id, self.trace.outputs))
        for node in self.trace.nodes:
            if node not in nodes:
                outside.update(map(id, node.parents()))
        return outside

    def _chain(self, nodes: list[Node]) -> None:
        """Do a chain over a long vector block by block.

        What only the chain reads gets a buffer of one block.
        """
        self.local = set(map(id, nodes)) - self._read_outside(nodes) - set(self.array)
        before, length = len(self.calls), nodes[0].shape[0]
        with self._at_once(nodes):
            for node in nodes:
                self._one(node)
            chain, self.calls = self.calls[before:], self.calls[:before]
            for start in range(0, length, BLOCK):
                stop = min(start + BLOCK, length)
                self.calls += [call.sliced(start, stop, length, before) for call in chain]
        self.local, self.blocks = set(), []

    def _view(self, node: Node) -> None:
        parent = self.array[id(node.inputs[0])]
        view = VIEWS[node.op](parent, **node.attributes)
        if not host.may_share_memory(view, parent):
            raise UnknownOperationError(f"a {node.op} that copies")
        self.array[id(node)] = view

    def _join(self, node: Node) -> None:
        whole, offset = self.array[id(node)], 0
        for part in node.inputs:
            size, array = part.value.size, self.array[id(part)]
            place = whole[offset : offset + size]
            if not host.shares_memory(place, array):
                self._emit(host.copyto, (place, array), node, "copy")
            offset += size

    # Writing the calls

    def _emit(self, function: Any, arguments: tuple[Any, ...], node: Node, name: str = "") -> None:
        self.calls.append(Call(function, arguments, name or node.op))

    def copy(self, source: Any, target: Any, text: str) -> None:
        """Add a copy."""
        self.calls.append(Call(host.copyto, (target, source), text))

    def _operand(self, node: Node, value: Any) -> Any:
        """Return an operand's array; a number becomes a 0-d array of the dtype it would take."""
        if isinstance(value, Node):
            return self.array[id(value)]
        others = [p.value.dtype for p in node.parents() if p.value.dtype != host.bool]
        return host.asarray(value, dtype=host.result_type(*others, value))

    def _update(self, node: Node) -> None:
        """Do ``theta - rate * parts``, outer products through BLAS; see `rewrite`."""
        theta, rate, *rest = (self.array[id(i)] for i in node.inputs)
        out, parts = self._output(node), node.attributes["parts"]
        if out is not theta:
            self._emit(host.copyto, (out, theta), node, "copy")
        places = update_places(out, parts)
        if self.kernels:
            source = update_kernel([kind for kind, _, _ in parts])
            function, arguments = compile_kernel(source), (rate, *places, *rest)
            text, results = f"kernel {node.op}", tuple(places)
            self.calls.append(Call(function, arguments, text, source=source, results=results))
            return
        down_raw, down = self.pool.take((), node.value.dtype)
        self._emit(host.negative, (rate, down), node, "negative")
        operands = iter(rest)
        for (kind, _, _), place in zip(parts, places, strict=True):
            x = next(operands) if kind == "outer" else None
            part = next(operands)
            raw, scaled = self.pool.take(part.shape, part.dtype)
            self._emit(host.multiply, (down, part, scaled), node, "multiply")
            if kind == "outer":
                function, arguments = rank_one_call(place, x, scaled)
                self.calls.append(Call(function, arguments, node.op, results=(place,)))
            else:
                self._emit(host.add, (place, scaled, place), node, "add")
            self.pool.give_back(raw)
        self.pool.give_back(down_raw)

    def _compute(self, node: Node) -> None:
        if node.op == UPDATE:
            self._update(node)
            return
        out = self._output(node)
        if node.op == "where":
            condition, a, b = (self._operand(node, v) for v in node.inputs)
            if b is not out:
                self._emit(host.copyto, (out, b), node, "where, else")
            self._emit(host.copyto, (out, a, "same_kind", condition), node)
            return
        if node.op in REDUCTIONS:
            a = self.array[id(node.inputs[0])]
            axis, dtype, keep = (node.attributes[k] for k in ("axis", "dtype", "keepdims"))
            self._emit(REDUCTIONS[node.op], (a, axis, dtype, out, keep), node)
            return
        operands = tuple(self._operand(node, v) for v in node.inputs)
        if node.op == "across":
            self._emit(node.attributes["exchange"].into, (*operands, out), node)
        elif node.op == "astype":
            self._emit(host.copyto, (out, operands[0], "unsafe"), node)
        elif node.op == "erf":
            self._emit(host_erf(), (*operands, out), node)
        elif node.op == "matmul":
            # dot and matmul hand the same to BLAS, but matmul takes a microsecond more to do
            # so, and multiplies outer products by itself, 8 times as slowly.
            plain = max(a.ndim for a in operands) == 2
            self._emit(host.dot if plain else host.matmul, (*operands, out), node)
        elif node.op == "pow" and node.inputs[1] == 2:
            self._emit(host.square, (operands[0], out), node)
        elif node.op in ("maximum", "minimum"):
            self.calls.append(Call(ELEMENTWISE[node.op], operands, node.op, out))
        else:
            self._emit(ELEMENTWISE[node.op], (*operands, out), node)


@dataclass
class Plan:
    """The bound calls of one function for one set of shapes."""

    trace: Trace
    calls: list[Call]
    bind: Callable[[Callable[[Any], Any]], Callable[[], None]]  # see `compile_calls`
    replay: Callable[[], None]  # all calls, compiled
    arrays: list[Any]  # the inputs' memory
    outputs: list[Any]  # where the results are after a replay
    made: list[Any]  # all other memory but that of constants
    elsewhere: dict[int, Any]  # outputs that are not written where the input is that they replace
    turns: int = 1  # buffers that steps take in turn for such inputs and for batches

    @property
    def buffers(self) -> int:
        """Number of buffers beside inputs and constants."""
        return len(self.made)

    @property
    def bytes(self) -> int:
        """Their size."""
        return sum(raw.nbytes for raw in self.made)

    def describe(self) -> str:
        """List inputs, operations, buffers and bytes, so that one sees what a step is made of."""
        return describe(self)


def make_plan(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    labels: list[str],
    donated: dict[int, int],
    kernels: bool = False,
    elsewhere: dict[int, Any] | None = None,
    hidden: Sequence[int] = (),
) -> Plan:
    """Trace a pure function and bind it to its arguments' memory.

    `arguments` are engine-owned arrays in nested tuples, with a label for each; a replay reads
    them. `donated` maps the number of an output to that of the input that it replaces,
    `elsewhere` some of these outputs to other memory that they go to instead; `hidden` are
    those that nobody looks at, and that need not be there where no step reads them.

    Raises UnknownOperationError where the engine has no rule for something in the function.
    """
    trace = rank_one_updates(recorded_update(function, arguments, labels, donated, hidden))
    elsewhere, arrays = elsewhere or {}, leaves(arguments)
    planner = Planner(trace, arrays, donated, kernels, elsewhere)
    calls = planner.make()
    outputs = copy_into_place(planner, donated, elsewhere)
    bind = compile_calls(calls)
    replay = bind(lambda value: value)
    return Plan(trace, calls, bind, replay, arrays, outputs, planner.pool.made, elsewhere)


def recorded_update(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    labels: list[str],
    donated: dict[int, int],
    hidden: Sequence[int],
) -> Trace:
    """Trace a function whose results replace some of its inputs; see `make_plan`."""
    trace = record(function, arguments, labels)
    trace = without_unread(trace, {i: donated[i] for i in hidden})
    for output, number in donated.items():
        new, old = trace.outputs[output].value, trace.inputs[number].value
        if new.shape != old.shape or new.dtype != old.dtype:
            raise UnknownOperationError("a result unlike what it replaces in shape or dtype")
    return trace


def copy_into_place(
    planner: Planner, donated: dict[int, int], elsewhere: dict[int, Any]
) -> list[Any]:
    """Copy results to the places where they belong; return where all of them end up."""
    inputs = planner.trace.inputs
    places = {o: elsewhere.get(o, planner.array[id(inputs[i])]) for o, i in donated.items()}
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
