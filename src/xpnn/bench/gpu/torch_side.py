"""The same trainings in PyTorch: eager, with CUDA graphs, and compiled.

The rows are on the device beforehand, as they are for this library; an epoch ends by
reading its loss, which waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnn.bench.peers import installed, torch_layers
from xpnn.bench.rounds import SkipError, Work
from xpnn.bench.workloads import BETA1, BETA2, EPS, RATE, Workload


def torch_device(device: str) -> tuple[Any, Any]:
    """Import PyTorch and find a device; float32 products are float32 from here on.

    Raises
    ------
    SkipError
        PyTorch or the device is not there.
    """
    torch = installed("torch")
    if device != "cpu" and not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"built for CUDA {built}, finds no GPU" if built else "a build for CPUs"
        raise SkipError(f"PyTorch {torch.__version__} is {why}")
    torch.set_float32_matmul_precision("highest")
    return torch, torch.device(device)


class TorchTraining:
    """A network of linear layers and ReLU with fused Adam, and its data.

    Parameters
    ----------
    work : Workload
        Shapes.
    x, t : numpy.ndarray
        Rows and labels.
    device : str
        ``cuda:0`` or ``cpu``.
    half : {'float16', 'bfloat16'}, optional
        Dtype of forward and backward (``torch.autocast``); parameters stay float32.
    """

    def __init__(self, work: Workload, x: Any, t: Any, device: str, half: str | None = None):
        self.torch, self.place = torch, place = torch_device(device)
        self.work = work
        torch.manual_seed(0)
        self.model = torch_layers(torch, work.widths).to(place)
        self.adam = torch.optim.Adam(
            self.model.parameters(), lr=RATE, betas=(BETA1, BETA2), eps=EPS, fused=True,
            capturable=place.type == "cuda",
        )  # fmt: skip
        self.rows = torch.from_numpy(x).to(place)
        self.labels = torch.from_numpy(t).to(place)
        self.half = None if half is None else getattr(torch, half)
        self.scaler = torch.amp.GradScaler(place.type, enabled=half == "float16")

    def loss_of(self, x: Any, t: Any) -> Any:
        """Mean loss of a batch."""
        half = self.half is not None
        with self.torch.autocast(self.place.type, dtype=self.half, enabled=half):
            scores = self.model(x)
        return self.torch.nn.functional.cross_entropy(scores.float(), t)

    def step(self, loss_of: Callable[[Any, Any], Any], numbers: Any) -> Any:
        """Take a step on the rows with these numbers; returns the loss, on the device."""
        loss = loss_of(self.rows.index_select(0, numbers), self.labels.index_select(0, numbers))
        self.adam.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.adam)
        self.scaler.update()
        return loss

    def eager(self, loss_of: Callable[[Any, Any], Any] | None = None) -> Work:
        """Make an epoch of steps, one after the other."""
        torch, begin = self.torch, getattr(self.torch.compiler, "cudagraph_mark_step_begin", None)
        function = loss_of or self.loss_of

        def epoch() -> float:
            total = torch.zeros((), device=self.place)
            order = torch.randperm(self.work.rows, device=self.place)
            for numbers in order.split(self.work.batch):
                if loss_of is not None and begin is not None:
                    begin()  # results of the step before may be written over
                loss = self.step(function, numbers)
                with torch.no_grad():
                    total += loss * len(numbers)
            return float(total) / self.work.rows

        return epoch

    def compiled(self, mode: str = "reduce-overhead") -> Work:
        """Make an epoch whose forward, loss and backward go through `torch.compile`."""
        # Static shapes: the last, smaller batch is compiled by itself.
        return self.eager(self.torch.compile(self.loss_of, dynamic=False, mode=mode))

    def captured(self) -> Work:
        """Make an epoch of one captured step, gathering included, and its replays."""
        if self.place.type != "cuda":
            raise SkipError("CUDA graphs need a CUDA device")
        return self._captured()

    def _captured(self) -> Work:
        torch, work = self.torch, self.work
        full = work.rows // work.batch * work.batch
        numbers = torch.arange(work.batch, device=self.place)
        total = torch.zeros((), device=self.place)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.place):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):  # PyTorch asks for steps on another stream beforehand
                    self.step(self.loss_of, numbers)
            torch.cuda.current_stream().wait_stream(side)
            self.adam.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph):
                x, t = (c.index_select(0, numbers) for c in (self.rows, self.labels))
                loss = self.loss_of(x, t)
                loss.backward()
                self.adam.step()
                with torch.no_grad():
                    total.add_(loss * work.batch)

        def epoch() -> float:
            total.zero_()
            order = torch.randperm(work.rows, device=self.place)
            for batch in order[:full].split(work.batch):
                numbers.copy_(batch)
                graph.replay()
            if full < work.rows:
                loss = self.step(self.loss_of, order[full:])
                with torch.no_grad():
                    total.add_(loss * (work.rows - full))
            return float(total) / work.rows

        return epoch


class TorchPredictor:
    """Labels of many rows that are on the device.

    Parameters
    ----------
    widths : tuple of int
        Of the network.
    x : numpy.ndarray
        Rows.
    device : str
        ``cuda:0`` or ``cpu``.
    """

    def __init__(self, widths: tuple[int, ...], x: Any, device: str) -> None:
        self.torch, place = torch_device(device)
        self.torch.manual_seed(0)
        self.model = torch_layers(self.torch, widths).to(place).eval()
        self.rows, self.cuda = self.torch.from_numpy(x).to(place), place.type == "cuda"

    def eager(self, compiled: bool = False) -> Work:
        """Make a call that predicts all rows."""
        torch, model = self.torch, self.model

        def labels_of(rows: Any) -> Any:
            return model(rows).argmax(dim=1)

        function = torch.compile(labels_of, dynamic=False) if compiled else labels_of

        def predict() -> Any:
            with torch.inference_mode():
                labels = function(self.rows)
            if self.cuda:
                torch.cuda.synchronize(self.rows.device)
            return labels

        return predict
