"""What processes exchange and leave behind, and what goes wrong on one: nothing waits for ever."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
import two_hosts
from mpi_runs import HERE, mpiexec, start

from xpnn import Network

pytestmark = pytest.mark.slow  # starts processes

FAULTS = str(HERE / "mpi_faults.py")
SCARCE = 60  # seconds; the timeout is 2


@pytest.mark.parametrize("name", ["messages", "process wide", "leaks", "windows"])
def test_on_three_ranks(name):
    threads = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = start(3, str(HERE / "mpi_checks.py"), name, env=threads)
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in range(3):
        assert f"rank {rank} is done" in done.stdout


def test_two_hosts_train_one_model_and_end_together():
    mpiexec()  # or skip
    reason = two_hosts.why_not()
    if reason is not None:
        pytest.skip(f"two hosts cannot be made here: {reason}")
    with two_hosts.TwoHosts() as hosts:
        lines = two_hosts.check(hosts)
    assert [line.split(":")[0] for line in lines] == [
        "rank 0 on node1 (10.213.77.1)", "rank 1 on node2 (10.213.77.2)",
        "rank 1 raises", "rank 1 hangs", "rank 1 dies",
    ]  # fmt: skip


def said(name):
    """Run a case that all processes survive; a line of each."""
    done = start(3, FAULTS, name)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_an_error_on_one_rank_is_raised_on_all_and_the_program_can_go_on():
    text = said("raises")
    assert "rank 1: OSError: the disk is gone" in text
    for rank in (0, 2):
        assert f"rank {rank}: RankError: rank 1 of 3 failed: OSError: the disk is gone" in text
    for rank in range(3):
        assert f"rank {rank} went on: 3 epochs" in text


def test_a_value_that_cannot_be_pickled_is_the_same_error_on_all():
    text = said("unpicklable")
    assert text.count("not to be pickled") == 3 * 3
    assert text.count("RankError: rank 0 of 3 failed: TypeError: not to be pickled") == 6
    assert text.count("went on: 3 epochs") == 3


def test_a_nan_on_one_rank_stops_all_with_the_same_message():
    found = re.findall(r"DivergenceError: the loss became .*? values in the data", said("nan"))
    assert len(found) == 3
    assert len(set(found)) == 1
    assert "the loss became nan in epoch 1; the network keeps" in found[0]


@pytest.mark.parametrize("name", ["other data", "other rows"])
def test_ranks_with_other_rows_are_told_so(name):
    text = said(name)
    assert text.count("given other arguments") == 3, text
    assert "rank 1 was given other arguments than rank 0: " in text


def test_parameters_that_drift_apart_end_the_training():
    text = said("drifts")
    for rank in (1, 2):
        said_by = f"rank {rank}: RankError: the parameters of rank {rank} are no longer those of"
        assert said_by in text, text
    assert "rank 0: RankError: rank 1 of 3 failed: RankError: the parameters of rank 1" in text


def test_a_wrong_argument_is_the_same_error_on_all():
    text = said("argument")
    assert text.count("InputError: epochs is 0; expected a positive integer") == 3
    refused = "ValueError: deterministic is True, and the batches are sharded over"
    assert text.count(refused) == 2 * 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hangs", "has waited 2 s in: .*missing: rank 1\n"),
        ("stopped", "has waited 2 s in: .*missing: rank 1\n"),
        ("stays away", "has waited 2 s in: .*missing: rank 1\n"),
        ("never begins", "has waited 2 s for all others to begin a training"),
        ("callback hangs", "missing: rank 0\n"),
        ("interrupted", "rank 1 of 3 was interrupted in: "),
        ("dies", r"KILLED BY SIGNAL: 9|(?i:signal 9)"),
    ],
)
def test_a_rank_that_does_not_come_or_dies_is_named_and_the_job_ends(name, text):
    begin = time.monotonic()
    done = start(3, FAULTS, name)
    assert done.returncode != 0
    assert time.monotonic() - begin < SCARCE
    assert re.search(text, done.stderr + done.stdout), done.stderr + done.stdout


@pytest.mark.parametrize("runner", [(), ("-m", "mpi4py")], ids=["python", "mpi4py"])
def test_an_error_between_trainings_ends_the_job(runner):
    """At once where mpi4py runs the script, or else when the others have waited."""
    done = start(3, *runner, FAULTS, "later")
    assert done.returncode != 0
    assert "KeyError: 'after the training'" in done.stderr
    assert ("missing: rank 2" in done.stderr) is (not runner)


def test_callbacks_are_the_first_ranks_and_all_end_with_it():
    found = re.findall(r"rank \d: 1 enough \d", said("callback"))
    assert sorted(found) == ["rank 0: 1 enough 2", "rank 1: 1 enough 0", "rank 2: 1 enough 0"]


def test_no_rank_reads_what_is_the_others():
    found = dict(re.findall(r"(rank \d: whole \d), own rows (\d+)", said("reads")))
    # Batches come in one order: the first rank counts them, and reads them in three epochs.
    assert set(found) == {"rank 0: whole 4", "rank 1: whole 0", "rank 2: whole 0"}
    # Blocks at any place are shared out: a third of 90 rows in each of three epochs; and the
    # first block, of 10 rows, is looked at twice.
    assert set(found.values()) == {str(3 * 30 + 2 * 10)}


def test_a_training_resumes_on_another_number_of_ranks(tmp_path):
    for ranks, epochs in ((2, 2), (3, 4), (1, 6), (4, 7)):
        done = start(ranks, FAULTS, "resume", str(tmp_path), str(epochs))
        assert done.returncode == 0, done.stderr[-3000:]
    x = np.random.default_rng(0).normal(size=(90, 4))
    network = Network(4, [6, "tanh", 3], seed=0)
    history = network.fit(x, np.arange(90) % 3, epochs=7, batch_size=9)
    for rank in range(4):
        found = np.load(tmp_path / f"{rank}.npz")
        np.testing.assert_allclose(found["loss"], history.loss, rtol=1e-10)
        np.testing.assert_allclose(found["theta"], network.theta, rtol=1e-8, atol=1e-12)
