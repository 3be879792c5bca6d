"""Raw columns in, numbers out: what each column is taken for, and what becomes of its cells."""

import copy
import datetime as dt
import json
import pickle
import re
import warnings
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depth import examples
from xpnn.tabular import TabularPreprocessor
from xpnn.tabular.sketch import CAPACITY, QuantileSketch

pa = pytest.importorskip("pyarrow", reason="tables need the extra 'tables'")
pd = pytest.importorskip("pandas", reason="tables need the extra 'tables'")
HALF = [0, 1] * 20
DAYS = [dt.date(2024, 1, 1) + dt.timedelta(days=3 * i) for i in range(40)]
TIMES = [dt.datetime(2024, 1, 1, 5) + dt.timedelta(hours=7 * i) for i in range(40)]
TIME_OF_DAY = [dt.time(i % 24, i) for i in range(40)]
LENGTHS = [dt.timedelta(hours=i % 7, seconds=i) for i in range(40)]
PRICES = [Decimal(i % 9) / 4 for i in range(40)]


def beside_numbers(column):
    """A frame of a column "c" and one that is never ignored."""
    return pd.DataFrame({"c": column, "n": np.random.default_rng(0).normal(size=len(column))})


def learn(column, kind=None):
    """What the preprocessor makes of one column: the column, its features and their names."""
    frame = column if hasattr(column, "columns") else beside_numbers(column)
    made = TabularPreprocessor(kind and {"c": kind}).fit(frame)
    names = made.get_feature_names_out()
    features = made.transform(frame)
    assert features.dtype == np.float32
    assert features.shape == (len(frame), len(names))
    assert np.isfinite(features).all()
    own = [i for i, name in enumerate(names) if name != "n"]
    return made.columns_[0], features[:, own], [names[i] for i in own]


# What a column is by its dtype

NUMBERS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
NUMBERS += [name.replace("i", "I").replace("uI", "UI") for name in NUMBERS]
NUMBERS += ["float16", "float32", "float64", "longdouble", "Float32", "Float64"]
NUMBERS += [f"{name}[pyarrow]" for name in ("int8", "uint64", "float", "double", "halffloat")]


@pytest.mark.parametrize("dtype", [*NUMBERS, "object", "Sparse[int]"])
def test_every_width_of_numbers_is_the_same_number(dtype):
    expected = learn(pd.Series([3, 1, 4, 1, 5] * 8, dtype="float64"))
    column, features, names = learn(pd.Series([3, 1, 4, 1, 5] * 8).astype(dtype))
    assert column.kind == "numeric"
    assert names == ["c"]
    assert (features == expected[1]).all()


@pytest.mark.parametrize("dtype", ["bool", "boolean", "object", "bool[pyarrow]"])
def test_booleans_are_zero_and_one(dtype):
    column, features, names = learn(pd.Series([False, True] * 20).astype(dtype))
    assert (column.kind, names) == ("boolean", ["c"])
    assert features[:, 0].tolist() == HALF


@pytest.mark.parametrize("dtype", ["str", "object", "category", "string", "string[pyarrow]"])
def test_text_and_categories_are_categorical(dtype):
    column, features, names = learn(pd.Series(["a", "b"] * 20).astype(dtype))
    assert (column.kind, names) == ("categorical", ["c=a", "c=b"])
    assert features[:, 1].tolist() == HALF


COLUMNS = {
    "datetime": [
        pd.Series(TIMES),
        pd.Series(TIMES, dtype=object),
        pd.Series(TIMES).dt.tz_localize("UTC"),
        pd.Series(TIMES).astype("datetime64[ns]"),
        pd.Series(TIMES).astype("timestamp[s][pyarrow]"),
        pd.Series(TIMES, dtype=object).map(lambda t: t.replace(tzinfo=dt.UTC)),
        pa.array(TIMES, pa.timestamp("ms")),
        pa.array(TIMES, pa.timestamp("us", "UTC")),
        pa.array(TIMES, pa.timestamp("ns", "Asia/Tokyo")),
    ],
    "day": [
        pd.Series(DAYS),
        pd.Series(pd.to_datetime(DAYS)),
        pd.Series(DAYS, dtype=pd.ArrowDtype(pa.date32())),
        pd.Series(DAYS, dtype=pd.ArrowDtype(pa.date64())),
        pd.Series(DAYS).astype("datetime64[s]"),
        pa.array(DAYS),
        pa.array(DAYS, pa.date64()),
    ],
    "duration": [
        pd.Series(LENGTHS),
        pd.Series(LENGTHS, dtype=object),
        pd.Series(LENGTHS).astype("timedelta64[s]"),
        pd.Series(LENGTHS).astype("duration[ms][pyarrow]"),
        pa.array(LENGTHS),
        pa.array(LENGTHS, pa.duration("s")),
    ],
    "time": [
        pd.Series(TIME_OF_DAY),
        pd.Series(TIME_OF_DAY, dtype=pd.ArrowDtype(pa.time32("s"))),
        pd.Series(TIME_OF_DAY, dtype=pd.ArrowDtype(pa.time64("ns"))),
        pa.array(TIME_OF_DAY),
        pa.array(TIME_OF_DAY, pa.time32("s")),
    ],
    "decimal": [
        pd.Series(PRICES),
        pd.Series(PRICES, dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
        pa.array(PRICES),
        pa.array(PRICES, pa.decimal256(50, 2)),
        pd.Series([float(price) for price in PRICES]),
    ],
    "dictionary": [
        pd.Series(["x", "y"] * 20),
        pd.Series(pa.array(["x", "y"] * 20).dictionary_encode().to_pandas()),
        pd.Series(["x", "y"] * 20, dtype=pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))),
        pa.array(["x", "y"] * 20).dictionary_encode(),
        pa.array(["x", "y"] * 20, pa.large_string()),
    ],
}
KIND_OF = {
    "datetime": "datetime", "day": "datetime", "duration": "duration", "time": "duration",
    "decimal": "numeric", "dictionary": "categorical",
}  # fmt: skip


