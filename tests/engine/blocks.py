"""Makes the engine's long vectors short: chains are then done block by block in small tests."""

from __future__ import annotations

import sys


def small_blocks(monkeypatch, block, blocks=4):
    """Make vectors of a few elements long ones, in every module that has the numbers."""
    for name, module in list(sys.modules.items()):
        if name.startswith("xpnn.engine"):
            for number, value in (("BLOCK", block), ("SMALLEST", blocks * block)):
                if hasattr(module, number):
                    monkeypatch.setattr(module, number, value)
