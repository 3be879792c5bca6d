"""A plan for a GPU: a pure function as kernels and matrix products, and their memory.

Memory is planned as for NumPy, on arrays of the host that stand for those of the device:
nobody touches their memory, so it takes none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xpnn.backends import host
from xpnn.backends.cublas import gemm
from xpnn.engine.cuda.groups import by_rows, domain_of, group
from xpnn.engine.cuda.halves import HALVES, read_halves
from xpnn.engine.cuda.source import (
    HEAD,
    PARTS,
    Kernel,
    check_dtypes,
    copy,
    crossing,
    entries,
    in_two,
    is_long,
    product,
    reduction,
    rows,
)
from xpnn.engine.operations import REDUCTIONS
from xpnn.engine.plan import Planner, copy_into_place, recorded_update
from xpnn.engine.trace import Exchange, Node, Trace, UnknownOperationError
from xpnn.engine.trees import leaves

OWN = 2**25
"""Multiplications in a product up to which it is a kernel of our own, so that it may join a graph
though cuBLAS may not. A guess, as `SMALL` is: nobody has measured it on a GPU yet."""

SMALL = 2**20
"""The same where cuBLAS may join: starting it is worth more multiplications than these."""


@dataclass
class Product:
    """A matrix product that a library does."""

    operands: list[Any]  # ``out = a @ b``: a, b, out
    says: str


@dataclass
class AllReduce:
    """Where other processes take part, which no graph can record."""

    exchange: Exchange
    operands: list[Any]  # ``out = exchange(vector)``: vector, out
    says: str = "all-reduce with the other processes"


Work = Kernel | Product | AllReduce


class CudaPlanner(Planner):
    """Makes the kernels, one group of operations after the other.

    `no_graph` says why a graph cannot record a library's product; asked only where it matters.
    """

    def __init__(
        self, trace: Trace, arrays: list[Any], donated: dict[int, int], no_graph: Callable[[], str]
    ) -> None:
        super().__init__(trace, arrays, donated)
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
        for one in group(self.trace.operations()):
            if domain_of(one[0]) is None:
                self._one(one[0])
            else:
                self._fused(one)
        return self.work

    def _fused(self, nodes: list[Node]) -> None:
        """Do several operations in one kernel."""
        stored = self._read_outside(nodes) & set(map(id, nodes))
        if by_rows(nodes):
            stored |= crossing(nodes)
        with self._at_once(nodes):
            self._store(nodes, stored)
            write = rows if by_rows(nodes) else entries
            self.work.append(write(nodes, stored, self._place))

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
        operands = [self.array[id(i)] for i in node.parents()]
        if node.op in REDUCTIONS and is_long(node):
            raw, parts = self.pool.take((PARTS,), node.value.dtype)
            self.work += in_two(node, self._place, parts)
            self.pool.give_back(raw)
        elif node.op in REDUCTIONS:
            self.work.append(reduction(node, self._place))
        elif node.op == "across":
            self.work.append(AllReduce(node.attributes["exchange"], [*operands, out]))
        elif node.op == "matmul":
            a, b = operands
            check_dtypes(a, b, out)
            if self._size(node) <= self.own or gemm(a, b, out) is None:
                self.work.append(product(a, b, out))
            else:
                says = f"matmul {a.shape[0]} x {a.shape[1]} x {b.shape[1]} by cuBLAS"
                self.work.append(Product([a, b, out], says))
        else:
            raise UnknownOperationError(node.op)


@dataclass
class Segment:
    """Launches that follow one another, or an all-reduce with other processes."""

    calls: list[Callable[[], None]]  # what starts them
    all_reduces: bool = False

    def start(self) -> None:
        """Start everything, in order."""
        for call in self.calls:
            call()


def in_turn(segments: Sequence[Segment], times: int = 1) -> Callable[[], None]:
    """Make what starts segments one after the other, so many times."""

    def start() -> None:
        for _ in range(times):
            for one in segments:
                one.start()

    return start


@dataclass
class CudaPlan:
    """Kernels and products of one function for one set of shapes.

    Its arrays are the host's, which stand for those of the device.
    """

    trace: Trace
    work: list[Work]  # in order
    inputs: list[Any]
    outputs: list[Any]
    buffers: list[Any]  # all other memory
    no_graph: str = ""  # why a graph cannot record a step; empty where it can

    @property
    def products(self) -> bool:
        """Whether a library's product is among the work."""
        return any(isinstance(one, Product) for one in self.work)

    @property
    def all_reduces(self) -> bool:
        """Whether other processes take part."""
        return any(isinstance(one, AllReduce) for one in self.work)

    @property
    def bytes(self) -> int:
        """Memory beside the inputs."""
        return sum(int(raw.nbytes) for raw in self.buffers)

    def bind(
        self, cuda: Any, devices: Sequence[Any], before: Sequence[Kernel], after: Sequence[Kernel]
    ) -> list[Segment]:
        """Give everything its place on a device, and compile the kernels.

        `devices` are the inputs there; `before` and `after` are kernels to start with it, whose
        arrays are the device's.
        """
        places = list(zip(self.inputs, devices, strict=True))
        for node in self.trace.nodes:
            if node.op == "constant":
                place = cuda.empty(node.value.shape, node.value.dtype)
                cuda.put(node.value, place)
                places.append((node.value, place))
        places += [(raw, cuda.empty(raw.shape, raw.dtype)) for raw in self.buffers]
        ranges = [(old.ctypes.data, max(old.nbytes, 1), place) for old, place in places]

        def move(array: Any) -> Any:
            for first, size, place in ranges:
                offset = array.ctypes.data - first
                if 0 <= offset < size:
                    return cuda.view(place, offset, array.shape, array.dtype, array.strides)
            raise AssertionError("a plan's array is nobody's memory")

        work = [*((one, False) for one in before), *((one, True) for one in self.work)]
        work += [(one, False) for one in after]
        names = kernel_names([one for one, _ in work if isinstance(one, Kernel)])
        launch = cuda.compile(source(names))
        segments = [Segment([])]
        for one, planned in work:
            arrays = [move(a) if planned else a for a in one.operands]
            if isinstance(one, AllReduce):
                exchanged = _all_reduce(cuda, one.exchange, *arrays)
                segments += [Segment([exchanged], all_reduces=True), Segment([])]
            elif isinstance(one, Kernel):
                call = launch((names[one.text], one.blocks, one.threads, arrays))
                segments[-1].calls.append(call)
            else:
                segments[-1].calls.append(cuda.product(*arrays))
        return [one for one in segments if one.calls]

    def describe(self) -> str:
        """List inputs, kernels, products, memory, and the kernels' source."""
        names = kernel_names([one for one in self.work if isinstance(one, Kernel)])
        lines = ["inputs"]
        for node, array in zip(self.trace.inputs, self.inputs, strict=True):
            lines.append(f"  {node.label:<12} {array.dtype}{list(array.shape)}")
        lines.append(f"work ({len(self.work)})")
        for one in self.work:
            name, results = "", one.operands[-1:]
            if isinstance(one, Kernel):
                name, results = f"{names[one.text]} <<<{one.blocks}, {one.threads}>>> ", one.results
            shapes = ", ".join(f"{a.dtype}{list(a.shape)}" for a in results)
            lines.append(f"  {name}{one.says}  -> {shapes}")
        way = "one CUDA graph a step, or for several at once"
        if self.all_reduces:
            way = "a CUDA graph before and one after the all-reduce"
        if self.no_graph:
            way = f"one launch after the other: {self.no_graph}"
        lines.append(f"{len(self.buffers)} buffers, {self.bytes} B; {way}")
        return "\n".join([*lines, "", source(names)])


