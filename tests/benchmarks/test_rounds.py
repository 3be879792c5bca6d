"""Interleaved rounds: whose turn it is, ratios round by round, who is left out, and the table."""

from __future__ import annotations

import os
import sys

import pytest

import rounds
from rounds import Comparison, Contender, SkipError, Timing, measure


def timed(name, seconds, turns, **more):
    """A contender that notes its turns and says how long it took."""
    told = iter(seconds)

    def work():
        turns.append(name)
        return next(told)

    return Contender(name, lambda: work, reports=True, **more)


def test_turns_move_on_by_one_and_ratios_are_taken_round_by_round():
    turns = []
    listed = [
        timed("a", [9.0, 2.0, 4.0, 2.0], turns, units=2),
        timed("b", [9.0, 6.0, 4.0, 8.0], turns, units=2),
    ]
    found = measure("t", listed, 3, pause=0)
    assert turns == ["a", "b", "a", "b", "b", "a", "a", "b"]  # a warm-up, then three rounds
    first, second = found.record()["results"]
    assert (first["seconds"], first["ratio"]) == (1.0, 1.0)
    assert second["rounds"] == [3.0, 2.0, 4.0]
    # 3, 1 and 4 times: the median of the ratios, which is not the ratio of the medians.
    assert (second["seconds"], second["ratio"]) == (3.0, 3.0)
    assert (second["ratio_lowest"], second["ratio_highest"]) == (1.0, 4.0)
    assert found.baseline == "a"


def test_a_contender_that_cannot_take_part_is_left_out_with_its_reason():
    def missing():
        raise SkipError("no such library\nat all")

    found = measure(
        "t", [Contender("a", missing), timed("b", [1.0] * 3, []), timed("c", [2.0] * 3, [])], 2
    )
    first, *others = found.record()["results"]
    assert first == {"name": "a", "skipped": "no such library"}
    assert [other["ratio"] for other in others] == [1.0, 2.0]
    assert found.baseline == "b"


def test_an_error_ends_everything_unless_it_is_tolerated():
    def broken():
        raise ZeroDivisionError

    def fails_later():
        def work():
            turns.append(None)
            if len(turns) > 2:
                raise RuntimeError("no more")
            return 1.0

        turns: list[None] = []
        return work

    listed = [
        Contender("broken", lambda: broken),
        Contender("fails later", fails_later, reports=True),
        timed("good", [1.0] * 9, []),
    ]
    with pytest.raises(ZeroDivisionError):
        measure("t", listed, 3, pause=0)
    found = measure(
        "t", [*listed[:2], timed("good", [1.0] * 9, [])], 3, pause=0, tolerate=Exception
    )
    assert [timing.skipped for timing in found.timings] == [
        "ZeroDivisionError: no message",
        "RuntimeError: no more",
        "",
    ]
    assert len(found.timings[2].seconds) == 3
    assert found.baseline == "good"


def test_a_slow_contender_has_few_rounds_and_no_warm_up():
    listed = [timed("a", [9.0, 1.0, 2.0, 4.0], []), timed("slow", [8.0, 8.0], [], rounds=2)]
    found = measure("t", listed, 3, pause=0)
    assert found.timings[1].ratios == [8.0, 4.0]  # beside the baseline's first two rounds


def test_no_round_begins_that_would_end_too_late(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(rounds.time, "monotonic", lambda: now[0])

    def work():
        now[0] += 1.0

    found = measure("t", [Contender("a", lambda: work)], 100, pause=0, until=20.0)
    assert len(found.timings[0].seconds) == 19  # one of the twenty seconds was the warm-up


def test_the_table_has_a_column_for_each_fact_and_a_line_for_each_reason(capsys):
    timings = [
        Timing("a", [1.0], [1.0], facts={"accuracy": 0.975, "peak_bytes": 2048}),
        Timing("b", [2.0, 4.0], [2.0, 4.0], facts={"accuracy": 0.5, "peak_bytes": None}),
        Timing("c", skipped="it is not installed"),
    ]
    rounds.show(Comparison("title", timings, "a note"))
    printed = capsys.readouterr().out
    lines = [[c.strip() for c in line.split("│")[1:-1]] for line in printed.splitlines()]
    assert [line for line in lines if line] == [
        ["a", "1 s", "1.00", "1.00 to 1.00", "0.9750", "2 KiB"],
        ["b", "3 s", "3.00", "2.00 to 4.00", "0.5000", "-"],
        ["c", "-", "-", "-", "-", "-"],
    ]
    assert "times a" in printed
    assert printed.endswith("a note\nc: it is not installed\n")


def test_times_and_sizes_have_three_digits_and_a_unit():
    times = [rounds.short_time(s) for s in (1.5, 2e-3, 3.21e-7, 0.9999, -2e-3)]
    assert times == ["1.5 s", "2 ms", "0.321 us", "1000 ms", "-2 ms"]
    sizes = [rounds.short_size(size) for size in (12, 1023, 2048, 3 * 2**30)]
    assert sizes == ["12 B", "1023 B", "2 KiB", "3 GiB"]


# The command line


def test_works_are_chosen_by_name_in_their_own_order():
    assert rounds.chosen_works(" b, a", ["a", "b", "c"]) == ["a", "b"]
    assert rounds.chosen_works("", ["a", "b"]) == ["a", "b"]
    with pytest.raises(SystemExit, match="--work names 'd'; expected some of a,b"):
        rounds.chosen_works("a,d", ["a", "b"])


def test_the_command_is_kept_without_the_machines_folders():
    assert rounds.shown_command("x", ["--out", "/home/someone/a.json"]) == "x --out a.json"


def test_threads_are_set_by_starting_the_script_again_once(monkeypatch):
    started = []
    for name in ("XPNN_BENCHMARK_THREADS", "JAX_PLATFORMS", *rounds.THREAD_VARIABLES):
        monkeypatch.setenv(name, "as before")
    monkeypatch.setenv("JAX_ENABLE_X64", "as before")
    monkeypatch.setattr(rounds.os, "execv", lambda *words: started.append(words))
    monkeypatch.setattr(rounds.os, "sched_setaffinity", lambda *_: None, raising=False)
    rounds.use_threads(1)
    libraries = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
    expected = [*(f"{name}_NUM_THREADS" for name in libraries), "VECLIB_MAXIMUM_THREADS"]
    assert {name: os.environ[name] for name in expected} == dict.fromkeys(expected, "1")
    assert sorted(rounds.THREAD_VARIABLES) == sorted(expected)
    assert started == [(sys.executable, [sys.executable, *sys.orig_argv[1:]])]
    rounds.use_threads(1)
    assert len(started) == 1
