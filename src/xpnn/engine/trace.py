"""Recording the array operations of a pure function.

`record` calls the function once with arrays that have a shape and a dtype and note every
operation; nothing is computed. Nothing here knows a layer, a loss or an optimizer.
"""

from __future__ import annotations

import inspect
import operator
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from xpnn.backends import HOST_NAMESPACE, Array, host
from xpnn.engine.operations import (
    ELEMENTWISE,
    OTHER_ELEMENTWISE,
    REDUCTIONS,
    VIEWS,
    Hole,
    LibraryCall,
    outcome,
)
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
    def name(self) -> str:
        """What to call it to a person."""
        return str(self.attributes["call"].name) if self.op == "call" else self.op

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
    T = mT = property(lambda self: self.__array_namespace__().matrix_transpose(self))

    def __array_namespace__(self, api_version: str | None = None) -> TraceNamespace:
        return NAMESPACE

    def __getitem__(self, key: Any) -> Traced:
        parts = key if isinstance(key, tuple) else (key,)
        if all(isinstance(p, int | slice | type(None) | type(...)) for p in parts):
            return self._tape.add("getitem", (self,), key=key)
        if any(isinstance(p, Traced) and p.dtype == host.bool for p in parts):
            raise UnknownOperationError("indexing with a mask: a shape that depends on data")
        found: Traced = call("indexing with an array", operator.getitem, (self, key), {})
        return found

    def __bool__(self) -> bool:
        raise UnknownOperationError("bool() of an array: control flow that depends on data")

    def __float__(self) -> float:
        raise UnknownOperationError("float() of an array: the host would have to wait")

    __int__ = __index__ = __float__

    def __hash__(self) -> int:
        return id(self)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __pos__(self) -> Traced:
        return self

    def __invert__(self) -> Traced:
        logical = self.dtype == host.bool
        return self._tape.add("logical_not" if logical else "bitwise_invert", (self,))

    def __matmul__(self, other: Any) -> Traced:
        return NAMESPACE.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Traced:
        return NAMESPACE.matmul(other, self)

    def __neg__(self) -> Traced:
        return self._tape.add("negative", (self,))

    def __abs__(self) -> Traced:
        return self._tape.add("abs", (self,))


def _operator(op: str, reflected: bool = False) -> Callable[[Traced, Any], Traced]:
    def record_operator(self: Traced, other: Any) -> Traced:
        name, numbers = op, [x for x in (self, other) if hasattr(x, "dtype")]
        if op in _ON_BITS and not all(x.dtype == host.bool for x in numbers):
            name = _ON_BITS[op]
        return self._tape.add(name, (other, self) if reflected else (self, other))

    return record_operator


_ON_BITS = {"logical_and": "bitwise_and", "logical_or": "bitwise_or", "logical_xor": "bitwise_xor"}
for _name, _op in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "pow",
    "floordiv": "floor_divide", "mod": "remainder", "and": "logical_and", "or": "logical_or",
    "xor": "logical_xor", "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}.items():  # fmt: skip
    setattr(Traced, f"__{_name}__", _operator(_op))
    setattr(Traced, f"__r{_name}__", _operator(_op, reflected=True))
for _name, _op in {
    "gt": "greater", "ge": "greater_equal", "lt": "less", "le": "less_equal",
    "eq": "equal", "ne": "not_equal",
}.items():  # fmt: skip
    setattr(Traced, f"__{_name}__", _operator(_op))


# Their results have shapes that depend on data.
_UNKNOWN_SHAPES = {
    "argwhere", "nonzero", "unique_all", "unique_counts", "unique_inverse", "unique_values",
}  # fmt: skip


