"""Every benchmark runs at its tiny size, compares like with like, and writes what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xpnn.bench import by_hand, online, peers, predict, train, tutorials
from xpnn.bench.command import QUESTIONS, Settings, shown_command
from xpnn.bench.library import NUMPY, Epochs, Variant
from xpnn.bench.machine import limit_threads
from xpnn.bench.report import FACTS, short_size, short_time
from xpnn.bench.rounds import Contender, SkipError, measure
from xpnn.bench.workloads import WORKLOADS, Workload
from xpnn.cli.bench import bench, command
from xpnn.optimizers import SGD, Adam
from xpnn.training import Network

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"
RUN_KEYS = {"question", "machine", "versions", "threads", "date", "command", "tiny"}
RESULT_KEYS = {"name", "seconds", "ratio", "ratio_lowest", "ratio_highest", "rounds"}

# Script, options, and the comparisons that it makes.
RUNS = [
    ("train", ["--work", "tabular"], ["tabular"]),
    ("online", [], ["digits", "layer"]),
    ("predict", [], ["row", "rows"]),
    ("import_time", [], ["alone", "process"]),
    (
        "sklearn_dropin",
        ["--work", "digits-float32,epoch-tabular,row"],
        ["digits-float32", "epoch-tabular", "row"],
    ),
]


def run_script(name, *options):
    words = [sys.executable, str(SCRIPTS / f"{name}.py"), "--tiny", "--threads", "1", *options]
    wide = {**os.environ, "COLUMNS": "160"}
    done = subprocess.run(words, capture_output=True, text=True, env=wide)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("name", "options", "expected"), RUNS, ids=[run[0] for run in RUNS])
def test_script_writes_its_comparisons(name, options, expected, tmp_path):
    out = tmp_path / "found.json"
    printed = run_script(name, *options, "--out", str(out))
    found = json.loads(out.read_text())
    assert found.keys() == RUN_KEYS | {"comparisons"}
    assert found["machine"].keys() == {"cpu", "cores", "os"}
    assert {"python", "xpnn", "numpy"} <= found["versions"].keys()
    assert found["threads"] == 1
    assert found["command"].startswith(f"python benchmarks/{name}.py --tiny")
    assert str(tmp_path) not in out.read_text()
    assert [c["name"] for c in found["comparisons"]] == expected
    for comparison in found["comparisons"]:
        base, *others = comparison["results"]
        assert (base["name"], base["ratio"]) == (comparison["baseline"], 1.0)
        for result in [base, *others]:
            assert result["name"] in printed
            if "skipped" in result:
                assert result["skipped"]
                continue
            assert result.keys() - FACTS.keys() == RESULT_KEYS
            assert len(result["rounds"]) == 2
            assert min(result["rounds"]) > 0


def test_scaling_measures_and_draws_every_series(tmp_path):
    out = tmp_path / "scaling.json"
    run_script("scaling", "--out", str(out))
    found = json.loads(out.read_text())
    assert found.keys() == RUN_KEYS | {"series"}
    assert [series["name"] for series in found["series"]] == ["rows", "width", "depth"]
    for series in found["series"]:
        assert series["factors"] == [1, 10]
        assert len(series["seconds_per_step"]) == len(series["peak_bytes"]) == 2
        assert series["peak_bytes"][0] < series["peak_bytes"][1]
        for growth in (series["time_growth"], series["memory_growth"]):
            assert growth.keys() == {"exponent", "exponent_last_decade", "straight"}
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")


# The command


def test_bench_runs_a_question_in_a_process_of_its_own(tmp_path, capfd):
    bench("import", tiny=True, threads=1, out=tmp_path)
    assert "import xpnn" in capfd.readouterr().out
    found = json.loads((tmp_path / "import.json").read_text())
    assert found["command"].startswith("python -m xpnn.bench import --threads 1 --tiny")


def test_bench_names_the_questions_that_there_are():
    with pytest.raises(ValueError, match="question is 'speed'; expected all, or one of train, "):
        bench("speed")


@pytest.mark.parametrize("question", QUESTIONS)
def test_bench_is_short_unless_full_is_asked_for(question):
    assert "--rounds" in command(question)
    assert "--rounds" not in command(question, full=True)
    assert command(question, threads=3)[3:6] == [question, "--threads", "3"]


def test_the_command_is_kept_without_the_machines_folders():
    words = ["--tiny", "--out", "/home/someone/found.json"]
    assert shown_command("x", words) == "x --tiny --out found.json"


def test_threads_cannot_be_chosen_after_numpy_is_imported():
    with pytest.raises(RuntimeError, match="NumPy is imported already"):
        limit_threads(1)


# Rounds


def test_rounds_are_interleaved_and_move_on_by_one():
    turns, closed = [], []

    class Work:
        def __init__(self, name):
            self.name = name

        def __call__(self):
            turns.append(self.name)
            return {"a": 2.0, "b": 6.0}[self.name]

        def close(self):
            closed.append(self.name)

    def missing():
        raise SkipError("no such library")

    listed = [Contender(name, lambda name=name: Work(name), 2, reports=True) for name in "ab"]
    found = measure("n", "t", [*listed, Contender("c", missing)], 2, pause=0)
    assert turns == ["a", "b", "a", "b", "b", "a"]  # a warm-up, then two rounds
    assert closed == ["a", "b"]
    first, second, third = found.record()["results"]
    assert (first["seconds"], first["ratio"]) == (1.0, 1.0)
    assert (second["seconds"], second["ratio"]) == (3.0, 3.0)
    assert third == {"name": "c", "skipped": "no such library"}


def test_an_error_of_the_library_ends_the_benchmark():
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure("n", "t", [Contender("a", lambda: broken)], 1, pause=0)


def test_a_variant_is_left_out_where_it_cannot_run():
    with pytest.raises(SkipError, match="no option 'magic'"):
        Variant("x", options={"magic": 1}).fit_options()
    with pytest.raises(SkipError, match="not_there is not installed"):
        peers.installed("not_there")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.5, "1.5 s"), (2e-3, "2 ms"), (3.21e-7, "0.321 us"), (0.9999, "1000 ms")],
)
def test_short_time(seconds, text):
    assert short_time(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(12, "12 B"), (1023, "1023 B"), (2048, "2 KiB"), (3 * 2**30, "3 GiB")]
)
def test_short_size(size, text):
    assert short_size(size) == text


# Like with like

SMALL = Workload("small", "small", (6, 8, 5, 3), 20, 50)


def same_network(work):
    layers = [spec for width in work.widths[1:-1] for spec in (width, "relu")]
    network = Network(work.widths[0], [*layers, work.widths[-1]])
    for number, (w, b) in enumerate(work.weights()):
        network.assign(**{f"{2 * number}.weights": w, f"{2 * number}.bias": b})
    return network


def test_numpy_by_hand_trains_as_the_library_does():
    x, t = SMALL.data()
    program, network = by_hand.NumpyByHand(SMALL, x, t), same_network(SMALL)
    # Both draw their orders from a generator with the same seed.
    history = network.fit(x, t, epochs=3, batch_size=20, optimizer=Adam(0.001), seed=3)
    losses = [program.epoch() for _ in range(3)]
    assert losses == pytest.approx(history.loss, rel=1e-5)
    np.testing.assert_allclose(program.theta, network.theta, atol=1e-5)


@pytest.mark.parametrize("make", [peers.jax_steps_epoch, peers.jax_scan_epoch])
def test_jax_trains_as_numpy_by_hand_does(make):
    x, t = SMALL.data()
    try:
        epoch = make(SMALL, x, t)
    except SkipError as reason:
        pytest.skip(str(reason))
    program = by_hand.NumpyByHand(SMALL, x, t)
    for _ in range(3):
        assert epoch() == pytest.approx(program.epoch(), rel=1e-4)


def test_torch_learns():
    x, _ = SMALL.data()
    t = (x[:, 0] > 0.5).astype("int64")
    try:
        epoch = peers.torch_epoch(SMALL, x, t, threads=1)
    except SkipError as reason:
        pytest.skip(str(reason))
    losses = [epoch() for _ in range(100)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_library_goes_on_where_the_last_epoch_ended():
    x, t = SMALL.data()
    network, other = same_network(SMALL), same_network(SMALL)
    epochs = Epochs(network, x, t, batch_size=20, seed=3, engine="pure")
    for _ in range(3):
        epochs()
    epochs.close()
    other.fit(x, t, epochs=3, batch_size=20, seed=3, engine="pure")
    np.testing.assert_array_equal(network.theta, other.theta)


def test_an_error_in_a_training_arrives_in_the_benchmark():
    x, t = SMALL.data()
    with pytest.raises(ValueError, match="batch_size is 0"):
        Epochs(same_network(SMALL), x, t, batch_size=0)()


def test_the_digit_tutorials_code_and_the_library_agree():
    x, t = online.digits(20, None)
    text = tutorials.TutorialDigits(784, 30, 10, 0.1, seed=1)
    from xpnn.layers import RawErrorDense

    network = Network(784, [RawErrorDense(30), RawErrorDense(10)], loss="sum_squared_errors")
    network.assign(**{"0.weights": text.wih.T, "1.weights": text.who.T}).to(
        "numpy", dtype="float64"
    )
    for inputs, targets in zip(x, t, strict=True):
        text.train(inputs, targets)
    network.fit(x, t, epochs=1, batch_size=1, shuffle=False, optimizer=SGD(0.05))
    np.testing.assert_allclose(network.parameters()["0.weights"], text.wih.T, atol=1e-10)


def test_the_one_layer_tutorials_code_and_the_library_agree():
    text = tutorials.TutorialLayer()
    text.train(np.array(online.INPUTS), np.array(online.TARGETS), 15_000)
    assert text.synaptic_weights[:, 0] == pytest.approx([10.08740896, -0.20695366, -4.83757835])
    few = tutorials.TutorialLayer()
    few.train(np.array(online.INPUTS), np.array(online.TARGETS), 200)
    network = online._library_layer(200, NUMPY)()
    np.testing.assert_allclose(network.theta, few.synaptic_weights[:, 0], atol=1e-10)


def test_predictions_are_those_of_the_bare_arithmetic():
    x = np.random.default_rng(0).random((3, 784), dtype="float32")
    np.testing.assert_allclose(
        predict._network().scores(x), predict.bare_arithmetic(x)(), rtol=1e-4, atol=1e-5
    )


def test_every_contender_of_a_training_is_listed_once():
    work = WORKLOADS[2].tiny()
    names = [c.name for c in train.contenders(work, *work.data(), Settings(tiny=True))]
    assert names[0] == "floor"
    assert len(set(names)) == len(names)
