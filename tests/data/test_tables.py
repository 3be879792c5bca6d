import gzip
import sys

import numpy as np
import pytest
from table_files import check_chunks, need_tables, people, write

from xpnn.data import (
    DataFileError,
    csv_tables,
    line_of_row,
    read_table,
    stream_table,
    table_format,
    write_idx,
)

pandas = need_tables()
GENERATOR = np.random.default_rng(0)


def zstd(data):
    import zstandard

    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


TEXT = {
    "a.csv": lambda f: f.to_csv(index=False).encode(),
    "a.tsv": lambda f: f.to_csv(index=False, sep="\t").encode(),
    "a.tab": lambda f: f.to_csv(index=False, sep="\t").encode(),
    "semicolons.csv": lambda f: f.to_csv(index=False, sep=";").encode(),
    "bars.txt": lambda f: f.to_csv(index=False, sep="|").encode(),
    "windows.csv": lambda f: f.to_csv(index=False, lineterminator="\r\n").encode(),
    "mark.csv": lambda f: b"\xef\xbb\xbf" + f.to_csv(index=False).encode(),
    "a.csv.gz": lambda f: gzip.compress(f.to_csv(index=False).encode()),
    "a.tsv.zst": lambda f: zstd(f.to_csv(index=False, sep="\t").encode()),
    "named.wrongly": lambda f: gzip.compress(f.to_csv(index=False).encode()),
}


@pytest.mark.parametrize("block", [64, 1 << 22])
@pytest.mark.parametrize("name", TEXT)
def test_text_comes_back_whole_and_in_chunks(tmp_path, monkeypatch, name, block):
    monkeypatch.setattr(csv_tables, "_BLOCK", block)
    given = people(50)
    given.loc[3, "city"] = 'a "quoted", one;\tand|two\nlines'
    path = write(tmp_path / name, TEXT[name](given))
    table = read_table(path)
    assert table_format(path) == "csv"
    pandas.testing.assert_frame_equal(table, given, check_dtype=False)
    types = table.dtypes[["id", "age", "price"]].astype(str).tolist()
    assert types == ["int64", "float64", "float64"]
    assert table["zip"][2] == "00002"
    check_chunks(path, table)


def test_types_hold_for_the_whole_file(tmp_path):
    """What only the last row shows is known in the first chunk."""
    rows = ["a,b,c,d,e"] + ["1,2,3,4,5"] * 20 + ["x,2.5,,00,"]
    path = write(tmp_path / "a.csv", "\n".join(rows))
    table = read_table(path)
    assert table.dtypes.astype(str).tolist()[1:3] == ["float64", "Int64"]
    assert table["a"][0] == "1"
    assert table["d"].tolist()[-2:] == ["4", "00"]
    check_chunks(path, table)
    (first, *_) = stream_table(path, 4, text=True)
    assert first.iloc[0].tolist() == ["1", "2", "3", "4", "5"]


CONTENT = {
    "beyond int64": ("a\n9223372036854775808\n1\n", {"a": [2.0**63, 1.0]}),
    "numbers": ("a,b\n+1.5,1e3\n.5,-inf\n", {"a": [1.5, 0.5], "b": [1000.0, -np.inf]}),
    "spaces, blank lines, no name": (
        "\n\r\n,a ,b\n 1 , x y ,\n\n2,\tz,3\n\r\n",
        {"column 1": [1, 2], "a": ["x y", "z"], "b": [None, 3]},
    ),
    **{
        f"nothing: {word}": (f"a,b\nx,1\n{word},2\n", {"a": ["x", None], "b": [1, 2]})
        for word in ("", "NA", " NaN ", "null", "?", '"N/A"', "None")
    },
    **{
        f"names that count: {names}": (f"{names}\n5,5,5\n", {n: [5] for n in names.split(",")})
        for names in ("0,1,2", "label,0,1", "2019,2020,2021", "7,a,8")
    },
}


@pytest.mark.parametrize("case", CONTENT)
def test_what_text_is_taken_for(tmp_path, case):
    text, columns = CONTENT[case]
    table = read_table(write(tmp_path / "a.csv", text)).astype(object)
    assert table.where(table.notna(), None).to_dict("list") == columns


def test_without_a_header(tmp_path):
    path = write(tmp_path / "iris.data", "5.1,setosa\n4.9,other\n")
    with pytest.raises(DataFileError, match=r"line 1: found 5.1, setosa; expected a header.*False"):
        read_table(path)
    table = read_table(path, header=False)
    assert table["x0"].tolist() == [5.1, 4.9]
    check_chunks(path, table, header=False)


