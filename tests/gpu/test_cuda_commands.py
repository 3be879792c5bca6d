"""The commands on a GPU, and every work of the GPU benchmark with very little data."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from gpus import DEVICES, MARKS

from xpnn.backends import cuda_trouble

pytestmark = MARKS
WORKS = ["mnist", "tabular", "large", "estimator", "predict", "time98"]


def xpnn(*words, folder=None):
    command = [sys.executable, "-m", "xpnn", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_is_wrong_with_a_gpu_that_works(device):
    assert cuda_trouble(device) == ""
    done = xpnn("backends", "--require", "cupy", "--device", device)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"on {device}" in done.stdout


def test_a_gpu_that_is_not_there_is_named():
    assert "device='cuda:99' is not a device of cupy" in cuda_trouble("cuda:99")


@pytest.mark.parametrize(
    "options", [[], ["--compute-dtype", "float16"], ["--precision", "high"]], ids=str
)
def test_a_table_is_learned_on_the_gpu_and_read_on_the_host(tmp_path, options):
    pytest.importorskip("pandas", reason="tables need pandas")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3))
    lines = ["a,b,c,side", *(f"{a},{b},{c},{a * b + c > 0}" for a, b, c in x)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    words = [
        "train",
        "t.csv",
        "-t",
        "side",
        "--epochs",
        "60",
        "--learning-rate",
        "0.01",
        "-o",
        "m.st",
    ]
    done = xpnn(*words, "--backend", "cupy", "--json", *options, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["record"]["validation"]["accuracy"] > 0.8
    read = xpnn("evaluate", "m.st", "t.csv", "--backend", "numpy", "--json", folder=tmp_path)
    assert read.returncode == 0, read.stderr
    assert "accuracy" in read.stdout


@pytest.mark.parametrize("name", WORKS)
def test_the_benchmark_measures_this_library(name):
    from xpnn.bench.gpu.asked import Asked
    from xpnn.bench.gpu.ours import OURS
    from xpnn.bench.gpu.worker import work_on

    found = work_on(name, Asked(DEVICES[-1], tiny=True, seconds=120.0))
    by_name = {result["name"]: result for result in found["results"]}
    own = [result for name, result in by_name.items() if name in OURS]
    assert own
    for result in own:
        assert "skipped" not in result, result
    assert found["device"]["name"]
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch is a build for CPUs")
    for result in by_name.values():
        # What takes long to compile; 98 % may take more than a few rows.
        why = result.get("skipped", "left out")
        assert "left out" in why or "right at best" in why, result


def test_the_ceilings_of_a_gpu():
    from xpnn.bench.gpu.asked import Asked
    from xpnn.bench.gpu.worker import work_on

    found = work_on("ceilings", Asked(DEVICES[0], tiny=True, seconds=60.0))["ceilings"]
    assert found["reason"] == ""
    assert found["copy"] > 0
    assert found["products"]["float32"] > 0
    assert found["products"]["float16"] > 0
