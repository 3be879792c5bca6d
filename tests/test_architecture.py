"""The layout: a floor imports only the floors below it, and array libraries have one door."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import xpnn

SOURCE = Path(xpnn.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
INSIDE = [path for path in FILES if path.parent != SOURCE]

# From the ground up; packages on one floor do not know each other.
FLOORS = [
    {"backends"},
    {"functional"},
    {"layers"},
    {"optimizers"},
    {"engine"},
    {"units"},
    {"data"},
    {"distributed"},
    {"training"},
    {"plots", "export"},
    {"estimators"},
    {"tabular"},
    {"files"},
    {"demos", "checks"},
    {"cli"},
]
LEVEL = {package: level for level, floor in enumerate(FLOORS) for package in floor}
ARRAY_LIBRARIES = {
    "array_api_compat",
    "array_api_strict",
    "array_api_extra",
    "cupy",
    "torch",
    "jax",
}
NUMPY_TOO = {
    "data", "plots", "export", "demos", "checks", "estimators", "tabular", "cli", "files",
}  # fmt: skip
HOST_READS = {"item", "cpu", "numpy", "detach"}

# A function body that is longer, or forks more often, is more than a reader can hold.
LINES, BRANCHES = 60, 12
LOADED = 60  # modules of ours that `from xpnn import Network` may load


class WithoutTypes(ast.NodeTransformer):
    """Drops ``if TYPE_CHECKING:`` blocks: they are for the type checker, not for the machine."""

    def visit_If(self, node):
        self.generic_visit(node)
        name = getattr(node.test, "id", getattr(node.test, "attr", None))
        return node.orelse if name == "TYPE_CHECKING" else node


def imports(tree):
    """Every import wherever it stands: the module, the name that comes from it, and the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, "", node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides its floor"
            for alias in node.names:
                # `from xpnn import Network` means the package that Network comes from.
                where = xpnn._WHERE.get(alias.name) if node.module == "xpnn" else None
                yield where or node.module, "" if where else alias.name, node.lineno
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__"):
                yield str(node.args[0].value), "", node.lineno


def violations(source, package):
    """What a source file of a package may not do, as text."""
    found = []
    for module, name, line in imports(WithoutTypes().visit(ast.parse(source))):
        module = f"xpnn.{name}" if module == "xpnn" else module
        top, _, rest = module.partition(".")
        other = rest.partition(".")[0]
        if top == "xpnn" and other in LEVEL:
            if other != package and LEVEL[other] >= LEVEL[package]:
                found.append(f"line {line}: {package} imports {module}, which is not below it")
        elif top in ARRAY_LIBRARIES and package != "backends":
            found.append(f"line {line}: {package} imports {top}; only backends may")
        elif top == "numpy" and package not in {"backends"} | NUMPY_TOO:
            found.append(f"line {line}: {package} imports numpy; use xpnn.backends.host")
    return found


def host_copies(source):
    """Calls that copy an array to the host, or from there."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            # A dictionary's `get` has arguments; CuPy's has none.
            bare = not node.args and not node.keywords
            # An event's `set` has none, that of Matplotlib's axes has names; CuPy's has the array.
            if name in HOST_READS or (name == "get" and bare) or (name == "set" and node.args):
                yield f"line {node.lineno}: .{name}()"


def where(check):
    """The files inside packages that a check finds something in, and what."""
    found = {path.relative_to(SOURCE): check(path) for path in INSIDE}
    return {str(name): lines for name, lines in found.items() if lines}


def package_of(path):
    return path.relative_to(SOURCE).parts[0]


def test_every_package_has_a_floor():
    assert {package_of(path) for path in INSIDE} <= set(LEVEL)
    assert {path.name for path in FILES if path.parent == SOURCE} <= {"__init__.py", "__main__.py"}


def test_a_floor_imports_only_the_floors_below_it():
    assert where(lambda path: violations(path.read_text(), package_of(path))) == {}


def test_host_and_device_meet_in_one_module():
    found = where(lambda path: list(host_copies(path.read_text())))
    assert list(found) == ["backends/transfer.py"]


def own_nodes(function):
    """What is written in a function, but not in those within it."""
    inside = list(ast.iter_child_nodes(function))
    while inside:
        node = inside.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside += ast.iter_child_nodes(node)


FORKS = ast.If | ast.IfExp | ast.For | ast.While | ast.ExceptHandler | ast.match_case


def sizes(source):
    """Each function's name, the lines of its body without the docstring, and its branches."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None
            body = node.body[1:] if documented else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            yield node.name, lines, sum(isinstance(part, FORKS) for part in own_nodes(node))


def test_functions_are_short():
    found = [
        f"{path.relative_to(SOURCE)} {name}"
        for path in FILES
        for name, lines, branches in sizes(path.read_text())
        if lines > LINES or branches > BRANCHES
    ]
    assert found == []


