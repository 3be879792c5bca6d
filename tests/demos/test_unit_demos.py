"""The tutorials about single units, with the figures of their texts."""

import numpy as np
import pytest

from xpnn.demos import mcculloch_pitts, neuron, perceptron, weighted_sum


def near(value):
    return pytest.approx(value, rel=1e-5, abs=1e-6)


@pytest.fixture(autouse=True)
def few_pictures(backend, monkeypatch):
    """Render on NumPy alone: the figures are the same on every library, and rendering is slow."""

    def stub(figure, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x89PNG" + str(len(figure.axes)).encode())
        return path

    if backend.name != "numpy":
        monkeypatch.setattr(neuron, "save_figure", stub)
        monkeypatch.setattr(perceptron, "save_figure", stub)


def test_weighted_sum(backend, tmp_path, capsys):
    found = weighted_sum.run(backend, tmp_path)
    printed = capsys.readouterr().out
    assert found["prediction"] == near(0.98)
    assert found["swapped"] == near(0.25)
    assert "x has shape (2,); expected (3,)" in found["error"]
    similar = found["similarity"]
    pairs = {"ab": 0, "bc": 1, "bd": 1, "ce": 1, "de": -0.5, "ee": 2}
    assert {one + other: similar[one][other] for one, other in pairs} == pairs
    assert similar["c"]["c"] > max(v for k, v in similar["c"].items() if k != "c")
    assert found["logic"] == [
        "input[0] OR input[2]",
        "input[2]",
        "input[0] OR NOT input[2]",
        "NOT input[0] OR NOT input[2]",
        "BIG input[0] OR input[2]",
    ]
    assert found["most_sensitive"] == 1
    assert found["largest_contribution"] == 0
    assert found["ignored"] == [2]
    assert "8.5*0.1 + 0.65*0.2 + 1.2*0 = 0.98\n" in printed
    for text in found["logic"]:
        assert text in printed
    assert ["d", "0", "1", "0.5", "0.5", "-0.5"] in [row.split() for row in printed.splitlines()]
    assert not list(tmp_path.iterdir())


def test_mcculloch_pitts(backend, tmp_path, capsys):
    found = mcculloch_pitts.run(backend, tmp_path)
    printed = capsys.readouterr().out
    assert found == {
        "AND": [0, 0, 0, 1],
        "OR": [0, 1, 1, 1],
        "NOT": [1, 0],
        "NAND": [1, 1, 1, 0],
        "NOR": [1, 0, 0, 0],
        "XOR": [0, 1, 1, 0],
        "hidden": [[0, 1], [1, 1], [1, 1], [1, 0]],
    }
    assert "NAND: weights -1, -1; fires when the sum reaches -1" in printed
    assert "excitatory inputs none, inhibitory x1, x2" in printed
    assert "x1  x2 | OR  NAND | XOR" in printed


def test_neuron(backend, tmp_path, capsys):
    out = tmp_path / "new"
    found = neuron.run(backend, out, seed=5)
    printed = capsys.readouterr().out
    x = np.asarray([0.5, -1.0, 2.0])
    weights = np.random.default_rng(5).normal(size=3)
    z = float(x @ weights)
    assert found["weights"] == near(weights.tolist())
    assert found["score"] == near(z)
    assert found["outputs"]["sigmoid"] == near(1 / (1 + np.exp(-z)))
    assert found["outputs"]["tanh"] == near(np.tanh(z))
    assert found["outputs"]["relu"] == near(max(z, 0.0))
    scores = np.asarray([x @ np.random.default_rng(5 + i).normal(size=3) for i in range(3)])
    assert found["softmax"] == near((np.exp(scores) / np.exp(scores).sum()).tolist())
    assert found["halves"] == {4.0: 0.5, 0.0: 0.5, -4.0: 0.5}
    assert f"score   {z:.4f}" in printed
    assert "bias -4: 0.000, 0.018, 0.500; 0.500 at the input 4" in printed
    assert (out / "neuron.png").read_bytes().startswith(b"\x89PNG")


def test_perceptron(backend, tmp_path, capsys):
    found = perceptron.run(backend, tmp_path)
    printed = capsys.readouterr().out
    two, both, xor, points = (found[k] for k in ("two examples", "AND", "XOR", "points"))
    assert two["updates"][0] > 0
    assert two["updates"][1:] == [0]
    assert two["predictions"] == [0, 1]
    assert both["converged"]
    assert both["predictions"] == [0, 0, 0, 1]
    assert not xor["converged"]
    assert "did not converge in 10 epochs" in xor["verdict"]
    assert points["converged"]
    assert points["updates"] == [2, 2, 3, 3, 2, 2, 0]
    assert points["predictions"] == perceptron.SIDES
    assert "old weights  old bias  new weights  new bias" in printed
    assert "converged: epoch 2 changed nothing (2 updates in all)" in printed
    assert xor["verdict"] in printed
    assert (tmp_path / "perceptron.png").read_bytes().startswith(b"\x89PNG")