def framed(column):
    """A pandas or Arrow frame of a column "c" and one that is never ignored."""
    if isinstance(column, pd.Series):
        return beside_numbers(column)
    return pa.table({"c": column, "n": np.random.default_rng(0).normal(size=len(column))})


class _Named:
    """A frame seen through its Arrow stream only."""

    def __init__(self, table):
        self.columns, self.table = table.column_names, table

    def __len__(self):
        return len(self.table)

    def __arrow_c_stream__(self, schema=None):
        return self.table.__arrow_c_stream__(schema)


@pytest.mark.parametrize("sort", COLUMNS)
def test_the_same_values_in_any_type_give_the_same_numbers(sort):
    found = []
    for column in COLUMNS[sort]:
        frame = framed(column)
        made, features, names = learn(frame if isinstance(frame, pd.DataFrame) else _Named(frame))
        assert made.kind == KIND_OF[sort]
        found.append((features.tobytes(), names))
    assert all(one == found[0] for one in found)


def polars_columns():
    pl = pytest.importorskip("polars")
    return {
        "datetime": [pl.Series(TIMES), pl.Series(TIMES).dt.replace_time_zone("UTC")],
        "day": [pl.Series(DAYS)],
        "duration": [pl.Series(LENGTHS), pl.Series(LENGTHS).cast(pl.Duration("ms"))],
        "time": [pl.Series(TIME_OF_DAY)],
        "decimal": [pl.Series(PRICES), pl.Series(PRICES).cast(pl.Float64)],
        "dictionary": [pl.Series(["x", "y"] * 20, dtype=dtype)
                       for dtype in (pl.String, pl.Categorical, pl.Enum(["y", "x", "z"]))],
    }  # fmt: skip


@pytest.mark.parametrize("sort", COLUMNS)
def test_polars_columns_give_the_same_numbers_as_pandas_ones(sort):
    pl = pytest.importorskip("polars")
    _, expected, names = learn(framed(COLUMNS[sort][0]))
    numbers = framed(COLUMNS[sort][0])["n"].to_numpy()
    for column in polars_columns()[sort]:
        found = learn(pl.DataFrame({"c": column, "n": numbers}))
        assert found[2] == names
        assert (found[1] == expected).all()


@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
def test_integers_and_booleans_with_gaps_keep_their_values(library):
    numbers, truths = [2**63 + 1, None, 2**63 + 3, 7] * 10, [True, None, False, False] * 10
    if library == "pandas":
        frame = pd.DataFrame({"i": pd.array(numbers, "UInt64"), "b": pd.array(truths, "boolean")})
    else:
        frame = pa.table({"i": pa.array(numbers, pa.uint64()), "b": pa.array(truths)})
        if library == "polars":
            frame = pytest.importorskip("polars").from_arrow(frame)
    made = TabularPreprocessor({"i": "categorical"}).fit(frame)
    assert [column.kind for column in made.columns_] == ["categorical", "boolean"]
    assert made.columns_[0].values == ("7", str(2**63 + 1), str(2**63 + 3))
    assert [column.missing for column in made.columns_] == [10, 10]
    names = made.get_feature_names_out().tolist()
    features = made.transform(frame)
    assert features[:4, names.index("b")].tolist() == [1, 0, 0, 0]
    assert features[:4, names.index("b missing")].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([[1], [2]] * 20),
        pd.Series([{"a": 1}, {"a": 2}] * 20),
        pd.Series([b"a", b"b"] * 20),
        pd.Series([bytearray(b"a"), None] * 20),
        pd.Series([{1}, {2}] * 20),
        pd.Series([np.zeros(1), np.ones(1)] * 20),
        pd.Series([([1],), ([2],)] * 20),
        pd.Series([1 + 2j, 3j] * 20),
        pd.Series([1 + 2j, None] * 20, dtype=object),
        *(
            pd.Series(values * 20, dtype=pd.ArrowDtype(type_))
            for values, type_ in (
                ([[1], [2]], pa.list_(pa.int64())),
                ([{"a": 1}, {"a": 2}], pa.struct({"a": pa.int64()})),
                ([b"a", b"b"], pa.binary()),
            )
        ),
        pa.array([[1], [2]] * 20),
        pa.array([{"a": 1}, {"a": 2}] * 20),
        pa.array([[("k", 1)], [("k", 2)]] * 20, pa.map_(pa.string(), pa.int8())),
    ],
    ids=lambda column: str(getattr(column, "dtype", getattr(column, "type", ""))),
)
def test_cells_that_are_no_values_are_refused_with_their_column(column):
    with pytest.raises(ValueError, match="column 'c'"):
        TabularPreprocessor().fit(framed(column))
    learned = TabularPreprocessor({"c": "ignored"}).fit(framed(column))
    assert [c.kind for c in learned.columns_] == ["ignored", "numeric"]


def test_polars_lists_are_refused_with_their_column():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"c": [[1], [2]] * 20, "n": range(40)})
    with pytest.raises(ValueError, match="column 'c'"):
        TabularPreprocessor().fit(frame)


# Dates of all times


def parts_of_dates(column):
    made, features, names = learn(column)
    assert made.kind == "datetime"
    return features, names, made


