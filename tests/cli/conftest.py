"""What the tests of the command line share: a command in this process, and small tables."""

from __future__ import annotations

import json
import shlex
import sys

import numpy as np
import pytest

from xpnn.cli import main


class Command:
    """Runs commands in this process; their words are written as in a shell."""

    def __init__(self, monkeypatch, capsys):
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *words):
        """Return exit code, output and errors."""
        self.monkeypatch.setenv("COLUMNS", "160")
        self.monkeypatch.setattr(sys, "argv", ["xpnn", *shlex.split(" ".join(words))])
        with pytest.raises(SystemExit) as leaving:
            main()
        caught = self.capsys.readouterr()
        return leaving.value.code or 0, caught.out, caught.err

    def ok(self, *words):
        """Return the output of a command that is content."""
        code, out, err = self(*words)
        assert (code, err) == (0, "")
        return out

    def json(self, *words):
        """The one JSON object on standard output."""
        out = self.ok(*words, "--json")
        assert out.count("\n") == 1
        return json.loads(out)

    def error(self, *words):
        """Return the one line about what a user got wrong."""
        code, out, err = self(*words)
        assert code == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in out + err
        return err.removeprefix("error: ")


@pytest.fixture
def xpnn(monkeypatch, capsys):
    return Command(monkeypatch, capsys)


@pytest.fixture
def pandas():
    for name in ("pyarrow", "pandas"):
        module = pytest.importorskip(name, reason="tables need the extra 'tables'")
    return module


@pytest.fixture
def pets(pandas):
    """Numbers with holes, a category, booleans, dates, and two columns to be learned."""
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
    words = "--hidden 16 --learning-rate 0.01 --epochs 30 -q"
    xpnn.ok("train pets.csv -t adopted --column-type days=ignored", words)
    return folder
