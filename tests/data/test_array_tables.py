import gzip
import io
import warnings
import zipfile

import numpy as np
import pytest
from table_files import check_chunks, need_tables, people, write

from xpnn.data import DataFileError, read_table, stream_table

pandas = need_tables()
GENERATOR = np.random.default_rng(1)
ARRAYS = {
    "float32": GENERATOR.normal(size=(20, 3)).astype("f4"),
    "fortran": np.asfortranarray(GENERATOR.normal(size=(20, 3))),
    "pictures": GENERATOR.integers(0, 256, (20, 4, 2)).astype("u1"),
    "one axis": np.arange(20),
    "big-endian": GENERATOR.normal(size=(20, 2)).astype(">f8"),
    "truth": GENERATOR.random((20, 2)) < 0.5,
    "text": np.asarray([["a", "bc"]] * 20),
}


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array(tmp_path, name, version):
    array = ARRAYS[name]
    with (tmp_path / "a.npy").open("wb") as file, warnings.catch_warnings(action="ignore"):
        np.lib.format.write_array(file, array, version)
    table = read_table(tmp_path / "a.npy")
    width = array.size // len(array)
    assert list(table) == (["x"] if array.ndim == 1 else [f"x{i}" for i in range(width)])
    assert (table.to_numpy() == array.reshape(20, -1)).all()
    check_chunks(tmp_path / "a.npy", table)
    table.iloc[0, 0] = table.iloc[1, 0]  # it is the user's own


X, Y = GENERATOR.normal(size=(20, 3)), np.arange(20)
NPZ = {
    "rows and targets": ({"X": X, "y": Y}, ["x0", "x1", "x2", "y"]),
    "stored by columns": ({"X": np.asfortranarray(X), "y": Y}, ["x0", "x1", "x2", "y"]),
    "columns": ({"age": Y, "city": np.asarray(["a", "b"] * 10)}, ["age", "city"]),
    "one array": ({"a": X[:, :2]}, ["x0", "x1"]),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("case", NPZ)
def test_several_arrays(tmp_path, save, case):
    arrays, names = NPZ[case]
    save(tmp_path / "a.npz", **arrays)
    table = read_table(tmp_path / "a.npz")
    assert list(table) == names
    columns = [array.astype(object) for array in arrays.values()]
    assert (table.to_numpy() == np.column_stack(columns)).all()
    check_chunks(tmp_path / "a.npz", table)


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def zipped(name, content, kind=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def other_checksum(content):
    (info,) = zipfile.ZipFile(io.BytesIO(content)).infolist()
    return content.replace(info.CRC.to_bytes(4, "little"), bytes(4))


class Bad:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


GOOD = npy(np.ones((4, 2)))
PICKLE = npy(np.asarray([[Bad()]], object), allow_pickle=True)
WRONG = {
    "objects": (PICKLE, "Python objects; expected numbers or text"),
    "objects in npz": (zipped("a.npy", PICKLE), "Python objects; expected numbers or text"),
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
    "packed": (gzip.compress(GOOD), "a packed npy file; unpack it first"),
    "names": (npz(a=np.ones((2, 2)), b=np.ones((2, 2))), r"arrays a \(2, 2\), b \(2, 2\); expe"),
    "lengths": (npz(X=np.ones((2, 2)), y=np.ones(3)), "different numbers of rows"),
    "wide target": (npz(X=np.ones((2, 2)), y=np.ones((2, 2))), "expected one column"),
    "checksum": (other_checksum(npz(X=X)), "Bad CRC"),
    "packed checksum": (other_checksum(npz(np.savez_compressed, X=np.zeros((9999, 2)))), "Bad CRC"),
    "other zip": (zipped("a.txt", b"1"), "a zip file with a.txt; expected an NPZ file"),
    "office": (zipped("[Content_Types].xml", b""), "an Office file; expected a table, so save it"),
    "member cut": (zipped("a.npy", GOOD[:-1]), "63 bytes of numbers; expected 64"),
    "lzma": (zipped("a.npy", GOOD, zipfile.ZIP_LZMA), "packed otherwise than NumPy packs"),
    "zip cut": (npz(a=np.ones((9, 9)))[:-30], "a damaged NPZ file"),
    "not zip": (b"PK\x03\x04" + bytes(99), "a damaged NPZ file"),
    "parquet": (b"PAR1" + bytes(30) + b"PAR1", "a damaged Parquet file"),
    "parquet cut": (b"PAR1", "a damaged Parquet file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_files_that_are_wrong_are_refused(tmp_path, case):
    content, message = WRONG[case]
    path = write(tmp_path / "wrong", content)
    for read in (read_table, lambda p: list(stream_table(p, 3))):
        with pytest.raises(DataFileError, match=message) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_a_file_that_is_far_larger_than_it_looks(tmp_path, monkeypatch, ending):
    monkeypatch.setattr("xpnn.data.binary_tables.FREE_BYTES", 1000)
    path, zeros = tmp_path / f"a.{ending}", np.zeros((500_000, 1))
    if ending == "npz":
        np.savez_compressed(path, zeros)
    else:
        pandas.DataFrame(zeros, columns=["a"]).to_parquet(path)
    with pytest.raises(DataFileError, match=r"bytes (unpack|hold).*over 200 times as many.*larger"):
        read_table(path)
    assert len(read_table(path, max_ratio=1e6)) == 500_000


def test_parquet(tmp_path):
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
