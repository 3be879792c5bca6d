"""How much of a GPU's memory rows may take at once."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn.training import host_rows


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """A GPU with room for 1000 bytes."""
    monkeypatch.setattr(host_rows, "device_name", lambda device: "cuda:0")
    monkeypatch.setattr(host_rows, "memory_of", lambda library, where: 1000)


@pytest.mark.parametrize(("given", "most"), [("", 250), ("0", 0), ("0.5", 500), ("1", 1000)])
def test_the_share_of_memory(given, most, monkeypatch):
    monkeypatch.setenv(host_rows.VARIABLE, given)
    assert host_rows.fits(most, np, None)
    assert not host_rows.fits(most + 1, np, None)


@pytest.mark.parametrize("given", ["half", "-0.1", "1.5", "nan"])
def test_a_share_that_is_none_is_an_error(given, monkeypatch):
    monkeypatch.setenv(host_rows.VARIABLE, given)
    message = f"XPNN_DEVICE_SHARE is '{given}'; expected a number from 0 to 1"
    with pytest.raises(ValueError, match=message):
        host_rows.fits(1, np, None)
