"""Batches on their way to a GPU: nothing is written while somebody may still read it."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import races
from xpnn.backends import pinned
from xpnn.backends.pinned import Feeder, Part

SIZES = (5, 5, 3, 8, 8, 1, 8)  # in the middle more rows than there was memory for


def batches(sizes=SIZES):
    for number, rows in enumerate(sizes):
        x = np.arange(rows * 3.0).reshape(rows, 3) + 100 * number
        yield x, None if number == 2 else np.arange(rows) + number


def go(streams, sizes=SIZES, slots=2):
    feeder = Feeder(streams, slots)
    for x, t in batches(sizes):
        parts = [Part.of(x, "float32"), None, Part.of(np.zeros(len(x)) if t is None else t)]
        found = feeder.to_device(parts)
        assert found[1] is None
        for array in (found[0], found[2]):
            streams.reads(array)
        np.testing.assert_array_equal(found[0], x)
        assert found[0].dtype == np.float32
    return feeder


@pytest.mark.parametrize("slots", [2, 3])
def test_all_that_is_sent_arrives_and_nobody_races(slots):
    go(races.Streams(), slots=slots)


@pytest.mark.parametrize(
    ("forgets", "message"),
    [
        ("synchronize", "host write pinned buffer .*, which may still be read by copies"),
        ("let_copies_wait", "copies write device buffer .*, which may still be read by steps"),
        ("let_steps_wait", "steps read device buffer .*, which may still be written by copies"),
    ],
)
def test_every_rule_is_needed(forgets, message):
    with pytest.raises(races.RaceError, match=message):
        go(races.Streams(forgets=forgets))


def test_a_batch_is_copied_while_the_step_before_runs():
    """The copy of a batch knows of no step on the batch before: it waits for none."""
    streams = races.Streams()
    go(streams, (4,) * 6)
    copies = [
        clock["steps"] for who, how, _, clock in streams.log if (who, how) == ("copies", "write")
    ]
    steps = [clock["steps"] for who, _, _, clock in streams.log if who == "steps"]
    for number in range(2, 6):  # two columns each
        assert copies[2 * number] < steps[2 * (number - 1)]
        assert copies[2 * number] >= steps[2 * (number - 2)]


def test_the_host_waits_for_no_step_that_is_not_long_over():
    streams = races.Streams()
    feeder = go(streams, (4,) * 6)
    # Two columns a step: the host knows of the first two batches' steps, of six.
    assert streams.clocks["host"]["steps"] <= streams.clocks["steps"]["steps"] - 4 * 2
    del feeder


def test_memory_is_made_once():
    streams = races.Streams()
    go(streams, (4,) * 20)
    assert len(streams.memory) == 2 * 2 * 2


def test_pinned_memory_is_let_go_after_its_last_copy():
    streams = races.Streams()
    feeder, waited = go(streams), []
    streams.synchronize = waited.append
    del feeder
    gc.collect()
    assert len(waited) == 2


def test_a_batch_that_cannot_be_read_leaves_the_others_safe():
    streams = races.Streams()
    feeder = Feeder(streams)

    def fail(buffer):
        raise OSError("gone")

    for number in range(6):
        good = Part.of(np.full((4, 2), float(number)))
        if number % 3 == 1:
            with pytest.raises(OSError, match="gone"):
                feeder.to_device([good, Part((4,), np.dtype("int64"), fail)])
            continue
        x, t = feeder.to_device([good, Part.of(np.arange(4))])
        streams.reads(x)
        streams.reads(t)
        assert x.tolist() == [[number] * 2] * 4


def test_only_cupy_has_a_feeder():
    assert pinned.feeder_for(np, "cpu") is None
