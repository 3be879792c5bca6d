"""Which GPUs there are, and what marks the tests that need one."""

from __future__ import annotations

import pytest

from xpnn import backends

STATUS = backends.status("cupy")
DEVICES = list(STATUS.devices) or ["cuda:0"]
MARKS = [
    pytest.mark.gpu,
    pytest.mark.skipif(not STATUS.usable, reason=STATUS.reason or "CuPy works"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
two_gpus = pytest.mark.skipif(len(DEVICES) < 2, reason="needs two GPUs")
