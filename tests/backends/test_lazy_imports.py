"""What importing xpnn, and choosing a library, leaves unimported."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = "numpy torch jax cupy scipy sklearn matplotlib rich typer array_api_strict safetensors"


def imported_by(code):
    """Heavy packages that a fresh interpreter holds after running some code."""
    script = f"""
import os, sys
os.environ.pop("XPNN_BACKEND", None)
{code}
print(*[name for name in {HEAVY.split()!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import xpnn", set()),
        ("import xpnn; dir(xpnn); xpnn.__version__", set()),
        ("import xpnn; xpnn.select('numpy')", {"numpy"}),
        ("import xpnn; xpnn.functional, xpnn.layers, xpnn.optimizers, xpnn.engine", {"numpy"}),
        (
            "import xpnn; xpnn.Network(2, [3, 'tanh', 2]).fit([[1., 2.]], [0], epochs=1)",
            {"numpy", "scipy"},
        ),
        (
            "import xpnn, tempfile; p = xpnn.save(xpnn.Network(2, [3]), tempfile.mktemp()); "
            "xpnn.load(p); p.unlink()",
            {"numpy", "scipy", "safetensors"},
        ),
        (
            "from xpnn import TabularClassifier",
            {"numpy", "scipy", "sklearn", "rich"},  # scikit-learn's callbacks bring rich
        ),
        ("import xpnn; xpnn.select('array_api_strict')", {"numpy", "array_api_strict"}),
    ],
)
def test_nothing_else_is_imported(code, allowed):
    assert imported_by(code) <= allowed


def test_the_check_sees_an_import():
    assert "matplotlib" in imported_by("import matplotlib")


def test_available_imports_nothing_that_is_not_installed():
    """Only what `find_spec` finds is imported; looking for the rest raises nothing."""
    script = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    asked = []
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "jax", "cupy"):
            self.asked.append(name)
            if "." in name:
                raise AssertionError(f"{name} was imported although it is not installed")
            # Hidden from every finder that follows, as if it were not installed.
            sys.modules[name] = None

sys.meta_path.insert(0, Missing())
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: (
    None if name in ("torch", "jax", "cupy") else find_spec(name, *a)
)
from xpnn import available
assert {s.name for s in available() if s.usable} <= {"numpy", "array_api_strict"}
assert Missing.asked == [], Missing.asked
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    import xpnn

    for name in xpnn.__all__:
        assert getattr(xpnn, name) is not None
    with pytest.raises(AttributeError, match="module 'xpnn' has no attribute 'nets'"):
        _ = xpnn.nets
