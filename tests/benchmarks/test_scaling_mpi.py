"""The prediction of steps on many GPUs, and a tiny run of the benchmark."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def model(monkeypatch):
    spec = importlib.util.spec_from_file_location("model", FOLDER / "scaling_mpi_model.py")
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "model", made)
    spec.loader.exec_module(made)
    return made


def test_the_formula_of_a_step(model):
    cluster = model.Cluster(rate=1e12, link=1e9, latency=1e-6, least=1e-9)
    assert model.parameters((3, 4, 2)) == 4 * 4 + 5 * 2
    arithmetic, reducing = model.step(cluster, size=1_000_000, rows=400, gpus=4)
    assert arithmetic == pytest.approx(6 * 1e6 * 100 / 1e12)
    assert reducing == pytest.approx(2 * 3 / 4 * 4e6 / 1e9 + 2 * 2 * 1e-6)
    assert model.step(cluster, 1_000_000, 400, 1)[1] == 0.0


def test_no_prediction_beats_proportion_and_reducing_costs_something(model):
    for one in model.predict(model.Cluster()):
        for kind in ("strong", "weak"):
            for gpus, speedup in zip(one["gpus"], one[kind]["speedup"], strict=True):
                assert 0 < speedup <= gpus * (1 + 1e-12)
            assert all(0 < share < 1 for share in one[kind]["share_of_all_reduce"])
    free = model.Cluster(link=1e30, latency=0.0, least=0.0)
    for one in model.predict(free):
        assert one["strong"]["speedup"] == pytest.approx(one["gpus"])


def test_a_tiny_run(tmp_path):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed (extra mpi)")
    if shutil.which("mpiexec") is None and not Path(sys.executable).with_name("mpiexec").exists():
        pytest.skip('there is no mpiexec; install one with: pip install "xpnn[mpi]"')
    out = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, str(FOLDER / "scaling_mpi.py"), "--tiny", "--rounds", "1",
         "--engine", "planned", "--out", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_text())
    assert [one["name"] for one in found["sets"]] == ["mnist", "ten times larger"]
    assert all(0 < one["in_all_reduce"] < 1 for one in found["sets"])
    assert out.with_suffix(".png").exists()
    assert str(tmp_path) not in out.read_text()
