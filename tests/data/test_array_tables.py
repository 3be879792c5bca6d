import io
import zipfile

import numpy as np
import pytest
from table_files import need_tables, people
from test_tables import check_chunks

from xpnn.data import DataFileError, read_table, stream_table

GENERATOR = np.random.default_rng(1)


@pytest.fixture(autouse=True)
def _tables():
    need_tables()


ARRAYS = {
    "float32": GENERATOR.normal(size=(20, 3)).astype("f4"),
    "fortran": np.asfortranarray(GENERATOR.normal(size=(20, 3))),
    "pictures": GENERATOR.integers(0, 256, (20, 4, 2)).astype("u1"),
    "one axis": np.arange(20),
    "big-endian": GENERATOR.normal(size=(20, 2)).astype(">f8"),
    "truth": GENERATOR.random((20, 2)) < 0.5,
    "text": np.asarray([["a", "bc"]] * 20),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array(tmp_path, name):
    array = ARRAYS[name]
    np.save(tmp_path / "a.npy", array)
    table = read_table(tmp_path / "a.npy")
    width = array.size // len(array)
    assert list(table) == (["x"] if array.ndim == 1 else [f"x{i}" for i in range(width)])
    assert (table.to_numpy() == array.reshape(20, -1)).all()
    check_chunks(tmp_path / "a.npy", table)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_and_their_targets(tmp_path, save, order):
    x = np.asarray(GENERATOR.normal(size=(20, 3)), order=order)
    save(tmp_path / "a.npz", X=x, y=np.arange(20))
    table = read_table(tmp_path / "a.npz")
    assert list(table) == ["x0", "x1", "x2", "y"]
    assert (table.to_numpy() == np.column_stack([x, np.arange(20)])).all()
    check_chunks(tmp_path / "a.npz", table)


def test_columns_of_one_length_and_one_array(tmp_path):
    np.savez(tmp_path / "a.npz", age=np.arange(20), city=np.asarray(["a", "b"] * 10))
    table = read_table(tmp_path / "a.npz")
    assert list(table) == ["age", "city"]
    check_chunks(tmp_path / "a.npz", table)
    np.savez(tmp_path / "b.npz", np.ones((20, 2)))
    assert list(read_table(tmp_path / "b.npz")) == ["x0", "x1"]


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def zipped(kind=zipfile.ZIP_STORED, **contents):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in contents.items():
            archive.writestr(name.replace("_", "."), content)
    return file.getvalue()


class Bad:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


GOOD = npy(np.ones((4, 2)))
PICKLE = npy(np.asarray([[Bad()]], object), allow_pickle=True)
WRONG = {
    "objects": (PICKLE, "Python objects; expected numbers or text"),
    "objects in npz": (zipped(a_npy=PICKLE), "Python objects; expected numbers or text"),
    "complex": (npy(np.ones((2, 2), complex)), "numbers of the type complex128"),
    "fields": (npy(np.zeros(3, [("a", "f8"), ("b", "i4")])), "numbers of the type"),
    "no rows": (npy(np.ones((0, 3))), "has no rows or no columns"),
    "no axis": (npy(np.ones(())), "expected a table"),
    "wide": (npy(np.ones((1, 50_001), "u1")), "50,001 columns; expected 50,000 or fewer"),
    "cut": (GOOD[:-1], "63 bytes of numbers; expected 64"),
    "long": (GOOD + b"1", "65 bytes of numbers; expected 64"),
    "huge": (GOOD.replace(b"(4, 2), }   ", b"(999999, 2)}"), r"expected 15,999,984"),
    "header": (GOOD.replace(b"'descr'", b"'desrc'"), "a damaged NPY header"),
    "code": (GOOD.replace(b"(4, 2), }   ", b"print(1)   }"), "a damaged NPY header"),
    "version": (b"\x93NUMPY\x09" + GOOD[7:], "a damaged NPY header"),
    "nothing more": (b"\x93NUMPY", "a damaged NPY header"),
    "names": (npz(a=np.ones((2, 2)), b=np.ones((2, 2))), r"arrays a \(2, 2\), b \(2, 2\); expe"),
    "lengths": (npz(X=np.ones((2, 2)), y=np.ones(3)), "different numbers of rows"),
    "wide target": (npz(X=np.ones((2, 2)), y=np.ones((2, 2))), "expected one column"),
    "other zip": (zipped(a_txt=b"1"), "a zip file with a.txt; expected an NPZ file"),
    "member cut": (zipped(a_npy=GOOD[:-1]), "63 bytes of numbers; expected 64"),
    "lzma": (zipped(zipfile.ZIP_LZMA, a_npy=GOOD), "packed otherwise than NumPy packs"),
    "zip cut": (npz(a=np.ones((9, 9)))[:-30], "a damaged NPZ file"),
    "not zip": (b"PK\x03\x04" + bytes(99), "a damaged NPZ file"),
    "parquet": (b"PAR1" + bytes(30) + b"PAR1", "a damaged Parquet file"),
    "parquet cut": (b"PAR1", "a damaged Parquet file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_files_that_are_wrong_are_refused(tmp_path, case):
    content, message = WRONG[case]
    path = tmp_path / "wrong"
    path.write_bytes(content)
    for read in (read_table, lambda p: list(stream_table(p, 3))):
        with pytest.raises(DataFileError, match=message) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")


def test_an_office_file_says_what_to_do(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", b"")
    (tmp_path / "a.xlsx").write_bytes(file.getvalue())
    with pytest.raises(DataFileError, match="an Office file; expected a table, so save it as CSV"):
        read_table(tmp_path / "a.xlsx")


def test_the_checksum_of_a_member_is_looked_at(tmp_path):
    content = bytearray(npz(X=np.ones((4, 2)), y=np.arange(4)))
    content[content.index(np.ones(1).tobytes())] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataFileError, match="Bad CRC"):
        list(stream_table(tmp_path / "a.npz", 2))


def test_a_bomb_of_zeros(tmp_path, monkeypatch):
    from xpnn.data import binary_tables

    monkeypatch.setattr(binary_tables, "FREE_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", np.zeros((20_000, 50)))
    with pytest.raises(DataFileError, match="over 200 times as many; if that is right"):
        read_table(tmp_path / "a.npz")
    assert read_table(tmp_path / "a.npz", max_ratio=1e5).shape == (20_000, 50)


def test_a_packed_array_says_what_to_do(tmp_path):
    import gzip

    (tmp_path / "a.npy.gz").write_bytes(gzip.compress(GOOD))
    with pytest.raises(DataFileError, match="a packed npy file; unpack it first"):
        read_table(tmp_path / "a.npy.gz")


def test_parquet(tmp_path):
    import pandas

    given = people(50)
    given["when"] = pandas.to_datetime(given["signed"])
    given["group"] = given["city"].astype("category")
    given["few"] = pandas.array([1, None] * 25, dtype="Int32")
    given["with.dot"] = pandas.array([1] * 49 + [None], dtype="Int64")
    given["flag"] = [True, False] * 25
    given["late"] = pandas.array([True] * 49 + [None], dtype="boolean")
    given.index = GENERATOR.permutation(50)
    given.to_parquet(tmp_path / "a.parquet", row_group_size=11)
    table = read_table(tmp_path / "a.parquet")
    expected = given.reset_index(drop=True).astype({"group": table["group"].dtype})
    pandas.testing.assert_frame_equal(table, expected)
    chunks = list(stream_table(tmp_path / "a.parquet", 7))
    assert max(map(len, chunks)) <= 7
    assert all((c.dtypes == table.dtypes).all() for c in chunks)
    pandas.testing.assert_frame_equal(pandas.concat(chunks), table)


def test_a_parquet_file_that_is_far_larger_than_it_looks(tmp_path, monkeypatch):
    import pandas

    from xpnn.data import binary_tables

    monkeypatch.setattr(binary_tables, "FREE_BYTES", 1000)
    pandas.DataFrame({"a": np.zeros(500_000)}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataFileError, match="hold 500,000 cells, over 200 times as many bytes"):
        read_table(tmp_path / "a.parquet")
    assert len(read_table(tmp_path / "a.parquet", max_ratio=1e6)) == 500_000