def test_dates_have_parts():
    column = pd.Series(pd.to_datetime(["2024-02-29", "2024-03-03", "2023-12-25", "2021-07-04"] * 5))
    _, names, made = parts_of_dates(column)
    assert names == ["c year", "c month", "c weekday", "c days since 1970"]
    assert made.center[:3] == (2023.5, 5.0, 4.5)  # medians: weekdays are 3, 6, 0 and 6
    assert not made.hours
    _, names, made = parts_of_dates(column + pd.to_timedelta([0, 90] * 10, unit="min"))
    assert names[-1] == "c hour"
    assert made.hours
    assert made.center[-1] == 0.75


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([dt.date(1, 1, 1), dt.date(2000, 5, 5), dt.date(9999, 12, 31)] * 5),
        pd.Series([dt.datetime(1, 1, 1), dt.datetime(2000, 5, 5), dt.datetime(9999, 12, 31)] * 5,
                  dtype=object),
        pd.Series(np.array(["0001-01-01", "2000-05-05", "9999-12-31"] * 5, "datetime64[s]")),
        pd.Series([dt.date(1, 1, 1), dt.date(2000, 5, 5), dt.date(9999, 12, 31)] * 5,
                  dtype=pd.ArrowDtype(pa.date32())),
        pa.array([dt.date(1, 1, 1), dt.date(2000, 5, 5), dt.date(9999, 12, 31)] * 5),
    ],
    ids=["dates", "datetimes", "datetime64[s]", "date32 in pandas", "date32"],
)  # fmt: skip
def test_years_from_1_to_9999(column):
    made = learn(framed(column))[0]
    assert made.center[0] == 2000
    assert (made.low, made.high) == (1, 9999)
    assert made.missing == 0


def test_years_beyond_what_nanoseconds_hold():
    column = pd.Series(np.array(["20000-01-01", "1999-05-05", "-4000-01-01"] * 5, "datetime64[s]"))
    features, _, made = parts_of_dates(column)
    assert made.center[0] == 1999
    assert features[0, 0] > features[1, 0] > features[2, 0]


@pytest.mark.parametrize("library", ["arrow", "arrow in pandas", "polars"])
@pytest.mark.parametrize("dtype", ["date32", "timestamp"])
def test_years_beyond_what_python_holds(library, dtype):
    days = pa.array([6_000_000, None, 3, 4] * 5, pa.int32()).cast(pa.date32())
    column = days if dtype == "date32" else days.cast(pa.timestamp("s"))
    frame = pa.table({"c": column, "n": range(20, 40)})
    if library == "arrow in pandas":
        frame = pd.DataFrame({"c": pd.Series(column, dtype=pd.ArrowDtype(column.type)),
                              "n": range(20, 40)})  # fmt: skip
    elif library == "polars":
        frame = pytest.importorskip("polars").from_arrow(frame)
    made = TabularPreprocessor().fit(frame).columns_[0]
    assert (made.kind, made.missing) == ("datetime", 5)
    assert (made.low, made.high, made.center[3]) == (1970, 18397, 4)


def test_time_zones_are_one_time():
    rome = pd.Series(pd.date_range("2024-03-30", periods=40, freq="3h", tz="Europe/Rome"))
    frame = beside_numbers(rome)
    made = TabularPreprocessor().fit(frame)
    expected = made.transform(frame)
    for other in (rome.dt.tz_convert("Asia/Tokyo"), rome.dt.tz_convert(None), rome.astype(object)):
        assert (made.transform(frame.assign(c=other)) == expected).all()


def test_a_missing_date_is_flagged():
    column = pd.Series([dt.date(1500, 1, 1), None, dt.date(2500, 1, 1), dt.date(2000, 1, 1)] * 5)
    _, features, names = learn(column)
    assert names[-1] == "c missing"
    assert features[:4, -1].tolist() == [0, 1, 0, 0]


# Overriding

COLUMN = ["1", "2", "3", "4", "2"] * 8
OVERRIDES = [
    (COLUMN, "numeric", ["c"]),
    (COLUMN, "text", ["c has 1", "c has 2", "c has 3", "c has 4"]),
    ([1, 2, 3, 4, 2] * 8, "categorical", ["c=1", "c=2", "c=3", "c=4"]),
    (["true", "FALSE", "True", "0", "1"] * 8, "boolean", ["c"]),
    ([0, 1, 0, 0, 1] * 8, "boolean", ["c"]),
    (["2024-01-01", "2023-05-06"] * 20, "datetime",
     ["c year", "c month", "c weekday", "c days since 1970"]),
    (["00:00:10", "01:00:00"] * 20, "duration", ["c"]),
    ([1.5, 2.5] * 20, "duration", ["c"]),
    ([True, False] * 20, "numeric", ["c"]),
    ([True, False] * 20, "categorical", ["c=False", "c=True"]),
    (TIMES * 2, "categorical", None),
    ([7] * 40, "numeric", ["c"]),
    (["same"] * 40, "categorical", ["c=same"]),
    (range(40), "numeric", ["c"]),
    (COLUMN, "ignored", []),
]  # fmt: skip


@pytest.mark.parametrize(("column", "kind", "names"), OVERRIDES)
def test_column_types_override(column, kind, names):
    made, _, found = learn(pd.Series(column), kind)
    assert made.kind == kind
    assert names is None or found == names


