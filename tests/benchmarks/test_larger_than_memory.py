"""The benchmark of streams runs at its tiny size, cleans up, and writes what it found."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "larger_than_memory.py"


def run(folder, *options):
    words = [sys.executable, str(SCRIPT), str(folder), "--tiny", "--threads", "1", *options]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux's /proc")
def test_it_measures_writes_and_cleans_up(tmp_path):
    out = tmp_path / "found.json"
    done = run(tmp_path / "rows", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "rows").exists()
    found = json.loads(out.read_text())
    assert str(tmp_path) not in out.read_text()
    assert [one["rows"] for one in found["growth"]] == [10_000, 40_000]
    for one in found["growth"]:
        assert "RLIMIT_DATA" in one["limits"]
        assert 0 < one["peak_rss_anon_bytes"] < found["limit_bytes"] == 2**30
        assert one["loss"] < 0.69  # better than chance
    assert [one["name"] for one in found["rates"]["results"]] == [
        "rows in memory", "streamed from NPY",
    ]  # fmt: skip
    assert found["relative_rate"] == pytest.approx(1 / found["rates"]["results"][1]["ratio"])


def test_it_asks_for_room_first(tmp_path):
    done = run(tmp_path / "rows", "--features", "100000000000")
    assert done.returncode == 1
    assert "GB are needed" in done.stderr
    assert not (tmp_path / "rows").exists()


def test_a_cgroup_is_made_where_it_can_be(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("larger_than_memory", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "larger_than_memory", script)
    spec.loader.exec_module(script)
    with script.cgroup(2**30, tmp_path / "nowhere") as group:
        assert group is None
