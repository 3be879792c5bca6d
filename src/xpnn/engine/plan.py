"""A plan: a pure function, recorded, turned into calls, and bound to memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from xpnn.backends import Array, host, host_erf
from xpnn.engine.describe import describe
from xpnn.engine.fuse import fuse
from xpnn.engine.memory import Memory, aligned
from xpnn.engine.operations import ELEMENTWISE, REDUCTIONS, VIEWS
from xpnn.engine.trace import (
    Node,
    Trace,
    UnknownOperationError,
    exchange_into,
    record,
)
from xpnn.engine.trees import leaves

Domain = Callable[[Node], tuple[int, ...] | None]


@dataclass
class Call:
    """One bound call, or a loop that does several operations at once."""

    function: Any  # None: a loop
    arguments: tuple[Any, ...]  # arrays and constants, the output buffer among them
    text: str  # what it does, for `describe`
    out: Any = None  # output buffer, where the function wants it by keyword
    results: tuple[Any, ...] = ()  # what a loop writes
    nodes: list[Node] = field(default_factory=list)  # what it does
    stored: set[int] = field(default_factory=set)  # `id` of those that a loop stores
    # Outer products that a loop computes on its way: where they would be, and their factors.
    products: list[tuple[Any, Any, Any]] = field(default_factory=list)

    def writes(self) -> tuple[Any, ...]:
        """Arrays that the call writes to."""
        return self.results if self.function is None else (self.operands()[0],)

    def operands(self) -> tuple[Any, list[Any]]:
        """Array that the call writes to, and those that it reads."""
        arrays = [a for a in self.arguments if isinstance(a, host.ndarray)]
        if self.out is not None:
            return self.out, arrays
        if self.results:
            return self.results[-1], arrays
        if self.function is host.copyto:
            return arrays[0], arrays[1:]
        return arrays[-1], arrays[:-1]


def join_outer_products(calls: list[Call], outputs: Sequence[Any]) -> list[Call]:
    """Let the loop over a joined vector compute the outer products that are parts of it.

    With one row in a batch a weight matrix's gradient is an outer product: as large as the
    weights, and read once.
    """
    kept = list(calls)
    for call in calls:
        if call.function is not host.matmul or call.arguments[0].shape[1] > 1:
            continue
        a, b, out = call.arguments
        later = kept[next(i for i, c in enumerate(kept) if c is call) + 1 :]
        users = [c for c in later if _meet([out], c.operands()[1])]
        if len(users) != 1 or users[0].function is not None or _meet([out], outputs):
            continue
        between = later[: next(i for i, c in enumerate(later) if c is users[0]) + 1]
        if not _meet((a, b), [x for c in between for x in c.writes()]) and _is_flat(users[0], out):
            users[0].products.append((out, a, b))
            kept = [c for c in kept if c is not call]
    return kept


def _meet(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return any(host.may_share_memory(a, b) for a in some for b in others)


def _is_flat(loop: Call, out: Any) -> bool:
    """Whether a loop goes through vectors of one length, and its products are all in one."""
    arrays = [a for a in (*loop.arguments, *loop.results) if a.size > 1]
    whole = [a for a in loop.arguments if _meet([a], [out, *(p[0] for p in loop.products)])]
    plain = all(a.ndim == 1 and a.shape == arrays[0].shape and a.flags.c_contiguous for a in arrays)
    return plain and len(whole) == 1 and out.flags.c_contiguous and out.size > 1


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
    """Makes the calls, one operation after the other.

    With a `domain` (see `fuse`) elementwise operations that share one become loops.
    """

    def __init__(
        self, trace: Trace, arrays: list[Any], donated: dict[int, int],
        domain: Domain | None = None, free: Sequence[Any] = (), sums: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(trace, arrays, donated, free)
        self.domain, self.sums = domain, sums
        self.calls: list[Call] = []

    def make(self) -> list[Call]:
        """Make the calls."""
        nodes = self.trace.operations()
        groups = [[n] for n in nodes]
        if self.domain is not None:
            groups = fuse(nodes, self.domain, self.sums)
        for group in groups:
            if self.domain is None or self.domain(group[0]) is None:
                self._one(group[0])
            else:
                self._loop(group)
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

    def _loop(self, nodes: list[Node]) -> None:
        """Do several operations in one loop."""
        stored = self._read_outside(nodes) & set(map(id, nodes))
        with self._at_once(nodes):
            self._store(nodes, stored)
        own = set(map(id, nodes))
        read = {id(p): p for n in nodes for p in n.parents() if id(p) not in own}
        arguments = tuple(self.array[key] for key in read)
        results = tuple(self.array[id(n)] for n in nodes if id(n) in stored)
        text = "loop " + ", ".join(n.op for n in nodes)
        self.calls.append(Call(None, arguments, text, None, results, nodes, stored))

    def _store(self, nodes: list[Node], stored: set[int]) -> None:
        """Find places for the results that a loop stores; those that only it reads get none."""
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
                self.copy(array, place, "copy")
            offset += size

    # Writing the calls

    def _emit(self, function: Any, arguments: tuple[Any, ...], node: Node, name: str = "") -> None:
        self.calls.append(Call(function, arguments, name or node.op, nodes=[node]))

    def copy(self, source: Any, target: Any, text: str) -> None:
        """Add a copy."""
        self.calls.append(Call(host.copyto, (target, source), text))

    def _operand(self, node: Node, value: Any) -> Any:
        """Return an operand's array; a number becomes a 0-d array of the dtype it would take."""
        if isinstance(value, Node):
            return self.array[id(value)]
        others = [p.value.dtype for p in node.parents() if p.value.dtype != host.bool]
        return host.asarray(value, dtype=host.result_type(*others, value))

    def _compute(self, node: Node) -> None:
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
        if node.op == "call":
            self._emit(node.attributes["call"].into, (*operands, out), node, node.name)
        elif node.op == "across":
            self._emit(exchange_into, (node.attributes["exchange"], *operands, out), node)
        elif node.op == "astype":
            self._emit(host.copyto, (out, operands[0], "unsafe"), node)
        elif node.op == "erf":
            self._emit(host_erf(), (*operands, out), node)
        elif node.op == "matmul":
            self._emit(host.matmul, (*operands, out), node)
        elif node.op == "pow" and node.inputs[1] == 2:
            self._emit(host.square, (operands[0], out), node)
        elif node.op in ("maximum", "minimum"):
            self.calls.append(Call(ELEMENTWISE[node.op], operands, node.op, out, nodes=[node]))
        else:
            self._emit(ELEMENTWISE[node.op], (*operands, out), node)