@pytest.mark.parametrize("names", ["0,1,2", "label,0,1", "2019,2020,2021", "7,a,8"])
def test_numbers_that_count_are_a_header(tmp_path, names):
    assert list(read_table(write(tmp_path / "a.csv", names + "\n5,5,5\n"))) == names.split(",")


PACKED = zstd(b"a\n" + GENERATOR.integers(0, 256, 5000).astype("u1").tobytes().hex().encode())
WRONG = {
    "empty": (b"", ": empty; expected a table"),
    "blank": (b"\n\r\n\n", ": empty; expected a line of column names"),
    "mark only": (b"\xef\xbb\xbf", ": empty; expected a line"),
    "header only": (b"a,b\n", ": no rows after the line of column names"),
    "short": (b"a,b\n1,2\n\n3\n", ", line 4: 1 fields; expected 2"),
    "long": (b'a,b\n"1\n",2\n3,4,5\n', ", line 4: 3 fields; expected 2"),
    "blank field": (b"a,b\n1,2\n \n", ", line 3: 1 fields"),
    "no header": (b"5,3,1\n1,2,3\n", ", line 1: found 5, 3, 1; expected a header"),
    "twice": (b"\na,b, a\n1,2,3\n", ", line 2: two columns are called 'a'"),
    "not UTF-8": (b"a\nb\n\xe9t\xe9\n", ", line 3: the byte e9, which is not UTF-8"),
    "UTF-16": ("a,b\n".encode("utf-16"), ": UTF-16 text; expected UTF-8"),
    "NUL": (b"a,b\n1,\0\n", ", line 2: a NUL byte; expected text"),
    "open quote": (b'a,b\n1,2\n3,"4\n5,6\n', ", line 3: a quoted field is never closed"),
    "quote inside": (b'a,b\n1,2\n3,4" x "\n', ", line 3: a quote in the middle of a field"),
    "after a quote": (b'a,b\n"1"x,2\n', ", line 2: a quote in the middle of a field"),
    "space before": (b'a,b\n1, "2"\n', ", line 2: a quote in the middle of a field"),
    "carriage return": (b"a,b\r1,2\r3,4\r", ", line 1: a carriage return in the middle"),
    "gzip cut": (gzip.compress(b"a,b\n1,2\n" * 99)[:-6], ": a broken gzip file"),
    "zstd cut": (PACKED[:-3], ": a broken zstd file"),
    "zstd begun": (PACKED[:5], ": a broken zstd file"),
    "zstd damaged": (PACKED[:40] + b"\xff\xff\xff" + PACKED[43:], ": a broken zstd file"),
    "zip": (b"PK\x05\x06" + bytes(18), ": a zip file with nothing in it; expected an NPZ"),
    "columns": (b"," * 50_001 + b"\n", ": 50,002 columns; expected 50,000 or fewer"),
}


@pytest.mark.parametrize("block", [5, 1 << 22])
@pytest.mark.parametrize("case", WRONG)
def test_the_error_names_the_file_and_the_line(tmp_path, monkeypatch, case, block):
    content, message = WRONG[case]
    if len(content) > 1000:
        block = 1 << 22
    monkeypatch.setattr(csv_tables, "_BLOCK", block)
    path = write(tmp_path / "wrong.csv", content)
    for read in (read_table, lambda p: list(stream_table(p, 1))):
        with pytest.raises(DataFileError) as error:
            read(path)
        assert str(error.value).startswith(f"{path}{message}"), str(error.value)


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_bomb_is_refused_and_may_be_allowed(tmp_path, monkeypatch, pack):
    from xpnn.data import files

    monkeypatch.setattr(files, "FREE_BYTES", 1 << 16)
    path = write(tmp_path / "bomb.csv", pack(b"a,b\n" + b"1,2\n" * 200_000))
    with pytest.raises(
        DataFileError, match=r"unpack to more than .*over 20 times as many.*max_rat"
    ):
        read_table(path, max_ratio=20)
    assert len(read_table(path, max_ratio=1e6)) == 200_000


def test_a_bomb_takes_no_memory(tmp_path, monkeypatch):
    import tracemalloc

    import zstandard

    from xpnn.data import files

    monkeypatch.setattr(files, "FREE_BYTES", 1 << 24)
    path = tmp_path / "bomb.csv.zst"
    with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as packed:
        packed.write(b"a\n")
        for _ in range(128):
            packed.write((b"x" * 1023 + b"\n") * 1024)
    tracemalloc.start()
    try:
        with pytest.raises(DataFileError, match="over 200 times as many"):
            list(stream_table(path))
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_a_record_without_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_tables, "_BLOCK", 100)
    monkeypatch.setattr(csv_tables, "_LONGEST", 1000)
    for text in ("a,b\n1,2\n" + "x" * 3000, 'a,b\n1,2\n"' + "x\n" * 3000 + '",1\n'):
        path = write(tmp_path / "a.csv", text)
        with pytest.raises(DataFileError, match=r"a\.csv, line 3: .*record of more than 1,000 b"):
            read_table(path)