def call(
    name: str, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    """Note a call of a function of NumPy's that no operation stands for.

    It must be pure. Without a traced array among the arguments it is called, as it is.
    """
    operands: list[Any] = []

    def hole(value: Any) -> Any:
        if isinstance(value, Traced | host.ndarray):
            operands.append(value)
            return Hole(len(operands) - 1)
        if isinstance(value, list | tuple):
            filled = [hole(v) for v in value]
            return filled if isinstance(value, list) else tuple(filled)
        return value

    holes = tuple(map(hole, arguments))
    named = tuple((key, hole(value)) for key, value in sorted(keywords.items()))
    if not any(isinstance(o, Traced) for o in operands):
        return function(*arguments, **keywords)
    if name in _UNKNOWN_SHAPES:
        raise UnknownOperationError(f"{name}: a shape that depends on data")
    tape, one = _tape_of(tuple(operands)), LibraryCall(name, function, holes, named)
    found = one.outcome(tuple(o._node.value if isinstance(o, Traced) else o for o in operands))
    if isinstance(found, list | tuple):  # each of several results is a call of its own
        parts = [
            tape.add("call", tuple(operands), call=replace(one, item=i)) for i in range(len(found))
        ]
        kind: Any = type(found)
        return kind(*parts) if hasattr(found, "_fields") else kind(parts)
    return tape.add("call", tuple(operands), call=one) if hasattr(found, "shape") else found


class TraceNamespace:
    """The array API, recording on the arrays' tape.

    What is no operation of the engine's own becomes a call of NumPy's function.
    """

    __name__ = "numpy"

    def __init__(self, library: Any = HOST_NAMESPACE) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Any:
        if name in ELEMENTWISE or name in ("where", "erf"):
            return partial(self._elementwise, name)
        if name in REDUCTIONS:
            return partial(_reduce, name)
        found = getattr(self._library, name, None)
        if found is None:
            raise UnknownOperationError(name)
        if isinstance(found, type) and issubclass(found, host.generic):
            return host.dtype(found)
        if inspect.ismodule(found):
            return TraceNamespace(found)
        if not callable(found) or isinstance(found, type):
            return found
        return lambda *arguments, **keywords: call(name, found, arguments, keywords)

    def _elementwise(self, name: str, *operands: Any, **keywords: Any) -> Any:
        traced = any(isinstance(o, Traced) for o in operands)
        if traced and not keywords:
            return _tape_of(operands).add(name, operands)
        return call(name, getattr(self._library, name), operands, keywords)

    def astype(self, x: Any, dtype: Any, copy: bool = True, **keywords: Any) -> Any:
        """Convert; noted only where the dtype changes, since nothing is ever overwritten."""
        if x.dtype == dtype:
            return x
        if not isinstance(x, Traced):
            return x.astype(dtype)
        return x._tape.add("astype", (x,), dtype=host.dtype(dtype))

    def asarray(self, x: Any, dtype: Any = None, **keywords: Any) -> Any:
        """Pass a traced array on, in another dtype if need be; make an array of the rest."""
        if isinstance(x, Traced):
            return x if dtype is None else self.astype(x, dtype)
        return call("asarray", self._library.asarray, (x,), {"dtype": dtype, **keywords})

    def matmul(self, a: Any, b: Any) -> Any:
        """Matrix product."""
        if a.ndim != 2 or b.ndim != 2:
            return call("matmul of other than matrices", self._library.matmul, (a, b), {})
        return _tape_of((a, b)).add("matmul", (a, b))

    def _view(self, op: str, x: Any, **attributes: Any) -> Any:
        if isinstance(x, Traced):
            return x._tape.add(op, (x,), **attributes)
        return VIEWS[op](x, **attributes)

    def reshape(self, x: Any, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Any:
        """Other shape, same memory where that is possible."""
        if isinstance(x, Traced) and not _can_be_reshaped(x._node, shape):
            return call("reshape that copies", self._library.reshape, (x, tuple(shape)), {})
        return self._view("reshape", x, shape=tuple(shape))

    def matrix_transpose(self, x: Any, /) -> Any:
        """Exchange the last two axes."""
        if x.ndim == 2:
            return self._view("transpose", x)
        return self.permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))

    def permute_dims(self, x: Any, /, axes: tuple[int, ...]) -> Any:
        """Axes in another order."""
        return self._view("permute_dims", x, axes=tuple(axes))

    def expand_dims(self, x: Any, /, axis: Any = 0) -> Any:
        """A new axis."""
        return self._view("expand_dims", x, axis=axis)

    def squeeze(self, x: Any, /, axis: Any) -> Any:
        """Drop axes of length 1."""
        return self._view("squeeze", x, axis=axis)

    def flip(self, x: Any, /, *, axis: Any = None) -> Any:
        """The other way round."""
        return self._view("flip", x, axis=axis)

    def broadcast_to(self, x: Any, /, shape: tuple[int, ...]) -> Any:
        """The same entries again and again."""
        return self._view("broadcast_to", x, shape=tuple(shape))

    def mean(self, x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
        """A sum, divided as NumPy does."""
        if not isinstance(x, Traced) or str(x.dtype) not in ("float32", "float64"):
            return call("mean", self._library.mean, (x,), {"axis": axis, "keepdims": keepdims})
        total = _reduce("sum", x, axis, keepdims)
        return total / float(x.size // max(total.size, 1))

    def concat(self, arrays: Any, /, *, axis: int | None = 0) -> Any:
        """Join arrays."""
        arrays = tuple(arrays)
        if axis != 0 or any(a.ndim != 1 for a in arrays):
            return call(
                "concat of other than vectors", self._library.concat, (arrays,), {"axis": axis}
            )
        return _tape_of(arrays).add("concat", arrays)

    def zeros_like(self, x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
        """Constant zeros."""
        return host.zeros(x.shape, x.dtype if dtype is None else dtype)

    def ones_like(self, x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
        """Constant ones."""
        return host.ones(x.shape, x.dtype if dtype is None else dtype)

    def full_like(self, x: Any, /, value: Any, *, dtype: Any = None, device: Any = None) -> Any:
        """A constant."""
        return host.full(x.shape, value, x.dtype if dtype is None else dtype)

    empty_like = zeros_like


def _can_be_reshaped(node: Node, shape: tuple[int, ...]) -> bool:
    """Whether a value can be seen in another shape without a copy, as its memory will lie."""
    try:
        host.reshape(_shadow(node), shape, copy=False)
    except ValueError:
        return False
    return True


def _shadow(node: Node) -> Any:
    """An array with a value's strides, and no memory: nobody may read it."""
    if node.is_view:
        return VIEWS[node.op](_shadow(node.inputs[0]), **node.attributes)
    strides = host.cumprod([node.value.itemsize, *node.shape[:0:-1]])[::-1]
    one = host.zeros((), node.value.dtype)
    return host.lib.stride_tricks.as_strided(one, node.shape, strides[: len(node.shape)])


def _reduce(op: str, x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    if not isinstance(x, Traced):
        return getattr(HOST_NAMESPACE, op)(x, axis=axis, keepdims=keepdims)
    return x._tape.add(op, (x,), axis=axis, dtype=dtype, keepdims=keepdims)


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


_Exchanged = list[tuple[Any, Any]]
_Same = Callable[[Any, Any], bool]
_THREAD = threading.local()  # `noted`: exchanges so far; `answers`: those to come


def across(exchange: Exchange, vector: Array) -> Array:
    """Hand a vector (1-d) to other processes; return what comes back, of its shape and dtype."""
    if isinstance(vector, Traced):
        return vector._tape.add("across", (vector,), exchange=exchange)
    expected = getattr(_THREAD, "answers", None)
    if expected is None:
        return exchange(vector)
    answers, same = expected
    sent, received = answers.pop(0)
    if not same(vector, sent):
        raise RuntimeError(
            "a planned step sent other processes other sums than the pure step has: this is a "
            'bug of xpnn, please report it; engine="pure" goes without plans'
        )
    return received


def _same(a: Any, b: Any) -> bool:
    return bool(host.array_equal(a, b, equal_nan=True))


def exchange_into(exchange: Exchange, vector: Any, out: Any) -> None:
    """Do the same on NumPy's arrays, into memory that is there."""
    exchange.into(vector, out)
    note_exchange(vector, out)


def note_exchange(vector: Any, out: Any) -> None:
    """Note what was sent and received, where somebody wants to know."""
    noted = getattr(_THREAD, "noted", None)
    if noted is not None:
        noted.append((vector.copy(), out.copy()))


@contextmanager
def exchanges_noted() -> Iterator[_Exchanged]:
    """Note what planned steps send and receive."""
    _THREAD.noted = []
    try:
        yield _THREAD.noted
    finally:
        _THREAD.noted = None


@contextmanager
def exchanges_answered(noted: _Exchanged, same: _Same = _same) -> Iterator[None]:
    """Let `across` answer what was noted: the step is taken once more, other processes do not.

    `same` says whether what the step sends is what was sent.
    """
    _THREAD.answers = list(noted), same
    try:
        yield
    finally:
        _THREAD.answers = None


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
