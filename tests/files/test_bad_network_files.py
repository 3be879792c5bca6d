import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import sealing
import xpnn
from xpnn.export import ModelFileError, layer_from_config, layer_to_config
from xpnn.files import load, read_record, save
from xpnn.layers import Activation, Chain, Dense, Dropout, RawErrorDense
from xpnn.training import Network

# Layers as plain values

PLAIN = st.one_of(
    st.builds(Dense, st.integers(1, 9), st.booleans(), st.sampled_from(["zeros", "he_normal"])),
    st.builds(Dropout, st.floats(0, 0.99)),
    st.builds(Activation, st.sampled_from(["elu", "leaky_relu"]), st.floats(0.1, 2)),
    st.builds(RawErrorDense, st.integers(1, 9), st.sampled_from(["tanh", "relu"])),
)


@given(st.recursive(PLAIN, lambda inner: st.lists(inner, min_size=1).map(lambda a: Chain((*a,)))))
def test_every_layer_comes_back_from_json(layer):
    assert layer_from_config(json.loads(json.dumps(layer_to_config(layer)))) == layer


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("Dense", "a layer is 'Dense'; expected a type and its fields"),
        ({"width": 3}, "a layer is {'width': 3}; expected a type"),
        ({"type": ["Dense"]}, "expected a type and its fields"),
        ({"type": "os.system"}, "layer type 'os.system' is not known; expected one of Activation"),
        ({"type": "Layer"}, "layer type 'Layer' is not known"),
        ({"type": "Dense", "width": 0}, "layer Dense cannot be made: width is 0"),
        ({"type": "Dense", "width": 3, "depth": 1}, "cannot be made: it has no depth"),
        ({"type": "Dense"}, "layer Dense cannot be made: .*missing 1 required"),
        ({"type": "Dropout", "rate": "a"}, "layer Dropout cannot be made"),
        ({"type": "Activation", "name": "sinus"}, "layer Activation cannot be made: .*'sinus'"),
        ({"type": "Chain", "layers": []}, "layer Chain cannot be made: layers is empty"),
        ({"type": "Chain", "layers": [{"type": "Nope"}]}, "layer type 'Nope' is not known"),
        ({"type": "Chain", "layers": "abc"}, "Chain cannot be made: layers is 'abc'; expected lis"),
        ({"type": "Chain"}, "layer Chain cannot be made"),
        ({"type": "Dense", "width": 2.5}, "Dense cannot be made: width is 2.5; expected int"),
        ({"type": "Dense", "width": 2, "bias": "no"}, "bias is 'no'; expected bool"),
        ({"type": "Dense", "width": 2, "init": 1}, "init is 1; expected str"),
        ({"type": "Dense", "width": 2, "scale": "1"}, r"scale is '1'; expected float \| None"),
        ({"type": "Activation", "name": "elu", "alpha": []}, r"alpha is \[\]; expected float"),
    ],
)
def test_a_layer_that_cannot_be_made(config, message):
    with pytest.raises(ModelFileError, match=message):
        layer_from_config(config)


# Files that are not model files


def good(tmp_path):
    return save(Network(2, [3, "relu", 1], seed=0, backend="numpy"), tmp_path / "good")


def edited(tmp_path, change=None, tensors=None):
    """A model file with its header, or its tensors, changed."""
    return sealing.edited(good(tmp_path), tmp_path / "edited", change, tensors)


def refused(path, message, read=load):
    with pytest.raises(ModelFileError, match=message) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize("read", [load, read_record])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"PK\x03\x04 not a model",
        lambda content: content[:20],
        lambda content: content[:-1],
        lambda content: content + b"more",
        lambda content: struct.pack("<Q", 1 << 60) + content[8:],
        lambda content: content[:8] + b"x" + content[9:],
    ],
)
def test_a_file_that_is_not_whole(tmp_path, damage, read):
    path = good(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    refused(path, "not a safetensors file, or not whole: ", read)


@pytest.mark.parametrize("read", [load, read_record])
def test_other_files_and_places(tmp_path, read):
    for metadata in (None, {"format": "pt"}):
        save_file({"a": np.zeros(3)}, tmp_path / "foreign", metadata=metadata)
        refused(tmp_path / "foreign", "file, but not a model file that xpnn wrote", read)
    refused(tmp_path, "a folder; expected a model file", read)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path / "nowhere")


