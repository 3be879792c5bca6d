import errno
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import xpnn
from xpnn import backends
from xpnn.export import ModelFileError, layer_to_config
from xpnn.files import load, read_record, save
from xpnn.functional import CustomLoss
from xpnn.layers import Activation, Chain, Dense, Dropout, Layer, RawErrorDense
from xpnn.training import History, Loss, Network

LAYERS = (
    RawErrorDense(5, "tanh", bias=True, scale=0.5),
    Dropout(0.25),
    Chain((Dense(4, bias=False, init="normal"), Activation("elu", alpha=0.5), Chain((Dense(3),)))),
    Activation("leaky_relu"),
    Dense(2),
)


def network(**options):
    return Network(6, LAYERS, loss=Loss("softmax_cross_entropy", 0.1), seed=3, **options)


def same(*networks):
    """Whether two networks hold the same bits."""
    first, second = (
        {name: backends.to_host(a) for name, a in net.parameters().items()} for net in networks
    )
    bits = [{n: (a.dtype, a.tobytes()) for n, a in arrays.items()} for arrays in (first, second)]
    return bits[0] == bits[1]


def test_round_trip_on_every_library(backend, tmp_path):
    net = network(backend=backend)
    path = save(net, tmp_path / "new" / "net.safetensors")
    assert path == tmp_path / "new" / "net.safetensors"
    found = load(path, backend)
    assert backends.backend_of(found.theta) == backend
    assert same(found, net)
    assert (found.inputs, found.layers, found.loss) == (net.inputs, net.layers, net.loss)
    dtype = backends.dtype_name(backend.dtype)
    on_numpy = save(network(backend=backends.select("numpy", dtype=dtype)), tmp_path / "b")
    assert path.read_bytes() == on_numpy.read_bytes()


def test_without_a_backend_the_first_data_decides_where(backend, tmp_path):
    net = network(backend=backend)
    found = load(save(net, tmp_path / "a"))
    # Integers say nothing of a dtype, and lists of no library: the file does.
    x = backend.asarray(np.arange(12).reshape(2, 6), "int32")
    scores = found.scores(x)
    assert backends.backend_of(scores) == backend
    assert same(found, net)
    assert backend.to_host(scores).tolist() == backend.to_host(net.scores(x)).tolist()


def test_a_network_that_was_never_placed_keeps_its_precision(tmp_path):
    net = network()
    found = load(save(net, tmp_path / "a"))
    assert (found.theta == net.theta).all()
    found.scores(np.ones((1, 6), "float32"))
    assert found.theta.dtype == "float32"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_was_loaded_can_be_saved_again(tmp_path, dtype):
    first = save(network(backend="numpy", dtype=dtype), tmp_path / "a")
    found = load(first)
    second = save(found, tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert same(load(second, "numpy"), load(first, "numpy"))
    found.scores(np.ones((1, 6)))  # the dtype outlives data of another
    assert load(second, "numpy").theta.dtype == found.theta.dtype == dtype


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_bfloat16_is_kept_as_float32(tmp_path, name):
    if not backends.status(name).usable:
        pytest.skip(backends.status(name).reason)
    net = network(backend=name, dtype="bfloat16")
    path = save(net, tmp_path / "a")
    assert {a.dtype.name for a in load_file(path).values()} == {"float32"}
    found = load(path, name)
    assert backends.dtype_name(found.theta.dtype) == "bfloat16"
    assert same(found, net)
    assert same(load(save(load(path), tmp_path / "b"), name), net)


def test_another_dtype_can_be_asked_for(tmp_path):
    path = save(network(backend="numpy", dtype="float64"), tmp_path / "a")
    assert load(path, "numpy", dtype="float32").theta.dtype == "float32"
    assert load(path, backends.select("numpy", dtype="float16")).theta.dtype == "float16"
    found = load(path, dtype="float32")
    found.scores(np.ones((1, 6)))
    assert found.theta.dtype == "float32"
    strict = backends.select("array_api_strict", "device1")
    assert backends.device_of(load(path, strict).theta) == strict.device
    assert backends.device_of(load(path, "array_api_strict", "device1").theta) == strict.device


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cpu"}, "device='cpu' goes with a backend"),
        ({"dtype": "int8"}, "dtype='int8' is not known; expected one of float16"),
        ({"backend": "numpi"}, "name='numpi' is not a backend"),
    ],
)
def test_wrong_arguments_of_load(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load(save(network(), tmp_path / "a"), **options)


def test_the_trained_network_predicts_the_same(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 6)).astype("float32")
    net = network()
    history = net.fit(x, (x[:, 0] > 0).astype("int64"), epochs=3, learning_rate=0.05)
    record = {"history": history.to_dict(), "classes": ["left", "right"]}
    path = save(net, tmp_path / "a", record=record)
    found = load(path)
    assert (found.scores(x) == net.scores(x)).all()
    assert read_record(path) == record
    assert History(**read_record(path)["history"]) == history
    assert found.fit(x, (x[:, 0] > 0).astype("int64"), epochs=1).epochs == 1