def test_column_types_of_text_give_what_their_dtype_would():
    plain = pd.Series(pd.to_datetime(["2024-01-01 10:00", "2023-05-06 12:30"] * 20))
    text = plain.dt.strftime("%Y-%m-%d %H:%M:%S")
    assert (learn(text, "datetime")[1] == learn(plain)[1]).all()
    lengths = pd.Series(pd.to_timedelta([10, 3600] * 20, unit="s"))
    written = pd.Series(["00:00:10", "01:00:00"] * 20)
    assert (learn(written, "duration")[1] == learn(lengths)[1]).all()


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ({"nosuch": "numeric"}, ["column_types", "'nosuch'", "c, n"]),
        ({"c": "number"}, ["column_types['c']", "'number'", "numeric"]),
        ({"c": "datetime"}, ["column_types['c']", "'datetime'", "'a'"]),
        ({"c": "numeric"}, ["column_types['c']", "'numeric'", "'a'"]),
        ({"c": "ignored", "n": "ignored"}, ["no column"]),
        (["c"], ["column_types is a list", "mapping"]),
    ],
)
def test_column_types_that_do_not_fit_are_refused(types, words):
    with pytest.raises(ValueError) as error:
        TabularPreprocessor(types).fit(beside_numbers(["a", "b"] * 20))
    assert all(word in str(error.value) for word in words)


def test_cells_that_are_not_what_column_types_says_are_told():
    with pytest.warns(UserWarning, match=r"column 'c': 10 cells are not numeric.*first 'many'"):
        made = TabularPreprocessor({"c": "numeric"}).fit(
            beside_numbers(["1", "2", "many", "3"] * 10)
        )
    assert made.columns_[0].missing == 10


# Missing


@pytest.mark.parametrize("word", ["none", "None", "NA", "N/A", "nan", "null", "?", "-", "", " "])
def test_words_for_missing_are_values(word):
    made, features, names = learn(pd.Series([word, "other"] * 20))
    assert made.missing == 0
    assert f"c={word}" in names
    assert features[:, names.index(f"c={word}")].tolist() == HALF[::-1]


@pytest.mark.parametrize("null", [None, np.nan, pd.NA, pd.NaT])
def test_real_nulls_are_missing(null):
    made, features, names = learn(pd.Series(["a", "b", null, "a"] * 10, dtype=object))
    assert made.missing == 10
    assert names == ["c=a", "c=b", "c missing"]
    assert features[:4, 2].tolist() == [0, 0, 1, 0]
    assert features[2, :2].tolist() == [0, 0]


def test_a_missing_number_is_the_median_and_flagged():
    _, features, names = learn(pd.Series([1.0, 2.0, 9.0, np.nan] * 10))
    assert names == ["c", "c missing"]
    assert features[:4, 1].tolist() == [0, 0, 0, 1]
    assert features[3, 0] == features[1, 0] == 0


# Ignored


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (["same"] * 40, "constant"),
        ([7.5] * 40, "constant"),
        ([True] * 40, "constant"),
        ([dt.date(2024, 1, 1)] * 40, "constant"),
        ([None] * 40, "every value is missing"),
        ([np.nan] * 40, "every value is missing"),
        ([np.inf, -np.inf] * 20, "no value is finite"),
        ([f"key {i}" for i in range(40)], "every value is unique"),
        ([f"{i:020}" for i in range(40)], "every value is unique"),
        (list(range(40)), "a running row number"),
        (list(range(1, 41)), "a running row number"),
    ],
)
def test_columns_that_cannot_help_are_ignored_with_one_warning(column, reason):
    frame = beside_numbers(pd.Series(column))
    with pytest.warns(UserWarning, match="ignored columns") as caught:
        made = TabularPreprocessor().fit(frame)
    assert len(caught) == 1
    assert f"'c' ({reason})" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert made.columns_[0].kind == "ignored"
    assert made.columns_[0].reason == reason
    assert made.get_feature_names_out().tolist() == ["n"]
    assert made.transform(frame.drop(columns="c")).shape == (40, 1)


@pytest.mark.parametrize("name", ["id", "ID", "customer_id", "row-index", "Unnamed: 0"])
def test_rising_numbers_named_as_keys_are_row_numbers(name):
    frame = pd.DataFrame({name: np.arange(40) * 3 + 1000, "n": HALF})
    with pytest.warns(UserWarning, match=r"\(a running row number\)"):
        made = TabularPreprocessor().fit(frame)
    assert made.columns_[0].kind == "ignored"


def test_numbers_of_rows_that_were_left_out_count_too():
    frame = pd.DataFrame({"number": range(1, 41), "n": HALF})
    for left in (frame[2:], frame.drop([3, 7, 20]), frame[frame["n"] == 1]):
        with pytest.warns(UserWarning, match=r"'number' \(a running row number\)"):
            TabularPreprocessor({"n": "numeric"}).fit(left)
    kept = TabularPreprocessor().fit(frame.drop([3, 7, 20]).reset_index(drop=True))
    assert kept.columns_[0].kind == "numeric"


def test_a_column_that_is_asked_for_in_vain_is_named_too():
    frame = pd.DataFrame({"code": [f"c{i}" for i in range(40)], "n": HALF})
    for kind, reason in (("categorical", "no value comes in 2"), ("text", "no word comes in 2")):
        with pytest.warns(UserWarning, match=rf"ignored columns: 'code' \({reason} rows\)$"):
            TabularPreprocessor({"code": kind}).fit(frame)


def test_the_advice_keeps_the_column():
    frame = pd.DataFrame({"number": range(40), "n": HALF})
    with pytest.warns(UserWarning, match="To keep one, name its type") as caught:
        TabularPreprocessor().fit(frame)
    types = re.search(r"column_types=(\{.*\})", str(caught[0].message))
    kept = TabularPreprocessor(json.loads(types[1])).fit(frame)
    assert kept.columns_[0].kind == "numeric"


