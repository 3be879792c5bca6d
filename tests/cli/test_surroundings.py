"""The command where the surroundings are poor: codecs, pipes, narrow or missing terminals."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import xpnn as library

XPNN = [sys.executable, "-m", "xpnn"]
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs pipes and closed descriptors")
TRAIN = ["train", "names.csv", "-t", "größe", "--hidden", "4", "--epochs", "2", "-o", "m.st"]


@pytest.fixture
def names(pandas, tmp_path, monkeypatch):
    """A folder with a table whose columns and classes few codecs have."""
    monkeypatch.chdir(tmp_path)
    rows = range(40)
    table = {"ä": [i / 7 for i in rows], "größe": [("klein", "groß", "大")[i % 3] for i in rows]}
    pandas.DataFrame(table).to_csv("names.csv", index=False)
    return tmp_path


def command(words, encoding="", env=None, **given):
    """Run the command in a process of its own."""
    env = {**os.environ, **({"PYTHONIOENCODING": encoding} if encoding else {}), **(env or {})}
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **given}
    return subprocess.run([*XPNN, *words], env=env, check=False, timeout=120, **given)


@pytest.fixture
def gone():
    """A pipe whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_every_codec_takes_what_is_printed(names, encoding):
    found = command(TRAIN, encoding)
    assert (found.returncode, found.stderr) == (0, b"")
    text = found.stdout.decode(encoding)  # all of it is of that codec
    assert "target, 3 classes: " in text
    assert ("大" if encoding == "utf-8" else "\\u5927") in text
    assert library.load("m.st").classes_.tolist() == ["groß", "klein", "大"]
    told = command(["inspect", "m.st", "--json"], encoding)
    values = json.loads(told.stdout.decode(encoding))
    assert values["classes"] == ["groß", "klein", "大"]
    assert [column["name"] for column in values["columns"]] == ["ä"]
    # Rows are data: the same bytes everywhere.
    rows = command(["predict", "m.st", "names.csv", "--proba"], encoding)
    assert (rows.returncode, rows.stderr) == (0, b"")
    assert rows.stdout.decode("utf-8").startswith("predicted,p(groß),p(klein),p(大)\n")
    wrong = command(["train", "names.csv", "-t", "大"], encoding)
    assert wrong.returncode == 2
    assert wrong.stderr.decode(encoding).startswith("error: names.csv: no column ")


@pytest.mark.parametrize(
    ("words", "encoding", "columns"),
    [
        (["--help"], "ascii", "40"),
        (["train", "--help"], "ascii", "40"),
        (["backends"], "ascii", "40"),
        ([], "latin-1", "x"),
        (["backends"], "latin-1", "x"),
        (["demo", "--help"], "", "0"),
        (["train"], "", "-1"),
    ],
)
def test_help_and_tables_of_any_width(words, encoding, columns, tmp_path):
    env = {"COLUMNS": columns, "TERM": "dumb"}
    found = command(words, encoding, env, cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert found.returncode == (0 if words and words != ["train"] else 2)
    assert b"Traceback" not in found.stderr
    assert len(found.stdout + found.stderr) > 50
    if encoding == "ascii":
        (found.stdout + found.stderr).decode("ascii")
        assert b"\\u" not in found.stdout  # boxes are drawn by signs that there are
        if words == ["backends"]:
            assert max(map(len, found.stdout.splitlines())) <= 40


@pytest.mark.parametrize("name", ["train", "predict", "evaluate", "plot"])
def test_no_option_is_cut_off_in_80_columns(name, tmp_path):
    found = command([name, "--help"], "utf-8", {"COLUMNS": "80", "TERM": "dumb"}, cwd=tmp_path)
    text = found.stdout.decode("utf-8")
    assert "How DATA is read" in text
    assert "…" not in text


@POSIX
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", "> /dev/full"])
def test_a_training_is_kept_whatever_is_closed(names, closed):
    if "full" in closed and not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    words = f'"{sys.executable}" -m xpnn {" ".join(TRAIN)} {closed}'
    found = subprocess.run(["bash", "-c", words], capture_output=True, check=False, timeout=120)
    assert library.load("m.st").classes_.tolist() == ["groß", "klein", "大"]
    assert (found.returncode, found.stderr) == (
        (2, b"error: standard output: No space left on device\n") if "full" in closed else (0, b"")
    )
    assert sorted(path.name for path in names.iterdir()) == ["m.st", "names.csv"]


@POSIX
@pytest.mark.parametrize("words", [["backends"], ["demo", "neuron"], TRAIN])
def test_a_reader_that_has_gone_is_no_error(names, gone, words):
    found = command(words, stdout=gone)
    assert (found.returncode, found.stderr) == (0, b"")
    if words is TRAIN:
        assert library.load("m.st").target_name_ == "größe"
    elif words[0] == "demo":
        assert list((names / "xpnn-neuron").iterdir())


@POSIX
def test_notes_that_nobody_reads_are_no_error(names, gone):
    found = command([*TRAIN, "--resume"], stderr=gone)
    assert found.returncode == 0
    assert b"model: m.st" in found.stdout


@POSIX
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_terminal_of_40_columns(names, encoding):
    """A pseudo-terminal: the progress bar is drawn there."""
    import pty

    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [*XPNN, *TRAIN], stdin=secondary, stdout=secondary, stderr=secondary,
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "40", "TERM": "xterm"},
    )  # fmt: skip
    os.close(secondary)
    text = b""
    try:
        while part := os.read(primary, 4096):
            text += part
    except OSError:  # it is closed on the other side
        pass
    os.close(primary)
    assert process.wait(timeout=120) == 0
    text = text.decode(encoding)
    assert "epoch" in text
    assert "model: m.st" in text
    assert "\\u2501" not in text
