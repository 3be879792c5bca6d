"""What the tests of the command line share: a command in this process, and small tables."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from xpnn.cli import main


@pytest.fixture
def xpnn(monkeypatch, capsys):
    """Run a command in this process; returns exit code, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setattr(sys, "argv", ["xpnn", *words])
        with pytest.raises(SystemExit) as leaving:
            main()
        code = leaving.value.code
        caught = capsys.readouterr()
        return 0 if code is None else code, caught.out, caught.err

    return run


@pytest.fixture
def pandas():
    for name in ("pyarrow", "pandas"):
        module = pytest.importorskip(name, reason="tables need the extra 'tables'")
    return module


@pytest.fixture
def pets(pandas):
    """Numbers with holes, a category, boolean, dates, and two columns to be learned."""
    random, rows = np.random.default_rng(0), 300
    age = random.gamma(2, 2.2, rows).round(1)
    kind = random.choice(["dog", "cat", "bird"], rows)
    days = random.integers(0, 365, rows)
    score = 2.0 - 0.6 * age + 1.5 * (kind == "dog") + random.normal(0, 0.3, rows)
    arrived = pandas.Timestamp("2025-01-01") + pandas.to_timedelta(days, "D")
    return pandas.DataFrame(
        {
            "age": np.where(random.random(rows) < 0.05, np.nan, age),
            "kind": np.where(random.random(rows) < 0.05, None, kind),
            "tame": random.choice(["yes", "no"], rows),
            "arrived": arrived.strftime("%Y-%m-%d"),
            "adopted": np.where(score > 0, "home", "waits"),
            "days": (60 - 10 * score).round(1),
        }
    )


@pytest.fixture
def folder(pets, tmp_path, monkeypatch):
    """A folder to work in, with the table as pets.csv and 60 more rows as new.csv."""
    monkeypatch.chdir(tmp_path)
    pets[:240].to_csv("pets.csv", index=False)
    pets[240:].to_csv("new.csv", index=False)
    return tmp_path


@pytest.fixture
def trained(xpnn, folder):
    """The folder with a model of who is adopted."""
    words = [
        "--target",
        "adopted",
        "--as",
        "days=ignored",
        "--hidden",
        "16",
        "--learning-rate",
        "0.01",
    ]
    code, _, err = xpnn("train", "pets.csv", *words, "--epochs", "30", "--quiet")
    assert (code, err) == (0, "")
    return folder
