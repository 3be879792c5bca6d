"""Reading table files: what columns of text are taken for, formats, folders, and wrong input."""

import bz2
import gzip
import lzma
import re
import struct
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pandas = pytest.importorskip("pandas", reason="tables need the extra 'tables'")
pa = pytest.importorskip("pyarrow", reason="tables need the extra 'tables'")

from xpnn.backends import InputError  # noqa: E402
from xpnn.data.files import DataFileError  # noqa: E402
from xpnn.data.idx import write_idx  # noqa: E402
from xpnn.tabular.reading import open_table, read_table  # noqa: E402
from xpnn.tabular.text_types import (  # noqa: E402
    ReadOptions,
    TextType,
    convert_text,
    decide_type,
)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def column(path, cells, **options):
    """What a column of these cells is read as, once its chunks say the same."""
    text = "c,other\n" + "".join(f"{quoted(cell)},x\n" for cell in cells)
    return both_ways(write(path / "a.csv", text), rows=2, **options)["c"]


def quoted(cell):
    return '"{}"'.format(cell.replace('"', '""'))


def both_ways(path, rows=7, **options):
    """A table that comes whole as it comes in chunks."""
    options = ReadOptions(**options)
    whole = open_table(path, options).read()
    check_chunks(list(open_table(path, options).chunks(rows)), whole, rows)
    return whole


def check_chunks(chunks, whole, rows):
    assert [len(chunk) for chunk in chunks[:-1]] == [rows] * (len(chunks) - 1)
    assert all((chunk.dtypes == whole.dtypes).all() for chunk in chunks)
    pandas.testing.assert_frame_equal(pandas.concat(chunks), whole)


def plain(series):
    """Its cells as Python's own values, None where they are missing."""
    values = series.astype(object)
    return values.where(series.notna(), None).tolist()


