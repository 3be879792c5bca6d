"""Recording the array operations of a pure function.

`record` calls the function once with arrays that have a shape and a dtype and note every
operation; nothing is computed. Nothing here knows a layer, a loss or an optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from xpnn.backends import Array, host
from xpnn.engine.operations import ELEMENTWISE, OTHER_ELEMENTWISE, REDUCTIONS, VIEWS, outcome
from xpnn.engine.trees import leaves, map_tree

Scalar = bool | int | float


class UnknownOperationError(Exception):
    """The function used an operation that the engine has no rule for."""


@dataclass(eq=False)
class Node:
    """One recorded value: an input, a constant, or the result of an operation."""

    op: str  # 'input', 'constant', or the array API's name of the operation
    # Nodes and numbers that it was computed from; shown, a graph would be written as a tree.
    inputs: tuple[Any, ...] = field(repr=False)
    attributes: dict[str, Any]  # everything else, such as `axis`
    # Gives shape and dtype; of inputs and constants it is the value itself.
    value: Any = field(repr=False)
    label: str = ""  # name of an input

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return tuple(self.value.shape)

    @property
    def is_view(self) -> bool:
        """Whether it is another look at its input's memory."""
        return self.op in VIEWS

    @property
    def is_elementwise(self) -> bool:
        """Whether each entry of the result depends on the same entry of the operands alone."""
        return self.op in ELEMENTWISE or self.op in OTHER_ELEMENTWISE

    def parents(self) -> tuple[Node, ...]:
        """Return the inputs that are nodes."""
        return tuple(i for i in self.inputs if isinstance(i, Node))


@dataclass
class Tape:
    """The operations of one call, in order, and how to make a node of an operand."""

    nodes: list[Node] = field(default_factory=list)
    seen: dict[Any, Node] = field(default_factory=dict)

    def add(self, op: str, operands: tuple[Any, ...], **attributes: Any) -> Traced:
        """Note an operation; the same one on the same operands is noted once."""
        inputs = tuple(self._operand(o) for o in operands)
        key = (
            op,
            # As text: 0.0 and -0.0 are equal.
            tuple(id(i) if isinstance(i, Node) else (type(i), repr(i)) for i in inputs),
            repr(sorted(attributes.items())),
        )
        if key in self.seen:
            return Traced(self.seen[key], self)
        values = tuple(i.value if isinstance(i, Node) else i for i in inputs)
        node = Node(op, inputs, attributes, outcome(op, values, attributes))
        self.nodes.append(node)
        self.seen[key] = node
        return Traced(node, self)

    def _operand(self, value: Any) -> Node | Scalar:
        if isinstance(value, Traced):
            return value._node
        if isinstance(value, bool | int | float):
            return value
        if isinstance(value, host.ndarray):
            node = Node("constant", (), {}, value)
            self.nodes.append(node)
            return node
        raise UnknownOperationError(f"an operand of type {type(value).__name__}")


class Traced:
    """An array that notes what is done with it."""

    __array_ufunc__ = None  # NumPy arrays hand operators over to this class

    def __init__(self, node: Node, tape: Tape) -> None:
        self._node, self._tape = node, tape

    shape = property(lambda self: self._node.shape)
    ndim = property(lambda self: len(self._node.shape))
    dtype = property(lambda self: self._node.value.dtype)
    size = property(lambda self: self._node.value.size)
    device = property(lambda self: "cpu")
    T = property(lambda self: self._tape.add("transpose", (self,)))

    def __array_namespace__(self, api_version: str | None = None) -> TraceNamespace:
        return NAMESPACE

    def __getitem__(self, key: Any) -> Traced:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(p, int | slice | type(None) | type(...)) for p in parts):
            raise UnknownOperationError("indexing with an array")
        return self._tape.add("getitem", (self,), key=key)

    def __bool__(self) -> bool:
        raise UnknownOperationError("bool() of an array: control flow that depends on data")

    def __float__(self) -> float:
        raise UnknownOperationError("float() of an array: the host would have to wait")

    __int__ = __index__ = __float__

    def __hash__(self) -> int:
        return id(self)

    def __matmul__(self, other: Any) -> Traced:
        return NAMESPACE.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Traced:
        return NAMESPACE.matmul(other, self)

    def __neg__(self) -> Traced:
        return self._tape.add("negative", (self,))

    def __abs__(self) -> Traced:
        return self._tape.add("abs", (self,))


def _operator(op: str, reflected: bool = False) -> Callable[[Traced, Any], Traced]:
    def operator(self: Traced, other: Any) -> Traced:
        logical = op in ("logical_and", "logical_or")
        if logical and any(x.dtype != host.bool for x in (self, other) if hasattr(x, "dtype")):
            raise UnknownOperationError("& and | of numbers")
        return self._tape.add(op, (other, self) if reflected else (self, other))

    return operator


for _name, _op in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "pow",
    "and": "logical_and", "or": "logical_or",
}.items():  # fmt: skip
    setattr(Traced, f"__{_name}__", _operator(_op))
    setattr(Traced, f"__r{_name}__", _operator(_op, reflected=True))
for _name, _op in {
    "gt": "greater", "ge": "greater_equal", "lt": "less", "le": "less_equal",
    "eq": "equal", "ne": "not_equal",
}.items():  # fmt: skip
    setattr(Traced, f"__{_name}__", _operator(_op))


