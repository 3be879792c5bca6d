"""Kernels: the source of one loop for many elementwise operations, compiled by Numba.

NumPy does one operation at a time and keeps every result; a kernel keeps results that
only it needs in registers and goes through memory once. The source is made from the
recorded operations and can be read in `Plan.describe`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from xpnn.engine.trace import Node

# Operations that Numba's code does as NumPy does, bit for bit.
EXACT: dict[str, str] = {
    "abs": "abs({0})",
    "add": "{0} + {1}",
    "divide": "{0} / {1}",
    "equal": "{0} == {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    # A NaN wins, as in NumPy; `|` leaves no branch, so that compilers use vector registers.
    "maximum": "{1} if ({0} < {1}) | ({1} != {1}) else {0}",
    "minimum": "{1} if ({0} > {1}) | ({1} != {1}) else {0}",
    "multiply": "{0} * {1}",
    "negative": "-{0}",
    "not_equal": "{0} != {1}",
    "sqrt": "np.sqrt({0})",
    "square": "{0} * {0}",
    "subtract": "{0} - {1}",
    "where": "{1} if {0} else {2}",
}
# Within an ulp or two of NumPy's. NumPy does many at once with vector registers and wins
# on large arrays; on small ones its calls cost more than its loops.
CLOSE: dict[str, str] = {
    "exp": "np.exp({0})",
    "expm1": "np.expm1({0})",
    "log": "np.log({0})",
    "log1p": "np.log1p({0})",
    "tanh": "np.tanh({0})",
}
SMALL = 4096  # elements up to which a kernel does the operations of CLOSE
DTYPES = frozenset({"float32", "float64", "bool", "int32", "int64", "uint8"})


# Four rows at a time: memory that is far away brings several of them as fast as one. Rows
# of a thousand numbers took 70 us where NumPy's `take` took 95 us.
GATHER = """\
def kernel(rows, numbers, out):
    whole = numbers.shape[0] // 4 * 4
    for i in range(0, whole, 4):
        a = numbers[i]
        b = numbers[i + 1]
        c = numbers[i + 2]
        d = numbers[i + 3]
        for j in range(rows.shape[1]):
            out[i, j] = rows[a, j]
            out[i + 1, j] = rows[b, j]
            out[i + 2, j] = rows[c, j]
            out[i + 3, j] = rows[d, j]
    for i in range(whole, numbers.shape[0]):
        a = numbers[i]
        for j in range(rows.shape[1]):
            out[i, j] = rows[a, j]
"""


def available() -> bool:
    """Whether Numba is installed; imports nothing."""
    return importlib.util.find_spec("numba") is not None


def expression(node: Node, operands: list[str]) -> str:
    """Write an elementwise operation on named scalars as Python."""
    if node.op == "astype":
        name = str(node.value.dtype)
        return f"np.{name if name != 'bool' else 'bool_'}({operands[0]})"
    template = EXACT.get(node.op) or CLOSE[node.op]
    return template.format(*operands)


@cache
def _folder() -> Path | None:
    """Folder for compiled kernels, made if need be; None where nothing can be written."""
    wanted = os.environ.get("XPNN_CACHE_DIR")
    try:
        base = Path(wanted) if wanted else Path.home() / ".cache" / "xpnn"
        folder = base / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: nobody's home directory is known
        return None


_COMPILED: dict[str, Callable[..., None]] = {}


def compile_kernel(source: str) -> Callable[..., None]:
    """Compile a kernel's source, once in a process and, where it can be kept, once at all.

    A kernel uses one thread. Two were measured to halve the time of long ones on an idle
    machine, and to take a hundred times as long where another process wants a core: they
    spin while they wait for each other.

    Parameters
    ----------
    source : str
        Defines a function ``kernel``.

    Returns
    -------
    callable
    """
    if source not in _COMPILED:
        numba = importlib.import_module("numba")
        options = {"error_model": "numpy", "nogil": True}
        folder = _folder()
        text = f"import numpy as np\n\n\n{source}"
        if folder is None:
            scope: dict[str, Any] = {}
            exec(compile(text, "<kernel>", "exec"), scope)
            _COMPILED[source] = numba.njit(**options)(scope["kernel"])
        else:
            module = _stored_module(folder, text)
            _COMPILED[source] = numba.njit(**options, cache=True)(module.kernel)
    return _COMPILED[source]


def _stored_module(folder: Path, text: str) -> Any:
    """Import the source from a file: Numba keeps compiled code only of functions in files."""
    name = f"xpnn_kernel_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    path = folder / f"{name}.py"
    if not path.exists() or path.read_text() != text:
        handle, beside = tempfile.mkstemp(dir=folder, suffix=".py")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(beside, path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
