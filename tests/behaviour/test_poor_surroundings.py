"""A training needs no home directory, no cache that can be written, and no terminal."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import subprocess
import sys

import pytest
from small_models import KINDS, fails_today, fit, make, rows, targets

SCRIPT = """
import sys
import numpy as np
from xpnn import Network

if "homeless" in sys.argv:
    import pwd

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    pwd.getpwuid = unknown

x = np.random.default_rng(0).normal(size=(2000, 3)).astype("float32")
y = (x[:, 0] > 0).astype(int)
# Long enough for everything that pays in a long training only.
history = Network(3, [16, "relu", 2], seed=0).fit(x, y, epochs=110, batch_size=10)
print(len(history.loss), bool(history.loss[-1] < history.loss[0]))
"""
NUMBA = importlib.util.find_spec("numba") is not None


def train(tmp_path, environment, *arguments):
    """Run the script where nothing is known but what `environment` says."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, *arguments],
        cwd=tmp_path,
        env=kept | {"OPENBLAS_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "110 True\n"


def test_no_home_directory(tmp_path):
    train(tmp_path, {}, "homeless")


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder")
    train(tmp_path, {"XPNN_CACHE_DIR": str(tmp_path / "file" / "cache")})


def test_a_cache_with_something_else_in_it(tmp_path, request):
    if NUMBA:
        fails_today(request, "defect A25: what is in the kernels' cache is believed")
    cache = tmp_path / "cache"
    train(tmp_path, {"XPNN_CACHE_DIR": str(cache)})
    for path in cache.rglob("*"):
        if path.is_file():
            path.write_bytes(b"not what it was")
    train(tmp_path, {"XPNN_CACHE_DIR": str(cache)})


def gone():
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


def ascii_only():
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)


OUTPUTS = {"gone": gone, "none": lambda: None, "ascii": ascii_only}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_training_is_lost_over_a_line(kind, output, monkeypatch):
    x = rows()
    y = targets(kind, x)
    quiet = fit(make(kind), x, y)
    own = {} if kind == "Network" else {"verbose": True, "progress": True}
    given = {"progress": True} if kind == "Network" else {}
    streams = [OUTPUTS[output]() for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        model = fit(make(kind, **own), x, y, **given)
    for stream in streams:
        with contextlib.suppress(AttributeError, BrokenPipeError):  # what cannot be written
            stream.close()
    assert (model.predict(x) == quiet.predict(x)).all()
