import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xpnn.data import DataFileError, read_idx, write_idx
from xpnn.data import idx as module

NAMES = ["uint8", "int8", "int16", "int32", "float32", "float64"]


@given(
    array=st.sampled_from(NAMES).flatmap(
        lambda name: hnp.arrays(name, hnp.array_shapes(min_side=0, max_dims=4, max_side=5))
    ),
    ending=st.sampled_from(["", ".idx", ".gz"]),
)
def test_what_is_written_is_read_again(tmp_path, array, ending):
    path = write_idx(tmp_path / f"a{ending}", array)
    found = read_idx(path)
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == (ending == ".gz")


def test_the_bytes_are_those_of_the_format(tmp_path):
    path = write_idx(tmp_path / "a", np.asarray([[1, 2], [-3, 4], [5, 600]], dtype="int16"))
    expected = "00000b02 00000003 00000002 0001 0002 fffd 0004 0005 0258"
    assert path.read_bytes() == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("code", "letter", "name"), list(zip((8, 9, 11, 12, 13, 14), "Bbhifd", NAMES, strict=True))
)
def test_every_type_is_read_big_endian(tmp_path, code, letter, name):
    path = tmp_path / "a"
    path.write_bytes(struct.pack(f">BBBBI3{letter}", 0, 0, code, 1, 3, 1, 2, 100))
    found = read_idx(path)
    assert found.dtype == name
    assert found.tolist() == [1, 2, 100]


def test_writing_twice_gives_the_same_bytes_and_large_arrays_come_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 100)
    array = np.arange(2000, dtype="int32").reshape(40, 50)
    first, second = (write_idx(tmp_path / name, array) for name in ("a.gz", "b.gz"))
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[4:8] == bytes(4)  # gzip's time stamp
    assert (read_idx(first) == array).all()


def test_writing_takes_any_library_and_any_order(backend, tmp_path):
    values = np.arange(6.0, dtype="float32").reshape(2, 3)
    for array in (backend.asarray(values, "float32"), np.asfortranarray(values)):
        assert read_idx(write_idx(tmp_path / "a", array)).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, dtype="int64"), "array has dtype int64; expected one of uint8, int8, int16, "),
        (np.zeros(3, dtype=bool), "array has dtype bool; expected one of uint8"),
        (np.zeros((), dtype="uint8"), r"array has shape \(\); expected 1 or more sizes"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path, array, message):
    with pytest.raises(ValueError, match=message):
        write_idx(tmp_path / "a", array)
    assert not list(tmp_path.iterdir())


def idx(sizes, body, code=8):
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, code, len(sizes), *sizes) + body


WRONG = {
    "empty": (b"", "is empty; expected an IDX file: 00 00, a type"),
    "text": (b"label,", "begins with 6c 61 62 65; expected an IDX file"),
    "type": (idx([1], b"x", code=0x0A), r"begins with 00 00 0a 01; .*a type \(08, 09, 0b, 0c, "),
    "no dimension": (b"\0\0\x08\0", "0 dimensions; expected 1 to 64"),
    "65 dimensions": (b"\0\0\x08\x41", "65 dimensions; expected 1 to 64"),
    "header": (idx([2, 3], b"")[:9], "cut off after 9 bytes; expected 12 bytes of header for 2"),
    "cut": (idx([2, 3], b"12345"), r"cut off: 5 bytes of numbers; expected 6 for shape \(2, 3\)"),
    "wide": (idx([2], b"1234567", 0x0C), "cut off: 7 bytes of numbers; expected 8"),
    "long": (idx([2, 3], b"1234567"), "too long: more than 6 bytes of numbers; expected 6 for"),
    "none": (idx([0, 3], b"1"), "too long: more than 0 bytes"),
    "huge": (idx([0] + [2**32 - 1] * 3, b""), "is larger than an array can be"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", WRONG)
def test_files_that_are_wrong_are_refused(tmp_path, case, packed):
    content, message = WRONG[case]
    path = tmp_path / "wrong.idx"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataFileError, match=message) as error:
        read_idx(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("packed", [False, True])
def test_sizes_beyond_the_file_take_no_memory(tmp_path, packed, monkeypatch):
    content = idx([2**32 - 1] * 3, b"123")
    path = tmp_path / "greedy"
    path.write_bytes(gzip.compress(content) if packed else content)
    monkeypatch.setattr(module.host, "empty", lambda *_, **__: pytest.fail("took memory"))
    with pytest.raises(DataFileError, match=r"cut off.*79,228,162,458,924,105,385,300,197,375"):
        read_idx(path)


def test_a_gzip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx([10], bytes(50_000_000))))
    unpacked = 0

    class Counting(gzip.GzipFile):
        def read(self, size=-1):
            nonlocal unpacked
            piece = super().read(size)
            unpacked += len(piece)
            return piece

    monkeypatch.setattr("xpnn.data.files.gzip.GzipFile", Counting)
    with pytest.raises(DataFileError, match="too long: more than 10 bytes"):
        read_idx(path)
    assert unpacked <= 2**16  # what is read ahead, of any file


def test_the_checksum_of_a_gzip_file_is_looked_at(tmp_path):
    path = tmp_path / "sum.gz"
    packed = gzip.compress(idx([10], bytes(10)))
    path.write_bytes(packed[:-8] + bytes(4) + packed[-4:])
    with pytest.raises(DataFileError, match="broken gzip file: CRC check failed"):
        read_idx(path)
