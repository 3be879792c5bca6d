"""Who writes into which buffer.

- Views are resolved once, on the buffers.
- A result of an elementwise operation goes in place into an operand that nobody reads
  afterwards; other buffers are used again as soon as their last reader is done.
- The parts of a joined vector (the flat gradient) are computed straight into their places.
- A result that replaces an input (parameters, optimizer state) is written where the input
  is, once every other read of it is done; or elsewhere, where the next step looks for it.
"""

from __future__ import annotations

from typing import Any

from xpnn.engine.buffers import Pool, Storage
from xpnn.engine.rewrite import UPDATE
from xpnn.engine.schedule import BLOCK, is_elementwise
from xpnn.engine.trace import Node, Trace


class Memory:
    """Says where every recorded value lies.

    Parameters
    ----------
    trace : Trace
        What was recorded.
    arrays : list of numpy.ndarray
        Engine-owned array of each input.
    homes : dict of int to int
        Number of an output to the number of the input that it replaces.
    elsewhere : dict of int to numpy.ndarray, optional
        Memory for some of the outputs.
    """

    def __init__(
        self, trace: Trace, arrays: list[Any], homes: dict[int, int],
        elsewhere: dict[int, Any] | None = None,
    ) -> None:  # fmt: skip
        self.trace, self.pool = trace, Pool()
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
        for number, array in (elsewhere or {}).items():
            node = trace.outputs[number]
            if not node.is_view and node.op not in ("input", "constant", "concat", UPDATE):
                self._hold(node, array, Storage(pinned=True))
        self._count_reads()
        self._choose_homes({o: i for o, i in homes.items() if o not in (elsewhere or {})})
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

    # While calls are made

    def _read(self, node: Node) -> None:
        storage = self._storage(node)
        storage.reads -= 1
        if storage.reads == 0 and storage.raw is not None and not storage.pinned:
            if self.deferred is not None and id(self._root(node)) not in self.local:
                self.deferred.append(storage.raw)
            else:
                self.pool.give_back(storage.raw)
            storage.raw = None

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
            self.array.get(id(p)) is self.array[home]
            and (is_elementwise(node) or node.op == UPDATE)
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
