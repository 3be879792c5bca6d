"""Helpers of the tests of tables."""

import numpy as np
import pytest


def pandas():
    return pytest.importorskip("pandas", reason="tables need the extra 'tables'")


def need_tables():
    """Skip where the extra is not installed."""
    for name in ("pandas", "pyarrow", "zstandard"):
        pytest.importorskip(name, reason="tables need the extra 'tables'")


def people(rows=200, seed=0):
    """A table with a column of each kind, and targets."""
    random = np.random.default_rng(seed)
    age = random.normal(40, 10, rows).round(2)
    city = random.choice(["Rome", "Oslo", "Bern"], rows)
    return pandas().DataFrame(
        {
            "id": np.arange(rows) * 3 + 1000,
            "age": np.where(random.random(rows) < 0.1, np.nan, age),
            "city": city,
            "member": random.choice(["yes", "no"], rows),
            "signed": pandas().date_range("2020-01-01", periods=rows).strftime("%Y-%m-%d"),
            "same": 7,
            "note": [f"note number {i}" for i in range(rows)],
            "zip": [f"{i % 5:05d}" for i in range(rows)],
            "price": (100 * age + 500 * (city == "Oslo")).round(1),
            "buys": np.where(age + 10 * (city == "Rome") > 43, "buys", "leaves"),
        }
    )