def test_the_median_of_many_numbers_does_not_drift():
    sketch, numbers = QuantileSketch(), np.arange(64 * CAPACITY, dtype=float)
    for part in np.split(numbers, 8):
        sketch.update(part)
    # Twice as far as this where the lower number of each pair were kept.
    off = abs(sketch.quantiles([0.5])[0] - np.median(numbers)) / len(numbers)
    assert off < sketch.error / 8


def test_an_index_with_a_name_numbers_no_rows():
    frame = pd.DataFrame({"year": range(1960, 2000), "n": HALF}).set_index("year", drop=False)
    made = TabularPreprocessor({"n": "numeric"}).fit(frame)
    assert [column.kind for column in made.columns_] == ["numeric", "numeric"]


def test_all_ignored_columns_are_named_in_one_warning():
    frame = pd.DataFrame({"one": [1] * 40, "two": range(40), "n": HALF})
    with pytest.warns(UserWarning, match="ignored columns") as caught:
        TabularPreprocessor().fit(frame)
    assert len(caught) == 1
    for said in ("'one' (constant)", "'two' (a running row number)", 'column_types={"two"'):
        assert said in str(caught[0].message)


@pytest.mark.slow
def test_many_unique_values_are_seen_as_such():
    frame = pd.DataFrame({"c": [f"key {i}" for i in range(420_000)], "n": 1.0})
    frame.loc[7, "n"] = 2.0
    parts = [frame[:200_000], frame[200_000:]]
    for chunks in ([frame], parts):
        with pytest.warns(UserWarning, match=r"'c' \(every value is unique\)"):
            made = TabularPreprocessor().fit_chunks(chunks)
        assert made.columns_[0].reason == "every value is unique"


def test_numbers_that_do_not_count_rows_stay():
    kept = {
        "from five": np.arange(5, 45), "shuffled": np.random.default_rng(0).permutation(40),
        "rising": np.arange(40) * 2, "floats": np.arange(40.0), "dates": DAYS,
    }  # fmt: skip
    made = TabularPreprocessor().fit(pd.DataFrame(kept))
    assert [c.kind for c in made.columns_] == ["numeric"] * 4 + ["datetime"]


def test_nothing_left_is_an_error_that_says_why():
    with pytest.raises(ValueError, match=r"no column can be learned from.*'c' \(constant\)"):
        TabularPreprocessor().fit(pd.DataFrame({"c": [1, 1, 1]}))
    with pytest.raises(ValueError, match="0 sample"):
        TabularPreprocessor().fit(pd.DataFrame({"c": []}))
    with pytest.raises(ValueError, match="0 feature"):
        TabularPreprocessor().fit(pd.DataFrame(index=range(3)))


# Categories and words


def test_seldom_values_share_a_feature():
    values = ["often"] * 30 + ["twice"] * 2 + ["once", "alone"]
    made, features, names = learn(pd.Series(values))
    assert names == ["c=often", "c=twice", "c=other"]
    assert features.sum(axis=0).tolist() == [30, 2, 2]
    assert made.distinct == 4


def test_at_most_100_values_have_a_feature():
    values = np.repeat([f"v{i:03}" for i in range(150)], np.arange(150, 0, -1) + 1)
    made, features, names = learn(pd.Series(values))
    assert len(made.values) == 100
    assert set(made.values) == {f"v{i:03}" for i in range(100)}
    assert names[-1] == "c=other"
    assert (features.sum(axis=1) == 1).all()


def test_text_of_several_words_gets_word_features():
    source = np.random.default_rng(0)
    words = ["Red", "green", "blue", "car", "house", "é", "the"]
    texts = [f"the {' '.join(source.choice(words, 3))}, number {i}." for i in range(150)]
    texts += texts[:50]
    texts[149] += " unheard"
    made, features, names = learn(pd.Series(texts))
    assert made.kind == "text"
    assert "c has red" in names
    assert "c has the" not in names  # in every row
    assert "c has unheard" not in names  # in one only
    red = [float("Red" in text) for text in texts]
    assert features[:, names.index("c has red")].tolist() == red
    frame = beside_numbers(pd.Series(["A RED Car"] * 2))
    model = TabularPreprocessor({"n": "ignored"}).fit(beside_numbers(pd.Series(texts)))
    own = dict(zip(model.get_feature_names_out(), model.transform(frame)[0], strict=True))
    assert {name for name, value in own.items() if value} == {"c has red", "c has car"}


MEETING = [
    (["1", "2"], [1, 2]),
    (["1", "2"], [1.0, 2.0]),
    ([1, 2], ["1", "2"]),
    ([1, 2], ["1.0", "2.00"]),
    ([1.0, 2.0], pd.Series(["1", "2"], dtype="category")),
    ([1.5, 2.5], ["1.5", "2.5"]),
    (["True", "False"], [True, False]),
    ([True, False], ["True", "False"]),
    ([True, False], pd.Series([True, False], dtype="boolean")),
    (["caf\u00e9", "th\u00e9"], ["cafe\u0301", "the\u0301"]),
    (["cafe\u0301", "the\u0301"], ["caf\u00e9", "th\u00e9"]),
    ([Decimal("1.50"), Decimal(2)], [1.5, 2]),
    ([Decimal("0.10"), Decimal("1e2")], ["0.1", 100]),
    (
        np.array(["2024-01-01", "2024-01-02"], "datetime64[D]").astype(object),
        ["2024-01-01", "2024-01-02"],
    ),
    ([10**18, 10**18 + 1], [str(10**18), str(10**18 + 1)]),
    ([dt.date(2024, 1, 1), dt.date(2024, 1, 2)], ["2024-01-01", "2024-01-02"]),
    (pd.to_datetime(["2024-01-01", "2024-01-02"]), [dt.date(2024, 1, 1), dt.date(2024, 1, 2)]),
    (np.float32([0.5, 0.25]), [0.5, 0.25]),
    (np.float32([0.1, 0.3]), [0.1, 0.3]),
]