def module_name(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph(sources):
    """For each module the modules that it names, be it only for its types.

    `xpnn` itself is a door and names none.
    """
    graph = {}
    for name, text in sources.items():
        found = imports(ast.parse(text))
        named = {
            f"{module}.{what}" if f"{module}.{what}" in sources else module
            for module, what, _ in found
        }
        graph[name] = (named & set(sources)) - {name}
    return graph | {"xpnn": set()}


def reachable(graph, start):
    found, ahead = set(), [start]
    while ahead:
        for name in graph[ahead.pop()] - found:
            found.add(name)
            ahead.append(name)
    return found


def circles(graph):
    """Sets of modules, each of which leads to every other."""
    reached = {name: reachable(graph, name) for name in graph}
    together = {
        frozenset(other for other in reached[name] if name in reached[other]) for name in graph
    }
    return [sorted(names) for names in together if len(names) > 1]


def test_no_two_modules_import_each_other():
    assert circles(import_graph({module_name(path): path.read_text() for path in FILES})) == []


def test_a_network_loads_few_modules():
    script = (
        "import sys; from xpnn import Network; "
        "print(sum(name.partition('.')[0] == 'xpnn' for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= LOADED


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"xpnn.a": "import xpnn.b", "xpnn.b": "import xpnn.c", "xpnn.c": ""}, []),
        ({"xpnn.a": "import xpnn.b", "xpnn.b": "from xpnn import a"}, [["xpnn.a", "xpnn.b"]]),
        (
            {"xpnn.a": "import xpnn.b", "xpnn.b": "def f():\n    from xpnn.a import g"},
            [["xpnn.a", "xpnn.b"]],
        ),
        (
            {
                "xpnn.a": "from xpnn.b import x",
                "xpnn.b": "importlib.import_module('xpnn.c')",
                "xpnn.c": "if TYPE_CHECKING:\n    from xpnn.a import A",
            },
            [["xpnn.a", "xpnn.b", "xpnn.c"]],
        ),
        # The root only says where things are.
        ({"xpnn": "from xpnn.a import A", "xpnn.a": "from xpnn import __version__"}, []),
    ],
)
def test_circles_are_seen(sources, expected):
    assert circles(import_graph(sources)) == expected


SIZED = '''
def f(a):
    """Two lines
    that do not count."""
    for b in a:
        x = 1 if b else 2
    def g():
        if a: pass
    try: pass
    except ValueError: pass
'''


def test_sizes_are_counted():
    assert sorted(sizes(SIZED)) == [("f", 6, 3), ("g", 1, 1)]


@pytest.mark.parametrize(
    ("source", "package", "message"),
    [
        ("import xpnn.training", "layers", "layers imports xpnn.training, which is not below it"),
        ("from xpnn.layers import Dense", "functional", "functional imports xpnn.layers, which"),
        ("from xpnn import Network", "layers", "layers imports xpnn.training, which is not below"),
        ("from xpnn import export", "plots", "plots imports xpnn.export, which is not below it"),
        ("def f():\n    from xpnn.cli import main", "demos", "line 2: demos imports xpnn.cli"),
        ("import torch", "training", "training imports torch; only backends may"),
        ("import jax.numpy as jnp", "engine", "engine imports jax; only backends may"),
        ("import importlib\nimportlib.import_module('cupy')", "cli", "cli imports cupy; only"),
        ("from array_api_compat import size", "data", "data imports array_api_compat; only"),
        ("from numpy import ones", "functional", "functional imports numpy; use xpnn.backends.h"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import torch", "units", "units imports torch"),
    ],
)
def test_the_check_sees(source, package, message):
    (found,) = violations(source, package)
    assert message in found


@pytest.mark.parametrize(
    ("source", "package"),
    [
        ("from xpnn.backends import Array\nfrom xpnn.functional import relu", "layers"),
        ("from xpnn.layers.base import Layer", "layers"),
        ("from xpnn import Network, __version__, select", "cli"),
        ("if TYPE_CHECKING:\n    from xpnn.training import Network", "layers"),
        ("import numpy as np", "data"),
        ("import torch, jax, cupy, numpy, array_api_compat", "backends"),
        ("import math, os, rich, matplotlib", "plots"),
    ],
)
def test_the_check_allows(source, package):
    assert violations(source, package) == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("x.get()", 1),
        ("x.sum().item() + y.cpu()", 2),
        ("x.detach().numpy()", 2),
        ("options.get('a'); options.get('a', 1)", 0),
        ("x.get(out=y)", 0),
        ("place.set(values); place.set(room, stream=copies)", 2),
        ("over.set()", 0),
    ],
)
def test_the_check_sees_copies(source, count):
    assert len(list(host_copies(source))) == count
