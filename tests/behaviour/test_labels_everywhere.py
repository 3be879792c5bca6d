"""Whatever a label is, the labels that come back are those that were given."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from small_models import make, rows

from xpnn import backends

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = rows(90)
CODES = np.digitize(X[:, 0], [-0.4, 0.4])
LABELS = {
    "small integers": np.array([-3, 0, 7]),
    "int8": np.array([-128, 5, 127], dtype="int8"),
    "uint16": np.array([0, 40_000, 65_535], dtype="uint16"),
    "uint32": np.array([0, 2**31, 2**32 - 1], dtype="uint32"),
    "integers from 2**31": np.array([10_000_000_000, 10_000_000_001, 2**62]),
    "uint64": np.array([1, 2**63, 2**64 - 1], dtype="uint64"),
    "floats beyond float32": np.array([16_777_216.0, 16_777_217.0, 16_777_218.0]),
    "booleans": np.array([False, True, True]),
    "strings": np.array(["pear", "fig", "a much longer name"]),
    "objects": np.array(["pear", "fig", "apple"], dtype=object),
}


@contextlib.contextmanager
def as_installed(name):
    """JAX as it is where nobody asked for 64 bits."""
    if name != "jax":
        yield
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


OPTIONS = {"max_iter": 15, "learning_rate_init": 0.1, "batch_size": 30}
NUMBERS = [name for name, labels in LABELS.items() if labels.dtype.kind not in "UO"]
# Where labels are, and which. JAX compiles for each, and has no more than 32 bits as installed.
CASES = [
    *(("host", library, name) for library in ("numpy", "array_api_strict", "torch")
      for name in LABELS),
    *(("host", "jax", name) for name in ("small integers", "strings", "uint64")),
    *(("host", "jax", name) for name in ("integers from 2**31", "floats beyond float32")),
    *(("library", library, name) for library in ("array_api_strict", "torch") for name in NUMBERS),
    *(("library", "jax", name) for name in ("int8", "uint32", "booleans")),
]  # fmt: skip


def on_host(labels):
    return np.asarray(backends.to_host(labels) if backends.is_array(labels) else labels)


@pytest.mark.parametrize(("where", "library", "name"), CASES)
def test_labels_are_those_of_numpys_model(where, library, name, use_library):
    """And none that never was."""
    use_library(library)
    y = LABELS[name][CODES]
    expected = make("MLPClassifier", **OPTIONS).fit(X.astype("float32"), y)
    assert expected.score(X.astype("float32"), y) > 0.7
    with as_installed(library):
        x = backends.select(library, dtype="float32").asarray(X)
        labels = y if where == "host" else backends.namespace(x=x).asarray(y)
        model = make("MLPClassifier", **OPTIONS).fit(x, labels)
        predicted = model.predict(x)
        if where == "library":
            assert backends.library_name(backends.namespace(p=predicted)) == library
            assert model.score(x, labels) > 0.7
    assert set(on_host(predicted).tolist()) <= set(y.tolist())
    np.testing.assert_array_equal(on_host(predicted), expected.predict(X.astype("float32")))
    np.testing.assert_array_equal(on_host(model.classes_), np.unique(y))


@pytest.mark.parametrize("library", ["numpy", "jax"])
def test_early_stopping_scores_the_labels_themselves(library, use_library):
    use_library(library)
    y = LABELS["integers from 2**31"][CODES]
    with as_installed(library):
        x = backends.select(library, dtype="float32").asarray(X)
        model = make("MLPClassifier", early_stopping=True, **OPTIONS).fit(x, y)
    assert max(model.validation_scores_) > 0.7
    assert set(on_host(model.predict(x)).tolist()) <= set(y.tolist())


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "uint32", "uint64"])
@pytest.mark.parametrize("library", ["numpy", "array_api_strict", "torch"])
def test_a_network_takes_integers_of_every_size(library, dtype, use_library):
    use_library(library)
    xp = backends.select(library).xp
    x, labels = xp.asarray(X), xp.asarray(CODES.astype(dtype))
    network, expected = make("Network"), make("Network")
    network.fit(x, labels, epochs=2)
    expected.fit(x, xp.asarray(CODES), epochs=2)
    np.testing.assert_array_equal(on_host(network.theta), on_host(expected.theta))
    assert float(network.accuracy(x, labels)) == float(expected.accuracy(x, xp.asarray(CODES)))
