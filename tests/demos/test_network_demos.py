"""The tutorials with networks reproduce their figures on every library."""

from __future__ import annotations

from inspect import signature

import numpy as np
import pytest

from xpnn.backends import select
from xpnn.demos import DEMOS, demo, digits, first_network, mnist, two_layer


def test_first_network_has_the_texts_figures(backend64, tmp_path, capsys, monkeypatch):
    slow = backend64.name in ("array_api_strict", "jax")
    if slow:  # the figures need all 15,000 iterations; these libraries show the start
        monkeypatch.setattr(first_network, "ITERATIONS", 300)
    found = first_network.run(backend64, tmp_path)
    assert found["start"] == pytest.approx([-0.16595599, 0.44064899, -0.99977125], abs=1e-8)
    if not slow:
        assert found["weights"] == pytest.approx([10.08740896, -0.20695366, -4.83757835], abs=1e-8)
        assert found["answer"] == pytest.approx(0.9999584, abs=5e-8)
        assert "0.9999584" in capsys.readouterr().out
    else:
        monkeypatch.undo()
        monkeypatch.setattr(first_network, "ITERATIONS", 300)
        expected = first_network.run(select("numpy", dtype="float64"), tmp_path)
        assert found["weights"] == pytest.approx(expected["weights"], rel=1e-9)
    assert (tmp_path / "first-network.png").stat().st_size > 1000


def test_first_network_follows_the_texts_loop_step_by_step():
    x, t = np.asarray(first_network.INPUTS, float), np.asarray(first_network.TARGETS, float)
    w = 2 * np.random.RandomState(1).random(3) - 1
    for _ in range(100):
        output = 1 / (1 + np.exp(-(x @ w)))
        w = w + x.T @ ((t - output) * output * (1 - output))
    from xpnn import SGD, Dense, Network

    network = Network(3, [Dense(1, bias=False), "sigmoid"], loss="sum_squared_errors")
    network.assign(**{"0.weights": 2 * np.random.RandomState(1).random((3, 1)) - 1})
    network.fit(x, t, epochs=100, batch_size=None, optimizer=SGD(0.5))
    np.testing.assert_allclose(network.theta, w, rtol=1e-12)


@pytest.mark.parametrize("text", ["1 0 0", "1,0,0", " 1.0, 0  0 "])
def test_typed_inputs_are_read(text):
    assert first_network.parse_row(text) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "message"), [("1 x 0", "'x'; expected 3 numbers"), ("", "0 numbers; expected 3")]
)
def test_typed_nonsense_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        first_network.parse_row(text)


@pytest.mark.parametrize("seed", range(10))
def test_two_layer_network_learns_xor_and_its_loss_falls_at_every_iteration(seed, tmp_path):
    found = two_layer.run(select("numpy", dtype="float64"), tmp_path, seed=seed)
    assert found["worst"] < 0.05
    assert found["falls"]


def test_two_layer_on_every_library(backend64, tmp_path, monkeypatch):
    monkeypatch.setattr(two_layer, "ITERATIONS", 200)
    found = two_layer.run(backend64, tmp_path / "a")
    expected = two_layer.run(select("numpy", dtype="float64"), tmp_path / "b")
    assert found["predicted"] == pytest.approx(expected["predicted"], rel=1e-7)
    assert (tmp_path / "a" / "two-layer.png").exists()


def test_digits_reads_97_percent_in_less_than_ten_seconds_of_training(tmp_path, capsys):
    found = digits.run(select("numpy", dtype="float32"), tmp_path, progress=False)
    assert found["accuracy"] >= 0.97
    assert np.trace(found["confusion"]) == round(found["accuracy"] * 360)
    assert np.sum(found["confusion"]) == 360
    out = capsys.readouterr().out
    assert f"{found['accuracy']:.4f}" in out
    assert "confusion matrix" in out
    from xpnn import load

    _, test_x, _, test_t = digits.load_split()
    again = load(tmp_path / "digits.safetensors")
    assert again.accuracy(test_x.astype("float32"), test_t) == pytest.approx(found["accuracy"])


def test_digits_reads_the_same_on_every_library(backend, tmp_path):
    def short(where, folder):
        return digits.run(where, tmp_path / folder, epochs=3, hidden=(32,), progress=False)

    assert (
        short(backend, "a")["confusion"]
        == short(select("numpy", dtype="float32"), "b")["confusion"]
    )


def test_mnist_demo_on_the_tutorials_csv_records(shared_data, backend, tmp_path, capsys):
    found = mnist.run(backend, tmp_path, data=shared_data / "mnist_csv", hidden=30, epochs=2)
    expected = mnist.run(
        select("numpy", dtype="float64"), tmp_path, data=shared_data / "mnist_csv", hidden=30,
        epochs=2,
    )  # fmt: skip
    assert found == expected
    assert found["label"] == 7
    assert "a 7:" in capsys.readouterr().out
    assert (tmp_path / "mnist-digits.png").exists()
    assert (tmp_path / "mnist-misclassified.png").exists()


def test_mnist_tutorial_network_reads_the_records_it_should(shared_data, tmp_path):
    """The text's own setting for the short files: 100 records, some epochs, most of ten right."""
    found = mnist.run(
        select("numpy", dtype="float32"), tmp_path, data=shared_data / "mnist_csv", hidden=100,
        learning_rate=0.3, epochs=10,
    )  # fmt: skip
    assert found["tutorial"] >= 0.6


def test_mnist_demo_says_what_to_fetch(tmp_path):
    with pytest.raises(FileNotFoundError, match="fetch_openml"):
        mnist.run(select("numpy"), tmp_path, data=tmp_path)


@pytest.mark.parametrize("name", DEMOS)
def test_every_demo_is_found_and_documented(name):
    assert list(signature(demo(name)).parameters)[:2] == ["backend", "out"]
    assert demo(name).__doc__


def test_unknown_demo_is_refused():
    with pytest.raises(ValueError, match="'chess' is not known"):
        demo("chess")
