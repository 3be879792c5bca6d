"""Which operations share a kernel, and the kernel's source.

A kernel goes through the rows of its arrays; a row is a number (vectors) or a line of
numbers (matrices). Elementwise operations, and sums and maxima along a row, can share one:
for every row they run in order, so one that needs a row's sum comes after it. Sums over all
rows can share it too, but nothing in the kernel can need them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from xpnn.backends import host
from xpnn.engine.kernels import CLOSE, DTYPES, EXACT, SMALL, expression
from xpnn.engine.trace import Node

_REDUCTIONS = {"sum": "{0} + {1}", "max": EXACT["maximum"], "min": EXACT["minimum"]}


@dataclass
class KernelGroup:
    """Operations that share a kernel, or a single one that does not.

    Parameters
    ----------
    nodes : list of Node
        In order.
    fused : bool
        Whether they become a kernel.
    """

    nodes: list[Node] = field(default_factory=list)
    fused: bool = False

    @property
    def rows(self) -> int:
        """Number of rows."""
        return max(_loop_shape(n)[0] for n in self.nodes)


def _loop_shape(node: Node) -> tuple[int, ...]:
    """Shape that an operation's loops go through: a reduction's is that of what it reads."""
    shape: tuple[int, ...] = node.inputs[0].shape if node.op in _REDUCTIONS else node.shape
    return shape


def _over_rows(node: Node) -> bool:
    """Whether it is a sum over all rows, one for each column."""
    return node.op == "sum" and node.attributes["axis"] == 0 and len(node.inputs[0].shape) == 2


def _rows(node: Node) -> int | None:
    """Rows that an operation goes through, or None where no kernel can do it."""
    if str(node.value.dtype) not in DTYPES:
        return None
    if any(str(p.value.dtype) not in DTYPES for p in node.parents()):
        return None
    if node.op in _REDUCTIONS:
        source = node.inputs[0]
        whole = node.attributes["axis"] is None and node.shape == ()
        along = node.attributes["axis"] in (1, -1) and node.attributes["keepdims"]
        small = source.value.size <= 8 * SMALL
        fits = len(source.shape) == 2 and (
            along or _over_rows(node) or (whole and node.op == "sum" and small)
        )
        same = node.value.dtype == source.value.dtype
        return source.shape[0] if fits and same else None
    if len(node.shape) not in (1, 2) or node.value.size < 2:
        return None
    close = node.op in CLOSE and node.value.size <= SMALL
    if node.op not in EXACT and node.op != "astype" and not close:
        return None
    if node.op == "astype" and node.value.dtype == host.bool:
        return None
    return node.shape[0]


def _operands_fit(node: Node, group: KernelGroup, members: set[int]) -> bool:
    """Whether a kernel's loop can index every operand."""
    shape = _loop_shape(node)
    for p in node.parents():
        if id(p) in members:
            if p.shape == () or _over_rows(p) or p.shape not in (shape, (shape[0], 1)):
                return False
        elif len(shape) == 1:
            if p.shape not in ((), shape):
                return False
        elif p.shape not in ((), shape, (shape[0], 1), (1, shape[1]), (shape[1],)):
            return False
    return True


def fuse(nodes: list[Node]) -> list[KernelGroup]:
    """Put operations into groups, keeping every one behind what it needs.

    Parameters
    ----------
    nodes : list of Node
        In the order in which they were recorded.

    Returns
    -------
    list of KernelGroup
    """
    groups: list[KernelGroup] = []
    current = KernelGroup(fused=True)
    members: set[int] = set()
    dependent: set[int] = set()

    closed: dict[int, KernelGroup] = {}

    def close() -> None:
        nonlocal current
        if current.nodes:
            current.fused = len(current.nodes) > 1
            groups.append(current)
            closed.update((id(n), current) for n in current.nodes)
        current = KernelGroup(fused=True)
        members.clear()
        dependent.clear()

    def try_join(node: Node) -> bool:
        rows = _rows(node)
        if rows is None or any(id(p) in dependent for p in node.parents()):
            return False
        if current.nodes:
            flat = len(_loop_shape(current.nodes[0])) == 1
            if current.rows != rows or flat != (len(_loop_shape(node)) == 1):
                return False
        if not _operands_fit(node, current, members):
            return False
        current.nodes.append(node)
        members.add(id(node))
        return True

    def try_join_closed(node: Node) -> bool:
        """Add up a bias's gradient where it is made, though a matrix product came between."""
        group = closed.get(id(node.inputs[0])) if _over_rows(node) else None
        if group is None or _rows(node) is None or len(_loop_shape(group.nodes[0])) == 1:
            return False
        if _rows(group.nodes[0]) is None or _over_rows(node.inputs[0]):
            return False
        group.nodes.append(node)
        group.fused = True
        return True

    for node in nodes:
        if try_join_closed(node) or try_join(node):
            continue
        if not any(id(p) in members or id(p) in dependent for p in node.parents()):
            groups.append(KernelGroup([node]))
            continue
        close()
        if not try_join(node):
            groups.append(KernelGroup([node]))
    close()
    return groups


