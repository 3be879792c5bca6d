"""What tests on a GPU share."""

from __future__ import annotations

import pytest


@pytest.fixture
def cupy():
    import cupy

    return cupy
