"""How exactly float32 matrices are multiplied: a choice, and only while it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from xpnn.backends.libraries import library_name
from xpnn.backends.types import Namespace

PRECISIONS = ("highest", "high", "medium")


def check_precision(precision: Any) -> None:
    """Refuse what is not one of `PRECISIONS`.

    Raises
    ------
    ValueError
        Names the argument, what came and what was expected.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")


def matmul_precision(precision: str, xp: Namespace) -> AbstractContextManager[Any]:
    """Say for a while how exactly a library may multiply float32 matrices.

    'highest' is float32 throughout, also where a library would do less of its own accord
    (JAX on a GPU) or was told to outside. 'high' allows TensorFloat-32, with 10 bits after
    the point, 'medium' bfloat16, with 7; sums stay float32. Both are leave to do less: a
    library or device that has nothing faster multiplies in float32. NumPy and
    array-api-strict never do, CuPy takes TensorFloat-32 for both, GPUs before NVIDIA's
    Ampere have neither.

    Parameters
    ----------
    precision : {'highest', 'high', 'medium'}
        The least that is good enough.
    xp : module
        Namespace of the library. Its setting holds for the whole process (in JAX, for the
        thread) and is what it was before at the end.

    Returns
    -------
    context manager

    Raises
    ------
    ValueError
        `precision` is none of these.
    """
    check_precision(precision)
    scope = _SCOPES.get(library_name(xp))
    return nullcontext() if scope is None else scope(precision)


@contextmanager
def _cupy(precision: str) -> Generator[None]:
    linalg = importlib.import_module("cupy._core._routines_linalg")
    before = linalg.get_compute_type("float32")
    exact = precision == "highest"
    now = linalg.COMPUTE_TYPE_DEFAULT if exact else linalg.COMPUTE_TYPE_TF32
    if now == before:
        yield
        return
    linalg.set_compute_type("float32", now)
    try:
        yield
    finally:
        linalg.set_compute_type("float32", before)


@contextmanager
def _kept(place: Any, **values: Any) -> Generator[None]:
    """Set attributes, and put back what they were."""
    before = {name: getattr(place, name) for name in values}
    for name, value in values.items():
        setattr(place, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(place, name, value)


@contextmanager
def _torch(precision: str) -> Generator[None]:
    torch = importlib.import_module("torch")
    cuda, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    with ExitStack() as stack:
        # cuBLAS may else add parts of a sum of 16-bit products up in 16 bits.
        names = [f"allow_{kind}_reduced_precision_reduction" for kind in ("fp16", "bf16")]
        stack.enter_context(_kept(cuda, **dict.fromkeys(names, False)))
        try:
            before = torch.get_float32_matmul_precision()
        except RuntimeError:  # the user has told each device, by PyTorch's newer settings
            kind = {"highest": "ieee", "high": "tf32", "medium": "bf16"}[precision]
            stack.enter_context(_kept(cpu, fp32_precision=kind))
            kind = "tf32" if kind == "bf16" else kind  # CUDA has no other
            stack.enter_context(_kept(cuda, fp32_precision=kind))
        else:
            torch.set_float32_matmul_precision(precision)
            stack.callback(torch.set_float32_matmul_precision, before)
        yield


def _jax(precision: str) -> AbstractContextManager[Any]:
    jax = importlib.import_module("jax")
    names = {"highest": "float32", "high": "tensorfloat32", "medium": "bfloat16"}
    scope: AbstractContextManager[Any] = jax.default_matmul_precision(names[precision])
    return scope


_SCOPES: dict[str, Callable[[str], AbstractContextManager[Any]]] = {
    "cupy": _cupy, "torch": _torch, "jax": _jax,
}  # fmt: skip