def _all_reduce(cuda: Any, exchange: Exchange, vector: Any, out: Any) -> Callable[[], None]:
    """Make what hands a vector to other processes, and puts what comes back to its place."""
    return lambda: cuda.copy(exchange(vector), out)


def kernel_names(kernels: Sequence[Kernel]) -> dict[str, str]:
    """Give each source a name; kernels of the same source share it."""
    names: dict[str, str] = {}
    for kernel in kernels:
        names.setdefault(kernel.text, f"k{len(names)}")
    return names


def source(names: dict[str, str]) -> str:
    """Write a whole source of named kernels."""
    kernels = "".join(f'extern "C" __global__ void {name}{text}\n' for text, name in names.items())
    return HEAD + (HALVES if "Float16" in kernels else "") + kernels


def make_cuda_plan(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    labels: list[str],
    donated: dict[int, int],
    hidden: Sequence[int] = (),
    no_graph: Callable[[], str] = lambda: "no library is there",
) -> CudaPlan:
    """Trace a pure function and plan it for a GPU.

    `arguments` are NumPy arrays in nested tuples that stand for the device's, in C order;
    `no_graph` says why a graph cannot record a library's product. For the rest, and what is
    raised, see `xpnn.engine.plan.make_plan`.
    """
    trace = read_halves(recorded_update(function, arguments, labels, donated, hidden))
    planner = CudaPlanner(trace, leaves(arguments), donated, no_graph)
    planner.make()
    outputs = copy_into_place(planner, donated, {})
    plan = CudaPlan(trace, planner.work, leaves(arguments), outputs, planner.pool.made)
    plan.no_graph = planner.no_graph if plan.products else ""
    return plan
