"""Rank-one updates: the one place where the engine does other operations than were recorded.

With one row in a batch the gradient of a weight matrix is an outer product, and a plain
gradient step is ``weights - rate * outer(x, dz)``. As recorded it writes the outer product
down, scales it and subtracts it: three passes over memory as large as the weights. BLAS's
`ger` does all in one pass. `rate * dz` is rounded first instead of the products, so
results differ by an ulp or so of the step. Where there are kernels, one does the same with
the products rounded as recorded.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from xpnn.backends import host
from xpnn.engine.trace import Node, Trace

UPDATE = "rank-one update"


def _is_outer(node: Node) -> bool:
    return node.op == "matmul" and node.inputs[0].shape[1] == 1


def _root(node: Node) -> Node:
    while node.op == "reshape":
        node = node.inputs[0]
    return node


def _readers(trace: Trace) -> dict[int, int]:
    count: dict[int, int] = {}
    for node in trace.nodes:
        for parent in node.parents():
            count[id(parent)] = count.get(id(parent), 0) + 1
    for output in trace.outputs:
        count[id(output)] = count.get(id(output), 0) + 1
    return count


def _is_alone(part: Node, readers: dict[int, int]) -> bool:
    """Whether a part is an outer product that nobody else reads, in any shape."""
    while part.op == "reshape" and readers[id(part)] == 1:
        part = part.inputs[0]
    return _is_outer(part) and readers[id(part)] == 1


def _match(node: Node, readers: dict[int, int]) -> tuple[Node, Node, Node] | None:
    """Find ``theta - rate * joined`` whose parts hold an outer product; (theta, rate, joined)."""
    if node.op != "subtract" or not all(isinstance(i, Node) for i in node.inputs):
        return None
    theta, step = node.inputs
    if step.op != "multiply" or readers[id(step)] != 1 or theta.shape != node.shape:
        return None
    if len(step.parents()) != 2 or str(node.value.dtype) not in ("float32", "float64"):
        return None
    rate, joined = sorted(step.inputs, key=lambda n: len(n.shape))
    if rate.shape != () or joined.op != "concat" or readers[id(joined)] != 1:
        return None
    if theta.op != "input" or {n.value.dtype for n in (theta, rate, joined)} != {node.value.dtype}:
        return None
    alone = any(_is_alone(part, readers) for part in joined.inputs)
    return (theta, rate, joined) if alone else None


def rank_one_updates(trace: Trace) -> Trace:
    """Replace gradient steps along outer products by one operation each."""
    readers = _readers(trace)
    replaced: dict[int, Node] = {}
    dropped: set[int] = set()
    for node in trace.nodes:
        found = _match(node, readers)
        if found is None:
            continue
        theta, rate, joined = found
        inputs: list[Any] = [theta, rate]
        parts: list[tuple[str, int, tuple[int, ...]]] = []
        for part in joined.inputs:
            root = _root(part)
            if _is_alone(part, readers):
                inputs += root.inputs
                parts.append(("outer", root.value.size, root.shape))
                dropped.add(id(root))
            else:
                inputs.append(part)
                parts.append(("plain", part.value.size, part.shape))
        replaced[id(node)] = Node(UPDATE, tuple(inputs), {"parts": tuple(parts)}, node.value)
        dropped.update((id(node.inputs[1]), id(joined)))
    if not replaced:
        return trace
    nodes = []
    for node in trace.nodes:
        if id(node) in dropped or (node.op == "reshape" and id(_root(node)) in dropped):
            continue
        node = replaced.get(id(node), node)
        node.inputs = tuple(
            replaced.get(id(i), i) if isinstance(i, Node) else i for i in node.inputs
        )
        nodes.append(node)
    outputs = [replaced.get(id(o), o) for o in trace.outputs]
    return Trace(trace.inputs, nodes, outputs, trace.result)


def rank_one_call(matrix: Any, x: Any, scaled: Any) -> tuple[Any, tuple[Any, ...]]:
    """Bind BLAS's ``matrix += outer(x, scaled)``, in place: a function and its arguments.

    `matrix` is C-ordered, so that its transpose is the column-ordered one that BLAS wants;
    `x` has shape (inputs, 1), `scaled` (1, outputs).
    """
    blas = importlib.import_module("scipy.linalg.blas")
    function = blas.sger if matrix.dtype == host.float32 else blas.dger
    # (alpha, x, y, incx, incy, a, overwrite_x, overwrite_y, overwrite_a)
    return function, (1.0, scaled.reshape(-1), x.reshape(-1), 1, 1, matrix.T, 0, 0, 1)


def update_places(theta: Any, parts: Sequence[tuple[str, int, tuple[int, ...]]]) -> list[Any]:
    """Cut a vector into the parts of an update: matrices for outer products, else vectors."""
    places, offset = [], 0
    for kind, size, shape in parts:
        place = theta[offset : offset + size]
        places.append(place.reshape(shape) if kind == "outer" else place)
        offset += size
    return places


def update_kernel(kinds: Sequence[str]) -> str:
    """Write ``theta - rate * parts`` as ``kernel(rate, *places, *operands)``.

    `kinds` are 'outer' or 'plain'. There is a place for each part, as `update_places` cuts
    them; a column and a row for each outer product, a vector for each other part.
    """
    places = [f"w{i}" for i in range(len(kinds))]
    operands, body = [], []
    for i, kind in enumerate(kinds):
        if kind == "outer":
            operands += [f"x{i}", f"d{i}"]
            body += [
                f"    for i in range(w{i}.shape[0]):",
                f"        x = x{i}[i, 0]",
                f"        for j in range(w{i}.shape[1]):",
                f"            w{i}[i, j] = w{i}[i, j] - n * (x * d{i}[0, j])",
            ]
        else:
            operands.append(f"g{i}")
            body += [
                f"    for i in range(w{i}.shape[0]):",
                f"        w{i}[i] = w{i}[i] - n * g{i}[i]",
            ]
    head = f"def kernel(rate, {', '.join([*places, *operands])}):"
    return "\n".join([head, "    n = rate[()]", *body]) + "\n"
