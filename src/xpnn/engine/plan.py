"""Turning a trace into bound calls, in order."""

from __future__ import annotations

from typing import Any

from xpnn.backends import host, host_erf
from xpnn.engine.calls import Call
from xpnn.engine.fuse import Writer, fuse
from xpnn.engine.kernels import compile_kernel
from xpnn.engine.memory import Memory
from xpnn.engine.operations import ELEMENTWISE, REDUCTIONS, VIEWS
from xpnn.engine.rewrite import UPDATE, rank_one_call, update_kernel, update_places
from xpnn.engine.schedule import BLOCK, Group, arrange
from xpnn.engine.trace import Node, Trace, UnknownOperationError


class Planner(Memory):
    """Makes the calls, one operation after the other.

    Parameters
    ----------
    trace, arrays, homes, elsewhere
        As in `Memory`.
    kernels : bool, default False
        Whether elementwise operations become compiled kernels (needs Numba).
    """

    def __init__(
        self, trace: Trace, arrays: list[Any], homes: dict[int, int], kernels: bool = False,
        elsewhere: dict[int, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(trace, arrays, homes, elsewhere)
        self.kernels = kernels
        self.calls: list[Call] = []

    def make(self) -> list[Call]:
        """Make the calls."""
        made = [n for n in self.trace.nodes if n.op not in ("input", "constant")]
        if self.kernels:
            for fused in fuse(made):
                if fused.fused:
                    self._kernel(fused.nodes)
                else:
                    self._one(fused.nodes[0])
            return self.calls
        for group in arrange(made):
            if group.blocked:
                self._chain(group)
                continue
            for node in group.nodes:
                self._one(node)
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
        """Do several operations in one compiled loop; results that only it reads get no buffer."""
        writer = Writer(nodes, self._read_outside(nodes))
        self.deferred, self.together = [], nodes
        for node in nodes:
            if id(node) in writer.stored:
                self._output(node)
            for parent in node.parents():
                self._read(parent)
        source = writer.write(lambda node: self.array[id(node)])
        arrays = tuple(source.operands)
        text = "kernel " + ", ".join(node.op for node in nodes)
        function = compile_kernel(source.text)
        written = tuple(self.array[id(n)] for n in nodes if id(n) in writer.stored)
        self.calls.append(Call(function, arrays, text, source=source.text, results=written))
        for raw in self.deferred:
            self.pool.give_back(raw)
        self.deferred, self.together = None, []

    def _read_outside(self, nodes: list[Node]) -> set[int]:
        """`id` of everything that is an output, or is read by an operation not among `nodes`."""
        members = set(map(id, nodes))
        outside = set(map(id, self.trace.outputs))
        for node in self.trace.nodes:
            if id(node) not in members:
                outside.update(map(id, node.parents()))
        return outside

    def _chain(self, group: Group) -> None:
        """Do a chain over a long vector block by block.

        What only the chain reads gets a buffer of one block. Whole vectors that die within
        the chain are given back after it: in the order of blocks their readers are not done
        when the last operation is first reached.
        """
        members = set(map(id, group.nodes))
        self.local = members - self._read_outside(group.nodes) - set(self.array)
        self.deferred, self.together, before = [], group.nodes, len(self.calls)
        for node in group.nodes:
            self._one(node)
        chain, self.calls = self.calls[before:], self.calls[:before]
        length = group.nodes[0].shape[0]
        for start in range(0, length, BLOCK):
            stop = min(start + BLOCK, length)
            self.calls += [call.sliced(start, stop, length, before) for call in chain]
        for raw in self.deferred:
            self.pool.give_back(raw)
        self.local, self.deferred, self.together, self.blocks = set(), None, [], []

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
        operands = [self.array[id(i)] for i in node.inputs]
        out, theta, rate = self._output(node), operands[0], operands[1]
        if out is not theta:
            self._emit(host.copyto, (out, theta), node, "copy")
        if self.kernels:
            source = update_kernel([kind for kind, _, _ in node.attributes["parts"]])
            places = update_places(out, node.attributes["parts"])
            self.calls.append(
                Call(
                    compile_kernel(source), (rate, *places, *operands[2:]), f"kernel {node.op}",
                    source=source, results=tuple(places),
                )
            )  # fmt: skip
            return
        down_raw, down = self.pool.take((), node.value.dtype)
        self._emit(host.negative, (rate, down), node, "negative")
        rest, offset = iter(operands[2:]), 0
        for kind, size, shape in node.attributes["parts"]:
            place = out[offset : offset + size]
            offset += size
            if kind == "outer":
                x, dz = next(rest), next(rest)
                raw, scaled = self.pool.take(dz.shape, dz.dtype)
                self._emit(host.multiply, (down, dz, scaled), node, "multiply")
                function, arguments = rank_one_call(place.reshape(shape), x, scaled)
                self.calls.append(Call(function, arguments, node.op, results=(place,)))
            else:
                part = next(rest)
                raw, scaled = self.pool.take(part.shape, part.dtype)
                self._emit(host.multiply, (down, part, scaled), node, "multiply")
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
