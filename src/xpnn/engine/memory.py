"""Who writes into which buffer.

- Views are resolved once, on the buffers.
- A result of an elementwise operation goes in place into an operand that nobody reads
  afterwards; other buffers are used again as soon as their last reader is done.
- The parts of a joined vector (the flat gradient) are computed straight into their places.
- A result that replaces an input (parameters, optimizer state) is written where the input
  is, once every other read of it is done.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from xpnn.backends import host
from xpnn.engine.trace import Node, Trace

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


def aligned(shape: tuple[int, ...], dtype: Any) -> Any:
    """Make an uninitialised C-ordered array that begins at a cache line."""
    size = math.prod(shape) * host.dtype(dtype).itemsize
    raw = host.empty(size + ALIGNMENT, host.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


@dataclass(eq=False)
class Storage:
    """A piece of memory and how many reads of it are still to come."""

    raw: Any = None  # as bytes; None where it is nobody's to give back: inputs and constants
    reads: int = 0


class Pool:
    """Buffers that no longer hold anything needed."""

    def __init__(self, free: Sequence[Any] = ()) -> None:
        self.free = list(free)
        self.used: list[Any] = []

    def take(self, shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
        """Hand out memory for an array: the smallest free buffer that holds it, or a new one.

        Returns the memory and the array.
        """
        bytes_ = math.prod(shape) * host.dtype(dtype).itemsize
        size = max(bytes_, 1)
        fitting = [raw for raw in self.free if size <= raw.nbytes <= 4 * size]
        if fitting:
            raw = min(fitting, key=lambda r: r.nbytes)
            self.free = [r for r in self.free if r is not raw]
        else:
            raw = aligned((-(-size // ALIGNMENT) * ALIGNMENT,), host.uint8)
        if all(raw is not other for other in self.used):
            self.used.append(raw)
        return raw, raw[:bytes_].view(dtype).reshape(shape)

    def give_back(self, raw: Any) -> None:
        """Take memory back whose content nobody reads any more."""
        self.free.append(raw)


class Memory:
    """Says where every recorded value lies.

    `arrays` are the inputs' memory, which the engine owns. `donated` maps the number of an
    output to that of the input that it replaces. `free` are buffers that nobody uses meanwhile.
    """

    def __init__(
        self, trace: Trace, arrays: list[Any], donated: dict[int, int], free: Sequence[Any] = ()
    ) -> None:
        self.trace, self.pool = trace, Pool(free)
        # All of these by the `id` of nodes.
        self.array: dict[int, Any] = {}
        self.storage: dict[int, Storage] = {}
        self.replaces: dict[int, int] = {}  # the input in whose place a result goes
        # While several operations are done at once: these, and what dies.
        self.together: list[Node] = []
        self.deferred: list[Any] | None = None
        for node, array in zip(trace.inputs, arrays, strict=True):
            self._hold(node, array, Storage())
        for node in trace.nodes:
            if node.op == "constant":
                self._hold(node, node.value, Storage())
        self._count_reads()
        self._reuse_inputs(donated)
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

    def _reuse_inputs(self, donated: dict[int, int]) -> None:
        """Let outputs, and the elementwise chains that end in them, go where their inputs are."""
        consumers = Counter(id(parent) for node in self.trace.nodes for parent in node.parents())
        for output, number in donated.items():
            node, old = self.trace.outputs[output], self.trace.inputs[number]
            if node.is_view or node.op in ("input", "constant"):
                continue
            while True:
                self.replaces[id(node)] = id(old)
                # Go down the chain that the replaced input itself comes up through.
                below = [
                    p for p in node.parents()
                    if p.is_elementwise and p.shape == old.shape and consumers[id(p)] == 1
                    and p.value.dtype == old.value.dtype and self._comes_from(p, old)
                ]  # fmt: skip
                if not (node.is_elementwise and below):
                    break
                node = below[0]

    def _comes_from(self, node: Node, source: Node) -> bool:
        while node.is_elementwise:
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

    @contextmanager
    def _at_once(self, nodes: list[Node]) -> Iterator[None]:
        """Do several operations together, in one loop.

        What dies on the way is given back at the end: in the order of a loop its readers are
        not done when the last operation is first reached.
        """
        self.deferred, self.together = [], nodes
        yield
        for raw in self.deferred:
            self.pool.give_back(raw)
        self.deferred, self.together = None, []

    def _read(self, node: Node) -> None:
        storage = self._storage(node)
        storage.reads -= 1
        if storage.reads == 0 and storage.raw is not None:
            if self.deferred is not None:
                self.deferred.append(storage.raw)
            else:
                self.pool.give_back(storage.raw)
            storage.raw = None

    def _output(self, node: Node) -> Any:
        """Choose where a result goes."""
        if id(node) in self.array:
            return self.array[id(node)]
        old = self.replaces.get(id(node))
        if old is not None and self._done_with(old, node):
            return self._move_into(node, self.array[old], self.storage[old])
        if node.is_elementwise:
            for place, operand in enumerate(node.inputs):
                if self._in_place(node, place, operand):
                    return self._move_into(node, self.array[id(operand)], self._storage(operand))
        raw, array = self.pool.take(node.shape, node.value.dtype)
        storage = self._storage(node)
        storage.raw = raw
        self.array[id(node)] = array
        return array

    def _move_into(self, node: Node, array: Any, storage: Storage) -> Any:
        """Let a result go into another one's memory, which its readers read from then on."""
        if id(node) in self.storage:
            storage.reads += self.storage[id(node)].reads
        self._hold(node, array, storage)
        return array

    def _parents_in(self, storage: Storage, node: Node) -> list[Node]:
        return [p for p in node.parents() if self._storage(p) is storage]

    def _read_elsewhere(self, storage: Storage, array: Any, nodes: Sequence[Node]) -> bool:
        """Whether operations read memory at other places than they go to.

        In the order of a loop a read that comes first in a turn comes after the writes of the
        turns before.
        """
        parents = [p for node in nodes for p in self._parents_in(storage, node)]
        views = [self.array[id(p)] for p in parents if id(p) in self.array]
        return not all(_same_view(view, array) for view in views)

    def _done_with(self, old: int, node: Node) -> bool:
        """Whether nobody but this operation, entry by entry, still reads the replaced input."""
        storage, array = self.storage[old], self.array[old]
        parents = self._parents_in(storage, node)
        if storage.reads != len(parents) or self._read_elsewhere(storage, array, self.together):
            return False
        if node.op == "where" and any(p in parents for p in node.inputs[:2]):
            return False  # the other branch is written first
        return all(self.array.get(id(p)) is array and node.is_elementwise for p in parents)

    def _in_place(self, node: Node, place: int, operand: Any) -> bool:
        """Whether a result may go where one of its operands is."""
        if not isinstance(operand, Node) or id(operand) not in self.array:
            return False
        if node.op == "astype" or (node.op == "where" and place != 2):
            return False
        storage, array = self._storage(operand), self.array[id(operand)]
        return (
            storage.raw is not None
            and storage.reads == len(self._parents_in(storage, node))
            and array.shape == node.shape
            and array.dtype == node.value.dtype
            and array.flags.c_contiguous
            and not self._read_elsewhere(storage, array, [*self.together, node])
        )


def _same_view(a: Any, b: Any) -> bool:
    return a.ctypes.data == b.ctypes.data and a.strides == b.strides and a.shape == b.shape
