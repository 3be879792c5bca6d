"""What the device itself can do: matrix products and copies, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from xpnn.backends import matmul_precision, named_dtype
from xpnn.bench.gpu.asked import Asked
from xpnn.bench.gpu.ours import placed
from xpnn.bench.gpu.torch_side import torch_device
from xpnn.bench.gpu.within import Deadline, reason_of
from xpnn.bench.rounds import SkipError

KINDS = ("float32", "tf32", "float16", "bfloat16")
SIDE = 8192
COPIED = 2**31  # bytes, several times any cache
TIMES = 7
Product = Callable[[], Any]


def _random(rows: int, columns: int) -> Any:
    # Of zeros, GPUs multiply faster than of anything else.
    block = np.random.default_rng(0).standard_normal((min(rows, 512), columns), dtype="float32")
    return np.resize(block, (rows, columns))


def _cupy_product(kind: str, shape: tuple[int, int, int], asked: Asked) -> tuple[Product, Any]:
    """The way of this library: CuPy on a GPU, NumPy's float32 on the CPU."""
    if not asked.cuda and kind != "float32":
        raise SkipError(f"NumPy multiplies no {kind} in hardware")
    place, (n, k, m) = placed(asked), shape
    xp = place.backend.xp
    exact = named_dtype("float32" if kind == "tf32" else kind, xp)
    a, b = (xp.astype(place.backend.asarray(_random(*s)), exact) for s in ((n, k), (k, m)))

    def product() -> Any:
        with matmul_precision("high" if kind == "tf32" else "highest", xp):
            return xp.matmul(a, b)

    return product, place.wait


def _torch_product(kind: str, shape: tuple[int, int, int], asked: Asked) -> tuple[Product, Any]:
    if not asked.cuda:
        raise SkipError("the ceiling of a CPU is NumPy's")
    torch, device = torch_device(asked.device)
    exact, (n, k, m) = getattr(torch, "float32" if kind == "tf32" else kind), shape
    a, b = (torch.from_numpy(_random(*s)).to(device, exact) for s in ((n, k), (k, m)))
    out = torch.empty((n, m), dtype=exact, device=device)

    def product() -> Any:
        torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
        return torch.matmul(a, b, out=out)

    return product, lambda: torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], Any], wait: Callable[[], Any], times: int) -> float:
    """Median of so many runs, each waited for, after one that does not count."""
    work()
    wait()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - began)
    return median(taken)


def product_rate(kind: str, shape: tuple[int, int, int], asked: Asked) -> float | None:
    """Operations a second of a matrix product, by the faster of this library and PyTorch.

    Parameters
    ----------
    kind : {'float32', 'tf32', 'float16', 'bfloat16'}
        What is multiplied; sums are float32.
    shape : tuple of int
        ``(n, k, m)`` for (n, k) times (k, m).
    asked : Asked
        Where.

    Returns
    -------
    float or None
        None where neither can.
    """
    n, k, m = shape
    rates = []
    for make in (_cupy_product, _torch_product):
        try:
            work, wait = make(kind, shape, asked)
            rates.append(2.0 * n * k * m / seconds_of(work, wait, 2 if asked.tiny else TIMES))
        except Exception:  # a kind that a device or a library lacks is no ceiling
            continue
    return max(rates, default=None)


def copy_rate(asked: Asked) -> float:
    """Bytes a second of a copy within the device's memory, read and written ones added up."""
    size = 2**20 if asked.tiny else COPIED if asked.cuda else COPIED // 16
    place, count = placed(asked), size // 4
    xp = place.backend.xp
    source = place.backend.asarray(_random(count // 1024, 1024))
    seconds = seconds_of(lambda: xp.asarray(source, copy=True), place.wait, TIMES)
    return 2.0 * 4 * (count // 1024 * 1024) / seconds


def measure_ceilings(asked: Asked, deadline: Deadline) -> dict[str, Any]:
    """Measure all ceilings.

    Returns
    -------
    dict
        `copy` in bytes a second and `products` in operations a second, None where a kind is
        not there; `reason` says why there is none at all.
    """
    side = 128 if asked.tiny else SIDE if asked.cuda else 2048
    found: dict[str, Any] = {"copy": None, "products": {}, "side": side, "reason": ""}
    try:
        found["copy"] = copy_rate(asked)
        for kind in KINDS:
            there = deadline.left > 0
            found["products"][kind] = product_rate(kind, (side,) * 3, asked) if there else None
    except Exception as error:
        found["reason"] = reason_of(error)
    return found