def memory_of(array: Any) -> tuple[Any, ...]:
    """Identify the memory behind an array, and how it is looked at."""
    return array.ctypes.data, array.shape, array.strides, str(array.dtype)


@dataclass
class KernelSource:
    """A kernel and what it is called with.

    Parameters
    ----------
    text : str
        Python source of the function ``kernel``.
    operands : list of numpy.ndarray
        In the order of its arguments.
    """

    text: str
    operands: list[Any]


class Writer:
    """Writes the source of one group.

    Parameters
    ----------
    nodes : list of Node
        The group's operations.
    used_outside : set of int
        `id` of nodes that something outside the group reads.
    """

    def __init__(self, nodes: list[Node], used_outside: set[int]) -> None:
        self.nodes = nodes
        self.place: Callable[[Node], Any] = lambda node: node
        self.members = {id(n): i for i, n in enumerate(nodes)}
        self.flat = len(_loop_shape(nodes[0])) == 1
        self.segments = self._cut()
        self.stored = {id(n) for n in nodes if id(n) in used_outside or self._crosses(n)}
        self.arguments: list[Any] = []
        self.names: dict[tuple[Any, ...], str] = {}
        self.numbers: dict[tuple[str, str], str] = {}
        self.loads: list[str] = []

    def _width(self, node: Node) -> int:
        """Numbers in a row of the loop that computes a node."""
        if self.flat:
            return 1
        return int(_loop_shape(node)[1])

    def _cut(self) -> list[list[Node]]:
        """Split into loops over a row: same width, nothing that needs a sum of the same loop."""
        segments: list[list[Node]] = []
        for node in self.nodes:
            last = segments[-1] if segments else None
            joined = (
                last is not None
                and self._width(last[0]) == self._width(node)
                and not any(p in last and p.op in _REDUCTIONS for p in node.parents())
            )
            if joined and last is not None:
                last.append(node)
            else:
                segments.append([node])
        return segments

    def _crosses(self, node: Node) -> bool:
        """Whether a row of numbers is read in a later loop, and so must be kept."""
        if self.flat or node.shape == () or _over_rows(node) or node.shape[1] == 1:
            return False
        home = next(s for s in self.segments if any(n is node for n in s))
        return any(node in other.parents() for s in self.segments if s is not home for other in s)

    def _name(self, operand: Any) -> str:
        """Name an argument; results that go in place share the name of what they replace.

        A compiler that sees one pointer where there is one uses vector registers; with a
        pair for each of Adam's vectors it gives up proving that they do not overlap.
        """
        array = self.place(operand) if isinstance(operand, Node) else operand
        key = memory_of(array) if array.ndim else (id(array),)
        if key not in self.names:
            self.names[key] = f"a{len(self.arguments)}"
            self.arguments.append(array)
        return self.names[key]

    def _load(self, name: str) -> str:
        """Read a 0-d array once, before the loops."""
        line = f"    n{name} = {name}[()]"
        if line not in self.loads:
            self.loads.append(line)
        return f"n{name}"

    def _number(self, value: float, dtype: Any) -> str:
        """Return a number: the plainest as they are, others as arguments, so that kernels recur."""
        key = (str(dtype), str(float(value)))  # as text: 0.0 and -0.0 are equal
        if key[1] in ("0.0", "1.0"):
            return f"np.{dtype}({int(value)})"
        if key not in self.numbers:
            self.numbers[key] = self._name(host.asarray(value, dtype))
        return self._load(self.numbers[key])

    def _index(self, node: Node) -> str:
        name = self._name(node)
        if node.shape == ():
            return self._load(name)
        if self.flat:
            return f"{name}[i]"
        if len(node.shape) == 1:
            return f"{name}[0]" if node.shape[0] == 1 else f"{name}[j]"
        row = "0" if node.shape[0] == 1 and node.shape[0] != self._row_count() else "i"
        column = "0" if node.shape[1] == 1 else "j"
        return f"{name}[{row}, {column}]"

    def _row_count(self) -> int:
        return int(_loop_shape(self.nodes[0])[0])

    def _value(self, operand: Any, node: Node, segment: list[Node]) -> str:
        """Return the name or number that stands for an operand inside a loop."""
        if not isinstance(operand, Node):
            others = [p.value.dtype for p in node.parents() if p.value.dtype != host.bool]
            return self._number(operand, host.result_type(*others, operand))
        if id(operand) in self.members:
            register = any(n is operand for n in segment) or (
                operand.shape != () and not self.flat and operand.shape[1] == 1
            )
            if register or self.flat:
                return f"t{self.members[id(operand)]}"
        return self._index(operand)

    def _operation(self, node: Node, segment: list[Node]) -> str:
        if node.op == "pow":
            raise ValueError("pow has no kernel")
        return expression(node, [self._value(o, node, segment) for o in node.inputs])

    def write(self, place: Callable[[Node], Any]) -> KernelSource:
        """Write the function; `place` tells the array of a node."""
        self.place = place
        body: list[str] = []
        totals = [n for n in self.nodes if n.shape == ()]
        for node in totals:
            body.append(f"    s{self.members[id(node)]} = np.{node.value.dtype}(0)")
        for node in self.nodes:
            if _over_rows(node):
                body.append(f"    {self._name(node)}[:] = 0")
        first = self._name_shape_source()
        body.append(f"    for i in range({first}.shape[0]):")
        for segment in self.segments:
            body += self._segment(segment)
        for node in totals:
            body.append(f"    {self._name(node)}[()] = s{self.members[id(node)]}")
        arguments = ", ".join(f"a{i}" for i in range(len(self.arguments)))
        text = "\n".join([f"def kernel({arguments}):", *self.loads, *body]) + "\n"
        return KernelSource(text, self.arguments)

    def _name_shape_source(self) -> str:
        """Name an argument with as many rows as the loop."""
        for node in self.nodes:
            if id(node) in self.stored and node.shape != () and not _over_rows(node):
                return self._name(node)
        for node in self.nodes:
            for p in node.parents():
                if id(p) not in self.members and p.shape and p.shape[0] == self._row_count():
                    return self._name(p)
        raise ValueError("a kernel without an array of its rows")

    def _segment(self, segment: list[Node]) -> list[str]:
        if self.flat or self._width(segment[0]) == 1:
            lines = []
            for node in segment:
                lines += self._statement(node, segment, " " * 8)
            return lines
        lines = []
        for node in segment:
            if self._along_row(node):
                number = self.members[id(node)]
                start = {"sum": "0", "max": "-np.inf", "min": "np.inf"}[node.op]
                lines.append(f"        t{number} = np.{node.value.dtype}({start})")
        lines.append(f"        for j in range({self._width_source(segment)}):")
        for node in segment:
            lines += self._statement(node, segment, " " * 12)
        for node in segment:
            if self._along_row(node) and id(node) in self.stored:
                lines.append(f"        {self._name(node)}[i, 0] = t{self.members[id(node)]}")
        return lines

    def _along_row(self, node: Node) -> bool:
        return node.op in _REDUCTIONS and node.shape != () and not _over_rows(node)

    def _width_source(self, segment: list[Node]) -> str:
        """Write the length of a loop over a row, from an argument that has it."""
        width = self._width(segment[0])
        for node in segment:
            for n in (node, *node.parents()):
                if id(n) in self.members and id(n) not in self.stored:
                    continue
                if len(n.shape) == 2 and n.shape[1] == width:
                    return f"{self._name(n)}.shape[1]"
                if n.shape == (width,):
                    return f"{self._name(n)}.shape[0]"
        raise ValueError("a loop without an array of its width")

    def _statement(self, node: Node, segment: list[Node], indent: str) -> list[str]:
        number = self.members[id(node)]
        if _over_rows(node):
            row = "0, " if len(node.shape) == 2 else ""
            column = "0" if self._width(node) == 1 else "j"
            target = f"{self._name(node)}[{row}{column}]"
            value = self._value(node.inputs[0], node, segment)
            return [f"{indent}{target} = {target} + {value}"]
        if node.op in _REDUCTIONS:
            value = self._value(node.inputs[0], node, segment)
            target = f"{'s' if node.shape == () else 't'}{number}"
            if node.shape != () and self._width(node) == 1:
                lines = [f"{indent}{target} = {value}"]
                if id(node) in self.stored:
                    lines.append(f"{indent}{self._name(node)}[i, 0] = {target}")
                return lines
            return [f"{indent}{target} = {_REDUCTIONS[node.op].format(target, value)}"]
        lines = [f"{indent}t{number} = {self._operation(node, segment)}"]
        if id(node) in self.stored:
            column = "" if self.flat else (", 0" if node.shape[1] == 1 else ", j")
            lines.append(f"{indent}{self._name(node)}[i{column}] = t{number}")
        return lines
