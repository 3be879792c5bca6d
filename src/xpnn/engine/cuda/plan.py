"""A plan for a GPU: the calls of a plan written as kernels and matrix products.

Memory is planned as for NumPy, on arrays of the host that stand for those of the device:
nobody touches their memory, so it takes none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xpnn.backends import host
from xpnn.backends.cublas import gemm
from xpnn.engine.cuda.source import (
    HEAD,
    TYPES,
    Kernel,
    common_dtype,
    copy,
    domain,
    entries,
    reductions,
)
from xpnn.engine.operations import REDUCTIONS
from xpnn.engine.plan import Call, owned_copy, plan_trace, recorded_update
from xpnn.engine.trace import (
    Exchange,
    Node,
    Trace,
    UnknownOperationError,
    exchange_into,
    live,
    note_exchange,
)
from xpnn.engine.trees import leaves

EPS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}
"""Relative distance of the numbers of a dtype, from the coarsest one on."""


def read_halves(trace: Trace) -> Trace:
    """Let what computes in float32 read 16-bit floats themselves, so that nobody widens them first.

    The trace's nodes are changed.
    """
    for node in trace.nodes:
        narrow = tuple(_narrow(i) if isinstance(i, Node) else i for i in node.inputs)
        if node.op == "matmul":
            fits = len({i.value.dtype for i in narrow}) == 1
        else:
            fits = node.op in REDUCTIONS or (
                node.is_elementwise and common_dtype(node) == node.value.dtype
            )
        if fits and len(node.shape) <= 2:
            node.inputs = narrow
    return live(trace.inputs, trace.nodes, trace.outputs)


def _narrow(node: Node) -> Node:
    """Return the 16-bit floats that a node is the float32 of; else the node itself."""
    source = node.inputs[0] if node.op == "astype" else node
    halves = str(source.value.dtype) in ("float16", "bfloat16")
    return source if halves and str(node.value.dtype) == "float32" else node


@dataclass(eq=False)
class ByLibrary:
    """A matrix product, or where other processes take part: ``out = exchange(vector)``."""

    operands: list[Any]  # out, the result, is the last one
    says: str
    exchange: Exchange | None = None


Work = Kernel | ByLibrary


def written(call: Call, place: Callable[[Node], Any]) -> Sequence[Work]:
    """Write a call as kernels, but for what libraries do."""
    if call.function is None:
        return [entries(call.nodes, call.stored, place)]
    if call.function is exchange_into:
        exchange, *operands = call.arguments
        return [ByLibrary(operands, "all-reduce with the other processes", exchange)]
    if call.function is host.matmul:
        a, b, out = call.arguments
        if gemm(a, b, out) is None:
            raise UnknownOperationError(f"matmul of {a.dtype} and {b.dtype}, as they lie")
        says = f"matmul {a.shape[0]} x {a.shape[1]} x {b.shape[1]} by cuBLAS"
        return [ByLibrary([a, b, out], says)]
    if call.function is host.copyto and len(call.arguments) == 2:
        return [copy(call.arguments[1], call.arguments[0])]
    if call.function in REDUCTIONS.values():
        source, axis, _, out, _ = call.arguments
        return reductions(call.text, source, axis, out)
    raise UnknownOperationError(call.text)


@dataclass(eq=False)
class Segment:
    """Launches that follow one another."""

    calls: list[Callable[[], None]]  # what starts them
    recordable: bool = True  # whether a CUDA graph can hold them

    def start(self) -> None:
        """Start them in order."""
        for call in self.calls:
            call()


class CudaPlan:
    """Kernels and products of a pure function for one set of shapes.

    `arguments` are NumPy arrays in nested tuples that stand for the device's, in C order;
    `no_graph` says why a graph cannot record a library's product, and is empty where it can. For
    the rest, and what is raised, see `xpnn.engine.plan.make_plan`.
    """

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], labels: list[str],
        donated: dict[int, int], free: Sequence[Any] = (), no_graph: str = "",
    ) -> None:  # fmt: skip
        trace = read_halves(recorded_update(function, arguments, labels, donated))
        for node in trace.nodes:
            if str(node.value.dtype) not in TYPES:
                raise UnknownOperationError(f"kernels with {node.value.dtype}")
            if node.op == "constant":
                node.value = owned_copy(node.value)
        self.plan = plan_trace(trace, leaves(arguments), donated, domain, free, joins=False)
        self.work: list[Work] = []
        self.parts: list[Any] = []  # of long sums: memory beside the plan's
        for call in self.plan.calls:
            works = written(call, lambda node: self.plan.place[id(node)])
            self.work += works
            self.parts += [one.operands[-1] for one in works[:-1]]  # parts of a long sum
        # What is checked can be no closer than the coarsest dtype of products and results.
        operands = [i for n in trace.nodes if n.op == "matmul" for i in n.inputs]
        names = {str(n.value.dtype) for n in (*operands, *trace.outputs)}
        self.dtype = next((name for name in EPS if name in names), "float64")
        products = any(one.exchange is None for one in self.work if isinstance(one, ByLibrary))
        self.no_graph = no_graph if products else ""

    def bind(
        self, cuda: Any, places: list[tuple[Any, Any]], around: tuple[Kernel, Kernel]
    ) -> list[Segment]:
        """Give everything its place on a device, and compile the kernels.

        `places` are pairs of memory here and on the device, but for constants; `around` are the
        kernels before and after, whose arrays are the device's.
        """
        for node in self.plan.trace.nodes:
            if node.op == "constant":
                place = cuda.empty(node.value.shape, node.value.dtype)
                cuda.put(node.value, place)
                places = [*places, (node.value, place)]

        ranges = [(old.ctypes.data, max(old.nbytes, 1), place) for old, place in places]

        def move(array: Any) -> Any:
            for first, size, place in ranges:
                offset = array.ctypes.data - first
                if 0 <= offset < size:
                    return cuda.view(place, offset, array.shape, array.dtype, array.strides)
            raise AssertionError("a plan's array is nobody's memory")

        text, names = source([around[0], *self.work, around[1]])
        launch, segments = cuda.compile(text), [Segment([])]
        for one in (around[0], *self.work, around[1]):
            arrays = one.operands if one in around else [move(a) for a in one.operands]
            recordable = True
            if isinstance(one, Kernel):
                start = launch(names[one.text], one.blocks, one.threads, arrays)
            elif one.exchange is not None:
                start, recordable = _all_reduce(cuda, one.exchange, *arrays), False
            else:
                start, recordable = cuda.blas.bind(*arrays), not self.no_graph
            if recordable != segments[-1].recordable:
                segments.append(Segment([], recordable))
            segments[-1].calls.append(start)
        return segments

    def describe(self) -> str:
        """List inputs, work, memory, and the kernels' source."""
        text, names = source(self.work)
        lines = ["inputs"]
        for node in self.plan.trace.inputs:
            lines.append(f"  {node.label:<12} {node.value.dtype}{list(node.shape)}")
        lines.append(f"work ({len(self.work)})")
        for one in self.work:
            name, results = "", one.operands[-1:]
            if isinstance(one, Kernel):
                results = one.results
                name = f"{names[one.text]} <<<{one.blocks}, {one.threads}>>> "
            shapes = ", ".join(f"{a.dtype}{list(a.shape)}" for a in results)
            lines.append(f"  {name}{one.says}  -> {shapes}")
        apart = [f"products, {self.no_graph}"] if self.no_graph else []
        if any(isinstance(one, ByLibrary) and one.exchange for one in self.work):
            apart.append("the all-reduce")
        way = f"CUDA graphs between {' and '.join(apart)}" if apart else "one CUDA graph a step"
        size = self.plan.bytes + sum(part.nbytes for part in self.parts)
        lines.append(f"{self.plan.buffers + len(self.parts)} buffers, {size} B; {way}")
        return "\n".join([*lines, "", text])


def _all_reduce(cuda: Any, exchange: Exchange, vector: Any, out: Any) -> Callable[[], None]:
    """Make what hands a vector to other processes, and puts what comes back to its place."""

    def meet() -> None:
        cuda.copy(exchange(vector), out)
        note_exchange(vector, out)

    return meet


def source(work: Sequence[Work]) -> tuple[str, dict[str, str]]:
    """Write all kernels as one source, and give each a name; those of the same text share it."""
    texts = dict.fromkeys(one.text for one in work if isinstance(one, Kernel))
    names = {text: f"k{number}" for number, text in enumerate(texts)}
    kernels = (f'extern "C" __global__ void {name}{text}\n' for text, name in names.items())
    return HEAD + "".join(kernels), names
