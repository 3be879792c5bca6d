"""Steps for a GPU whose rows come from the host, batch by batch, run on the host."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_on_host import HostCuda, compiler
from cuda_pairs import ROWS, WEIGHT, Both
from test_fed_rows import Table

import races
from xpnn.backends.pinned import Feeder
from xpnn.engine.cuda import plan as plans
from xpnn.engine.cuda.groups import TYPES
from xpnn.layers import Dropout

pytestmark = pytest.mark.slow  # compiles C++ for each plan


@pytest.fixture(autouse=True)
def _compiler():
    compiler()


class Fed(HostCuda):
    """A GPU that a feeder sends to: who copies what it sent has to wait for it."""

    def __init__(self, forgets=""):
        super().__init__()
        self.streams = races.Streams(forgets=forgets)

    def copy(self, array, place):
        if any(array is one or array.base is one for one in self.streams.held):
            self.streams.reads(array)
        super().copy(array, place)


def fed(forgets="", columns=(0,), **options):
    """Both runners; the GPU's gets some of the columns from the host."""
    cuda = Fed(forgets)
    both = Both([8, "tanh", Dropout(0.2), 3], cuda=cuda, batch=8, **options)
    both.ours.columns = tuple(
        Table(c) if i in columns else c for i, c in enumerate(both.ours.columns)
    )
    both.ours.feeder = Feeder(cuda.streams)
    return both


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("columns", [(0,), (0, 1, 2)], ids=["x", "all"])
def test_rows_from_the_host_are_those_of_an_array(columns, shuffle):
    both = fed(columns=columns, shuffle=shuffle, weight=WEIGHT).run(3)
    assert both.cuda.graphs == 2  # of a whole batch, and of the last
    assert both.cuda.starts > 0
    steps = 3 * -(-ROWS // 8)
    copies = [how for who, how, *_ in both.cuda.streams.log if (who, how) == ("copies", "write")]
    assert len(copies) == steps * len(columns)


def test_all_rows_at_once_come_from_the_host_too():
    both = fed(shuffle=False)
    both.batch = ROWS
    both.run(2)


def test_the_pure_step_in_its_place_is_fed_too(monkeypatch):
    monkeypatch.delitem(TYPES, "float64")
    both = fed().run(1, "the engine has no rule for kernels with float64")
    assert any(who == "copies" for who, *_ in both.cuda.streams.log)


def test_products_by_a_library(monkeypatch):
    monkeypatch.setattr(plans, "OWN", 0)
    assert fed().run(2).cuda.graphs == 0


@pytest.mark.parametrize("forgets", ["synchronize", "let_copies_wait", "let_steps_wait"])
def test_the_check_sees_a_rule_that_is_broken(forgets):
    with pytest.raises(races.RaceError):
        fed(forgets).run(3)


def test_rows_that_cannot_be_read_end_the_epoch_and_nothing_else():
    both = fed()
    table = both.ours.columns[0]
    plain, left = table.take, [9]

    def take(numbers, **options):
        left[0] -= 1
        if not left[0]:
            raise OSError("the disk is gone")
        return plain(numbers, **options)

    table.take = take
    both.ours.run(ROWS, 8, None, [0.01] * 20, both.noise(0), 1)
    with pytest.raises(OSError, match="the disk is gone"):
        both.ours.run(ROWS, 8, None, [0.01] * 20, both.noise(0), 1)
    both.ours.run(ROWS, 8, None, [0.01] * 20, both.noise(0), 1)
    assert np.isfinite(both.ours.theta()).all()