def test_a_newer_format(tmp_path):
    path = edited(tmp_path, lambda header: {**header, "format": 3, "xpnn": "9.0"})
    version = xpnn.__version__
    message = rf"its format is 3, written by xpnn 9\.0; xpnn {version} reads format 2: inst"
    refused(path, message)
    refused(path, message, read_record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: "{", "its header is not JSON: "),
        (lambda h: [1], "its header has the format None; expected 2"),
        (lambda h: {**h, "format": "1"}, "its header has the format '1'; expected 2"),
        (lambda h: {**h, "format": True}, "its header has the format True"),
        (lambda h: {**h, "network": None}, "its header has the network None"),
        (lambda h: {k: h[k] for k in h if k != "dtype"}, "its header has the dtype None"),
        (lambda h: {**h, "record": []}, r"its header has the record \[\]"),
        (lambda h: {**h, "kind": 3}, "its header has the kind 3"),
        (lambda h: {**h, "dtype": "int8"}, "dtype 'int8' is not known; expected one of float16"),
        (lambda h: "[" * 100_000 + "]" * 100_000, "nested too deeply"),
    ],
)
def test_a_header_that_is_not_ours(tmp_path, change, message):
    path = edited(tmp_path, change)
    refused(path, message)
    if not any(word in message for word in ("network", "dtype")):
        refused(path, message, read_record)


def test_another_kind_of_model_is_named(tmp_path):
    path = edited(tmp_path, lambda header: {**header, "kind": "forest"})
    refused(path, "it holds a model of the kind 'forest', which is not known")
    assert read_record(path) == {}


def test_every_flipped_bit_is_noticed(tmp_path):
    content, other = good(tmp_path).read_bytes(), tmp_path / "flipped"
    for place in range(len(content)):
        flipped = bytes([content[place] ^ 1 << place % 8])
        other.write_bytes(content[:place] + flipped + content[place + 1 :])
        refused(other, "damaged|not whole|not a model file|format|not JSON")


def structure(**changes):
    return lambda header: {**header, "network": {**header["network"], **changes}}


def deep(header):
    layer = {"type": "Dense", "width": 1}
    for _ in range(400):
        layer = {"type": "Chain", "layers": [layer]}
    return structure(layers=[layer])(header)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (structure(extra=1), "not described by inputs, layers and loss"),
        (structure(loss="huber"), "not described by inputs, layers and loss"),
        (structure(inputs=0), "inputs is 0; expected a positive integer"),
        (structure(inputs="2"), "inputs is '2'; expected a positive integer"),
        (structure(inputs=True), "inputs is True; expected a positive integer"),
        (structure(layers=[]), "layers is empty"),
        (structure(layers=3), "layers is 3"),
        (structure(layers=[{"type": "Magic"}]), "layer type 'Magic' is not known"),
        (structure(loss={"name": "best"}), "loss {'name': 'best'} cannot be made: "),
        (structure(loss={"nome": "huber"}), "cannot be made: .*unexpected keyword"),
        (structure(loss={"name": "a", "custom": {"b": 1}}), "a file holds no functions"),
        (structure(inputs=10**15), r"0.weights has shape \(2, 3\).*; expected \(1000000000000000"),
        (deep, r"its parameters do not fit its layers|nested too deeply"),
    ],
)
def test_a_structure_that_is_wrong(tmp_path, change, message):
    refused(edited(tmp_path, change), message)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (lambda a: a.pop("2.bias"), "do not fit its layers: 2.bias is missing$"),
        (lambda a: a.update(more=np.zeros(1)), "do not fit its layers: more is not a parameter$"),
        (
            lambda a: a.update({"0.weights": np.zeros((3, 2))}),
            r"0\.weights has shape \(3, 2\) and type float64; expected \(2, 3\) and float64",
        ),
        (lambda a: a.update({"0.bias": np.zeros(3, "f4")}), r"float32; expected .3,. and float64"),
        (lambda a: a.update({"0.bias": np.zeros(3, "int64")}), "type int64; expected"),
    ],
)
def test_parameters_that_do_not_fit(tmp_path, tensors, message):
    refused(edited(tmp_path, tensors=tensors), message)
