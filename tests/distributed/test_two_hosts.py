"""A training on two hosts that reach each other over a network only."""

from __future__ import annotations

import pytest
import two_hosts
from mpi_runs import mpiexec

pytestmark = pytest.mark.slow  # starts processes


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
