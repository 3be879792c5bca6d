"""The commands on a GPU, and every work of the GPU benchmark with very little data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gpus import DEVICES, MARKS

from xpnn.backends.cuda_health import diagnose_cuda

pytestmark = MARKS
WORKS = ["mnist", "tabular", "large", "estimator", "predict", "time98-xpnn", "time98-pytorch"]
BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"


def xpnn(*words, folder=None):
    command = [sys.executable, "-m", "xpnn", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_is_wrong_with_a_gpu_that_works(device):
    assert diagnose_cuda(device) == ""
    done = xpnn("backends", "--require", "cupy", "--device", device)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"on {device}" in done.stdout


def test_a_gpu_that_is_not_there_is_named():
    assert "device='cuda:99' is not a device of cupy" in diagnose_cuda("cuda:99")


@pytest.mark.parametrize(
    "options", [[], ["--compute-dtype", "float16"], ["--precision", "high"]], ids=str
)
def test_a_table_is_learned_on_the_gpu_and_read_on_the_host(tmp_path, options):
    pytest.importorskip("pandas", reason="tables need pandas")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3))
    lines = ["a,b,c,side", *(f"{a},{b},{c},{a * b + c > 0}" for a, b, c in x)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    words = ["train", "t.csv", "-t", "side", "-o", "m.st", "--epochs", "60", "--json"]
    words += ["--learning-rate", "0.01", "--backend", "cupy", *options]
    done = xpnn(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["record"]["validation"]["accuracy"] > 0.8
    read = xpnn("evaluate", "m.st", "t.csv", "--backend", "numpy", "--json", folder=tmp_path)
    assert read.returncode == 0, read.stderr
    assert "accuracy" in read.stdout


@pytest.mark.parametrize("name", WORKS)
def test_the_benchmark_measures_this_library(name, tmp_path):
    out = tmp_path / "found.json"
    words = ["--tiny", "--device", DEVICES[-1], "--work", name, "--out", str(out)]
    done = subprocess.run([sys.executable, str(BENCHMARK), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["works"][name]["reason"] == ""
    results = {result["name"]: result for result in found["works"][name]["results"]}
    if name.startswith("time98"):
        assert len(results) == 1
    else:
        assert "skipped" not in results["xpnn"]
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch is a build for CPUs")
    for result in results.values():
        # What takes long to compile; 98 % may take more than a few rows.
        why = result.get("skipped", "left out")
        assert "left out" in why or "at best" in why, result
