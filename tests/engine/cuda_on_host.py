"""CUDA kernels on the host: compiled by its C++ compiler, run one thread after the other.

A block's threads are contexts that hand over at ``__syncthreads``; blocks follow one another.
With `backwards` threads and blocks run the other way round: a kernel whose result depends
on the order lacks a barrier somewhere.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from xpnn.backends.cublas import gemm
from xpnn.engine.cuda.plan import CudaPlan
from xpnn.engine.cuda.source import PTX, tick

SHIM = r"""
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
using namespace std;
#define __global__
#define __device__ inline
#define __shared__ static
struct Place { int x; };
static Place threadIdx, blockIdx, blockDim, gridDim;
static const int MOST = 1024, STACK = 1 << 15;
static ucontext_t home, threads[MOST];
static char* stacks;
static bool done[MOST];
static int current;
static void (*body)(void**);
static void** given;
static void hand_over() { swapcontext(&threads[current], &home); }
static void __syncthreads() { hand_over(); }
static void enter() { body(given); done[current] = true; hand_over(); }
static void run_block(int count, bool waits, bool backwards) {
  for (int t = 0; waits && t < count; t++) {
    done[t] = false;
    getcontext(&threads[t]);
    threads[t].uc_stack.ss_sp = stacks + t * STACK;
    threads[t].uc_stack.ss_size = STACK;
    threads[t].uc_link = &home;
    makecontext(&threads[t], enter, 0);
  }
  for (bool again = true; again;) {
    again = false;
    for (int t = 0; t < count; t++) {
      current = threadIdx.x = backwards ? count - 1 - t : t;
      if (!waits) { body(given); continue; }
      if (!done[current]) { swapcontext(&home, &threads[current]); again = true; }
    }
  }
}
static void launch(int blocks, int count, bool waits, bool backwards, void (*work)(void**),
                   void** a) {
  blockDim.x = count; gridDim.x = blocks; body = work; given = a;
  if (!stacks) stacks = (char*)malloc(MOST * STACK);
  for (int b = 0; b < blocks; b++) {
    blockIdx.x = backwards ? blocks - 1 - b : b;
    run_block(count, waits, backwards);
  }
}
"""
CONVERSIONS = r"""
static unsigned short to_float16(float a) {
  _Float16 half = a; unsigned short bits; memcpy(&bits, &half, 2); return bits;
}
static float from_float16(unsigned short bits) {
  _Float16 half; memcpy(&half, &bits, 2); return half;
}
static unsigned __float_as_uint(float a) { unsigned bits; memcpy(&bits, &a, 4); return bits; }
static float __uint_as_float(unsigned bits) { float a; memcpy(&a, &bits, 4); return a; }
"""
KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\) \{(.*?)\n\}\n', re.S)


def compiler() -> str:
    """Return the host's C++ compiler; skips the test where there is none."""
    found = shutil.which("g++") or shutil.which("clang++")
    if found is None:
        pytest.skip("needs a C++ compiler to run CUDA kernels on the host")
    return found


FOLDER = Path(tempfile.mkdtemp(prefix="xpnn-kernels-"))


def build(source: str) -> ctypes.CDLL:
    """Compile a source once in a process."""
    path = FOLDER / (hashlib.sha256(source.encode()).hexdigest()[:20] + ".so")
    if not path.exists():
        text = [SHIM, source.replace(PTX, CONVERSIONS)]
        for name, arguments, body in KERNEL.findall(source):
            kinds = [a.rsplit("*", 1)[0] + "*" for a in arguments.split(", ")]
            given = ", ".join(f"({kind})a[{i}]" for i, kind in enumerate(kinds))
            waits = "true" if "__syncthreads" in body else "false"
            text.append(
                f"static void call_{name}(void** a) {{ {name}({given}); }}\n"
                f'extern "C" void run_{name}(int blocks, int count, int backwards, void** a) {{\n'
                f"  launch(blocks, count, {waits}, backwards, call_{name}, a);\n}}\n"
            )
        code = path.with_suffix(".cpp")
        code.write_text("\n".join(text))
        flags = ["-std=c++17", "-O0", "-ffp-contract=off", "-fno-strict-aliasing", "-w"]
        made = subprocess.run(
            [compiler(), *flags, "-shared", "-fPIC", str(code), "-o", str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr + source
    return ctypes.CDLL(str(path))


class HostCuda:
    """What the engine asks of a GPU, done by the host.

    Parameters
    ----------
    backwards : bool, default False
        Whether threads and blocks run in the opposite order.
    no_graph : str
        Why a graph cannot record a library's product.
    """

    def __init__(self, backwards: bool = False, no_graph: str = "a reason") -> None:
        self.backwards = backwards
        self.launches: list[str] = []
        self.products = self.graphs = self.starts = 0
        self.recording, self.no_graph = False, no_graph

    def empty(self, shape, dtype):
        array = np.empty(shape, dtype)
        array.fill(77)  # nothing may be read before it is written
        return array

    def put(self, values, place):
        assert not self.recording
        assert values.dtype == place.dtype
        assert values.shape == place.shape
        place[...] = values

    def copy(self, array, place):
        assert not self.recording
        place[...] = array

    def address(self, array):
        return array.ctypes.data

    def view(self, raw, offset, shape, dtype, strides):
        return np.ndarray(shape, dtype, raw, offset, strides)

    @property
    def blas(self):
        return self

    def bind(self, a, b, out):
        """Multiply as a library does: 16 bits added up in float32."""
        wide = np.float64 if a.dtype == np.float64 else np.float32
        assert gemm(a, b, out) is not None

        def start():
            assert not (self.recording and self.no_graph), "CuPy's product cannot be recorded"
            self.products += 1
            np.matmul(a.astype(wide), b.astype(wide), out=out)

        return start

    def compile(self, source):
        library = build(source)

        def bind(name, blocks, threads, arrays):
            assert threads <= 1024
            function = getattr(library, f"run_{name}")
            pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))

            def start(kept=arrays):
                self.launches.append(name)
                function(blocks, threads, int(self.backwards), pointers)

            return start

        return bind

    def graph(self, work):
        """Record work; it may use the device for nothing but kernels."""
        self.graphs += 1

        def start():
            self.recording = True
            self.starts += 1
            try:
                work()
            finally:
                self.recording = False

        return start


def run_plan(function, arguments, cuda=None):
    """What a pure function's kernels make of NumPy's arrays; the host's memory is the device's."""
    cuda = HostCuda() if cuda is None else cuda
    plan = CudaPlan(function, arguments, [""] * len(arguments), {})
    buffers = [*plan.plan.made, *plan.parts]
    for raw in buffers:
        raw[...] = 77
    table = np.zeros(8, "int64")
    around = (tick(table, 1), tick(table, 1))
    for segment in plan.bind(cuda, [(a, a) for a in (*arguments, *buffers)], around):
        segment.start()
    assert table[0] == 2
    return plan.plan.outputs
