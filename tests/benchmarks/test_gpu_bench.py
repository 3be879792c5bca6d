"""The GPU benchmark goes through its works on the CPU, ends in time, and says what is missing."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest

from xpnn.bench.gpu import command, fits, within, works
from xpnn.bench.gpu.asked import Asked
from xpnn.bench.gpu.command import SECONDS, parse, run_work
from xpnn.bench.gpu.ours import OURS
from xpnn.bench.gpu.report import ceiling_lines, verdicts
from xpnn.bench.gpu.rows import CAPTURED, COMPILED, EAGER, REDUCED, ROWS, SKLEARN, verdict
from xpnn.bench.gpu.within import Deadline, measure_within, reason_of, time_limit, with_ratios
from xpnn.bench.gpu.worker import WORKS, describe_device, work_on
from xpnn.bench.rounds import Contender, SkipError

TINY = Asked("cpu", tiny=True, seconds=60.0)
PEERS = {
    "mnist": {EAGER, CAPTURED, REDUCED}, "tabular": {EAGER, CAPTURED, REDUCED},
    "large": {EAGER, COMPILED}, "estimator": {SKLEARN}, "predict": {EAGER, COMPILED},
    "time98": {EAGER, SKLEARN},
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_numba(monkeypatch):
    """Leave out the CPU's compiled kernels: compiling takes longer than all the rest."""
    plain = works.epochs.__globals__["installed"]

    def installed(name):
        if name == "numba":
            raise SkipError("numba is left out")
        return plain(name)

    monkeypatch.setattr("xpnn.bench.gpu.ours.installed", installed)


# Works


@pytest.mark.parametrize("name", WORKS)
def test_a_work_measures_everybody_who_is_there(name):
    found = json.loads(json.dumps(work_on(name, TINY)))
    by_name = {result["name"]: result for result in found["results"]}
    assert set(by_name) - set(OURS) == PEERS[name]
    assert by_name[OURS[1]]["seconds"] > 0
    if OURS[0] in by_name:
        assert by_name[OURS[0]]["skipped"] == "numba is left out"
    for result in found["results"]:
        assert result.get("skipped") or min(result["rounds"]) > 0
    assert found["device"] == {"device": "cpu"}
    for point in found["points"]:
        assert point["flops"] > 0 < point["bytes"]
        assert point["step"] <= by_name[point["name"]]["seconds"]
    for row in (row for row in ROWS if row.work == name):
        said = verdict(row, found["results"])
        assert (said["ratio"] is None) == (said["held"] is None)
        assert said["ratio"] is not None or said["reason"]


def test_pytorch_takes_part():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    for name in ("mnist", "large", "predict"):
        results = {r["name"]: r for r in work_on(name, TINY)["results"]}
        assert results[EAGER]["seconds"] > 0
        assert results.get(CAPTURED, {"skipped": "CUDA"})["skipped"].startswith("CUDA")


def test_pytorch_learns_what_it_is_shown():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from xpnn.bench.gpu.torch_side import TorchTraining

    work, split, _ = fits.learned(TINY)
    for half in (None, "bfloat16"):
        epoch = TorchTraining(work, split.x, split.y, "cpu", half).eager()
        first, *_, last = [epoch() for _ in range(6)]
        assert last < 0.8 * first


