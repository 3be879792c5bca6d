"""A plan for a GPU: a pure function as kernels and matrix products, and their memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xpnn.engine.across import Exchange
from xpnn.engine.cuda.halves import HALVES, read_halves
from xpnn.engine.cuda.planner import CudaPlanner, Meeting, Product, Work
from xpnn.engine.cuda.source import HEAD, Kernel
from xpnn.engine.make import bring_home, recorded_update
from xpnn.engine.trace import Trace
from xpnn.engine.trees import leaves


@dataclass
class Stretch:
    """Launches that follow one another, or a meeting with other processes.

    Parameters
    ----------
    calls : list of callable
        What starts them.
    meets : bool
        Whether it is a meeting.
    """

    calls: list[Callable[[], None]]
    meets: bool = False

    def start(self) -> None:
        """Start everything, in order."""
        for call in self.calls:
            call()


def in_turn(stretches: Sequence[Stretch], times: int = 1) -> Callable[[], None]:
    """Make what starts stretches one after the other, so many times."""

    def start() -> None:
        for _ in range(times):
            for one in stretches:
                one.start()

    return start


@dataclass
class CudaPlan:
    """Kernels and products of one function for one set of shapes.

    Their arrays are the host's, which stand for those of the device.

    Parameters
    ----------
    trace : Trace
        The recorded operations.
    work : list of Kernel, Product or Meeting
        In order.
    inputs : list of numpy.ndarray
        What stands for the inputs.
    outputs : list of numpy.ndarray
        What stands for the results.
    buffers : list of numpy.ndarray
        What stands for all other memory.
    no_graph : str
        Why a graph cannot record a step; empty where it can.
    """

    trace: Trace
    work: list[Work]
    inputs: list[Any]
    outputs: list[Any]
    buffers: list[Any]
    no_graph: str = ""

    @property
    def products(self) -> bool:
        """Whether a library's product is among the work."""
        return any(isinstance(one, Product) for one in self.work)

    @property
    def meets(self) -> bool:
        """Whether other processes take part."""
        return any(isinstance(one, Meeting) for one in self.work)

    @property
    def bytes(self) -> int:
        """Memory beside the inputs."""
        return sum(int(raw.nbytes) for raw in self.buffers)

    def bind(
        self, cuda: Any, devices: Sequence[Any], before: Sequence[Kernel], after: Sequence[Kernel]
    ) -> list[Stretch]:
        """Give everything its place on a device, and compile the kernels.

        Parameters
        ----------
        cuda : CupyDevice
            The device.
        devices : sequence of array
            The inputs there.
        before, after : sequence of Kernel
            Others to start with it; their arrays are the device's.

        Returns
        -------
        list of Stretch
            Everything, in order.
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

        def unmoved(array: Any) -> Any:
            return array

        parts = [(before, unmoved), (self.work, move), (after, unmoved)]
        names = kernel_names([k for part, _ in parts for k in part if isinstance(k, Kernel)])
        launch = cuda.compile(source(names))
        stretches = [Stretch([])]
        for part, find in parts:
            for one in part:
                arrays = [find(a) for a in one.operands]
                if isinstance(one, Meeting):
                    meeting = _meeting(cuda, one.exchange, *arrays)
                    stretches += [Stretch([meeting], meets=True), Stretch([])]
                elif isinstance(one, Kernel):
                    call = launch((names[one.text], one.blocks, one.threads, arrays))
                    stretches[-1].calls.append(call)
                else:
                    stretches[-1].calls.append(cuda.product(*arrays))
        return [one for one in stretches if one.calls]

    def describe(self) -> str:
        """List inputs, kernels, products, memory, and the kernels' source."""
        names = kernel_names([one for one in self.work if isinstance(one, Kernel)])
        lines = ["inputs"]
        for node, array in zip(self.trace.inputs, self.inputs, strict=True):
            lines.append(f"  {node.label:<12} {array.dtype}{list(array.shape)}")
        lines.append(f"work ({len(self.work)})")
        for one in self.work:
            shapes = ", ".join(f"{a.dtype}{list(a.shape)}" for a in one.results)
            name = ""
            if isinstance(one, Kernel):
                name = f"{names[one.text]} <<<{one.blocks}, {one.threads}>>> "
            lines.append(f"  {name}{one.says}  -> {shapes}")
        way = "one CUDA graph a step, or for several at once"
        if self.meets:
            way = "a CUDA graph before and one after a meeting"
        if self.no_graph:
            way = f"one launch after the other: {self.no_graph}"
        lines.append(f"{len(self.buffers)} buffers, {self.bytes} B; {way}")
        return "\n".join([*lines, "", source(names)])


def _meeting(cuda: Any, exchange: Exchange, vector: Any, out: Any) -> Callable[[], None]:
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
    homes: dict[int, int],
    hidden: Sequence[int] = (),
    no_graph: Callable[[], str] = lambda: "no library is there",
) -> CudaPlan:
    """Trace a pure function and plan it for a GPU.

    Parameters
    ----------
    function : callable
        Pure, made for `xpnn.engine.trace.NAMESPACE`.
    arguments : tuple
        NumPy arrays in nested tuples that stand for the device's, in C order.
    labels, homes, hidden
        As in `xpnn.engine.make.make_plan`.
    no_graph : callable, optional
        Says why a graph cannot record a library's product; empty where it can.

    Returns
    -------
    CudaPlan

    Raises
    ------
    UnknownOperationError
        The engine has no rule for something that the function does.
    """
    trace = read_halves(recorded_update(function, arguments, labels, homes, hidden))
    planner = CudaPlanner(trace, leaves(arguments), homes, no_graph)
    planner.make()
    places = {number: planner.array[id(trace.inputs[home])] for number, home in homes.items()}
    outputs = bring_home(planner, places)
    plan = CudaPlan(trace, planner.work, leaves(arguments), outputs, planner.pool.made)
    plan.no_graph = planner.no_graph if plan.products else ""
    return plan
