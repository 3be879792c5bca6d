"""What the tests of CUDA kernels on the host share."""

from __future__ import annotations

import pytest
from cuda_on_host import compiler


@pytest.fixture
def host_compiler():
    """Skip a test where there is no C++ compiler."""
    compiler()


@pytest.fixture(params=["float16", "bfloat16"])
def half(request):
    """Name of a dtype of 16 bits."""
    if request.param == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="NumPy knows bfloat16 through ml_dtypes")
    return request.param
