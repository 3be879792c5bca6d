"""16-bit floats in CUDA kernels: stored in 16 bits, computed with in float32.

The two classes do without CUDA's headers, which NVRTC does not bring along, so that the kernels
are compiled the same with and without a toolkit, and on a host.
"""

from __future__ import annotations

from xpnn.engine.cuda.groups import along_rows
from xpnn.engine.cuda.source import common_dtype
from xpnn.engine.trace import Node, Trace, live

PTX = """\
__device__ unsigned short to_float16(float a) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(a));
  return bits;
}
__device__ float from_float16(unsigned short bits) {
  float a;
  asm("cvt.f32.f16 %0, %1;" : "=f"(a) : "h"(bits));
  return a;
}
"""
"""The GPU's own conversions."""

HALVES = (
    PTX
    + """\
struct Float16 {
  unsigned short bits;
  Float16() = default;
  template <typename T> __device__ explicit Float16(T a) : bits(to_float16(float(a))) {}
  __device__ operator float() const { return from_float16(bits); }
};
struct BFloat16 {
  unsigned short bits;
  BFloat16() = default;
  template <typename T> __device__ explicit BFloat16(T a) {
    const unsigned all = __float_as_uint(float(a)), size = all & 0x7fffffff;
    bits = size > 0x7f800000 ? 0x7fc0 : (all + 0x7fff + (all >> 16 & 1)) >> 16;
  }
  __device__ operator float() const { return __uint_as_float(unsigned(bits) << 16); }
};
"""
)
"""Both dtypes: they become floats when they are read, and are rounded to nearest, ties to even."""


def _narrow(node: Node) -> Node:
    """Return the 16-bit floats that a node is the float32 of; else the node itself."""
    source = node.inputs[0] if node.op == "astype" else node
    halves = str(source.value.dtype) in ("float16", "bfloat16")
    return source if halves and str(node.value.dtype) == "float32" else node


def read_halves(trace: Trace) -> Trace:
    """Let everything read the 16-bit floats themselves, and widen them while it reads.

    So nobody writes a float32 down that is one of 16 bits. The trace's nodes are changed.
    """
    nodes: list[Node] = []
    for node in trace.nodes:
        narrow = [_narrow(i) if isinstance(i, Node) else i for i in node.inputs]
        if node.op in ("matmul", "sum") and str(node.value.dtype) == "float32":
            if len({i.value.dtype for i in narrow}) == 1:
                node.inputs = tuple(narrow)
        elif node.is_elementwise or along_rows(node):
            node.inputs = tuple(
                given if source is given else _widened(source, given, node, nodes)
                for source, given in zip(narrow, node.inputs, strict=True)
            )
        nodes.append(node)
    return live(trace.inputs, nodes, trace.outputs)


def _widened(source: Node, given: Node, reader: Node, nodes: list[Node]) -> Node:
    """Widen for one reader: just before it, so that they share a kernel, or as it reads."""
    spread = given.shape != reader.shape and reader.is_elementwise
    if spread and str(common_dtype(reader)) == str(reader.value.dtype) == "float32":
        return source
    nodes.append(Node("astype", (source,), given.attributes, given.value))
    return nodes[-1]
