"""How many examples a property is tried on: all with ``--slow``, else enough to see it hold."""

from __future__ import annotations

from hypothesis import settings

EVERYTHING = False  # set by tests/conftest.py before a test module is imported


def examples(number):
    """Decorate a test that looks for a counterexample in so many cases."""
    return settings(max_examples=number if EVERYTHING else max(number // 5, 10))