@pytest.mark.parametrize(("fitted", "given"), MEETING)
def test_categories_meet_in_any_type(fitted, given):
    frame = pd.DataFrame({"c": list(fitted) * 20, "n": range(3, 43)})
    made = TabularPreprocessor({"c": "categorical"}).fit(frame)
    other = pd.DataFrame({"c": given, "n": [3, 4]})
    assert (made.transform(other) == made.transform(frame)[:2]).all()
    assert sorted(made.transform(other)[:, 1:].tolist()) == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("fitted", "given"),
    [
        ([1, 2, 3, 5], ["1", "2.0", " 3", "5"]),
        ([1, 2, 3, 5], [1.0, 2.0, 3.0, 5.0]),
        ([1.5, 2, 3, 5], [Decimal("1.5"), Decimal(2), Decimal(3), Decimal(5)]),
        ([True, False, True, True], ["true", "False", "TRUE", "1"]),
        ([True, False, True, True], [1, 0, 1, 1]),
        ([0, 1, 0, 0], [False, True, False, False]),
        (pd.to_datetime(["2024-01-01", "1999-05-05", "2000-01-01", "2020-07-07"]),
         ["2024-01-01", "1999-05-05", "2000-01-01", "2020-07-07"]),
        (pd.to_timedelta([10, 20, 3600, 5], unit="s"), ["00:00:10", "00:00:20", "01:00:00",
                                                        "00:00:05"]),
        (pd.to_timedelta([10, 20, 3600, 5], unit="s"), [dt.time(0, 0, 10), dt.time(0, 0, 20),
                                                        dt.time(1), dt.time(0, 0, 5)]),
    ],
)  # fmt: skip
def test_numbers_truths_and_dates_meet_in_any_type(fitted, given):
    frame = pd.DataFrame({"c": fitted})
    made = TabularPreprocessor().fit(frame)
    other = pd.DataFrame({"c": given})
    assert (made.transform(other) == made.transform(frame)).all()


def test_truth_values_and_numbers_of_one_column_stay_apart():
    made, features, names = learn(pd.Series([True, 1, "True", False, 0, 1.0] * 7, dtype=object))
    assert names == ["c=0", "c=1", "c=False", "c=True"]
    assert features[:6].argmax(axis=1).tolist() == [3, 1, 3, 2, 0, 1]
    assert made.distinct == 4


def test_long_identifiers_do_not_merge():
    own = [10**17 + i for i in range(4)] + [10**19 + i for i in range(4)]
    for values in (own, [str(v) for v in own], [v * 10 for v in own]):
        made, features, _ = learn(pd.Series(values * 5), "categorical")
        assert made.distinct == 8
        assert (features.sum(axis=0) == 5).all()


# Scaling


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=60))
def test_scaled_numbers_keep_their_order_and_stay_below_3(values):
    column = pd.Series(values)
    _, features, _ = learn(column, "numeric")
    assert (np.abs(features) <= 3).all()
    ordered = features[np.argsort(values, kind="stable"), 0]
    assert (np.diff(ordered) >= 0).all()


@pytest.mark.parametrize("huge", [1e308, np.finfo(np.float64).max, 1e-300, 1e-320])
def test_extreme_numbers_are_learned(huge):
    _, features, _ = learn(pd.Series([-huge, 0, huge, huge / 2, -huge / 2] * 4))
    assert len(np.unique(features)) == 5


@pytest.mark.parametrize("number", [10**400, Decimal(10) ** 400])
def test_numbers_beyond_all_floats_are_infinite(number):
    made, features, _ = learn(pd.Series([number, 1, -number, 2, 4] * 5, dtype=object), "numeric")
    assert (made.low, made.high, made.missing) == (1, 4, 0)
    assert features[:5, 0].tolist() == [3, features[1, 0], -3, 0, features[4, 0]]


def test_robust_scaling_leaves_outliers_alone():
    column = np.random.default_rng(0).normal(size=999)
    _, expected, _ = learn(pd.Series(column))
    spoiled = column.copy()
    spoiled[column.argmax()] = 1e30
    _, found, _ = learn(pd.Series(spoiled))
    assert (np.delete(found, column.argmax()) == np.delete(expected, column.argmax())).all()
    lower, middle, upper = np.quantile(column, [0.25, 0.5, 0.75])
    z = (column - middle) / (upper - lower)
    np.testing.assert_allclose(expected[:, 0], z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-6)


# Use


def test_columns_are_found_by_name():
    frame = pd.DataFrame({"c": ["a", "b"] * 20, "n": HALF, "same": 1})
    with pytest.warns(UserWarning, match="ignored"):
        made = TabularPreprocessor().fit(frame)
    expected = made.transform(frame)
    assert (made.transform(frame[["n", "same", "c"]]) == expected).all()
    assert (made.transform(frame[["n", "c"]]) == expected).all()
    with pytest.raises(ValueError, match="missing: c") as error:
        made.transform(frame[["n", "same"]])
    assert "same" not in str(error.value).split("missing:")[1]
    with pytest.raises(ValueError, match=r"unseen at fit time: more"):
        made.transform(frame.assign(more=1))


