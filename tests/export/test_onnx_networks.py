"""Networks as ONNX models, run by onnxruntime."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits

import xpnn
from onnx_models import assert_values, known, metadata, run, runtime
from xpnn import Network, backends
from xpnn.estimators import to_onnx
from xpnn.export import OPSETS, OnnxError
from xpnn.functional import ACTIVATIONS, LOSSES
from xpnn.layers import Activation, Chain, CustomActivation, Dense, Dropout, Layer, RawErrorDense
from xpnn.training import Loss

every_opset = pytest.mark.parametrize("opset", OPSETS)
every_dtype = pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])


@pytest.fixture(autouse=True)
def _installed():
    runtime()


def rows(dtype, features=5, scale=3.0):
    return (np.random.default_rng(0).normal(size=(11, features)) * scale).astype(dtype)


def assert_same(model, network, x):
    """Every output against what the network says of the same rows."""
    found, dtype = run(model, {"x": x}), network.dtype
    assert_values(found.pop("scores"), network.scores(x), dtype)
    if network.loss.kind == "regression":
        assert_values(found.pop("prediction"), network.predict(x), dtype)
    else:
        label = found.pop("label")
        assert label.dtype == np.int64
        assert label.tolist() == network.predict(x).tolist()
        if network.loss.name != "hinge":
            assert_values(found.pop("probabilities"), network.predict_proba(x), dtype)
    assert not found


@every_dtype
@every_opset
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_layer_and_activation(activation, opset, dtype):
    inner = Chain((Dense(4, bias=False), Activation(activation)))
    layers = [7, activation, RawErrorDense(6, activation, bias=True), Dropout(0.5), inner, 3]
    network = Network(5, layers, seed=1, backend="numpy", dtype=dtype)
    assert_same(to_onnx(network, opset=known(opset)), network, rows(dtype))


@every_dtype
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss, outputs, dtype):
    network = Network(5, [4, "tanh", outputs], loss=loss, seed=2, backend="numpy", dtype=dtype)
    assert_same(to_onnx(network), network, rows(dtype))


@every_dtype
@pytest.mark.parametrize(("name", "alpha"), [("leaky_relu", 0.2), ("leaky_relu", 3), ("elu", 0.3)])
def test_alpha(name, alpha, dtype):
    network = Network(5, [Activation(name, alpha)], loss="huber", backend="numpy", dtype=dtype)
    assert_same(to_onnx(network), network, rows(dtype))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_far_out_and_near_zero(activation):
    """No infinities, and where float64 has digits left, the model has them too."""
    z = np.concatenate([-np.logspace(-12, 3, 40), [0.0], np.logspace(-12, 3, 40)])[:, None]
    network = Network(1, [Activation(activation)], loss="huber", backend="numpy", dtype="float64")
    found = run(to_onnx(network), {"x": z})["scores"]
    np.testing.assert_allclose(found, network.scores(z), rtol=1e-12, atol=1e-15)
    single = run(to_onnx(network, dtype="float32"), {"x": z.astype("float32")})["scores"]
    np.testing.assert_allclose(single, network.scores(z), rtol=1e-5, atol=1e-6)


def test_half_precision_is_computed_in_single_precision():
    """60 * 60 * 100 overflows float16 on the way; the nearest finite number comes out."""
    network = Network(100, [Dense(1, bias=False), "sigmoid"], loss="huber", backend="numpy",
                      dtype="float16")  # fmt: skip
    network.assign(**{"0.weights": np.full((100, 1), 60.0)})
    x = np.full((2, 100), 60.0, "float16")
    x[1, 1:] = -60.0
    model = to_onnx(network)
    assert run(model, {"x": x})["scores"].tolist() == [[1.0], [0.0]] == network.scores(x).tolist()
    linear = Network(100, [Dense(1, bias=False)], loss="huber", backend="numpy", dtype="float16")
    linear.assign(**{"0.weights": np.full((100, 1), 60.0)})
    assert run(to_onnx(linear), {"x": x})["scores"][0, 0] == np.finfo("float16").max


def test_real_data_after_training():
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    network = Network(64, [32, "relu", Dropout(0.2), 10], seed=0)
    network.fit(x, y, epochs=3, learning_rate=0.01)
    assert network.accuracy(x, y) > 0.9
    assert_same(to_onnx(network), network, x)
    x, y = load_diabetes(return_X_y=True)
    network = Network(10, [16, "softplus", 1], loss="poisson", seed=0)
    network.fit(x, y[:, None], epochs=3, learning_rate=0.01)
    assert_same(to_onnx(network), network, x)


def test_from_every_library(backend):
    network = Network(5, [6, "gelu", 3], seed=1, backend=backend)
    x = rows(backends.dtype_name(backend.dtype))
    found = run(to_onnx(network), {"x": x})
    assert_values(
        found["scores"], backends.to_host(network.scores(backend.asarray(x))), x.dtype.name
    )


def test_bfloat16_and_other_dtypes(use_library):
    use_library("torch")
    network = Network(5, [6, "tanh", 3], seed=1, backend="torch", dtype="bfloat16")
    assert run(to_onnx(network), {"x": rows("float32")})["scores"].dtype == "float32"
    network = Network(5, [6, "tanh", 3], seed=1)  # never placed
    x = rows("float64")
    assert_values(run(to_onnx(network), {"x": x})["scores"], network.scores(x), "float64")
    half = run(to_onnx(network, dtype="float16"), {"x": x.astype("float16")})["scores"]
    assert_values(half, network.scores(x), "float16")


def test_any_number_of_rows_and_none():
    network = Network(5, [6, "tanh", 3], seed=1, backend="numpy", dtype="float32")
    model = to_onnx(network)
    for count in (0, 1, 300):
        found = run(model, {"x": np.ones((count, 5), "float32")})
        assert found["scores"].shape == (count, 3)
        assert found["label"].shape == (count,)


def test_what_the_model_says_of_itself(tmp_path):
    import onnx

    network = Network(2, [3, "relu", 2], seed=0, backend="numpy", dtype="float32")
    options = {"feature_names": ["long", "wide"], "class_names": ["Nein", "größer"]}
    path = tmp_path / "new" / "net.onnx"
    model = to_onnx(network, path, opset=OPSETS[0], **options)
    read = onnx.load(path)
    assert read == model
    assert [file.name for file in path.parent.iterdir()] == ["net.onnx"]
    assert (read.producer_name, read.producer_version) == ("xpnn", xpnn.__version__)
    assert read.doc_string == repr(network)
    assert {key: json.loads(text) for key, text in metadata(read).items()} == options
    assert [(o.domain, o.version) for o in read.opset_import] == [("", OPSETS[0])]
    assert [node.op_type for node in read.graph.node] == [
        "MatMul", "Add", "Relu", "MatMul", "Add", "Identity", "Softmax", "ArgMax", "Identity",
        "Identity",
    ]  # fmt: skip
    names = {tensor.name for tensor in read.graph.initializer}
    assert names == {"0.weights", "0.bias", "2.weights", "2.bias"}
    assert to_onnx(network, doc="what it is for").doc_string == "what it is for"
    assert metadata(to_onnx(network)) == {}


def test_constants_are_written_once():
    network = Network(3, ["gelu", "gelu"], loss="huber", backend="numpy", dtype="float64")
    tensors = to_onnx(network).graph.initializer
    content = {(t.data_type, tuple(t.dims), t.raw_data) for t in tensors}
    assert len(content) == len(tensors) > 0


def test_a_crash_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    network = Network(2, [2], backend="numpy")
    to_onnx(network, path)
    old = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda number: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        to_onnx(Network(3, [3], backend="numpy"), path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


# Layers of the user's own


def bent(z, *, xp):
    """Nearly every operation that there is a rule for."""
    a = xp.where(z > 0, xp.sqrt(xp.abs(z)), xp.zeros_like(z)) - xp.square(z) / 8.0
    both = (z > -1) & xp.logical_not(z >= 2) | (z == 0) & (z != 1) & (z < 1) & (z <= 1)
    top = xp.max(z, axis=1, keepdims=True) - xp.min(z[:, 1:3], axis=1, keepdims=True)
    total = xp.sum(xp.astype(both, z.dtype), axis=1)[:, None]
    return a + total * top**2 + xp.expm1(z) * xp.log1p(xp.abs(z)) + xp.sign(z[..., ::-1]) * z


class Folded(Layer):
    """Columns folded by a reshape, and a column on its own."""

    def __repr__(self):
        return "Folded()"

    def outputs(self, inputs):
        return 2

    def forward(self, params, x, noise, *, xp):
        pairs = xp.reshape(x, (-1, 2))
        sums = xp.reshape(xp.sum(pairs, axis=1), (-1, 3))
        column = xp.reshape(x[:, -1] - x[:, 0], (-1, 1))
        return sums[:, :2] * column + (x.T).T[:, 1:3], ()

    def backward(self, params, saved, dy, *, xp, input_gradient=True):
        raise NotImplementedError


class Lying(Folded):
    def outputs(self, inputs):
        return 3


def nothing(z, a, da, *, xp):
    return da


@every_opset
@every_dtype
def test_own_layers_are_written_as_their_operations(dtype, opset):
    layers = [6, CustomActivation(bent, nothing), Folded()]
    network = Network(5, layers, loss="huber", seed=3, backend="numpy", dtype=dtype)
    assert_same(to_onnx(network, opset=known(opset)), network, rows(dtype, scale=0.5))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z, xp: xp.cumulative_sum(z, axis=1), "no rule for cumulative_sum"),
        (lambda z, xp: z / z.shape[0], "its operations depend on the number of rows"),
        (lambda z, xp: z if z > 0 else -z, "no rule for bool.* of an array"),
        (lambda z, xp: z + np.arange(float(z.shape[0]))[:, None], "an array made for 2 rows"),
        (lambda z, xp: z[:1, :], "gives the shape"),
        (lambda z, xp: xp.sum(z, axis=1), "gives the shape"),
        (lambda z, xp: z[:, None, :], "gives the shape"),
        (lambda z, xp: z.missing, "no rule for what raises AttributeError"),
    ],
)
def test_own_functions_that_onnx_cannot_hold(function, message):
    layer = CustomActivation(function, nothing)
    network = Network(3, [Dense(2), layer], loss="huber")
    with pytest.raises(OnnxError, match=f"layer 1 .*{message}"):
        to_onnx(network)


class OwnLoss(Loss):
    pass


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        ({}, {"opset": 17}, "opset is 17; expected an integer from 18 to"),
        ({}, {"opset": 99}, "opset is 99; expected an integer from 18 to"),
        ({}, {"opset": "new"}, "opset is 'new'; expected"),
        ({}, {"opset": True}, "opset is True; expected"),
        ({}, {"dtype": "int8"}, "dtype is 'int8'; expected one of float16, float32, float64"),
        ({}, {"feature_names": ("a", "b")}, "feature_names is .'a', 'b'.; expected 3 names"),
        ({}, {"feature_names": "abc"}, "feature_names is 'abc'; expected 3 names"),
        ({}, {"class_names": ("a",)}, "class_names is .'a',.; expected 2 names"),
        ({"loss": "huber"}, {"class_names": ["a", "b"]}, "class_names is .*; the loss is about va"),
        ({"loss": OwnLoss("huber")}, {}, "a loss of the class OwnLoss cannot be written as ONNX"),
        ({"layers": [6, Lying()], "loss": "huber"}, {}, "2 columns; it promised 3"),
        (None, {}, "model is or ends in a list; expected a Network, or an"),
    ],
)
def test_what_is_refused(network, options, message, tmp_path):
    path = tmp_path / "net.onnx"
    model = [] if network is None else Network(3, **{"layers": [2]} | network)
    with pytest.raises(OnnxError, match=message):
        to_onnx(model, path, **options)
    assert not path.exists()


def test_more_than_a_file_can_hold(monkeypatch):
    monkeypatch.setattr("xpnn.export.onnx_graph._LARGEST", 100)
    with pytest.raises(OnnxError, match=r"the parameters take 120 bytes.*less than 2 GiB"):
        to_onnx(Network(4, [3], loss="huber", backend="numpy", dtype="float64"))


def test_the_package_is_imported_only_when_needed_and_missed_by_name():
    code = """
import sys, xpnn.export
print('onnx' in sys.modules)
sys.modules["onnx"] = None
from xpnn import Network
from xpnn.estimators import to_onnx
try:
    to_onnx(Network(2, [2]))
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("False\n"), done.stderr
    assert 'pip install "xpnn[onnx]"' in done.stdout, done.stderr
