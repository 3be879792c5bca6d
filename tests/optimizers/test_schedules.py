"""Learning rates at known points of a training."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xpnn.optimizers import (
    Constant,
    CosineWarmup,
    InverseScaling,
    Progress,
    ReduceOnPlateau,
    StepDecay,
    as_schedule,
)  # fmt: skip


def rate(schedule, step=0, losses=(), per_epoch=10, epochs=20):
    memory = schedule.observe_all(losses)
    return schedule.at(Progress(step, step // per_epoch, per_epoch, epochs, memory))


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        (Constant(0.3), 0, 0.3),
        (Constant(0.3), 150, 0.3),
        (StepDecay(0.8, every=3, factor=0.5), 0, 0.8),
        (StepDecay(0.8, every=3, factor=0.5), 29, 0.8),
        (StepDecay(0.8, every=3, factor=0.5), 30, 0.4),
        (StepDecay(0.8, every=3, factor=0.5), 60, 0.2),
        (InverseScaling(0.5), 0, 0.5),
        (InverseScaling(0.5), 3, 0.25),
        (InverseScaling(0.5, power=1.0), 9, 0.05),
        (CosineWarmup(1.0), 0, 1.0),
        (CosineWarmup(1.0), 100, 0.5),
        (CosineWarmup(1.0), 200, 0.0),
        (CosineWarmup(1.0), 50, 0.5 + math.sqrt(0.125)),
        (CosineWarmup(1.0, warmup=2), 0, 0.05),
        (CosineWarmup(1.0, warmup=2), 9, 0.5),
        (CosineWarmup(1.0, warmup=2), 19, 1.0),
        (CosineWarmup(1.0, warmup=2), 20, 1.0),
        (CosineWarmup(1.0, warmup=2), 110, 0.5),
        (CosineWarmup(1.0, warmup=2, final=0.2), 110, 0.6),
        (CosineWarmup(1.0, final=0.2), 500, 0.2),
        (CosineWarmup(1.0, warmup=20), 199, 1.0),
    ],
)
def test_values(schedule, step, expected):
    assert rate(schedule, step) == pytest.approx(expected, rel=1e-12, abs=1e-15)


PLATEAU = ReduceOnPlateau(0.8, factor=0.5, patience=2, min_delta=0.1, minimum=0.3)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([], 0.8),
        ([1.0], 0.8),
        ([1.0, 1.0], 0.8),
        ([1.0, 1.0, 1.0], 0.4),  # patience is out
        ([1.0, 0.95, 0.92], 0.4),  # falls smaller than min_delta do not count
        ([1.0, 1.0, 0.8, 0.8], 0.8),  # a fall begins the wait anew
        ([1.0, 2.0, 3.0, 2.0, 3.0], 0.3),  # never below the minimum
        ([3.0, 2.0, 1.0, 0.0], 0.8),
    ],
)
def test_reduce_on_plateau(losses, expected):
    assert rate(PLATEAU, losses=losses) == pytest.approx(expected)


def test_an_epoch_costs_a_plateau_the_same_however_many_came_before():
    """Its memory is three numbers, and nothing else is looked at."""
    losses = [1.0 / (1 + i // 3) for i in range(1000)]
    memory = PLATEAU.observe_all(losses)
    assert len(memory) == 3
    assert PLATEAU.observe(memory, 0.5) == PLATEAU.observe_all([*losses, 0.5])


def test_schedules_that_look_at_no_loss_remember_none():
    for schedule in (Constant(0.1), StepDecay(0.1), InverseScaling(0.1), CosineWarmup(0.1)):
        assert schedule.observe_all([1.0, 2.0]) is None


def test_numbers_become_constant_rates():
    assert as_schedule(0.1) == Constant(0.1)
    assert as_schedule(1) == Constant(1.0)
    assert as_schedule(np.float32(0.5)) == Constant(0.5)
    assert as_schedule(np.int64(2)) == Constant(2.0)
    assert as_schedule(PLATEAU) is PLATEAU


@pytest.mark.parametrize(
    "schedule",
    [
        StepDecay(np.float32(0.5), every=np.int64(3), factor=np.float64(0.5)),
        ReduceOnPlateau(np.float32(0.5), patience=np.uint8(2), minimum=np.float16(0.25)),
        CosineWarmup(np.int32(1), warmup=np.float32(2.0)),
    ],
)
def test_numpys_numbers_become_pythons(schedule):
    for name, value in vars(schedule).items():
        assert type(value) in (int, float), name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(-1.0), r"learning_rate is -1\.0; expected a finite number above 0"),
        (lambda: Constant(math.inf), "learning_rate is inf; expected"),
        (lambda: StepDecay(0.1, every=0), "every is 0; expected"),
        (lambda: StepDecay(0.1, factor=0.0), r"factor is 0\.0; expected"),
        (lambda: InverseScaling(0.0), r"learning_rate is 0\.0; expected"),
        (lambda: CosineWarmup(0.1, warmup=-1), "warmup is -1; expected 0 or more"),
        (lambda: CosineWarmup(0.1, final=-1.0), r"final is -1\.0; expected 0 or more"),
        (lambda: ReduceOnPlateau(0.1, factor=1.0), r"factor is 1\.0; expected 0 < factor < 1"),
        (lambda: ReduceOnPlateau(0.1, patience=0), "patience is 0; expected"),
    ],
)
def test_constructors_say_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()
