"""Every script runs at its tiny size and writes what it found."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

import gpu
import online
import predict
import scaling
import sklearn_dropin
import train
from rounds import SkipError

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
RUN_KEYS = {"machine", "versions", "threads", "blas", "date", "command", "tiny"}
RESULT_KEYS = {"name", "seconds", "ratio", "ratio_lowest", "ratio_highest", "rounds"}
OPTIONS = argparse.Namespace(
    rounds=1, tiny=True, threads=1, data=None, quick=True, engine="auto", device="cpu", seconds=60.0
)


def run(name, *options):
    words = [sys.executable, str(FOLDER / name), "--tiny", "--rounds", "1", *options]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_writes_its_run_and_its_comparisons(tmp_path):
    out = tmp_path / "found.json"
    printed = run("import_time.py", "--threads", "1", "--work", "alone", "--out", str(out))
    assert "threads for everybody: 1; BLAS: " in printed
    found = json.loads(out.read_text())
    assert found.keys() == RUN_KEYS | {"comparisons"}
    assert all(text.endswith(" 1 threads") for text in found["blas"])
    assert {"python", "xpnn", "numpy"} <= found["versions"].keys()
    assert found["command"].startswith("python benchmarks/import_time.py --tiny")
    assert str(tmp_path) not in out.read_text()
    (alone,) = found["comparisons"]
    assert (alone["name"], alone["baseline"]) == ("alone", "import numpy")
    loaded = [result["modules"] for result in alone["results"]]
    assert loaded[:2] == [0, 1]
    assert 1 < loaded[2] <= loaded[3]
    assert all(result.keys() == RESULT_KEYS | {"modules"} for result in alone["results"])


@pytest.mark.parametrize(
    ("word", "files"), [("--help", ["here"]), ("shelter", ["here", "new-pets.csv", "pets.csv"])]
)
def test_the_shelters_table_is_written_where_it_is_asked_for(word, files, tmp_path):
    pytest.importorskip("pandas", reason="the script writes with pandas")
    (tmp_path / "here").mkdir()
    script = [sys.executable, str(FOLDER / "pets.py"), word]
    subprocess.run(script, cwd=tmp_path / "here", check=True, capture_output=True)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.name != "shelter") == files


@pytest.mark.parametrize("name", ["tabular", "mnist-dropout", "mnist-weighted"])
def test_an_epoch_beside_the_floor(name):
    found = train.WORKS[name](OPTIONS).record()
    assert found["baseline"] == "floor"
    results = {result["name"]: result for result in found["results"]}
    assert len(results) == 8
    for who in ("xpnn MLPClassifier", "xpnn MLPClassifier, engine='pure'"):
        assert results[who]["seconds"] > 0
    skipped = {name: one["skipped"] for name, one in results.items() if "skipped" in one}
    assert "left out" in skipped.pop("PyTorch torch.compile")
    assert ("scikit-learn MLPClassifier" in skipped) == (name == "mnist-dropout")


def test_the_cost_of_a_fit_is_measured_here_and_in_new_processes():
    timings = train.WORKS["cost-tabular"](OPTIONS).timings
    assert [timing.name.split()[1] for timing in timings] == ["warm", "new"]
    assert all(len(timing.seconds) == 1 for timing in timings)


@pytest.mark.parametrize("work", [*online.WORKS.values(), predict.one_row, predict.many_rows])
def test_records_batches_and_predictions_are_timed_beside_a_peer(work):
    timings = work(OPTIONS).timings
    assert all(timing.seconds[0] > 0 for timing in timings)
    assert not timings[0].name.startswith("xpnn")
    assert any(timing.name.startswith("xpnn") for timing in timings)


def test_a_fit_is_followed_by_its_score_and_its_memory():
    found = sklearn_dropin.WORKS["regression"](OPTIONS).record()
    for result in found["results"]:
        assert result.keys() == RESULT_KEYS | {"r2", "peak_bytes"}
    left_out = sklearn_dropin.WORKS["mnist"](OPTIONS).record()["results"]
    assert "--data names no folder" in left_out[0]["skipped"]


def test_growth_is_the_slope_of_the_logarithms():
    assert scaling.exponent([1, 10, 100], [2.0, 20.0, 200.0]) == pytest.approx(1.0)
    grown = scaling.growth([1, 10, 100], [1.0, 1.0, 100.0])
    assert grown["exponent_last_decade"] == pytest.approx(2.0)
    assert grown["straight"] is False
    found = scaling.measure_series(scaling.SERIES[1], OPTIONS)
    assert found["sizes"] == [32, 320]
    assert found["peak_bytes"][0] < found["peak_bytes"][1]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux's /proc")
def test_rows_in_files_are_measured_within_a_limit_and_removed(tmp_path):
    out, rows = tmp_path / "found.json", tmp_path / "rows"
    run("larger_than_memory.py", str(rows), "--out", str(out))
    assert not rows.exists()
    found = json.loads(out.read_text())
    assert [one["rows"] for one in found["growth"]] == [10_000, 40_000]
    for one in found["growth"]:
        assert 0 < one["peak_rss_anon_bytes"] < found["limit_bytes"] == 2**30
        assert one["loss"] < 0.69  # better than chance
    assert found["relative_rate"] == pytest.approx(1 / found["rates"]["results"][1]["ratio"])


# The GPU's, gone through on the CPU


def test_all_of_it_is_put_together_from_processes(tmp_path):
    out = tmp_path / "found.json"
    works = "mnist,time98-xpnn,time98-scikit-learn"
    printed = run("gpu.py", "--device", "cpu", "--work", works, "--out", str(out))
    found = json.loads(out.read_text())
    assert list(found["works"]) == works.split(",")
    assert all(one["reason"] == "" for one in found["works"].values())
    rows = {(row["work"], row["against"]): row for row in found["rows"]}
    assert len(rows) == 3
    assert rows["time98", "both"]["reason"] == "PyTorch eager: not measured"
    assert rows["time98", "both"]["seconds"] > 0
    assert "targets" in printed


@pytest.mark.parametrize("name", ["tabular", "large", "estimator", "predict"])
def test_a_work_of_the_gpu_measures_this_library(name):
    found, _ = gpu.WORKS[name][0](OPTIONS)
    ours = found.timings[0]
    assert (ours.name, ours.skipped) == ("xpnn", "")
    assert ours.seconds[0] > 0


def test_a_process_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setitem(gpu.WORKS, "mnist", (None, 0.01))
    options = gpu.parse(["--device", "cpu", "--tiny"])
    assert gpu.in_own_process("mnist", [], options) == {"reason": "was ended after 0 s"}


def test_what_takes_long_to_prepare_is_broken_off():
    def prepare(seconds):
        with gpu.time_limit(gpu.time.monotonic() + seconds):
            while seconds > 0:
                pass

    with pytest.raises(SkipError, match="took longer than"):
        prepare(0.05)
    with pytest.raises(SkipError, match="no time was left"):
        prepare(0.0)


def result(name, seconds, **more):
    return {"name": name, "seconds": seconds, **more}


def row_of(work, against=""):
    return next(row for row in gpu.ROWS if row.work == work and against in row.against)


def test_the_fastest_peer_counts_and_missing_ones_are_named():
    results = [result("xpnn", 1.0), result(gpu.CAPTURED, 2.0), result(gpu.REDUCED, 0.5)]
    said = gpu.verdict(row_of("mnist", "graphs"), results)
    assert (said["peer"], said["ratio"], said["held"]) == (gpu.REDUCED, 0.5, False)
    results[2] = {"name": gpu.REDUCED, "skipped": "no compiler"}
    said = gpu.verdict(row_of("mnist", "graphs"), results)
    assert (said["peer"], said["ratio"], said["held"]) == (gpu.CAPTURED, 2.0, True)
    assert said["reason"] == f"{gpu.REDUCED}: no compiler"


def test_no_figure_says_why():
    said = gpu.verdict(row_of("large"), [], "was ended after 85 s")
    assert said["ratio"] is said["held"] is None
    assert said["reason"] == (f"xpnn: was ended after 85 s; {gpu.COMPILED}: was ended after 85 s")
    said = gpu.verdict(row_of("time98"), [result("xpnn", 1.0), result(gpu.EAGER, 2.0)])
    assert said["ratio"] is None
    assert said["reason"] == f"{gpu.SKLEARN}: not measured"


def test_faster_and_less_accurate_is_not_held():
    results = [result("xpnn", 1.0, accuracy=0.97), result(gpu.SKLEARN, 30.0, accuracy=0.98)]
    said = gpu.verdict(row_of("estimator"), results)
    assert (said["held"], said["reason"]) == (False, "accuracy 0.9700 is below 0.9800")
    results[0]["accuracy"] = 0.979
    assert gpu.verdict(row_of("estimator"), results)["held"]
