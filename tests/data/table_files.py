"""Helpers of the tests of tables."""

import numpy as np
import pytest

from xpnn.data import stream_table


def need_tables():
    """Give pandas; skip where the extra is not installed."""
    names = ("zstandard", "pyarrow", "pandas")
    return [pytest.importorskip(name, reason="tables need the extra 'tables'") for name in names][2]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def check_chunks(path, table, rows=7, **options):
    """The chunks of a file are the table: in values, order, types and index."""
    import pandas

    chunks = list(stream_table(path, rows, **options))
    assert [len(c) for c in chunks[:-1]] == [rows] * (len(chunks) - 1)
    assert all((c.dtypes == table.dtypes).all() for c in chunks)
    pandas.testing.assert_frame_equal(pandas.concat(chunks), table)


def people(rows=200, seed=0):
    """A table with a column of each kind, and targets."""
    import pandas

    random = np.random.default_rng(seed)
    age = random.normal(40, 10, rows).round(2)
    city = random.choice(["Rome", "Oslo", "Bern"], rows)
    return pandas.DataFrame(
        {
            "id": np.arange(rows) * 3 + 1000,
            "age": np.where(random.random(rows) < 0.1, np.nan, age),
            "city": city,
            "member": random.choice(["yes", "no"], rows),
            "signed": pandas.date_range("2020-01-01", periods=rows).strftime("%Y-%m-%d"),
            "same": 7,
            "note": [f"note number {i}" for i in range(rows)],
            "zip": [f"{i % 5:05d}" for i in range(rows)],
            "price": (100 * age + 500 * (city == "Oslo")).round(1),
            "buys": np.where(age + 10 * (city == "Rome") > 43, "buys", "leaves"),
        }
    )
