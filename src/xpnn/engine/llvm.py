"""Native code in memory: LLVM's IR compiled for this processor, and NumPy's own inner loops."""

from __future__ import annotations

import ctypes
import importlib.util
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from xpnn.backends import host


class NativeCodeError(RuntimeError):
    """LLVM cannot be used here, or refuses some code."""


def llvm_is_there() -> bool:
    """Whether llvmlite is installed; imports nothing."""
    return importlib.util.find_spec("llvmlite") is not None


@cache
def _target() -> Any:
    """Describe this processor to LLVM."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        jit=True,
    )


_HEADER = """\
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare i64 @llvm.smin.i64(i64, i64)
"""
for _name, _arguments in (
    ("fabs", 1), ("sqrt", 1), ("floor", 1), ("ceil", 1), ("trunc", 1), ("copysign", 2),
    ("maximum", 2), ("minimum", 2),
):  # fmt: skip
    for _type, _width in (("float", "f32"), ("double", "f64")):
        _HEADER += f"declare {_type} @llvm.{_name}.{_width}({', '.join([_type] * _arguments)})\n"
_HEADER += """\
!0 = distinct !{}
!1 = !{!"llvm.loop.parallel_accesses", !0}
"""

_DRIVER = """(ptr %list, i64 %count, i64 %steps) {
entry:
  br label %outer
outer:
  %step = phi i64 [ 0, %entry ], [ %later, %done ]
  %more = icmp slt i64 %step, %steps
  br i1 %more, label %inner, label %end
inner:
  %call = phi i64 [ 0, %outer ], [ %next, %inner ]
  %place = getelementptr [2 x i64], ptr %list, i64 %call
  %function = load ptr, ptr %place
  %second = getelementptr i64, ptr %place, i64 1
  %table = load ptr, ptr %second
  call void %function(ptr %table, i64 %step)
  %next = add i64 %call, 1
  %again = icmp slt i64 %next, %count
  br i1 %again, label %inner, label %done
done:
  %later = add i64 %step, 1
  br label %outer
end:
  ret void
}
"""


@dataclass(frozen=True)
class Compiled:
    """A native function: its address, and what keeps it in memory."""

    address: int
    code: Any


_KEPT = 2000  # functions, the latest ones; a step has some 20
_compiled: OrderedDict[str, Compiled] = OrderedDict()  # by text
_lock = threading.Lock()


def compile_functions(texts: Sequence[str]) -> list[Compiled]:
    """Compile functions, ``void f(ptr table, i64 step)`` written without their names.

    Every text is compiled once in a process; nothing goes to a disk.

    Raises `NativeCodeError`.
    """
    with _lock:
        new = [text for text in dict.fromkeys(texts) if text not in _compiled]
        if new:
            try:
                _compile(new)
            except Exception as error:  # a version that we do not know, an unknown processor, ...
                raise NativeCodeError(f"{type(error).__name__}: {error}") from error
        found = [_compiled[text] for text in texts]
        for text in texts:
            _compiled.move_to_end(text)
        while len(_compiled) > _KEPT:
            _compiled.popitem(last=False)
        return found


def _compile(texts: Sequence[str]) -> None:
    import llvmlite.binding as llvm

    target = _target()
    parts, loops = [_HEADER], 2
    for number, text in enumerate(texts):
        count = text.count("!llvm.loop !loop")
        # No two turns of a parallel loop touch the same memory: LLVM need not prove it.
        parts += [f"!{k} = distinct !{{!{k}, !1}}\n" for k in range(loops, loops + count)]
        for k in range(count):
            text = text.replace(f"!loop{k}\n", f"!{loops + k}\n")
        parts.append(f"define void @f{number}{text}")
        loops += count
    module = llvm.parse_assembly("".join(parts))
    module.triple = target.triple
    module.data_layout = str(target.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization, options.loop_unrolling = True, False
    passes = llvm.create_pass_builder(target, options)
    passes.getModulePassManager().run(module, passes)
    code = llvm.create_mcjit_compiler(module, target)
    code.finalize_object()
    for number, text in enumerate(texts):
        _compiled[text] = Compiled(code.get_function_address(f"f{number}"), code)


@cache
def driver() -> Callable[[int, int, int], None]:
    """Compile ``drive(list, calls, steps)``.

    The list has an address of a function and one of its table for each call; the calls are made
    once for each step.
    """
    (compiled,) = compile_functions([_DRIVER])
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(compiled.address)
    function.code = compiled.code  # type: ignore[attr-defined]  # which lives as long
    return function


class _Ufunc(ctypes.Structure):
    """The head of NumPy's public `PyUFuncObject`."""

    _fields_ = (
        ("object", ctypes.c_byte * object.__basicsize__),
        ("inputs", ctypes.c_int),
        ("outputs", ctypes.c_int),
        ("arguments", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("count", ctypes.c_int),
        ("reserved", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("types", ctypes.POINTER(ctypes.c_byte)),
    )


@cache
def inner_loop(ufunc: Any, dtypes: tuple[str, ...]) -> tuple[int, int] | None:
    """Find a ufunc's own loop for dtypes of all operands and results, and its data.

    ``void loop(char **arrays, intp *counts, intp *strides, void *data)`` gives the ufunc's bytes
    where it is called with the strides that NumPy would use.
    """
    found = _Ufunc.from_address(id(ufunc))
    if found.arguments != len(dtypes) or found.count != len(ufunc.types):
        return None
    if not all(host.dtype(name).isnative for name in dtypes):
        return None
    wanted = [host.dtype(name).num for name in dtypes]
    for number in range(found.count):
        first = number * found.arguments
        if found.types[first : first + found.arguments] == wanted:
            data = found.data[number] if found.data else None
            return found.functions[number] or 0, data or 0
    return None


def is_compiled(text: str) -> bool:
    """Whether a function was compiled in this process, and is kept."""
    return text in _compiled


def llvm_is_loaded() -> bool:
    """Whether native code was made in this process."""
    return bool(_compiled)
