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

# From the ground up; packages on one floor do not know each other.
FLOORS = [
    {"backends"},
    {"functional"},
    {"layers"},
    {"units"},
    {"optimizers"},
    {"engine"},
    {"data"},
    {"distributed"},
    {"training"},
    {"plots", "export"},
    {"estimators"},
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
NUMPY_TOO = {"data", "plots", "export", "demos", "checks", "estimators", "cli", "files"}
HOST_READS = {"item", "cpu", "numpy", "detach"}

# Function bodies that are longer, or fork more often, than a reader can hold. Each mended one
# leaves the list; none comes in.
LINES, BRANCHES = 60, 12
TOO_LONG: set[str] = set()

# Imports that close a circle: the first module is imported by the second, directly or not, and
# names it all the same, be it only for its types. Each mended one leaves the list.
CIRCLES: set[tuple[str, str]] = set()
LOADED = 97  # modules of ours that `from xpnn import Network` loads; the goal is 60


def without_type_checking(tree):
    """Drop ``if TYPE_CHECKING:`` blocks: they are for the type checker, not for the machine."""

    class Drop(ast.NodeTransformer):
        def visit_If(self, node):
            self.generic_visit(node)
            name = getattr(node.test, "id", getattr(node.test, "attr", None))
            return node.orelse if name == "TYPE_CHECKING" else node

    return Drop().visit(tree)


def imports(source):
    """Every module that a source imports, wherever it does, with the line."""
    for node in ast.walk(without_type_checking(ast.parse(source))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides its floor"
            module = node.module or ""
            for alias in node.names:
                # `from xpnn import Network` means the package that Network comes from.
                where = xpnn._WHERE.get(alias.name, f"xpnn.{alias.name}")
                yield (where if module == "xpnn" else module), node.lineno
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__"):
                yield str(node.args[0].value), node.lineno


def violations(source, package):
    """What a source file of a package may not do, as text."""
    found = []
    for module, line in imports(source):
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
            # An event's `set` has none; CuPy's has.
            if name in HOST_READS or (name == "get" and bare) or (name == "set" and not bare):
                yield f"line {node.lineno}: .{name}()"


def package_of(path):
    return path.relative_to(SOURCE).parts[0]


INSIDE = [path for path in FILES if path.parent != SOURCE]


def name_of(path):
    return str(path.relative_to(SOURCE))


def test_every_package_has_a_floor():
    assert {package_of(path) for path in INSIDE} <= set(LEVEL)
    assert {path.name for path in FILES if path.parent == SOURCE} <= {"__init__.py", "__main__.py"}


def test_a_floor_imports_only_the_floors_below_it():
    found = {name_of(path): violations(path.read_text(), package_of(path)) for path in INSIDE}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_host_and_device_meet_in_one_module():
    found = {name_of(path): list(host_copies(path.read_text())) for path in INSIDE}
    assert [name for name, lines in found.items() if lines] == ["backends/transfer.py"]


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
    found = {
        f"{name_of(path)} {name}"
        for path in FILES
        for name, lines, branches in sizes(path.read_text())
        if lines > LINES or branches > BRANCHES
    }
    assert found - TOO_LONG == set()
    assert TOO_LONG - found == set(), "mended: take it out of the list"


def module_name(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def named_modules(source, known):
    """Modules of ours that a source imports: anywhere, for types too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if node.module == "xpnn":
                    inner = xpnn._WHERE.get(alias.name, inner)
                yield from [inner] if inner in known else {node.module} & known
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__") and node.args[0].value in known:
                yield node.args[0].value


def import_graph(sources):
    """For each module the modules that it names; `xpnn` itself is a door and names none."""
    known = set(sources)
    graph = {name: set(named_modules(text, known)) - {name} for name, text in sources.items()}
    return graph | {"xpnn": set()}


def circles(graph):
    """Sets of modules, each of which leads to every other."""
    reached = {name: reachable(graph, name) for name in graph}
    together = {
        frozenset(other for other in reached[name] if name in reached[other]) for name in graph
    }
    return [sorted(names) for names in together if len(names) > 1]


def reachable(graph, start):
    found, ahead = set(), [start]
    while ahead:
        for name in graph[ahead.pop()] - found:
            found.add(name)
            ahead.append(name)
    return found


def test_no_two_modules_import_each_other():
    graph = import_graph({module_name(path): path.read_text() for path in FILES})
    stale = {
        (first, second)
        for first, second in CIRCLES
        if second not in graph.get(first, ()) or first not in reachable(graph, second)
    }
    assert stale == set(), "mended: take it out of the list"
    for first, second in CIRCLES:
        graph[first].discard(second)
    assert circles(graph) == []


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


def test_sizes_are_counted():
    source = "\n".join(
        [
            "def f(a):",
            '    """Two lines',
            '    that do not count."""',
            "    for b in a:",
            "        x = 1 if b else 2",
            "    def g():",
            "        if a: pass",
            "    try: pass",
            "    except ValueError: pass",
        ]
    )
    assert sorted(sizes(source)) == [("f", 6, 3), ("g", 1, 1)]


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
