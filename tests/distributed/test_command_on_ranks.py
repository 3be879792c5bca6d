"""`mpiexec -n 3 xpnn train ...`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mpi_runs import start

from xpnn import load
from xpnn.files import read_record

pytestmark = pytest.mark.slow  # starts processes

pytest.importorskip("pandas", reason="pandas is not installed (extra tables)")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = ["a,b,c,kind"]
    for _ in range(90):
        a, b = rng.normal(size=2)
        rows.append(f"{a:.4f},{b:.4f},{'xyz'[rng.integers(3)]},{'good' if a > b else 'bad'}")
    path = tmp_path_factory.mktemp("table") / "t.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def train(ranks, table, *words):
    # Whether ranks agree, and not what a GPU rounds: `test_same_answer.py` trains on those.
    command = ["-m", "xpnn", "train", str(table), "--target", "kind", "--hidden", "8",
               "--epochs", "5", "--backend", "numpy", *words]  # fmt: skip
    return start(ranks, *command, cwd=table.parent)


def assert_same(one, other):
    for a, b in zip(one.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-8)


def test_one_model_whatever_the_number_of_ranks_and_the_first_speaks_for_all(table):
    models, records = {}, {}
    for ranks in (1, 3):
        done = train(ranks, table, "--out", f"{ranks}.safetensors", "--json", "--early-stopping")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)  # one object, of rank 0
        assert told["record"]["rows"] == 81
        models[ranks] = load(table.parent / f"{ranks}.safetensors")
        records[ranks] = read_record(table.parent / f"{ranks}.safetensors")
    assert_same(models[1].estimator_, models[3].estimator_)
    for key, value in records[1]["validation"]["baseline"].items():
        assert records[3]["validation"]["baseline"][key] == value
    done = train(2, table, "--out", "spoken.safetensors")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("training on 2 processes") == 1
    assert done.stdout.count("accuracy") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--hidden", "none,", "--out", "no.safetensors"), "error: --hidden is"),
        (("--target", "colour"), "t.csv: no column 'colour', as --target says"),
        (("--sep", "ab"), "error: --sep is 'ab'; expected one ASCII character"),
    ],
)
def test_what_is_wrong_is_said_once(table, words, message):
    done = train(3, table, *words)
    assert done.returncode != 0
    assert (done.stderr + done.stdout).count(message) == 1
    assert "Traceback" not in done.stderr


def test_a_training_on_ranks_resumes_on_another_number(table):
    for ranks, epochs in ((3, "4"), (2, "8"), (1, "8")):
        words = ["--epochs", epochs, "--checkpoint-every", "1"]
        words += ["--out", "one.safetensors" if ranks == 1 else "two.safetensors"]
        done = train(ranks, table, *words, *(["--resume"] if ranks == 2 else []))
        assert done.returncode == 0, done.stderr
    one, two = (load(table.parent / f"{name}.safetensors").estimator_ for name in ("one", "two"))
    assert one.n_iter_ == two.n_iter_ == 8
    assert_same(one, two)