def test_wide_text_comes_in_shorter_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_tables, "_CELLS", 20)
    path = write(tmp_path / "a.csv", "a,b\n" + "1,2\n" * 25)
    assert [len(c) for c in stream_table(path, 1000)] == [10, 10, 5]


def test_wrong_calls(tmp_path):
    path = write(tmp_path / "a.csv", "a\n1\n")
    for rows in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match=r"rows is .*; expected a positive integer"):
            stream_table(path, rows)
    with pytest.raises(ValueError, match=r"labels is .*expected none beside a file that is no IDX"):
        read_table(path, labels=path)
    with pytest.raises(DataFileError, match="a folder; expected a file"):
        read_table(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "nowhere.csv")


def test_the_tutorials_digits(tmp_path):
    values = GENERATOR.integers(0, 256, (20, 785))
    values[:, 0] %= 10
    text = "\n".join(",".join(map(str, row)) for row in values.tolist())
    path = write(tmp_path / "digits.csv", text)
    table = read_table(path)
    assert table_format(path) == "digits"
    assert list(table)[:2] == ["label", "pixel0"]
    assert (table.to_numpy() == values).all()
    assert table.dtypes.astype(str).tolist() == ["int64"] + ["uint8"] * 784
    check_chunks(path, table)
    header = ",".join(map(str, range(785)))
    assert table_format(write(tmp_path / "h.csv", header + "\n" + text)) == "csv"


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-", "."])
def test_pictures_with_labels_beside_them(tmp_path, ending, mark):
    images = GENERATOR.integers(0, 256, (20, 3, 2)).astype("uint8")
    labels = GENERATOR.integers(0, 10, 20).astype("uint8")
    path = write_idx(tmp_path / f"t-images{mark}idx3-ubyte{ending}", images)
    alone = read_table(path)
    assert list(alone) == [f"pixel{i}" for i in range(6)]
    own = write_idx(tmp_path / f"t-labels{mark}idx1-ubyte", labels)
    table = read_table(path)
    assert table["label"].tolist() == labels.tolist()
    assert (table.to_numpy()[:, 1:] == images.reshape(20, 6)).all()
    check_chunks(path, table)
    other = own.rename(tmp_path / "other")
    assert list(read_table(path)) == list(alone)
    check_chunks(path, read_table(path, labels=other), labels=other)


def test_pictures_packed_with_zstd(tmp_path):
    images = GENERATOR.integers(0, 256, (20, 3, 2)).astype("uint8")
    content = write_idx(tmp_path / "plain", images).read_bytes()
    path = write(tmp_path / "a-images-idx3-ubyte.zst", zstd(content))
    assert table_format(path) == "idx"
    assert (read_table(path).to_numpy() == images.reshape(20, 6)).all()
    for cut in (zstd(content)[:-9], zstd(content[:-1]), zstd(content + b"1")):
        with pytest.raises(DataFileError, match=r"a broken zstd file|cut off|too long"):
            read_table(write(path, cut))


@pytest.mark.parametrize("missing", ["pandas", "pyarrow"])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, missing):
    path = write(tmp_path / "a.csv", zstd(b"a\n1\n"))
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf'this needs {missing}, .*pip install "xpnn\[tables\]"'):
        read_table(path)


@pytest.mark.parametrize("count", [13, 14, 20, 22, 28])
def test_more_or_fewer_labels_than_pictures(tmp_path, count):
    path = write_idx(tmp_path / "a-images-idx3-ubyte", np.zeros((21, 2, 2), "uint8"))
    write_idx(tmp_path / "a-labels-idx1-ubyte", np.zeros(count, "uint8"))
    for read in (read_table, lambda p: list(stream_table(p, 7))):
        with pytest.raises(DataFileError, match="labels"):
            read(path)


@pytest.mark.parametrize("block", [8, 1 << 20])
def test_the_line_of_a_row(tmp_path, monkeypatch, block):
    monkeypatch.setattr("xpnn.data.csv_tables._BLOCK", block)
    path = tmp_path / "t.csv"
    path.write_text('\nname,"two\nlines"\r\na,1\n\n"b\n\nb",2\r\n\r\nc,3')
    assert read_table(path)["name"].tolist() == ["a", "b\n\nb", "c"]
    assert [line_of_row(path, row) for row in range(4)] == [4, 6, 10, None]
    assert line_of_row(path, 1, header=False) == 4
    np.save(tmp_path / "t.npy", np.zeros((2, 2)))
    assert line_of_row(tmp_path / "t.npy", 1) is None
