"""Damaged files end in the library's own error: short runs of what `benchmarks/fuzz.py` does."""

import csv
import gzip
import importlib.util
import io
import struct
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_files import need_tables

from depth import examples
from xpnn.data import DataFileError, read_table, stream_table
from xpnn.data.cells import MISSING

need_tables()
LIMIT = 64 << 20  # bytes that reading a small file may take
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz():
    sys.path.insert(0, str(SCRIPT.parent))  # as for a script that is run
    spec = importlib.util.spec_from_file_location("xpnn_fuzz", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["xpnn_fuzz"] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["xpnn_fuzz"]
    sys.path.remove(str(SCRIPT.parent))


def outcome(read, path):
    """What is read, or what the library's own error says."""
    try:
        return read(path)
    except DataFileError as error:
        return str(error)


def read_both_ways(path, content):
    """Read a file whole and in chunks: the same outcome, and only the library's error."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        whole = outcome(lambda p: [read_table(p)], path)
        chunks = outcome(lambda p: list(stream_table(p, 2)), path)
        assert tracemalloc.get_traced_memory()[1] < LIMIT
    finally:
        tracemalloc.stop()
    refused = [found for found in (whole, chunks) if isinstance(found, str)]
    assert all(str(path) in text for text in refused)
    assert len(refused) != 1
    if not refused:
        assert sum(map(len, chunks)) == len(whole[0])
        assert all((chunk.dtypes == whole[0].dtypes).all() for chunk in chunks)


CELLS = st.text(alphabet='ab01.-+e"\n\r\t,; \0éNA', max_size=6)


@examples(80)
@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=6), st.sampled_from(",\t;"))
def test_text_of_any_form(tmp_path, rows, separator):
    text = "\n".join(separator.join(row) for row in rows)
    read_both_ways(tmp_path / "a.csv", text.encode())


@examples(100)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"])),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_quoted_text_comes_back(tmp_path, rows):
    """Whatever is between quotes is a cell, but for spaces around it and words for nothing."""
    file = io.StringIO()
    written = [("a", "n"), *((row, "1") for row in rows)]
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows(written)
    path = tmp_path / "a.csv"
    path.write_bytes(file.getvalue().encode())
    (chunk,) = stream_table(path, 10, text=True)
    for given_text, found in zip(rows, chunk["a"], strict=True):
        text = given_text.strip()
        if text in MISSING:
            assert found != found or found is None
        else:
            assert found.strip() == text


@examples(100)
@given(
    st.binary(max_size=80), st.sampled_from([b"", b"PAR1", b"PK\x03\x04", b"\x93NUMPY", b"\0\0"])
)
def test_any_bytes(tmp_path, content, begin):
    for packed in (begin + content, gzip.compress(begin + content)):
        read_both_ways(tmp_path / "a", packed)


@examples(60)
@given(
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
    st.sampled_from([8, 9, 0x0B, 0x0C, 0x0D, 0x0E]),
    st.binary(max_size=40),
)
def test_pictures_of_any_size(tmp_path, sizes, code, body):
    header = struct.pack(f">BBBB{len(sizes)}I", 0, 0, code, len(sizes), *sizes)
    for content in (header + body, gzip.compress(header + body)):
        read_both_ways(tmp_path / "a.idx", content)


@examples(60)
@given(
    st.tuples(st.integers(-1, 2**62), st.integers(0, 2**40)),
    st.sampled_from(["<f8", ">i2", "|u1", "|b1", "<U3", "|O", "<c16", "|V8", "<m8[s]", "zz"]),
    st.booleans(),
    st.binary(max_size=64),
)
def test_arrays_of_any_shape(tmp_path, shape, kind, fortran, body):
    text = f"{{'descr': {kind!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    text = text.ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body
    read_both_ways(tmp_path / "a.npy", content)
    file = io.BytesIO()
    np.savez(file, X=np.ones((2, 2)), y=np.ones(2))
    read_both_ways(tmp_path / "a.npz", file.getvalue().replace(body[:8] or b"\x93", content[:8]))


@pytest.mark.parametrize("name", ["csv", "digits", "idx", "npy", "parquet", "packed"])
def test_a_short_run_of_the_fuzzer(fuzz, name):
    with warnings.catch_warnings():
        found = fuzz.fuzz(fuzz.READERS[name], 250, seed=7)
    assert found["broken"] == []
    assert found["counts"]["read"] > 0
    assert found["counts"]["refused"] > 100
    assert sum(found["counts"].values()) == 250


def test_the_fuzzer_sees_what_breaks_the_rules(fuzz, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fuzz, "SLOW", 0.05)

    def read(path):
        first = path.read_bytes()[:1]
        while first == b"s":
            pass
        raise KeyError(first) if first == b"k" else DataFileError("refused")

    reader = fuzz.Reader("own", ".x", lambda: [b"k" * 50, b"s" * 50, b"a" * 50], read)
    with warnings.catch_warnings():
        found = fuzz.fuzz(reader, 30, seed=1, keep=tmp_path)
    assert set(found["counts"]) == {"slow", "broken", "refused"}
    assert len(found["broken"]) == len(list(tmp_path.iterdir()))
    assert "KeyError" in capsys.readouterr().err
    monkeypatch.setitem(fuzz.READERS, "own", reader)
    with warnings.catch_warnings():
        first = found["broken"][0]
        assert fuzz.main(["--reader", "own", "--inputs", "1", "--seed", "1", "--first", str(first)])