def noted(read, *patterns):
    """What it gives; it warns so often, and these patterns match the warnings."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = read()
    said = [str(warning.message) for warning in found]
    assert len(said) == len(patterns), said
    for pattern, text in zip(patterns, said, strict=True):
        assert "\n" not in text
        assert re.search(pattern, text), text
    return result


# What a column of text is

DAY = pandas.Timestamp("2020-01-05")
MINUTE = pandas.Timedelta(minutes=1)
TAKEN = {
    "whole": (["1", "-2", "+3"], "int64", [1, -2, 3]),
    "whole with a gap": (["1", "", "3"], "Int64", [1, None, 3]),
    "beyond float64": (["9007199254740993", ""], "Int64", [9007199254740993, None]),
    "uint64": (["18446744073709551615", "1"], "uint64", [2**64 - 1, 1]),
    "uint64 with a gap": (["18446744073709551615", ""], "UInt64", [2**64 - 1, None]),
    "smallest": (["-9223372036854775808", "1"], "int64", [-(2**63), 1]),
    "neither int64 nor uint64": (["18446744073709551615", "-1"], "str", None),
    "beyond 64 bits": (["18446744073709551616", "1"], "str", None),
    "beyond 64 bits among decimals": (["18446744073709551616", "1.5"], "str", None),
    "leading zeros": (["1", "2", "007"], "str", None),
    "leading zeros among decimals": (["1.5", "007"], "str", None),
    "phone numbers": (["+4930123456", "+4912345678"], "str", None),
    "hexadecimal": (["0x1F", "7"], "str", None),
    "underscores": (["1_000", "7"], "str", None),
    "decimals": (["1.5", ".5", "2."], "float64", [1.5, 0.5, 2.0]),
    "exponents": (["1e3", "-2.5E-1"], "float64", [1000.0, -0.25]),
    "infinite": (["inf", "-Infinity"], "float64", [np.inf, -np.inf]),
    "zero": (["00.00", "1.5"], "float64", [0.0, 1.5]),
    "money": (["$5.50", "-€3", "7 £", "¥ 8"], "float64", [5.5, -3.0, 7.0, 8.0]),
    "percent": (["5%", "7 %"], "int64", [5, 7]),
    "truth": (["true", "FALSE", "True"], "bool", [True, False, True]),
    "truth with a gap": (["true", ""], "boolean", [True, None]),
    "zero and one": (["0", "1"], "int64", [0, 1]),
    "yes and no": (["yes", "no"], "str", None),
    "truth and else": (["true", "yes"], "str", None),
    "words": (["none", "NA", "?"], "str", None),
    "only words": (["NA", "-"], "str", None),
    "nothing": (["", ""], "str", [None, None]),
    "spaces": ([" 1 ", "2"], "int64", [1, 2]),
    "space around words": ([" x y ", "z "], "str", ["x y", "z"]),
    "address": (["10.0.0.1", "10.0.0.2"], "str", None),
    "composed": (["cafe\u0301"], "str", ["caf\u00e9"]),
    "quotes": (['a "quoted", one', "two\nlines"], "str", None),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_a_column_is_taken_for(tmp_path, case):
    cells, dtype, values = TAKEN[case]
    found = column(tmp_path, cells)
    assert str(found.dtype) == dtype
    assert plain(found) == (cells if values is None else values)


DAYS = (
    "2020-01-05", "2020-1-5", "2020/01/05", "05.01.2020", "05.01.20", "05-Jan-2020",
    "5 January 2020", "5 Jan 2020", "Jan 5, 2020", "January 5, 2020",
)  # fmt: skip
CLOCKS = {
    "": 0, " 10:30": 630, " 10:30:00": 630, " 10:30 PM": 1350, " 1:30:00 am": 90,
}  # fmt: skip


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("day", DAYS)
def test_dates(tmp_path, day, clock):
    found = column(tmp_path, [day + clock, ""])
    assert found.dtype == "datetime64[us]"
    assert plain(found) == [DAY + CLOCKS[clock] * MINUTE, None]


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize(("year", "mark"), [("2020", "/"), ("20", "/"), ("2020", "-")])
def test_a_day_above_12_tells_its_place(tmp_path, year, mark, clock):
    for cells in (("01/31/Y", "02/05/Y"), ("31/01/Y", "05/02/Y")):
        cells = [cell.replace("/", mark).replace("Y", year) + clock for cell in cells]
        found = column(tmp_path, cells) - CLOCKS[clock] * MINUTE
        assert plain(found) == [pandas.Timestamp("2020-01-31"), pandas.Timestamp("2020-02-05")]


ISO = {
    "2020-01-05T10:30:00.25": "2020-01-05 10:30:00.25",
    "2020-01-05 10:30:00,250": "2020-01-05 10:30:00.25",
    "2020-01-05T10:30:00.123456789": "2020-01-05 10:30:00.123456",
    "2020-01-05T10:30Z": "2020-01-05 10:30",
    "2020-01-05T10:30:00+02:00": "2020-01-05 08:30",
    "2020-01-05 10:30:00 -0530": "2020-01-05 16:00",
    "9999-12-31": "9999-12-31",
    "0001-01-01": "0001-01-01",
}


def test_iso_dates_with_all_that_belongs_to_them(tmp_path):
    found = column(tmp_path, list(ISO))
    assert found.dtype == "datetime64[us]"
    assert plain(found) == [pandas.Timestamp(text) for text in ISO.values()]


TIMES = {
    "minutes": (["10:30", "9:05"], [630, 545]),
    "seconds": (["10:30:30", "00:00:00"], [630.5, 0]),
    "halves of a day": (["10:00 PM", "12:30 am"], [1320, 30]),
}


@pytest.mark.parametrize("case", TIMES)
def test_times_of_day(tmp_path, case):
    cells, minutes = TIMES[case]
    found = column(tmp_path, [*cells, ""])
    assert found.dtype == "timedelta64[us]"
    assert plain(found) == [*(MINUTE * count for count in minutes), None]


def test_a_length_of_time_is_none(tmp_path):
    assert column(tmp_path, ["36:15", "25:00"]).dtype == "str"


AMBIGUOUS = ["01/02/2020", "03/04/2020"]


def test_ambiguous_dates_stay_text_until_an_option_tells(tmp_path):
    path = write(tmp_path / "a.csv", "c\n" + "\n".join(AMBIGUOUS))
    found = noted(lambda: read_table(path), r"a\.csv, column 'c'.*day_first.*date_format")
    assert found["c"].tolist() == AMBIGUOUS
    for options, month in (
        ({"day_first": True}, 2),
        ({"day_first": False}, 1),
        ({"date_format": "%d/%m/%Y"}, 2),
    ):
        assert column(tmp_path, AMBIGUOUS, **options)[0].month == month
    # Where a day tells, it is heard, not the option.
    assert column(tmp_path, ["01/31/2020", "01/02/2020"], day_first=True)[1].month == 1


def test_a_date_format_is_for_the_columns_that_match_it(tmp_path):
    path = write(tmp_path / "a.csv", "d,n,t\n20200105,7,x\n20201231,20200199,y\n")
    found = both_ways(path, date_format="%Y%m%d")
    assert [str(dtype) for dtype in found.dtypes] == ["datetime64[us]", "int64", "str"]
    with pytest.raises(InputError, match=r"date_format is '%Q'"):
        column(tmp_path, ["1"], date_format="%Q")


@pytest.mark.parametrize("good", ["5", "1.5", "2020-01-05", "10:30"])
def test_few_cells_may_be_something_else(tmp_path, good):
    """Up to one in twenty is missing and counted; with more, the column is text."""
    path = write(tmp_path / "a.csv", "c\n" + f"{good}\n" * 19 + "unknown\n")
    says = r"column 'c': 1 cells are no \w+ and are missing; the first is 'unknown' \(line 21\)"
    found = noted(lambda: read_table(path), says)["c"]
    assert found.isna().tolist() == [False] * 19 + [True]
    chunks = noted(lambda: list(open_table(path).chunks(3)), says)
    check_chunks(chunks, found.to_frame(), 3)
    assert column(tmp_path, [good] * 18 + ["unknown"]).dtype == "str"


@pytest.mark.parametrize("odd", ["0000-00-00", "2020-02-31", "2020-13-01"])
def test_dates_that_are_none_are_odd_cells(tmp_path, odd):
    path = write(tmp_path / "a.csv", "c\n" + "2020-01-05\n" * 30 + odd + "\n")
    found = noted(lambda: read_table(path), f"1 cells .* '{odd}' .line 32.")
    assert found["c"].isna().sum() == 1


@pytest.mark.parametrize("good", ["5", "1.5", "2020-01-05", "10:30", "true"])
def test_words_for_missing_are_missing_where_else_is_no_text(tmp_path, good):
    words = ["NA", "N/A", "null", "None", "nan", "#N/A", "-", "?", ".", "--"]
    path = write(tmp_path / "a.csv", "c\n" + "\n".join([good, *words]))
    found = noted(lambda: read_table(path), "column 'c': 10 cells with a word or mark for missing")
    assert found["c"].isna().tolist() == [False] + [True] * 10
    assert column(tmp_path, ["x", *words]).tolist() == ["x", *words]


def test_values_that_are_named_are_missing_everywhere(tmp_path):
    path = write(tmp_path / "a.csv", "a,b\n-999,x\n5,none\n7,-999\n")
    found = both_ways(path, na_values=("-999", "none"))
    assert plain(found["a"]) == [None, 5, 7]
    assert plain(found["b"]) == ["x", None, None]


NUMBERS = {
    "decimal comma": (["1,5", "2"], {"decimal": ","}, [1.5, 2.0], r"'1,5'.*decimal=','$"),
    "thousands": (["1,234,567", "8"], {"thousands": ","}, [1234567, 8], "thousands=','"),
    "currency": (["$1,234.50", "$2.00"], {"thousands": ","}, [1234.5, 2.0], "thousands=','"),
    "either": (["1,234", "8"], {"decimal": ","}, [1.234, 8], "decimal=',' or thousands=','"),
    "both": (
        ["1.234,5", "8"], {"decimal": ",", "thousands": "."}, [1234.5, 8],
        r"decimal=',', thousands='\.'",
    ),
    "space": (["1 234", "8"], {"thousands": " "}, [1234, 8], "thousands=' '"),
    "narrow space": (["1\u202f234", "8"], {"thousands": " "}, [1234, 8], "thousands=' '"),
    "apostrophe": (["1'234.5", "8"], {"thousands": "'"}, [1234.5, 8], "thousands="),
}  # fmt: skip


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_that_need_an_option_stay_text_and_it_is_named(tmp_path, case):
    cells, options, values, says = NUMBERS[case]
    path = write(tmp_path / "a.tsv", "c\td\n" + "".join(f"{cell}\tx\n" for cell in cells))
    found = noted(lambda: read_table(path), f"a.tsv, column 'c': .*{says}")
    assert found["c"].tolist() == cells
    assert both_ways(path, **options)["c"].tolist() == values


def test_groups_of_digits_have_three(tmp_path):
    assert column(tmp_path, ["1,2", "12,34"], thousands=",", dtype={"c": "text"}).dtype == "str"
    path = write(tmp_path / "b.csv", 'c\n"1,2"\n"12,34"\n')
    assert noted(lambda: read_table(path, thousands=","), "decimal=','")["c"].dtype == "str"


ASKED = {
    "text": (["1", "2"], "text", "str", ["1", "2"]),
    "codes as numbers": (["007", "8"], "integer", "int64", [7, 8]),
    "number": (["1", "2"], "number", "float64", [1.0, 2.0]),
    "few words": (["true", "NA"], "boolean", "boolean", [True, None]),
    "date": (["05.01.2020", "NA"], "datetime", "datetime64[us]", [DAY, None]),
    "time": (["10:30", ""], "time", "timedelta64[us]", [630 * MINUTE, None]),
    "half are dates": (["05.01.2020", ""], "datetime", "datetime64[us]", [DAY, None]),
}


@pytest.mark.filterwarnings("ignore:.*for missing")
@pytest.mark.parametrize("case", ASKED)
def test_the_user_says_what_a_column_is(tmp_path, case):
    cells, kind, dtype, values = ASKED[case]
    found = column(tmp_path, cells, dtype={"c": kind})
    assert str(found.dtype) == dtype
    assert plain(found) == values


def test_cells_that_are_not_what_the_user_says_are_missing(tmp_path):
    path = write(tmp_path / "a.csv", "c\n1\nx\ny\n2\n")
    found = noted(lambda: read_table(path, dtype={"c": "number"}), "2 cells are no numbers")
    assert plain(found["c"]) == [1.0, None, None, 2.0]


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (["hm", "x"], {"dtype": {"c": "datetime"}}, r"a.csv: dtype\['c'\].*no cell.*'hm'"),
        (["1", "2"], {"dtype": {"c": "boolean"}}, r"dtype\['c'\] is 'boolean'.*first is '1'"),
        (AMBIGUOUS, {"dtype": {"c": "datetime"}}, r"dtype\['c'\].*day_first.*date_format"),
        (["1"], {"dtype": {"c": "float"}}, r"dtype\['c'\] is 'float'; expected one of text"),
        (["1"], {"dtype": {"d": "text"}}, r"dtype names 'd'; .*a.csv has the columns c, other"),
        (["1"], {"usecols": ("d",)}, r"usecols names 'd'; .*has the columns c, other"),
        (["1"], {"usecols": ()}, "usecols is empty"),
        (["1"], {"usecols": "c"}, "usecols is 'c'"),
        (["1"], {"encoding": "utf-99"}, "encoding is 'utf-99'"),
        (["1"], {"sep": "||"}, r"sep is '\|\|'; expected one ASCII character"),
        (["1"], {"decimal": "x"}, "decimal is 'x'"),
        (["1"], {"decimal": ",", "thousands": ","}, "decimal and thousands are both ','"),
        (["1"], {"labels": "a.idx"}, "labels is 'a.idx'; expected none"),
    ],
)
def test_options_that_do_not_fit(tmp_path, cells, options, message):
    with pytest.raises(InputError, match=message):
        column(tmp_path, cells, **options)


CELLS = st.sampled_from(
    ["", "1", "-2", "+3", "007", "2.5", "1e3", "NA", "-", "x", "true", "False", "2020-01-05",
     "2020-01-05T10:30:00Z", "05.01.2020", "01/02/2020", "13/02/2020", "02/13/2020", "10:30",
     "1,5", "1,234", "18446744073709551615", "99999999999999999999", "+4930123456", "0x1F", "é"]
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(
    cells=st.one_of(
        st.lists(CELLS, min_size=1, max_size=30),
        st.tuples(CELLS, CELLS, st.integers(1, 45)).map(lambda c: [c[0]] * c[2] + [c[1]]),
        st.tuples(CELLS, CELLS, st.integers(1, 45)).map(lambda c: [c[1]] + [c[0]] * c[2]),
    ),
    rows=st.integers(1, 8),
)
def test_chunks_are_the_whole(tmp_path, cells, rows):
    path = write(tmp_path / "a.csv", "c,d\n" + "".join(f"{quoted(cell)},y\n" for cell in cells))
    both_ways(path, rows)


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(cells=st.lists(CELLS, min_size=1, max_size=30), cut=st.integers(1, 29))
def test_a_decision_does_not_depend_on_the_order(cells, cut):
    def decided(cells):
        return decide_type(pandas.Series(cells, dtype="str", name="c"), ReadOptions())

    assert decided(cells) == decided(cells[cut:] + cells[:cut])


def test_series_keep_their_index_and_name():
    text = pandas.Series(["1,5", "x", None, "NA"], index=[5, 3, 1, 0], name="c", dtype="str")
    values, strange = convert_text(text, TextType("number", decimal=","))
    assert values.name == "c"
    assert values.index.tolist() == [5, 3, 1, 0]
    assert plain(values) == [1.5, None, None, None]
    assert strange.tolist() == [False, True, False, False]
    with pytest.warns(UserWarning, match="column 'c': .*decimal=','"):
        assert decide_type(text[:1], ReadOptions()) == TextType("text")


def test_types_that_are_given_are_not_decided_anew(tmp_path):
    """As a model reads rows to predict: in the types that it knows."""
    path = write(tmp_path / "a.csv", "a,b,d,t\n1,2,05.01.2020,3\n2,x,hm,4\n")
    types = {
        "a": TextType("integer"), "b": TextType("integer"),
        "d": TextType("datetime", "%d.%m.%Y"), "gone": TextType("number"),
    }  # fmt: skip
    says = [r"column 'b': 1 cells .*'x' \(line 3\)", r"column 'd': 1 cells .*'hm' \(line 3\)"]
    whole = noted(lambda: open_table(path).read(types), *says)
    assert [plain(whole[name]) for name in "abdt"] == [[1, 2], [2, None], [DAY, None], ["3", "4"]]
    chunks = noted(lambda: list(open_table(path).chunks(1, types)), *says)
    assert {str(chunk["a"].dtype) for chunk in chunks} == {"Int64"}
    assert plain(pandas.concat(chunks)["b"]) == [2, None]


def test_types_are_known_before_the_rows(tmp_path):
    file = open_table(write(tmp_path / "a.csv", "a,b\n1,x\n"))
    assert file.columns == ("a", "b")
    assert dict(file.types) == {"a": TextType("integer"), "b": TextType("text")}


# Separated text

ROWS = 'a,b\n1,"x, y"\n2,"two\nlines"\n3,\n'
TEXTS = {
    "plain": ROWS.encode(),
    "no last newline": ROWS.rstrip("\n").encode(),
    "Windows": ROWS.replace("\n", "\r\n").replace("two\r\n", "two\n").encode(),
    "old Mac": ROWS.replace("\n", "\r").replace("two\r", "two\n").encode(),
    "blank lines": ("\n\r\n" + ROWS + "\n\n").encode(),
    "mark": b"\xef\xbb\xbf" + ROWS.encode(),
    "UTF-16": ROWS.encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + ROWS.encode("utf-16-be"),
    "gzip": gzip.compress(ROWS.encode()),
    "bz2": bz2.compress(ROWS.encode()),
    "xz": lzma.compress(ROWS.encode()),
    "zstd": pa.compress(ROWS.encode(), "zstd", asbytes=True),
    "tabs": ROWS.replace(",", "\t").replace("x\t", "x,").encode(),
    "semicolons": ROWS.replace(",", ";").replace("x;", "x,").encode(),
    "bars": ROWS.replace(",", "|").replace("x|", "x,").encode(),
    "says so": b"sep=;\n" + ROWS.replace(",", ";").replace("x;", "x,").encode(),
    "a space in names": ROWS.replace("a,b", " a , b").encode(),
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_is_read(tmp_path, case):
    table = both_ways(write(tmp_path / "a.strange", TEXTS[case]), rows=2)
    assert list(table) == ["a", "b"]
    assert table["a"].tolist() == [1, 2, 3]
    assert plain(table["b"]) == ["x, y", "two\nlines", None]


def test_lines_of_rows(tmp_path):
    file = open_table(write(tmp_path / "a.csv", '\nsep\n\n1\n\r\n"2\n3"\n4\n'))
    assert [file.line_of(row) for row in range(4)] == [4, 6, 8, None]
    assert file.line_of(-1) is None


def test_an_encoding_that_is_named(tmp_path):
    path = write(tmp_path / "a.csv", "Größe,b\n1,ä\n".encode("cp1252"))
    with pytest.raises(DataFileError, match=r"line 1: the byte f6 is not UTF-8.*encoding='cp1252'"):
        read_table(path)
    table = both_ways(path, encoding="cp1252")
    assert list(table) == ["Größe", "b"]
    assert table["b"].tolist() == ["ä"]


def test_names_are_composed_letters(tmp_path):
    assert open_table(write(tmp_path / "a.csv", "cafe\u0301,b\n1,2\n")).columns == ("café", "b")


def test_quotes_within_fields_are_letters(tmp_path):
    table = both_ways(write(tmp_path / "a.csv", 'a,b\n5" pipe,x"y"\n"6"" pipe",z\n'))
    assert table.to_numpy().tolist() == [['5" pipe', 'x"y"'], ['6" pipe', "z"]]


def test_decimal_commas_between_semicolons(tmp_path):
    path = write(tmp_path / "a.csv", "1,5;2,5;3,5\n4,5;5,5;6,5\n")
    table = both_ways(path, header=False, decimal=",")
    assert table.to_numpy().tolist() == [[1.5, 2.5, 3.5], [4.5, 5.5, 6.5]]
    assert list(read_table(path, header=False, decimal=",", sep=";")) == ["x0", "x1", "x2"]


def test_the_first_line(tmp_path):
    path = write(tmp_path / "a.csv", "1990,1995\n1,2\n")
    with pytest.warns(UserWarning, match=r"line 1: the column names are numbers.*header=False"):
        assert list(read_table(path)) == ["1990", "1995"]
    table = both_ways(path, header=False)
    assert table.to_dict("list") == {"x0": [1990, 1], "x1": [1995, 2]}
    index = write(tmp_path / "b.csv", ",a\n0,5\n")
    assert list(read_table(index)) == ["Unnamed: 0", "a"]


def test_some_columns(tmp_path):
    table = both_ways(write(tmp_path / "a.csv", "a,b,c\n1,x,2\n3,y,4\n"), usecols=("c", "a"))
    assert table.to_dict("list") == {"a": [1, 3], "c": [2, 4]}


def test_chunks_may_be_left_early(tmp_path):
    path = write(tmp_path / "a.csv", "a\n" + "1\n" * 2_000_000)
    first = next(open_table(path).chunks(10, {}))
    assert len(first) == 10


@pytest.mark.parametrize("rows", [0, -1, 1.5, True])
def test_rows_of_a_chunk(tmp_path, rows):
    with pytest.raises(InputError, match="rows is"):
        open_table(write(tmp_path / "a.csv", "a\n1\n")).chunks(rows)


WRONG = {
    "empty": (b"", "a.csv: empty"),
    "blank": (b"\n\n", "a.csv: empty"),
    "names only": (b"a,b\n", "a.csv: no rows"),
    "short": (b"a,b\n1,2\n\n3\n", "line 4: 1 fields; expected 2"),
    "long": (b'a,b\n"1\n",2\n3,4,5\n', "line 4: 3 fields; expected 2"),
    "long, lone returns": (b"a,b\r1,2\r3,4,5\r", "line 3: 3 fields; expected 2"),
    "never closed": (b'a,b\n1,2\n3,"x\n4,5\n', "line 3: a quoted field is never closed"),
    "never closed at the end": (b'a,b\n1,2\n3,"', "line 3: a quoted field is never closed"),
    "never closed names": (b'a,"b\n1,2\n', "line 1: a quoted field is never closed"),
    "NUL": (b"a,b\n1,2\n3,\0\n", "line 3: a NUL byte"),
    "no text": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 1: the byte 89|line 3: a NUL byte"),
    "not UTF-8": (b"a,b\n1,2\n3,\xe9\n", "line 3: the byte e9 is not UTF-8"),
    "not UTF-16": ("a,b\n1,2\n".encode("utf-16")[:-1], "line 2: .*not UTF-16"),
    "twice": (b"a,b,a\n1,2,3\n", "line 1: two columns are called 'a'"),
    "no name": (b"\na,,c\n1,2,3\n", "line 2: column 2 has no name"),
    "cut gzip": (gzip.compress(ROWS.encode())[:-9], "a.csv: a broken gzip"),
    "cut bz2": (bz2.compress(ROWS.encode())[:-9], "a.csv: a broken packed file"),
    "cut xz": (lzma.compress(ROWS.encode())[:-9], "a.csv: a broken packed file"),
    "packed array": (gzip.compress(b"\x93NUMPY" + bytes(20)), "a.csv: a packed npy file; unpack"),
    "cut array": (b"\x93NUMPY\1\0", "a.csv: a damaged NPY"),
    "cut zip": (b"PK\3\4", "a.csv: a damaged NPZ"),
    "cut Parquet": (b"PAR1", "a.csv: a damaged Parquet file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_named(tmp_path, case):
    content, message = WRONG[case]
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(DataFileError, match=message):
        read_table(path)
    with pytest.raises(DataFileError, match=message):
        list(open_table(path).chunks(2, {}))


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_table(tmp_path / "a.csv")


# Arrays


def test_an_array_is_a_table(tmp_path):
    values = np.arange(12.0).reshape(4, 3)
    for array in (values, np.asfortranarray(values), values.astype(">f4"), values > 5):
        np.save(tmp_path / "a.npy", array)
        table = both_ways(tmp_path / "a.npy", rows=3)
        assert list(table) == ["x0", "x1", "x2"]
        np.testing.assert_array_equal(table.to_numpy(), array)
    assert dict(open_table(tmp_path / "a.npy").types) == {}
    assert open_table(tmp_path / "a.npy").line_of(0) is None


def test_arrays_with_names(tmp_path):
    x = np.arange(6, dtype=np.uint8).reshape(3, 2)
    np.savez(tmp_path / "a.npz", X=x, y=np.arange(3), place=np.array(["a", "b", "é"]))
    table = both_ways(tmp_path / "a.npz", rows=2)
    assert list(table) == ["x0", "x1", "y", "place"]
    assert [str(dtype) for dtype in table.dtypes] == ["uint8", "uint8", "int64", "str"]
    np.savez_compressed(tmp_path / "b.npz", some=x)
    assert list(both_ways(tmp_path / "b.npz", rows=2)) == ["x0", "x1"]
    np.savez(tmp_path / "c.npz", a=np.arange(3), b=np.arange(3) / 2)
    assert both_ways(tmp_path / "c.npz")["b"].tolist() == [0.0, 0.5, 1.0]


X = np.zeros((3, 2))
ARRAYS = {
    "too short": ({"X": X, "y": np.zeros(2)}, r"the array 'y' has shape \(2,\)"),
    "wide": ({"X": X, "y": np.zeros(3), "w": X}, r"the array 'w' has shape \(3, 2\)"),
    "lengths": ({"a": np.zeros(3), "b": np.zeros(2)}, r"the array 'b' has shape \(2,\)"),
    "number": ({"a": np.float64(3)}, r"the array 'a' has shape \(\)"),
    "no rows": ({"X": X[:0]}, "no rows"),
    "objects": ({"X": np.array([{}, 1], object)}, "no pickles"),
    "complex": ({"X": X * 1j}, "x holds complex128; expected numbers"),
    "same names": ({"X": X, "x0": np.zeros(3)}, "two columns are called 'x0'"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_are_no_table(tmp_path, case):
    arrays, message = ARRAYS[case]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataFileError, match=message):
        read_table(tmp_path / "a.npz")


def test_other_zip_files_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<a/>")
    with pytest.raises(DataFileError, match=r"a zip file with .*expected an NPZ file.*CSV"):
        read_table(tmp_path / "a.xlsx")


def test_pictures_with_the_labels_beside_them(tmp_path):
    pictures = np.arange(60, dtype=np.uint8).reshape(5, 3, 4)
    labels = np.arange(5, dtype=np.uint8)
    path = write_idx(tmp_path / "train-images-idx3-ubyte", pictures)
    assert list(both_ways(path, rows=2)) == [f"p{i}" for i in range(12)]
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    table = both_ways(path, rows=2)
    assert table["label"].tolist() == [0, 1, 2, 3, 4]
    assert table["p0"].dtype == np.uint8
    np.testing.assert_array_equal(table.iloc[:, 1:], pictures.reshape(5, 12))
    other = write_idx(tmp_path / "other", labels + 5)
    assert read_table(path, labels=other)["label"].tolist() == [5, 6, 7, 8, 9]
    for wrong in (labels[:4], np.arange(6, dtype=np.uint8), pictures):
        with pytest.raises(DataFileError, match="labels"):
            read_table(path, labels=write_idx(tmp_path / "wrong", wrong))


def test_the_digits_of_the_tutorial(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (5, 785))
    values[:, 0] = [5, 0, 4, 1, 9]
    text = "\n".join(",".join(map(str, row)) for row in values)
    table = both_ways(write(tmp_path / "digits.csv", text), rows=2)
    assert list(table)[:2] == ["label", "p0"]
    assert list(table)[-1] == "p783"
    assert table["label"].tolist() == [5, 0, 4, 1, 9]
    np.testing.assert_array_equal(table.to_numpy(), values)


def test_damaged_pictures(tmp_path):
    path = write(tmp_path / "a.idx", struct.pack(">BBBBI", 0, 0, 8, 1, 5) + bytes(4))
    with pytest.raises(DataFileError, match=r"a\.idx: cut off"):
        read_table(path)


# Parquet


def parquet(path, **columns):
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.table(columns), path, row_group_size=3)
    return path


STAMP = pandas.Timestamp("2020-01-05 10:30")
STORED = {
    "int64": ([1, 2**60, 3], pa.int64(), "int64", None),
    "int64 with a gap": ([1, None, 2**60 + 1], pa.int64(), "Int64", None),
    "uint8 with a gap": ([1, None], pa.uint8(), "UInt8", None),
    "uint64": ([2**64 - 1], pa.uint64(), "uint64", None),
    "bool": ([True, False], pa.bool_(), "bool", None),
    "bool with a gap": ([True, None], pa.bool_(), "boolean", None),
    "float with a gap": ([1.5, None], pa.float64(), "float64", None),
    "text": (["a", None], pa.large_string(), "str", None),
    "bytes of text": ([b"a", None], pa.binary(), "str", ["a", None]),
    "nothing": ([None, None], pa.null(), "str", None),
    "dictionary": (["a", "b", None], pa.dictionary(pa.int8(), pa.string()), "str", None),
    "date32": ([DAY.date(), None], pa.date32(), "datetime64[us]", [DAY, None]),
    "seconds": ([STAMP, None], pa.timestamp("s"), "datetime64[us]", None),
    "milliseconds": ([STAMP, None], pa.timestamp("ms"), "datetime64[us]", None),
    "microseconds": ([STAMP, None], pa.timestamp("us"), "datetime64[us]", None),
    "nanoseconds": ([STAMP, None], pa.timestamp("ns"), "datetime64[ns]", None),
    "year 9999": ([pandas.Timestamp("9999-12-31")], pa.timestamp("s"), "datetime64[us]", None),
    "zone": (
        [STAMP.tz_localize("Europe/Berlin")], pa.timestamp("us", "Europe/Berlin"),
        "datetime64[us]", [STAMP - 60 * MINUTE],
    ),
    "time": ([None, STAMP.time()], pa.time32("s"), "timedelta64[us]", [None, 630 * MINUTE]),
    "decimal": ([1, None], pa.decimal128(10, 2), "float64", [1.0, None]),
    "whole decimal": ([1, None], pa.decimal128(18, 0), "Int64", [1, None]),
}  # fmt: skip


@pytest.mark.parametrize("case", STORED)
def test_types_of_parquet(tmp_path, case):
    cells, type_, dtype, values = STORED[case]
    path = parquet(tmp_path / "a.parquet", c=pa.array(cells * 5, type_))
    found = both_ways(path, rows=4)["c"]
    assert str(found.dtype) == dtype
    assert plain(found) == (values or cells) * 5


def test_nested_columns_are_left_out_or_refused(tmp_path):
    path = parquet(tmp_path / "a.parquet", a=[1, 2], b=[[1], [2]], c=[{"d": 1}, {"d": 2}])
    for name in "bc":
        with pytest.raises(InputError, match=rf"a.parquet, column '{name}'.*usecols"):
            read_table(path, usecols=("a", name))
    assert both_ways(path, usecols=("a",))["a"].tolist() == [1, 2]


def test_an_index_of_pandas_is_no_column(tmp_path):
    table = pandas.DataFrame({"a": [1, 2]}, index=[5, 7])
    table.to_parquet(tmp_path / "a.parquet")
    assert list(read_table(tmp_path / "a.parquet")) == ["a"]
    table.rename_axis("key").to_parquet(tmp_path / "a.parquet")
    assert list(read_table(tmp_path / "a.parquet")) == ["a", "key"]


def test_damaged_parquet(tmp_path):
    path = parquet(tmp_path / "a.parquet", c=list(range(1000)))
    content = path.read_bytes()
    for wrong in (content[:-20], content[:4] + bytes(60) + content[64:]):
        with pytest.raises(DataFileError, match=r"a\.parquet"):
            read_table(write(path, wrong))


# Folders


def test_a_folder_is_one_table(tmp_path):
    write(tmp_path / "b" / "c.TSV", "y\tx\n2.5\t3\n")
    write(tmp_path / "a.csv", "x,y\n1,7\n2,8\n")
    write(tmp_path / "d.csv.gz", gzip.compress(b"x,y\nbad,9\n" + b"4,5\n" * 30))
    write(tmp_path / "notes.md", "a note")
    write(tmp_path / "_SUCCESS", "")
    skips = "skipped 2 files that are no tables: _SUCCESS, notes.md"
    says = (skips, r"column 'x': 1 cells .*'bad' \(.*d.csv.gz, line 2\)")
    whole = noted(lambda: open_table(tmp_path).read(), *says)
    assert whole["x"].tolist()[:3] == [1, 2, 3]
    assert whole["y"].tolist()[:4] == [7.0, 8.0, 2.5, 9.0]
    assert [str(dtype) for dtype in whole.dtypes] == ["Int64", "float64"]
    check_chunks(noted(lambda: list(open_table(tmp_path).chunks(2)), *says), whole, 2)
    file = noted(lambda: open_table(tmp_path), skips)
    assert [file.line_of(row) for row in range(4)] == [2, 3, 2, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [("x,z\n1,2\n", r"b.csv: no column 'y'; expected the columns of .*a.csv: x, y"),
     ("x,y,z\n1,2,3\n", "b.csv: an unknown column 'z'")],
)  # fmt: skip
def test_a_folder_of_other_columns(tmp_path, text, message):
    write(tmp_path / "a.csv", "x,y\n1,7\n")
    write(tmp_path / "b.csv", text)
    with pytest.raises(DataFileError, match=message):
        open_table(tmp_path)


def test_a_folder_of_parquet(tmp_path):
    parquet(tmp_path / "a.parquet", x=[1, 2], y=["a", "b"])
    parquet(tmp_path / "b.parquet", y=["c", "d"], x=pa.array([None, 2**60 + 1], pa.int64()))
    table = both_ways(tmp_path, rows=3)
    assert plain(table["x"]) == [1, 2, None, 2**60 + 1]
    parquet(tmp_path / "c.parquet", x=["one"], y=["e"])
    with pytest.raises(InputError, match="the files differ in types"):
        read_table(tmp_path)


def test_folders_that_are_no_table(tmp_path):
    write(tmp_path / "a.md", "")
    with pytest.raises(DataFileError, match="no table file in the folder"):
        open_table(tmp_path)
    write(tmp_path / "a" / "a.csv", "x\n1\n")
    parquet(tmp_path / "a" / "b.parquet", x=[1])
    with pytest.raises(InputError, match=r"a.csv is text, .*b.parquet is not"):
        open_table(tmp_path / "a")


def test_a_folder_of_pictures(tmp_path):
    for name in ("train", "t10k"):
        write_idx(tmp_path / f"{name}-images-idx3-ubyte", np.zeros((2, 2, 2), np.uint8))
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte", np.arange(2, dtype=np.uint8))
    assert both_ways(tmp_path, rows=3)["label"].tolist() == [0, 1, 0, 1]


def test_a_date_format_that_no_column_has_is_said(tmp_path):
    path = write(tmp_path / "a.csv", "day,n\n2024-01-05,1\n2024-02-06,2\n")
    says = "a.csv: no column has dates as date_format='%d.%m.%Y' says"
    noted(lambda: read_table(path, date_format="%d.%m.%Y"), says)
    path = write(tmp_path / "b.csv", "day,n\n05.01.2024,1\n06.02.2024,2\n")
    assert str(read_table(path, date_format="%d.%m.%Y")["day"].dtype) == "datetime64[us]"