def test_a_record_may_hold_arrays_and_numpy_numbers(backend, tmp_path):
    record = {
        "mean": backend.asarray([1.0, 2.5]), "classes": np.arange(3), "share": np.float32(0.5),
        "rows": np.int64(7), "whole": np.bool_(True),
    }  # fmt: skip
    found = read_record(save(network(), tmp_path / "a", record=record))
    expected = {"mean": [1.0, 2.5], "classes": [0, 1, 2], "share": 0.5, "rows": 7, "whole": True}
    assert found == expected
    assert read_record(save(network(), tmp_path / "b")) == {}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"x": object()}, "record cannot be saved: <object .* is a object; expected numbers, text"),
        ({(1, 2): 3}, "record cannot be saved: keys must be str"),
        ({"x": [{1: 0, "1": 2}]}, "saved: two keys of a dictionary are the same text, '1'"),
        ([1], r"record is \[1\]; expected a dictionary"),
    ],
)
def test_a_record_that_json_cannot_hold(tmp_path, record, message):
    with pytest.raises(ModelFileError, match=message):
        save(network(), tmp_path / "a", record=record)
    assert not list(tmp_path.iterdir())


def test_the_file_is_readable_without_xpnn(tmp_path):
    path = save(Network(2, [3, "relu", 1], loss="huber", seed=0, backend="numpy"), tmp_path / "a")
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["xpnn"])
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert shapes == {"0.weights": (2, 3), "0.bias": (3,), "2.weights": (3, 1), "2.bias": (1,)}
    dense = {"type": "Dense", "bias": True, "scale": None}
    assert {len(header.pop("sha256")), len(header.pop("arrays_sha256"))} == {64}
    layers = [
        {**dense, "width": 3, "init": "he_uniform"},
        {"type": "Activation", "name": "relu", "alpha": None},
        {**dense, "width": 1, "init": "glorot_uniform"},
    ]
    loss = {"name": "huber", "label_smoothing": 0.0, "delta": 1.0, "custom": None}
    assert header == {
        "format": 2, "xpnn": xpnn.__version__, "kind": "network", "dtype": "float64",
        "network": {"inputs": 2, "layers": layers, "loss": loss}, "record": {},
    }  # fmt: skip


def test_arrays_that_do_not_lie_in_order_are_written_in_order(tmp_path, monkeypatch):
    net = Network(3, [4], seed=0, backend="numpy")
    weights = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    arrays = {"0.weights": weights, "0.bias": np.arange(8.0)[::2]}
    monkeypatch.setattr(net, "parameters", lambda: arrays)
    found = load_file(save(net, tmp_path / "a"))
    assert found["0.weights"].tolist() == weights.tolist()
    assert found["0.bias"].tolist() == [0, 2, 4, 6]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = save(network(), tmp_path / "a")
    old = path.read_bytes()

    def full(place, content):
        with place.open("wb") as file:
            file.write(content[:50])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save(network(), path, record={"new": True})
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


# Layers that cannot be saved


@dataclass(frozen=True, repr=False)
class Double(Layer):
    def forward(self, params, x, noise, *, xp):
        return 2 * x, ()

    def backward(self, params, saved, dy, *, xp, input_gradient=True):
        return 2 * dy, ()


class Narrow(Dense):
    pass


@dataclass(frozen=True)
class OwnLoss(Loss):
    pass


@pytest.mark.parametrize(
    ("layers", "name"), [([Double(), 2], "Double"), ([Chain((Dense(3), Narrow(2)))], "Narrow")]
)
def test_a_layer_of_the_users_own_is_refused_by_name(tmp_path, layers, name):
    message = rf"class {__name__}\.{name} cannot be saved: a model file holds no code, so only"
    with pytest.raises(ModelFileError, match=message):
        save(Network(3, layers), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_numpy_numbers_and_integers_in_layers(tmp_path):
    layers = [Dropout(np.float32(0.25)), Dense(2, bias=1, init="normal", scale=2), Dropout(0)]
    assert load(save(Network(3, layers), tmp_path / "a")).layers == Chain(tuple(layers))


def test_a_user_class_with_a_known_name_is_refused(tmp_path):
    own = dataclass(frozen=True, repr=False)(type("Dropout", (Double,), {}))
    with pytest.raises(ModelFileError, match=r"\.Dropout cannot be saved"):
        layer_to_config(own())


@pytest.mark.parametrize("loss", [OwnLoss("huber"), CustomLoss(max, min)])
def test_a_loss_of_the_users_own_is_refused(loss, tmp_path):
    message = f"loss of the class {type(loss).__name__} cannot be saved"
    with pytest.raises(ModelFileError, match=message):
        save(Network(3, [2], loss=loss), tmp_path / "a")