def test_two_columns_of_one_name_are_refused():
    twice = pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"])
    with pytest.raises(ValueError, match="two columns 'a'"):
        TabularPreprocessor().fit(twice)
    with pytest.raises(ValueError, match="two columns '1'"):
        TabularPreprocessor().fit(twice.set_axis([1, "1"], axis=1))
    with pytest.raises(ValueError, match="two columns 'a'"):
        TabularPreprocessor().fit(pa.Table.from_arrays([pa.array([1, 2])] * 2, names=["a", "a"]))


@pytest.mark.parametrize("names", [[1, 2], [("x", 1), ("x", 2)], [1.5, "b"]])
def test_names_need_not_be_text(names):
    frame = pd.DataFrame({"c": ["a", "b"] * 20, "n": HALF})
    expected = TabularPreprocessor().fit_transform(frame)
    other = frame.set_axis(pd.Index(names, tupleize_cols=False), axis=1)
    for first in (names[0], str(names[0])):
        made = TabularPreprocessor({first: "categorical"}).fit(other)
        assert made.columns_[0].kind == "categorical"
    assert made.feature_names_in_.tolist() == [str(name) for name in names]
    assert (made.transform(other) == expected).all()
    assert (made.transform(other.iloc[:, ::-1]) == expected).all()


def test_arrays_have_numbered_columns():
    rows = np.random.default_rng(0).normal(size=(30, 3))
    made = TabularPreprocessor().fit(rows)
    assert made.get_feature_names_out().tolist() == ["x0", "x1", "x2"]
    assert not hasattr(made, "feature_names_in_")
    with pytest.raises(ValueError, match="2 features"):
        made.transform(rows[:, :2])
    named = TabularPreprocessor().fit(pd.DataFrame(rows, columns=list("abc")))
    with pytest.warns(UserWarning, match="valid feature names"):
        assert (named.transform(rows) == made.transform(rows)).all()


def test_lists_of_mixed_cells_keep_their_types():
    rows = [[1.5, "a", True, None], [2.5, "b", False, 3], [4.0, "a", True, 4]] * 5
    frame = pd.DataFrame(rows, columns=["x0", "x1", "x2", "x3"])
    made = TabularPreprocessor().fit(rows)
    assert [c.kind for c in made.columns_] == ["numeric", "categorical", "boolean", "numeric"]
    assert (made.transform(rows) == TabularPreprocessor().fit_transform(frame)).all()
    no_gaps = [row[:2] for row in rows]
    assert [c.kind for c in TabularPreprocessor().fit(no_gaps).columns_] == [
        "numeric",
        "categorical",
    ]


@pytest.mark.parametrize("rows", [[1, 2, 3], 5, np.zeros((2, 2, 2)), "text", pd.Series([1, 2])])
def test_what_has_not_two_axes_is_refused(rows):
    with pytest.raises(ValueError, match=r"Expected 2D array|X is a str; expected rows"):
        TabularPreprocessor().fit(rows)


def test_a_series_of_another_library_is_no_frame():
    polars = pytest.importorskip("polars")
    with pytest.raises(ValueError, match=r"Series and no frame"):
        TabularPreprocessor().fit(polars.Series([1, 2]))


def test_sparse_rows_are_refused():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="dense data is required"):
        TabularPreprocessor().fit(scipy_sparse.csr_array(np.eye(3)))


def test_chunks_learn_what_the_whole_does():
    source = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "n": source.normal(size=3000),
            "gaps": pd.array(source.integers(0, 9, 3000), "Int64"),
            "c": source.choice(list("abcde"), 3000),
            "when": pd.Timestamp("2024-01-01")
            + pd.to_timedelta(source.integers(0, 9**6, 3000), "s"),
            "on": source.random(3000) < 0.3,
            "row": range(3000),
            "key": [f"k{i}" for i in range(3000)],
        }
    )
    frame.loc[2000:2100, "gaps"] = pd.NA
    with pytest.warns(UserWarning, match="'row' .*'key' "):
        whole = TabularPreprocessor().fit(frame)
    parts = [frame[start : start + 700] for start in range(0, 3000, 700)]
    with pytest.warns(UserWarning, match="'row' .*'key' "):
        chunked = TabularPreprocessor().fit_chunks(parts)
    assert chunked.columns_ == whole.columns_
    assert (chunked.transform(frame) == whole.transform(frame)).all()