@dataclass
class Plan:
    """The bound calls of one function for one set of shapes."""

    trace: Trace
    calls: list[Call]
    arrays: list[Any]  # the inputs' memory
    outputs: list[Any]  # where the results are after a replay
    made: list[Any]  # all other memory but that of constants
    place: dict[int, Any]  # the array of each node, by `id`

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
    domain: Domain | None = None,
    free: Sequence[Any] = (),
) -> Plan:
    """Trace a pure function and bind it to its arguments' memory.

    `arguments` are engine-owned arrays in nested tuples, with a label for each; a replay reads
    them. `donated` maps the number of an output to that of the input that it replaces.
    With a `domain` (see `fuse`) elementwise operations share loops. `free` are buffers of other
    plans, which are not used at the same time.

    Raises UnknownOperationError where the engine has no rule for something in the function.
    """
    trace = recorded_update(function, arguments, labels, donated)
    return plan_trace(trace, leaves(arguments), donated, domain, free)


def plan_trace(
    trace: Trace,
    arrays: list[Any],
    donated: dict[int, int],
    domain: Domain | None = None,
    free: Sequence[Any] = (),
    joins: bool = True,
) -> Plan:
    """Bind what was recorded to the inputs' `arrays`; for the rest see `make_plan`.

    `joins` says whether loops also add up over rows and compute outer products on their way.
    """
    planner = Planner(trace, arrays, donated, domain, free, joins)
    planner.make()
    outputs = copy_into_place(planner, donated)
    calls = planner.calls
    if domain is not None and joins:
        calls = join_outer_products(calls, outputs)
    return Plan(trace, calls, arrays, outputs, planner.pool.used, planner.array)


def recorded_update(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    labels: list[str],
    donated: dict[int, int],
) -> Trace:
    """Trace a function whose results replace some of its inputs; see `make_plan`."""
    trace = record(function, arguments, labels)
    for output, number in donated.items():
        new, old = trace.outputs[output].value, trace.inputs[number].value
        if new.shape != old.shape or new.dtype != old.dtype:
            raise UnknownOperationError("a result unlike what it replaces in shape or dtype")
    return trace


def copy_into_place(planner: Planner, donated: dict[int, int]) -> list[Any]:
    """Copy results to the places where they belong; return where all of them end up."""
    inputs = planner.trace.inputs
    places = {o: planner.array[id(inputs[i])] for o, i in donated.items()}
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
