"""Turning a trace into bound calls: who writes into which buffer, and in what order.

- Views are resolved once, on the buffers.
- A result of an elementwise operation goes in place into an operand that nobody reads
  afterwards; other buffers are used again as soon as their last reader is done.
- The parts of a joined vector (the flat gradient) are computed straight into their places.
- A result that replaces an input (parameters, optimizer state) is written where the input
  is, once every other read of it is done.
"""

from __future__ import annotations

from typing import Any

from xpnn.backends import host, host_erf
from xpnn.engine.buffers import Pool, Storage
from xpnn.engine.calls import Call
from xpnn.engine.fuse import Writer, fuse
from xpnn.engine.kernels import compile_kernel
from xpnn.engine.operations import ELEMENTWISE, REDUCTIONS, VIEWS
from xpnn.engine.schedule import BLOCK, Group, arrange, is_elementwise
from xpnn.engine.trace import Node, Trace, UnknownOperationError


class Planner:
    """Assigns buffers and makes calls, one node after the other.

    Parameters
    ----------
    trace : Trace
        What was recorded.
    arrays : list of numpy.ndarray
        Engine-owned array of each input.
    homes : dict of int to int
        Number of an output to the number of the input that it replaces.
    kernels : bool, default False
        Whether elementwise operations become compiled kernels (needs Numba).
    """

    def __init__(
        self, trace: Trace, arrays: list[Any], homes: dict[int, int], kernels: bool = False
    ) -> None:
        self.trace, self.pool, self.kernels = trace, Pool(), kernels
        self.calls: list[Call] = []
        self.array: dict[int, Any] = {}
        self.storage: dict[int, Storage] = {}
        self.names: dict[int, str] = {}
        self.home: dict[int, int] = {}
        self.local: set[int] = set()
        self.deferred: list[Any] | None = None
        self.together: list[Node] = []
        self.blocks: list[Any] = []
        for node, array in zip(trace.inputs, arrays, strict=True):
            self._hold(node, array, Storage(pinned=True))
        for node in trace.nodes:
            if node.op == "constant":
                self._hold(node, node.value, Storage(pinned=True))
        self._count_reads()
        self._choose_homes(homes)
        self._place_parts()

    # Before the first call

    def _hold(self, node: Node, array: Any, storage: Storage) -> None:
        self.array[id(node)] = array
        self.storage[id(node)] = storage

    def _root(self, node: Node) -> Node:
        while node.is_view:
            node = node.inputs[0]
        return node

    def _storage(self, node: Node) -> Storage:
        return self.storage.setdefault(id(self._root(node)), Storage())

    def _count_reads(self) -> None:
        for node in self.trace.nodes:
            if not node.is_view:
                for parent in node.parents():
                    self._storage(parent).reads += 1
        for output in self.trace.outputs:
            self._storage(output).reads += 1

    def _choose_homes(self, homes: dict[int, int]) -> None:
        """Say of outputs, and of the elementwise chains that end in them, where they belong."""
        consumers: dict[int, int] = {}
        for node in self.trace.nodes:
            for parent in node.parents():
                consumers[id(parent)] = consumers.get(id(parent), 0) + 1
        for output, number in homes.items():
            node, home = self.trace.outputs[output], self.trace.inputs[number]
            if node.is_view or node.op in ("input", "constant"):
                continue
            while True:
                self.home[id(node)] = id(home)
                # Go down the chain that the replaced input itself comes up through.
                below = [
                    p for p in node.parents()
                    if is_elementwise(p) and p.shape == home.shape and consumers[id(p)] == 1
                    and p.value.dtype == home.value.dtype and self._comes_from(p, home)
                ]  # fmt: skip
                if not (is_elementwise(node) and below):
                    break
                node = below[0]

    def _comes_from(self, node: Node, source: Node) -> bool:
        while is_elementwise(node):
            if source in node.inputs:
                return True
            same = [p for p in node.parents() if p.shape == source.shape]
            if len(same) != 1:
                return False
            node = same[0]
        return False

    def _place_parts(self) -> None:
        """Let the parts of a joined vector be computed in their places."""
        for node in self.trace.nodes:
            if node.op != "concat":
                continue
            raw, whole = self.pool.take(node.shape, node.value.dtype)
            storage = self._storage(node)
            storage.raw = raw
            self.array[id(node)] = whole
            offset = 0
            for part in node.inputs:
                root, size = self._root(part), part.value.size
                if (
                    root.op not in ("input", "constant", "concat")
                    and root.value.size == size
                    and id(root) not in self.array
                    and root.value.dtype == node.value.dtype
                    and self._only_reshaped(part)
                ):
                    self.array[id(root)] = whole[offset : offset + size].reshape(root.shape)
                    storage.reads += self._storage(root).reads
                    self.storage[id(root)] = storage
                offset += size

    def _only_reshaped(self, node: Node) -> bool:
        while node.is_view:
            if node.op != "reshape":
                return False
            node = node.inputs[0]
        return True

    # One call after the other

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
        source = writer.write()
        arrays = tuple(self.array[id(o)] if isinstance(o, Node) else o for o in source.operands)
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

    def _read(self, node: Node) -> None:
        storage = self._storage(node)
        storage.reads -= 1
        if storage.reads == 0 and storage.raw is not None and not storage.pinned:
            if self.deferred is not None and id(self._root(node)) not in self.local:
                self.deferred.append(storage.raw)
            else:
                self.pool.give_back(storage.raw)
            storage.raw = None

    def _join(self, node: Node) -> None:
        whole, offset = self.array[id(node)], 0
        for part in node.inputs:
            size, array = part.value.size, self.array[id(part)]
            place = whole[offset : offset + size]
            if not host.shares_memory(place, array):
                self._emit(host.copyto, (place, array), node, "copy")
            offset += size

    def _output(self, node: Node) -> Any:
        """Choose where a result goes."""
        if id(node) in self.array:
            return self.array[id(node)]
        home = self.home.get(id(node))
        if home is not None and self._done_with(home, node):
            self.storage[home].reads += self._pending(node)
            self._hold(node, self.array[home], self.storage[home])
            return self.array[id(node)]
        if is_elementwise(node):
            for place, operand in enumerate(node.inputs):
                if self._in_place(node, place, operand):
                    storage = self._storage(operand)
                    storage.reads += self._pending(node)
                    self._hold(node, self.array[id(operand)], storage)
                    return self.array[id(node)]
        if id(node) in self.local:
            raw, array = self.pool.take((BLOCK,), node.value.dtype)
            self.blocks.append(raw)
        else:  # not where the next block's operations write
            raw, array = self.pool.take(node.shape, node.value.dtype, self.blocks)
        storage = self._storage(node)
        storage.raw = raw
        self.array[id(node)] = array
        return array

    def _pending(self, node: Node) -> int:
        """Reads of a node, to be added to those of the storage that it moves into."""
        return self.storage[id(node)].reads if id(node) in self.storage else 0

    def _reads_by(self, node: Node, storage: Storage) -> int:
        return sum(1 for p in node.parents() if self._storage(p) is storage)

    def _read_elsewhere(self, storage: Storage, array: Any) -> bool:
        """Whether operations done together read memory at other places than they go to.

        In the order of blocks, or of a kernel's rows, a read that comes first in a block
        comes after the writes of the blocks before.
        """
        return any(
            not self._same_view(self.array[id(p)], array)
            for node in self.together
            for p in node.parents()
            if self._storage(p) is storage and id(p) in self.array
        )

    def _done_with(self, home: int, node: Node) -> bool:
        """Whether nobody but this operation, entry by entry, still reads the replaced input."""
        storage = self.storage[home]
        if storage.reads != self._reads_by(node, storage):
            return False
        if self._read_elsewhere(storage, self.array[home]):
            return False
        if node.op == "where" and any(
            isinstance(p, Node) and self._storage(p) is storage for p in node.inputs[:2]
        ):
            return False  # the other branch is written first
        return all(
            self.array.get(id(p)) is self.array[home] and is_elementwise(node)
            for p in node.parents()
            if self._storage(p) is storage
        )

    def _in_place(self, node: Node, place: int, operand: Any) -> bool:
        if not isinstance(operand, Node) or id(operand) not in self.array:
            return False
        if node.op == "astype" or (node.op == "where" and place != 2):
            return False
        storage, array = self._storage(operand), self.array[id(operand)]
        return (
            storage.raw is not None
            and not storage.pinned
            and storage.reads == self._reads_by(node, storage)
            and array.shape == ((BLOCK,) if id(node) in self.local else node.shape)
            and array.dtype == node.value.dtype
            and array.flags.c_contiguous
            and not self._read_elsewhere(storage, array)
            and all(
                self._same_view(self.array[id(p)], array)
                for p in node.parents()
                if self._storage(p) is storage and id(p) in self.array
            )
        )

    @staticmethod
    def _same_view(a: Any, b: Any) -> bool:
        return a.ctypes.data == b.ctypes.data and a.strides == b.strides and a.shape == b.shape

    # Writing the calls

    def _emit(self, function: Any, arguments: tuple[Any, ...], node: Node, name: str = "") -> None:
        self.calls.append(Call(function, arguments, name or node.op))

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
        if node.op == "astype":
            self._emit(host.copyto, (out, operands[0], "unsafe"), node)
        elif node.op == "erf":
            self._emit(host_erf(), (*operands, out), node)
        elif node.op == "matmul":
            # A product over one term is an outer product: no sum, so no BLAS call.
            outer = operands[0].shape[1] == 1
            self._emit(host.multiply if outer else host.matmul, (*operands, out), node)
        elif node.op == "pow" and node.inputs[1] == 2:
            self._emit(host.square, (operands[0], out), node)
        elif node.op in ("maximum", "minimum"):
            self.calls.append(Call(ELEMENTWISE[node.op], operands, node.op, out))
        else:
            self._emit(ELEMENTWISE[node.op], (*operands, out), node)