def test_fit_changes_nothing_of_the_callers():
    types = {"c": "categorical"}
    frame = pd.DataFrame({"c": [1, 2] * 20, "d": ["x", None] * 20, "t": TIMES}, index=range(9, 49))
    frame.attrs["note"] = 1
    before, filters = frame.copy(deep=True), list(warnings.filters)
    made = TabularPreprocessor(types).fit(frame)
    made.transform(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == before.attrs
    assert types == {"c": "categorical"}
    assert made.column_types is types
    assert warnings.filters == filters


def test_an_index_does_not_matter():
    frame = pd.DataFrame({"c": ["a", "b", None, "b"] * 10, "n": [1.0, None, 3, 4] * 10, "t": TIMES})
    expected = TabularPreprocessor().fit_transform(frame)
    for index in (range(100, 140), [0] * 40, pd.date_range("2024-01-01", periods=40)):
        found = TabularPreprocessor().fit_transform(frame.set_axis(index, axis=0))
        assert (found == expected).all()


def test_copies_and_pickles_give_the_same():
    frame = pd.DataFrame({"c": ["a", "b", None, "b"] * 10, "n": [1.0, None, 3, 4] * 10, "t": TIMES})
    made = TabularPreprocessor().fit(frame)
    for other in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert other.columns_ == made.columns_
        assert (other.transform(frame) == made.transform(frame)).all()


def test_columns_say_what_they_are():
    frame = pd.DataFrame(
        {"n": [1.0, None] * 20, "c": ["a", "b"] * 20, "t": DAYS, "same": 1, "i": HALF}
    )
    with pytest.warns(UserWarning, match="ignored"):
        made = TabularPreprocessor().fit(
            frame.assign(n=frame["n"].where(frame["n"].isna(), DAYS[0].year))
        )
    assert [str(column) for column in made.columns_] == [
        "n: numeric (float64), 20 missing",
        "c: categorical (str), 2 values",
        "t: datetime (object), as year, month, weekday, days since 1970",
        "same: ignored: constant",
        "i: numeric (int64)",
    ]


# Quantiles


def stream_of(shape, count):
    """Numbers in an order that is hard for a summary."""
    source = np.random.default_rng(count)
    return {
        "sorted": lambda: np.arange(count, dtype=float),
        "reversed": lambda: np.arange(count, dtype=float)[::-1],
        "random": lambda: source.normal(size=count),
        "mostly one": lambda: np.where(source.random(count) < 0.9, 1.0, source.normal(size=count)),
        "two halves": lambda: np.concatenate([np.zeros(count // 2), np.ones(count - count // 2)]),
        "sawtooth": lambda: np.arange(count, dtype=float) % 1000,
        "zoom": lambda: (-1.0) ** np.arange(count) / (1 + np.arange(count)),
    }[shape]()


SHAPES = ["sorted", "reversed", "random", "mostly one", "two halves", "sawtooth", "zoom"]
SHARES = np.linspace(0, 1, 41)


def summary(values, sizes):
    """A sketch that got the values in parts of these sizes, over and over."""
    sketch, at, turn = QuantileSketch(), 0, 0
    while at < len(values):
        sketch.update(values[at : at + sizes[turn % len(sizes)]])
        at += sizes[turn % len(sizes)]
        turn += 1
    return sketch


@given(
    st.sampled_from(SHAPES), st.integers(1, CAPACITY), st.lists(st.integers(1, 9000), min_size=1)
)
def test_quantiles_of_few_numbers_are_exact(shape, count, sizes):
    values = stream_of(shape, count)
    sketch = summary(values, sizes)
    assert sketch.error == 0
    expected = np.quantile(values, SHARES)
    limit = 1e-15 * np.abs(values).max()  # interpolation rounds
    np.testing.assert_allclose(sketch.quantiles(SHARES), expected, rtol=1e-15, atol=limit)


@given(
    st.sampled_from(SHAPES),
    st.integers(CAPACITY + 1, 40 * CAPACITY),
    st.lists(st.integers(200, 100_000), min_size=1),
)
def test_quantiles_of_many_numbers_are_within_the_stated_error(shape, count, sizes):
    values = stream_of(shape, count)
    sketch = summary(values, sizes)
    ordered = np.sort(values)
    assert 0 <= sketch.error < 0.001
    found = sketch.quantiles(SHARES)
    assert (np.diff(found) >= 0).all()
    # The ranks that a found value may have, among equal ones and between neighbours.
    low = np.searchsorted(ordered, found, "left") - 1
    high = np.searchsorted(ordered, found, "right")
    wanted, allowed = SHARES * (count - 1), sketch.error * count + 1
    assert (low - allowed <= wanted).all()
    assert (wanted <= high + allowed).all()


def test_quantiles_of_nothing():
    assert np.isnan(QuantileSketch().quantiles([0, 0.5])).all()


# Any cells at all

CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([10**400, -(10**400)]),
    st.floats(),
    st.decimals(allow_nan=False),
    st.just(Decimal("NaN")),
    st.text(max_size=5),
    st.sampled_from(["1", "1.0", "true", "nan", "inf", "2024-01-01", "01:00:00", "1e400"]),
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
    st.times(),
)
LEARNED = {
    "numeric": [1.5, 2.5, 4.0, 9.0],
    "boolean": [True, False, True, True],
    "datetime": [dt.datetime(2024, 1, 1, 5), dt.datetime(2023, 5, 5), dt.datetime(2022, 1, 2)],
    "duration": [dt.timedelta(hours=1), dt.timedelta(seconds=5), dt.timedelta(days=4)],
    "categorical": ["a", "b", "1"],
    "text": ["a b", "b c", "a c"],
}


@pytest.mark.filterwarnings("ignore:column")
@pytest.mark.parametrize("kind", LEARNED)
@examples(100)
@given(cells=st.lists(CELLS, min_size=1, max_size=12))
def test_any_cells_have_numbers_that_do_not_hang_on_the_others(kind, cells):
    made = TabularPreprocessor({"c": kind}).fit(beside_numbers(LEARNED[kind] * 8))
    frame = pd.DataFrame({"c": pd.Series(cells, dtype=object), "n": 0.5})
    found = made.transform(frame)
    assert np.isfinite(found).all()
    for i in range(len(cells)):
        assert (made.transform(frame[i : i + 1]) == found[i]).all(), cells[i]
        alone = pd.DataFrame({"c": [cells[i]], "n": 0.5})
        assert (made.transform(alone) == found[i]).all(), cells[i]


@pytest.mark.filterwarnings("ignore:column", "ignore:ignored")
@examples(200)
@given(cells=st.lists(CELLS, min_size=2, max_size=30))
def test_any_cells_can_be_learned_from(cells):
    frame = beside_numbers(pd.Series(cells, dtype=object))
    made = TabularPreprocessor().fit(frame)
    assert np.isfinite(made.transform(frame)).all()
