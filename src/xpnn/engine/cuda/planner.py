"""Turning a trace into kernels and matrix products, in order.

Memory is planned as for NumPy, on arrays of the host that stand for those of the device:
nobody touches their memory, so it takes none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpnn.backends import host
from xpnn.backends.cublas import gemm
from xpnn.engine.across import Exchange
from xpnn.engine.cuda.groups import Group, group
from xpnn.engine.cuda.products import check_dtypes, product
from xpnn.engine.cuda.reductions import PARTS, in_two, is_long, reduction
from xpnn.engine.cuda.source import Kernel, copy, crossing, entries, rows
from xpnn.engine.operations import REDUCTIONS
from xpnn.engine.plan import Planner
from xpnn.engine.trace import Node, Trace, UnknownOperationError

OWN = 2**25
"""Multiplications in a product up to which it is a kernel of our own, so that it may join a graph
though cuBLAS may not. A guess, as `SMALL` is: nobody has measured it on a GPU yet."""

SMALL = 2**20
"""The same where cuBLAS may join: starting it is worth more multiplications than these."""


@dataclass
class Product:
    """A matrix product that a library does.

    Parameters
    ----------
    a, b, out : numpy.ndarray
        ``out = a @ b``.
    """

    a: Any
    b: Any
    out: Any

    @property
    def operands(self) -> list[Any]:
        """Return its arrays."""
        return [self.a, self.b, self.out]

    @property
    def says(self) -> str:
        """Return what it does, for people."""
        return f"matmul {self.a.shape[0]} x {self.a.shape[1]} x {self.b.shape[1]} by cuBLAS"

    @property
    def results(self) -> list[Any]:
        """Return what it writes."""
        return [self.out]


@dataclass
class Meeting:
    """Where other processes take part, which no graph can record.

    Parameters
    ----------
    exchange : Exchange
        What they do together.
    vector, out : numpy.ndarray
        ``out = exchange(vector)``.
    """

    exchange: Exchange
    vector: Any
    out: Any

    @property
    def operands(self) -> list[Any]:
        """Return its arrays."""
        return [self.vector, self.out]

    @property
    def says(self) -> str:
        """Return what it does, for people."""
        return "meet the other processes"

    @property
    def results(self) -> list[Any]:
        """Return what it writes."""
        return [self.out]


Work = Kernel | Product | Meeting


class CudaPlanner(Planner):
    """Makes the kernels, one group of operations after the other.

    Parameters
    ----------
    trace, arrays, homes
        As in `xpnn.engine.memory.Memory`.
    no_graph : callable
        Says why a graph cannot record a library's product; asked only where it matters.
    """

    def __init__(
        self, trace: Trace, arrays: list[Any], homes: dict[int, int], no_graph: Callable[[], str]
    ) -> None:
        super().__init__(trace, arrays, homes)
        self.work: list[Work] = []
        largest = max((self._size(n) for n in trace.nodes if n.op == "matmul"), default=0)
        small = min(SMALL, OWN)
        self.no_graph = no_graph() if largest > small else ""
        self.own = OWN if self.no_graph and largest <= OWN else small

    @staticmethod
    def _size(node: Node) -> int:
        return int(node.value.size * node.inputs[0].shape[1])

    def make(self) -> list[Any]:
        """Make kernels and products."""
        for one in group([n for n in self.trace.nodes if n.op not in ("input", "constant")]):
            if one.domain is None:
                self._one(one.nodes[0])
            else:
                self._fused(one)
        return self.work

    def _fused(self, one: Group) -> None:
        """Do several operations in one kernel; results that only it reads get no buffer."""
        nodes = one.nodes
        outside = self._read_outside(nodes)
        stored = {id(n) for n in nodes if id(n) in outside}
        if one.by_rows:
            stored |= crossing(one)
        self.deferred, self.together = [], nodes
        for node in nodes:
            if id(node) in stored:
                self._output(node)
            for parent in node.parents():
                self._read(parent)
        self.work.append((rows if one.by_rows else entries)(one, stored, self._place))
        for raw in self.deferred:
            self.pool.give_back(raw)
        self.deferred, self.together = None, []

    def _place(self, node: Node) -> Any:
        return self.array[id(node)]

    def _emit(self, function: Any, arguments: tuple[Any, ...], node: Node, name: str = "") -> None:
        if function is not host.copyto:
            raise UnknownOperationError(node.op)
        self.copy(arguments[1], arguments[0], name)

    def copy(self, source: Any, target: Any, text: str) -> None:
        """Add a copy."""
        self.work.append(copy(source, target))

    def _compute(self, node: Node) -> None:
        out = self._output(node)
        if node.op in REDUCTIONS:
            if not is_long(node):
                self.work.append(reduction(node, self._place))
                return
            raw, parts = self.pool.take((PARTS,), node.value.dtype)
            self.work += in_two(node, self._place, parts)
            self.pool.give_back(raw)
            return
        if node.op == "across":
            vector = self.array[id(node.inputs[0])]
            self.work.append(Meeting(node.attributes["exchange"], vector, out))
            return
        if node.op != "matmul":
            raise UnknownOperationError(node.op)
        a, b = (self.array[id(i)] for i in node.inputs)
        check_dtypes(a, b, out)
        own = self._size(node) <= self.own or gemm(a, b, out) is None
        self.work.append(product(a, b, out) if own else Product(a, b, out))
