"""Trainings that are killed at random moments end, resumed, with the bytes of one that was not.

A run with more kills: ``python tests/training/killing.py FOLDER 1000 SEED``.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xpnn import Network
from xpnn.training.checkpoint import read_checkpoint

KILLS = 8  # of each of seven trainings: 56 in all
PROGRAM = Path(__file__).parent / "killing.py"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and fork are of POSIX")


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path, use_library):
    use_library("numpy")
    command = [sys.executable, str(PROGRAM), str(tmp_path), str(KILLS), "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert sum(case["killed"] for case in report["cases"].values()) >= 50
    for name, case in report["cases"].items():
        assert case["finished"] >= 1, name
        assert case["resumed"] >= 1, name
    assert report["left"] == ["checkpoint", "whole"]


# A process that kills itself at one point of writing its third checkpoint.
AT = """
import os, signal, sys
import numpy as np
from pathlib import Path
from xpnn import Network
import xpnn.data.files, xpnn.data.arrays_file

def die(*arguments, **given):
    os.kill(os.getpid(), signal.SIGKILL)

def third(owner, name, die_after):
    real, calls = getattr(owner, name), []
    def call(*arguments, **given):
        calls.append(1)
        if len(calls) < 3:
            return real(*arguments, **given)
        if die_after == "half":
            arguments[0].open("wb").write(arguments[1][: len(arguments[1]) // 2])
        elif die_after:
            real(*arguments, **given)
        die()
    setattr(owner, name, call)

owner = {"Path": Path, "os": os, "files": xpnn.data.files}[sys.argv[2]]
third(owner, sys.argv[3], {"before": False, "after": True, "half": "half"}[sys.argv[4]])
x = np.linspace(-1, 1, 40).reshape(20, 2)
Network(2, [4, "tanh", 1], loss="mean_squared_error", seed=0).fit(
    x, x[:, :1] ** 2, epochs=5, checkpoint=sys.argv[1])
"""


@pytest.mark.parametrize(
    ("owner", "name", "when", "epoch"),
    [
        ("Path", "write_bytes", "before", 2),
        ("Path", "write_bytes", "half", 2),
        ("Path", "write_bytes", "after", 2),
        ("Path", "replace", "before", 2),
        ("Path", "replace", "after", 3),
        ("files", "sync_folder", "before", 3),
    ],
)
def test_killed_at_each_point_of_writing(tmp_path, owner, name, when, epoch):
    path = tmp_path / "c"
    command = [sys.executable, "-c", AT, str(path), owner, name, when]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert read_checkpoint(path).history().epochs == epoch
    expected, found = (
        Network(2, [4, "tanh", 1], loss="mean_squared_error", seed=0) for _ in range(2)
    )
    x = np.linspace(-1, 1, 40).reshape(20, 2)
    expected.fit(x, x[:, :1] ** 2, epochs=5)
    found.fit(x, x[:, :1] ** 2, epochs=5, checkpoint=path, resume=True)
    assert found.theta.tobytes() == expected.theta.tobytes()
    # What the killed process left is gone: the next checkpoint was written over it.
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
