"""A training needs no home directory and no terminal, and leaves no file behind."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys

import pytest
from small_models import KINDS, fit, make, rows, targets

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


def test_nothing_is_left_behind(tmp_path):
    train(tmp_path, {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert not list(tmp_path.iterdir())


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
