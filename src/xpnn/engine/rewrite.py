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
from collections import Counter
from collections.abc import Sequence
from typing import Any

from xpnn.backends import host
from xpnn.engine.trace import Node, Trace, live

UPDATE = "rank-one update"


def _outer(part: Node, readers: Counter[int]) -> Node | None:
    """The outer product that a part is, in any shape, where nobody else reads it."""
    while part.op == "reshape" and readers[id(part)] == 1:
        part = part.inputs[0]
    outer = part.op == "matmul" and part.inputs[0].shape[1] == 1
    return part if outer and readers[id(part)] == 1 else None


def _match(node: Node, readers: Counter[int]) -> tuple[Node, Node, Node] | None:
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
    found = any(_outer(part, readers) for part in joined.inputs)
    return (theta, rate, joined) if found else None


def rank_one_updates(trace: Trace) -> Trace:
    """Replace gradient steps along outer products by one operation each."""
    readers = Counter(id(parent) for node in trace.nodes for parent in node.parents())
    readers.update(map(id, trace.outputs))
    replaced: dict[int, Node] = {}
    for node in trace.nodes:
        found = _match(node, readers)
        if found is None:
            continue
        theta, rate, joined = found
        inputs: list[Any] = [theta, rate]
        parts: list[tuple[str, int, tuple[int, ...]]] = []
        for part in joined.inputs:
            outer = _outer(part, readers)
            inputs += [part] if outer is None else outer.inputs
            kind, source = ("plain", part) if outer is None else ("outer", outer)
            parts.append((kind, source.value.size, source.shape))
        replaced[id(node)] = Node(UPDATE, tuple(inputs), {"parts": tuple(parts)}, node.value)
    if not replaced:
        return trace
    nodes = [replaced.get(id(node), node) for node in trace.nodes]
    for node in nodes:
        node.inputs = tuple(replaced.get(id(i), i) for i in node.inputs)
    outputs = [replaced.get(id(o), o) for o in trace.outputs]
    return live(trace.inputs, nodes, outputs)


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