class TraceNamespace:
    """The array API as far as the engine has rules for it, recording on the arrays' tape."""

    __name__ = "numpy"

    def __getattr__(self, name: str) -> Any:
        if name in ELEMENTWISE or name in ("where", "erf"):
            return lambda *operands: _tape_of(operands).add(name, operands)
        if name in REDUCTIONS:
            return partial(_reduce, name)
        if name in ("float16", "float32", "float64", "int32", "int64", "bool", "uint8"):
            return host.dtype(name)
        if name in ("finfo", "isdtype", "arange", "__array_namespace_info__", "pi", "e", "inf"):
            return getattr(host, name)
        raise UnknownOperationError(name)

    def astype(self, x: Any, dtype: Any, copy: bool = True) -> Any:
        """Convert; noted only where the dtype changes, since nothing is ever overwritten."""
        if x.dtype == dtype:
            return x
        return _tape_of((x,)).add("astype", (x,), dtype=host.dtype(dtype))

    def matmul(self, a: Any, b: Any) -> Traced:
        """Matrix product of two matrices."""
        if a.ndim != 2 or b.ndim != 2:
            raise UnknownOperationError(f"matmul of shapes {a.shape} and {b.shape}")
        return _tape_of((a, b)).add("matmul", (a, b))

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Traced:
        """Other shape, same memory."""
        return _tape_of((x,)).add("reshape", (x,), shape=tuple(shape))

    def concat(self, arrays: Any, axis: int = 0) -> Traced:
        """Join vectors."""
        if axis != 0 or any(a.ndim != 1 for a in arrays):
            raise UnknownOperationError("concat of other than vectors")
        return _tape_of(tuple(arrays)).add("concat", tuple(arrays))

    def zeros_like(self, x: Any) -> Any:
        """Constant zeros."""
        return host.zeros(x.shape, x.dtype)

    def ones_like(self, x: Any) -> Any:
        """Constant ones."""
        return host.ones(x.shape, x.dtype)


def _reduce(op: str, x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Traced:
    return _tape_of((x,)).add(op, (x,), axis=axis, dtype=dtype, keepdims=keepdims)


def _tape_of(operands: tuple[Any, ...]) -> Tape:
    for operand in operands:
        if isinstance(operand, Traced):
            return operand._tape
    raise UnknownOperationError("an operation without a traced array")


NAMESPACE = TraceNamespace()


class Exchange(Protocol):
    """Makes of a vector another one of its shape and dtype, together with other processes."""

    def __call__(self, vector: Array) -> Array:
        """Return the new vector; its library and device are those of `vector`."""

    def into(self, vector: Any, out: Any) -> None:
        """Write the new vector into `out`; both are NumPy's, and C-contiguous."""


def across(exchange: Exchange, vector: Array) -> Array:
    """Hand a vector (1-d) to other processes; return what comes back, of its shape and dtype."""
    if isinstance(vector, Traced):
        return vector._tape.add("across", (vector,), exchange=exchange)
    return exchange(vector)


@dataclass
class Trace:
    """A recorded function."""

    inputs: list[Node]  # one for each array that went in, in order
    nodes: list[Node]  # inputs, constants and operations in order, the dead ones dropped
    outputs: list[Node]  # one for each array that came out, in order

    def operations(self) -> list[Node]:
        """List the nodes that are neither inputs nor constants."""
        return [node for node in self.nodes if node.op not in ("input", "constant")]


def record(function: Callable[..., Any], arguments: tuple[Any, ...], labels: list[str]) -> Trace:
    """Call a pure function, made for `NAMESPACE`, with tracing arrays.

    `arguments` are NumPy arrays in nested tuples, each with a label for `describe`. Raises
    UnknownOperationError where the engine has no rule for something that the function does.
    """
    tape = Tape()
    inputs: list[Node] = []

    def enter(array: Any) -> Traced:
        node = Node("input", (), {}, array, labels[len(inputs)])
        inputs.append(node)
        tape.nodes.append(node)
        return Traced(node, tape)

    def leave(value: Any) -> Node:
        node = tape._operand(value)
        if not isinstance(node, Node):
            raise UnknownOperationError("a result that is a number")
        return node

    try:
        outputs = leaves(map_tree(leave, function(*map_tree(enter, arguments))))
    except UnknownOperationError:
        raise
    except Exception as error:
        # Tracing arrays lack what it asked for; if it is wrong, its pure run says so better.
        raise UnknownOperationError(f"what raises {type(error).__name__}: {error}") from error
    return live(inputs, tape.nodes, outputs)


def live(inputs: list[Node], nodes: list[Node], outputs: list[Node]) -> Trace:
    """Drop the operations that no output needs."""
    needed = set(map(id, outputs))
    for node in reversed(nodes):
        if id(node) in needed:
            needed.update(id(parent) for parent in node.parents())
    return Trace(inputs, [n for n in nodes if id(n) in needed or n.op == "input"], outputs)


def without_unread(trace: Trace, state: dict[int, int]) -> Trace:
    """Leave state alone that only its own next value is made from.

    `state` maps outputs to the inputs that they replace, by number, for what nobody looks at
    between steps or at the end: a step count that the optimizer does not use, for one, is no
    longer counted.
    """
    outputs = list(trace.outputs)
    for number, replaced in state.items():
        old = trace.inputs[replaced]
        rest = live([], trace.nodes, outputs[:number] + outputs[number + 1 :])
        if all(old not in node.parents() for node in rest.nodes):
            outputs[number] = old
    return live(trace.inputs, trace.nodes, outputs)
