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
from resuming import epochs, outcome

from xpnn import Network

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
from pathlib import Path
import numpy as np
from xpnn import Network

path, owner, name, number, when = sys.argv[1:]
owner = {"Path": Path, "os": os}[owner]
real, calls = getattr(owner, name), []

def call(*arguments):
    calls.append(1)
    if len(calls) < int(number):
        return real(*arguments)
    if when == "half":
        arguments[0].open("wb").write(arguments[1][: len(arguments[1]) // 2])
    elif when == "after":
        real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, call)
x = np.linspace(-1, 1, 40).reshape(20, 2)
Network(2, [4, "tanh", 1], loss="mean_squared_error", seed=0).fit(
    x, x[:, :1] ** 2, epochs=5, checkpoint=path)
"""


@pytest.mark.parametrize(
    ("owner", "name", "number", "when", "epoch"),
    [
        ("Path", "write_bytes", 3, "before", 2),
        ("Path", "write_bytes", 3, "half", 2),
        ("Path", "write_bytes", 3, "after", 2),
        ("Path", "replace", 3, "before", 2),
        ("Path", "replace", 3, "after", 3),
        ("os", "fsync", 5, "before", 2),  # each checkpoint syncs the file, and then its folder
        ("os", "fsync", 6, "before", 3),
    ],
)
def test_killed_at_each_point_of_writing(tmp_path, owner, name, number, when, epoch):
    path = tmp_path / "c"
    command = [sys.executable, "-c", AT, str(path), owner, name, str(number), when]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert epochs(path) == epoch
    x = np.linspace(-1, 1, 40).reshape(20, 2)

    def train(**options):
        net = Network(2, [4, "tanh", 1], loss="mean_squared_error", seed=0)
        return outcome(net, net.fit(x, x[:, :1] ** 2, epochs=5, **options))

    assert train(checkpoint=path, resume=True) == train()
    # What the killed process left is gone: the next checkpoint was written over it.
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
