"""The layout: a floor imports only the floors below it, and array libraries have one door."""

from __future__ import annotations

import ast
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


@pytest.mark.parametrize("path", INSIDE, ids=name_of)
def test_a_floor_imports_only_the_floors_below_it(path):
    assert violations(path.read_text(), package_of(path)) == []


@pytest.mark.parametrize("path", INSIDE, ids=name_of)
def test_host_and_device_meet_in_one_module(path):
    if name_of(path) != "backends/transfer.py":
        assert list(host_copies(path.read_text())) == []


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