def test_a_captured_step_is_recorded_once_and_started_for_each_batch(monkeypatch):
    """The order of calls only: stand-ins take the place of CUDA's streams and graphs."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from xpnn.bench.gpu.torch_side import TorchTraining

    calls = []

    class Stream:
        def wait_stream(self, other):
            calls.append("wait")

    class Graph:
        def replay(self):
            calls.append("replay")

    @contextmanager
    def capture(graph):
        calls.append("begin")
        yield
        calls.append("end")

    for name, stand_in in {
        "CUDAGraph": Graph, "Stream": Stream, "current_stream": Stream, "graph": capture,
        "stream": lambda side: nullcontext(), "device": lambda place: nullcontext(),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    work, split, _ = fits.learned(TINY)
    training = TorchTraining(replace(work, batch=150), split.x, split.y, "cpu")
    with pytest.raises(SkipError, match="CUDA graphs need a CUDA device"):
        training.captured()
    epoch = training._captured()
    assert calls == ["wait", "wait", "begin", "end"]
    assert epoch() > 0  # three whole batches and a smaller one, whose step is eager
    assert calls[4:] == ["replay"] * 3


def test_a_missing_pytorch_is_a_reason_in_its_cell(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = work_on("tabular", TINY)
    said = verdicts({"tabular": found})[0]
    assert said["ratio"] is None
    assert "torch is not installed" in said["reason"]
    assert said["seconds"] > 0


def test_a_missing_gpu_is_a_reason_in_each_cell():
    from xpnn import backends

    if backends.status("cupy").usable:
        pytest.skip("there is a GPU")
    found = work_on("mnist", Asked("cuda:0", tiny=True, seconds=60.0))
    for said in verdicts({"mnist": found}):
        assert said["held"] is None
        assert "cupy cannot be used" in said["reason"]
    ceilings = work_on("ceilings", Asked("cuda:0", tiny=True))["ceilings"]
    assert "cupy cannot be used" in ceiling_lines(ceilings)[0]
    assert describe_device(Asked("cuda:0"))["device"] == "cuda:0"


def test_generated_rows_can_be_learned_to_98_percent():
    found = fits.time98(Asked("cpu", tiny=True, only=OURS[1]), Deadline(60))
    (timing,) = found.timings
    assert timing.facts["accuracy"] >= 0.98
    curve = found.facts["curves"][OURS[1]]
    assert len(curve) == fits.LONG
    assert timing.seconds[0] in [seconds for seconds, _ in curve]
    assert [s for s, _ in curve] == sorted(s for s, _ in curve)


# Processes


def test_no_gpu_ends_the_command_with_a_sentence(capsys):
    from xpnn import backends

    if backends.status("cupy").usable:
        pytest.skip("there is a GPU")
    assert command.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1


def test_a_work_in_a_process_of_its_own():
    found = run_work("ceilings", TINY, 120.0, threads=1)
    assert (found["name"], found["reason"]) == ("ceilings", "")
    assert found["ceilings"]["copy"] > 0
    assert found["device"] == {"device": "cpu"}


def test_a_process_that_fails_or_hangs_gives_a_reason(monkeypatch):
    assert "KeyError: 'nonsense'" in run_work("nonsense", TINY, 60.0)["reason"]
    slow = [sys.executable, "-c", "import time; time.sleep(60)"]
    plain = command.subprocess.Popen
    monkeypatch.setattr(command.subprocess, "Popen", lambda words, **o: plain(slow, **o))
    began = time.monotonic()
    assert run_work("predict", TINY, 0.5)["reason"] == "was ended after 0 s"
    assert time.monotonic() - began < 30


def test_all_works_fit_into_eight_minutes():
    assert sum(SECONDS.values()) <= 460
    assert SECONDS.keys() == {*WORKS, "ceilings"}
    assert {row.work for row in ROWS} == set(WORKS)
    assert len(ROWS) == 7


def test_cold_parts_are_put_together(monkeypatch):
    calls = []

    def run(name, asked, seconds, threads, cold):
        calls.append((asked.only, cold))
        if asked.only == SKLEARN:
            return {"name": name, "reason": "was ended after 9 s"}
        record = {"results": [{"name": asked.only, "skipped": "no"}], "facts": {"curves": {}}}
        if asked.only == OURS[1]:
            record = work_on(name, asked)
        return {"reason": "", "title": "t", "note": "", "points": [], **record, "name": name}

    monkeypatch.setattr(command, "run_work", run)
    found = command.run_parts(TINY, 60.0, None)
    assert calls == [(name, True) for name in fits.CURVES]
    assert [r["name"] for r in found["results"]] == list(fits.CURVES)
    assert found["results"][-1]["skipped"] == "was ended after 9 s"
    assert list(found["facts"]["curves"]) == [OURS[1]]
    assert "was ended" in verdicts({"time98": found})[0]["reason"]


def test_the_command_writes_its_file_and_picture(tmp_path, monkeypatch, capsys):
    pieces = {name: work_on(name, TINY) for name in ("tabular", "ceilings")}

    def run(name, asked, seconds, threads=None, cold=False):
        return {"name": name, "reason": "", **pieces[name]}

    monkeypatch.setattr(command, "run_work", run)
    monkeypatch.setenv("COLUMNS", "160")
    out, picture = tmp_path / "gpu.json", tmp_path / "roof.png"
    words = ["--device", "cpu", "--tiny", "--work", "ceilings,tabular", "--json", str(out)]
    assert command.main([*words, "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "tabular 20-64-32-2, batch 200" in printed
    assert "times mean nothing" in printed
    found = json.loads(out.read_text())
    assert found["command"] == (
        "python benchmarks/gpu --device cpu --tiny --work ceilings,tabular --json gpu.json "
        "--plot roof.png"
    )
    assert [row["held"] for row in found["rows"]] == [None]
    assert {w["name"] for w in found["works"]} == {"ceilings", "tabular"}
    assert found["points"][0]["work"] == "tabular"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--work", "mnist,speed"], "--work names 'speed'; expected some of ceilings,mnist,"),
        (["--device", "gpu"], "--device is 'gpu'; expected cpu, cuda:0"),
        (["--data", "/nowhere"], "--data is '/nowhere'; expected a folder"),
        (["--plot", "a.txt"], "--plot is 'a.txt'; expected a .png"),
        (["--threads", "0"], "positive integer"),
        (["--json", "/dev/null/gpu.json"], "--json is '/dev/null/gpu.json'; expected a file where"),
        (["--plot", "/dev/null/a.png"], "--plot is '/dev/null/a.png'; expected a file"),
    ],
)
def test_wrong_words_are_named(words, message, capsys):
    with pytest.raises(SystemExit):
        parse(words)
    assert message in capsys.readouterr().err


def test_only_a_whole_run_on_a_gpu_is_kept_unasked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse([]).json == command.RESULTS
    for words in (["--tiny"], ["--quick"], ["--work", "mnist"], ["--device", "cpu"]):
        assert parse(words).json is None
    assert parse(["--device", "cuda", "--work", " mnist, predict "]).device == "cuda:0"


# Rounds


def test_who_fails_is_out_and_the_others_go_on():
    turns = []

    def failing():
        turns.append("fails later")
        if turns.count("fails later") > 3:
            raise RuntimeError("\n no more \n of this")

    def broken():
        raise MemoryError

    listed = [
        Contender("broken", broken),
        Contender("good", lambda: lambda: turns.append("good")),
        Contender("few", lambda: lambda: turns.append("few")),
        Contender("fails later", lambda: failing),
    ]
    timings = measure_within(listed, 5, Deadline(60), few=("few",))
    assert [t.skipped for t in timings] == [
        "MemoryError: without a message", "", "", "RuntimeError: no more",
    ]  # fmt: skip
    assert [len(t.seconds) for t in timings] == [0, 5, 2, 1]
    assert turns.count("good") == 7  # two rounds of warm-up
    assert turns.count("few") == 2
    ordered = with_ratios(timings)
    assert [t.name for t in ordered] == ["good", "few", "broken", "fails later"]


def test_rounds_end_when_no_time_is_left(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(within.time, "monotonic", lambda: now[0])

    def work():
        now[0] += 1.0

    (timing,) = measure_within([Contender("a", lambda: work)], 100, Deadline(20.0))
    assert len(timing.seconds) == 18  # two of the twenty seconds were the warm-up
    (late,) = measure_within([Contender("a", lambda: work)], 100, Deadline(1.0))
    assert late.skipped == "left out: no time was left for it"


def test_a_round_that_is_broken_off_leaves_those_before(monkeypatch):
    monkeypatch.setattr(within, "RESERVE", 0.0)
    turns = []

    def work():
        turns.append(None)
        while len(turns) > 4:  # two rounds of warm-up and two that count
            pass

    (timing,) = measure_within([Contender("a", lambda: work)], 9, Deadline(0.4))
    assert (len(timing.seconds), timing.skipped) == (2, "")


def test_what_takes_long_to_prepare_is_broken_off():
    def forever():
        with time_limit(0.05):
            while True:
                pass

    with pytest.raises(SkipError, match="took longer than"):
        forever()
    with time_limit(0.05):
        assert reason_of(SkipError("a\nb")) == "a"
    time.sleep(0.1)  # nothing comes afterwards
