"""Buffers taken in turn: how many, and arrays moved from one to another."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import Network
from xpnn.engine.plan import moved
from xpnn.engine.replay import MOST, SMALL, TOTAL, turns


@pytest.mark.parametrize(
    ("batch", "parameters", "expected"),
    [
        (SMALL - 1, 10, (1, False)),
        (SMALL, 10, (MOST, True)),
        (TOTAL // 8, TOTAL // 8, (4, True)),
        (TOTAL // 8, TOTAL, (8, False)),
        (TOTAL // 3, 10, (1, False)),
        (10 * TOTAL, 10, (1, False)),
    ],
)
def test_all_turns_fit_in_a_stated_size(batch, parameters, expected):
    assert turns(batch, parameters) == expected


def test_views_are_found_again_in_the_new_memory():
    old, new = np.arange(24.0).reshape(4, 6), np.arange(100.0, 124.0).reshape(4, 6)
    move = moved([(old, new)])
    for view in (
        lambda a: a,
        lambda a: a.T,
        lambda a: a[1:3, ::2],
        lambda a: a[3],
        lambda a: a[2, 5:],
    ):
        np.testing.assert_array_equal(move(view(old)), view(new))
        assert np.shares_memory(move(view(old)), new)
    other = np.zeros(3)
    assert move(other) is other
    assert move("text") == "text"
    assert moved([(old, old)])(old) is old


def test_a_plan_says_what_is_taken_in_turn():
    x, t = np.zeros((400, 784), "float32"), np.zeros(400, int)
    network = Network(784, [100, "relu", 10])
    text = network.plan_step(x, t, batch_size=200).describe()
    assert f"{MOST} buffers for the batch and for the parameters, taken in turn" in text
    assert "next theta" in text
    small = network.plan_step(x, t, batch_size=10).describe()
    assert "taken in turn" not in small
    assert "next theta" not in small
