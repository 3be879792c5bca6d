"""From recorded array operations to ONNX nodes.

A formula is called once with the engine's tracing arrays, and each operation that it does
becomes a node. So no formula is written a second time, and a layer of the user's own can be
exported too, as the operations that it consists of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xpnn.backends import Namespace, host
from xpnn.backends.special import standard_erf
from xpnn.engine.trace import NAMESPACE, Node, Trace, UnknownOperationError, record
from xpnn.export.onnx_graph import Graph, OnnxError

# Array API name -> ONNX operator with the same meaning.
_SAME = {
    "abs": "Abs", "add": "Add", "divide": "Div", "equal": "Equal", "exp": "Exp",
    "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
    "less_equal": "LessOrEqual", "log": "Log", "logical_and": "And", "logical_not": "Not",
    "logical_or": "Or", "matmul": "MatMul", "maximum": "Max", "minimum": "Min",
    "multiply": "Mul", "negative": "Neg", "pow": "Pow", "sign": "Sign", "sqrt": "Sqrt",
    "subtract": "Sub", "tanh": "Tanh", "where": "Where",
}  # fmt: skip
_COMPARISONS = frozenset({"equal", "greater", "greater_equal", "less", "less_equal", "not_equal"})
_REDUCTIONS = {"sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin"}
_ROWS = (2, 3)  # rows that a function is recorded with, twice: nothing may depend on them


def _log1p(x: Any, xp: Namespace) -> Any:
    """``log(1 + x)`` with the digits that the sum loses put back (Kahan; Goldberg 1991, thm 4)."""
    u = 1.0 + x
    return xp.where(u == 1.0, x, xp.log(u) * (x / xp.where(u == 1.0, 1.0 + u, u - 1.0)))


def _expm1(x: Any, xp: Namespace) -> Any:
    """``exp(x) - 1`` by the same device (Kahan; Higham 2002, section 1.14.1)."""
    u = xp.exp(x)
    near = xp.where((u == 1.0) | (x > 1.0) | (x < -30.0), 2.0, u)
    return xp.where(u == 1.0, x, xp.where(near == 2.0, u - 1.0, (near - 1.0) * (x / xp.log(near))))


def _square(x: Any, xp: Namespace) -> Any:
    return x * x


# What ONNX has no operator for, from the operations above.
_MADE_OF: dict[str, Callable[[Any, Namespace], Any]] = {
    "erf": standard_erf, "expm1": _expm1, "log1p": _log1p, "square": _square,
}  # fmt: skip


def add_function(
    graph: Graph,
    function: Callable[..., Any],
    x: str,
    width: int,
    dtype: str,
    params: Any = (),
    names: Sequence[str] = (),
    what: str = "the function",
) -> tuple[str, int]:
    """Add the operations of a pure function of rows; return its result's name and columns."""
    examples = [host.ones((rows, width), dtype) for rows in _ROWS]
    try:
        with host.errstate(all="ignore"):
            traces = [record(function, (params, example), [*names, ""]) for example in examples]
        _check_rows(traces, what)
        trace = traces[0]
        *arrays, rows_in = trace.inputs
        known = {id(node): graph.constant(node.value, node.label) for node in arrays}
        result = trace.outputs[0]
        shapes = [t.outputs[0].shape for t in traces]
        if shapes != [(rows, *result.shape[1:]) for rows in _ROWS] or len(result.shape) != 2:
            raise OnnxError(
                f"{what} gives the shape {result.shape} for {_ROWS[0]} rows; expected rows"
            )
        y = _add_nodes(graph, trace, known | {id(rows_in): x})[0]
    except UnknownOperationError as error:
        raise OnnxError(
            f"{what} cannot be written as ONNX: there is no rule for {error}"
        ) from error
    if result.value.dtype != dtype:
        y = graph.cast(y, dtype)
    return y, result.shape[1]


def _check_rows(traces: list[Trace], what: str) -> None:
    """Refuse a recording that holds for one number of rows only; drop rows from constants."""
    first, second = traces
    places = [{id(n): i for i, n in enumerate(t.nodes)} for t in traces]

    def key(node: Node, place: dict[int, int]) -> Any:
        operands = [place[id(i)] if isinstance(i, Node) else repr(i) for i in node.inputs]
        return node.op, operands, repr(sorted(node.attributes.items()))

    same = [key(n, places[0]) for n in first.nodes] == [key(n, places[1]) for n in second.nodes]
    if not same or len(traces[0].outputs) != 1:
        raise OnnxError(
            f"{what} cannot be written as ONNX: its operations depend on the number of rows"
        )
    for a, b in zip(first.nodes, second.nodes, strict=True):
        if a.op != "constant" or (a.shape == b.shape and (a.value == b.value).all()):
            continue
        values = host.unique(host.concatenate([a.value.reshape(-1), b.value.reshape(-1)]))
        users = [n for n in first.nodes if a in n.parents()]
        whole = all(
            any(p is not a and p.shape == a.shape for p in n.parents()) and n.op in _SAME
            for n in users
        )
        if len(values) != 1 or not whole:
            raise OnnxError(
                f"{what} cannot be written as ONNX: it holds an array made for {a.shape[0]} rows"
            )
        a.value = values[0].reshape(())


