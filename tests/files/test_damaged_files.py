"""Damaged model files and checkpoints: only the library's own exceptions, and no flood."""

import json
import random
import struct
import tracemalloc
import warnings
from contextlib import contextmanager
from pathlib import Path

import make_kept
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

import sealing
import xpnn
from depth import examples
from xpnn.files import ModelFileError, read_record
from xpnn.training.checkpoint import CheckpointError, read_checkpoint

FOLDER = sorted((Path(__file__).parent / "kept").iterdir())[-1]
CHECKPOINT = "xpnn-checkpoint"
# Times a file's size, and bytes, that reading it may take. Lists of empty lists take most.
TIMES, BYTES = 64, 2**24


def read_model(path):
    with refused(path, ModelFileError):
        read_record(path)
        xpnn.load(path)


def resume(path):
    """Go on from a checkpoint, unless it is one of another training."""
    with refused(path, CheckpointError):
        read_checkpoint(path)
        make_kept.fit(make_kept.network(), 3, resume=path)


@contextmanager
def refused(path, kind):
    """The library's own exception is fine; it begins with the file's name."""
    found = ""
    try:
        yield
    except kind as error:
        found = str(error)
    assert not found or found.startswith(f"{path}: ")


READERS = {"network": read_model, "classifier": read_model, "checkpoint": resume}


def source_of(name):
    """A good file, its header, and the key of it."""
    source, key = FOLDER / f"{name}.safetensors", CHECKPOINT if name == "checkpoint" else "xpnn"
    return source, sealing.header_of(source, key), key


def check(name, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a model that lived elsewhere
        READERS[name](path)


def mutated(content, seed):
    """Damage a file, or its header, in one to five places."""
    dice, data = random.Random(seed), bytearray(content)
    for _ in range(dice.randint(1, 5)):
        at, size = dice.randrange(len(data) + 1), dice.choice((1, 1, 2, 8, 64))
        what = dice.randrange(5)
        if what == 0 and at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        elif what == 1:
            del data[at : at + size]
        elif what == 2:
            data[at:at] = dice.choice((b"9" * size, b"-", b"[", b"{}", b"null", b"1e999", b'"'))
        elif what == 3:
            data[at : at + 8] = struct.pack("<Q", dice.choice((0, 1, 2**31, 2**53, 2**64 - 1)))
        elif dice.random() < 0.2:
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", READERS)
@examples(60)
@given(seed=st.integers(0, 2**64))
def test_bytes_that_are_damaged(name, seed, tmp_path):
    path = tmp_path / "damaged"
    path.write_bytes(mutated((FOLDER / f"{name}.safetensors").read_bytes(), seed))
    check(name, path)


@pytest.mark.parametrize("name", READERS)
@examples(60)
@given(seed=st.integers(0, 2**64))
def test_headers_that_are_damaged_and_sealed_again(name, seed, tmp_path):
    """The checksums are right, so that everything behind them is reached."""
    source, header, key = source_of(name)
    text = mutated(json.dumps(header).encode(), seed).decode("latin-1")
    try:
        header = json.loads(text)
    except ValueError:
        header = text
    path = sealing.write_sealed(tmp_path / "damaged", header, load_file(source), key)
    check(name, path)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats() | st.text(max_size=3)
    | st.sampled_from(["U9", "<U500000000", "M8[s]", "O", "classes_", "Adam", "float32"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(
        ["tuple", "dict", "array", "as", "texts", "shape", "object", "fields", "layer", "type",
         "RandomState", "float", "rate", "optimizer", "loss", "state"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(value, found):
    """Every dictionary and list in a header."""
    if isinstance(value, dict | list):
        found.append(value)
        for inner in value.values() if isinstance(value, dict) else value:
            places(inner, found)
    return found


@pytest.mark.parametrize("name", READERS)
@examples(100)
@given(data=st.data())
def test_other_values_in_a_header(name, data, tmp_path):
    source, header, key = source_of(name)
    header.pop("record", None)
    place = data.draw(st.sampled_from([p for p in places(header, []) if p]))
    where = data.draw(
        st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
    )
    place[where] = data.draw(PLAIN)
    if name != "checkpoint":
        header.setdefault("record", {})
    check(name, sealing.write_sealed(tmp_path / "other", header, load_file(source), key))


def huge_tensors(tmp_path):
    """A header of safetensors that claims more bytes than there are."""
    entry = {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}
    header = json.dumps({"__metadata__": {"xpnn": "{}"}, "a": entry}).encode()
    path = tmp_path / "huge"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(100))
    return path


def wide_layers(header):
    header["network"]["layers"] = [{"type": "Dense", "width": 10**12}] * 1000


def wide_estimator(header):
    header["estimator"]["fitted"]["_hidden"] = [10**9] * 1000


def many_lists(header):
    header["record"] = {"a": [[]] * 60_000}


def deep_lists(header):
    value = []
    for _ in range(500):
        value = [value]
    header["record"] = {"a": value}


LARGE = [
    (huge_tensors, None), ("network", wide_layers), ("classifier", wide_estimator),
    ("network", many_lists), ("classifier", deep_lists),
]  # fmt: skip


@pytest.mark.parametrize(("source", "change"), LARGE)
def test_memory_is_bounded_by_the_size_of_the_file(source, change, tmp_path):
    if change is None:
        path = source(tmp_path)
    else:
        source, header, key = source_of(source)
        change(header)
        path = sealing.write_sealed(tmp_path / "large", header, load_file(source), key)
    xpnn.load(FOLDER / "classifier.safetensors")  # everything is imported
    tracemalloc.start()
    try:
        read_model(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= TIMES * path.stat().st_size + BYTES