def _add_nodes(graph: Graph, trace: Trace, known: dict[int, str]) -> list[str]:
    """Add every operation of a trace; return the names of its outputs."""
    for node in trace.nodes:
        if id(node) not in known:
            known[id(node)] = _add_node(graph, node, known)
    return [known[id(node)] for node in trace.outputs]


def _operand_dtype(node: Node) -> Any:
    """Dtype that both sides of an operation have; ONNX converts nothing by itself."""
    if node.op in _COMPARISONS:
        return host.result_type(*(i.value if isinstance(i, Node) else i for i in node.inputs))
    return node.value.dtype


def _add_node(graph: Graph, node: Node, known: dict[int, str]) -> str:
    if node.op == "constant":
        return graph.constant(node.value)

    def operand(i: int, dtype: Any) -> str:
        value = node.inputs[i]
        if not isinstance(value, Node):
            return graph.constant(host.asarray(value, dtype))
        name = known[id(value)]
        return name if value.value.dtype == dtype else graph.cast(name, dtype)

    if node.op == "astype":
        return graph.cast(known[id(node.inputs[0])], node.attributes["dtype"])
    if node.op in _REDUCTIONS:
        return _add_reduction(graph, node, operand(0, node.value.dtype))
    if node.op in ("getitem", "reshape", "transpose", "concat"):
        return _add_shaped(graph, node, [known[id(i)] for i in node.inputs])
    dtype = _operand_dtype(node)
    if node.op in _MADE_OF:
        name = operand(0, dtype)
        if node.op == "erf" and dtype == host.float32:  # runtimes have it in single precision
            return graph.add("Erf", name)
        function, example = _MADE_OF[node.op], host.ones(node.shape, dtype)
        part = record(lambda x: function(x, NAMESPACE), (example,), [""])
        return _add_nodes(graph, part, {id(part.inputs[0]): name})[0]
    names = [operand(i, dtype) for i in range(len(node.inputs))]
    if node.op == "where":
        names[0] = operand(0, host.bool)
    if node.op == "not_equal":
        return graph.add("Not", graph.add("Equal", *names))
    if node.op not in _SAME:
        raise UnknownOperationError(node.name)
    return graph.add(_SAME[node.op], *names)


def _add_reduction(graph: Graph, node: Node, name: str) -> str:
    axis = node.attributes["axis"]
    axes = [] if axis is None else [axis] if isinstance(axis, int) else list(axis)
    inputs = [name, graph.constant(host.asarray(axes, host.int64))] if axes else [name]
    return graph.add(_REDUCTIONS[node.op], *inputs, keepdims=int(node.attributes["keepdims"]))


def _add_shaped(graph: Graph, node: Node, names: list[str]) -> str:
    """Another shape of the same numbers."""
    if node.op == "transpose":
        return graph.add("Transpose", names[0], perm=[1, 0])
    if node.op == "concat":
        return graph.add("Concat", *names, axis=0)
    if node.op == "reshape":
        shape = host.asarray(node.attributes["shape"], host.int64)
        return graph.add("Reshape", names[0], graph.constant(shape))
    return _add_getitem(graph, node, names[0])


def _add_getitem(graph: Graph, node: Node, name: str) -> str:
    """Slices, single entries and new axes."""
    key = node.attributes["key"]
    parts = list(key) if isinstance(key, tuple) else [key]
    rank = len(node.inputs[0].shape) + parts.count(None)
    if ... in parts:
        at = parts.index(...)
        parts[at : at + 1] = [slice(None)] * (rank - len(parts) + 1)
    left = [part for part in parts if not isinstance(part, int)]
    new = [axis for axis, part in enumerate(left) if part is None]
    parts = [part for part in parts if part is not None]
    cuts, gone = [], []
    for axis, part in enumerate(parts):
        if isinstance(part, int):
            gone.append(axis)
            part = slice(part, part + 1 or None)
        if part != slice(None):
            step = part.step or 1
            ends = (0, 2**62) if step > 0 else (2**62, -(2**62))
            start = ends[0] if part.start is None else part.start
            stop = ends[1] if part.stop is None else part.stop
            cuts.append((start, stop, axis, step))
    if cuts:
        starts, stops, axes, steps = (host.asarray(c, host.int64) for c in zip(*cuts, strict=True))
        name = graph.add("Slice", name, *map(graph.constant, (starts, stops, axes, steps)))
    for op, changed in (("Squeeze", gone), ("Unsqueeze", new)):
        if changed:
            name = graph.add(op, name, graph.constant(host.asarray(changed, host.int64)))
    return name
