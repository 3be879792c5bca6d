import datetime

import numpy as np
import pytest
from table_files import need_tables, people

import xpnn.data
from xpnn.data import Column, describe, learn_columns
from xpnn.data.cells import CellError, booleans_of, date_parts, dates_of, numbers_of, to_codes

pandas = need_tables()
RANDOM = np.random.default_rng(0)


def said(cells, kind=None):
    series = pandas.Series(cells, name="c")
    (column,) = learn_columns(series.to_frame(), {"c": kind} if kind else None)
    return column.taken_for


def test_one_line_for_each_column():
    table = people(200)
    missing = int(table["age"].isna().sum())
    assert describe(learn_columns(table)).splitlines() == [
        "id: ignored, each row its own",
        f"age: numeric, {missing} missing",
        "city: category of 3",
        "member: boolean",
        "signed: date, as year, month, weekday, days since 1970",
        "same: ignored, constant: 7",
        "note: ignored, each row its own",
        "zip: category of 5",
        "price: numeric",
        "buys: category of 2",
    ]


def test_neighbours_share_a_line():
    columns = [Column(f"pixel{i}", "image") for i in range(784)]
    columns = [Column("a", "numeric"), Column("b", "numeric"), *columns, Column("z", "numeric")]
    assert describe(columns, joined=True).splitlines() == [
        "a: numeric",
        "b: numeric",
        "pixel0 ... pixel783: 784 x image, 0 to 255",
        "z: numeric",
    ]
    assert len(describe(columns).splitlines()) == 787


MANY = [f"{i % 50}.5" for i in range(200)]
CELLS = {
    "numbers": ([1, 2, 3] * 9, "numeric"),
    "few whole numbers": ([1, 2, None] * 9, "numeric, 9 missing"),
    "text of numbers": (["1", "2.5", " 3 "] * 9, "numeric"),
    "infinite": ([1.0, 2.0, np.inf] * 9, "numeric, 9 missing"),
    "numbers and a word": ([*MANY, "n.a.", "n.a."], "numeric, 2 missing ('n.a.')"),
    "numbers and many words": ([*MANY, *"abcd"], "category of 54"),
    "zeros before": (["01", "02", "03"] * 9, "category of 3"),
    "two words": (["left", "right", None] * 9, "category of 2, 9 missing"),
    "one word or nothing": (["x", None] * 9, "category of 1, 9 missing"),
    "truth": ([True, False] * 9, "boolean"),
    "truth and nothing": ([True, False, None] * 9, "boolean, 9 missing"),
    "words for truth": (["Y", "n", ""] * 9, "boolean, 9 missing"),
    "0 and 1": ([0, 1] * 9, "boolean"),
    "yes and off": (["yes", "off"] * 9, "category of 2"),
    "bytes": (np.arange(30, dtype="uint8"), "image, 0 to 255"),
    "rows counted": (range(5, 50), "ignored, each row its own"),
    "few rows counted": (range(5), "numeric"),
    "different numbers": (RANDOM.normal(size=99), "numeric"),
    "each its own": ([f"n{i}" for i in range(30)], "ignored, each row its own"),
    "free text": (
        [f"n{i % 25}" for i in range(40)],
        "ignored, free text: 25 different in 40 rows",
    ),
    "constant": (["a" * 50] * 9, f"ignored, constant: {'a' * 27}..."),
    "nothing": ([None, "", "NA"] * 9, "ignored, nothing in it"),
    "no finite number": ([np.inf, np.nan, -np.inf], "ignored, no finite number in it"),
    "lists": ([[1], [2], None], "ignored, its cells are each a list"),
    "mixture": ([1, "a"] * 9, "ignored, a mixture of int and str"),
    "dates": ([datetime.date(2020, 1, i + 1) for i in range(9)], "date, as year, month, "),
    "times": (
        ["2020-01-01T10:30:00Z", "2020-01-02"],
        "date, as year, month, weekday, days since 1970, hour",
    ),
    "German": (["31.12.2020", "1.2.2021", ""], "date (day.month.year), as year, month, weekday, "),
    "American": (["12/31/2020", "01/02/2021"], "date (month/day/year), as year"),
    "English": (["31/12/2020", "01/02/2021"], "date (day/month/year), as year"),
    "no day": (["2020-02-30", "2020-01-01"] * 9, "category of 2"),
    "categories": (pandas.Categorical([1, 2, 2, None], categories=[1, 2, 3]), "category of 2, 1 m"),
}
ASKED_FOR = {
    "category": ([1, 2, 3, None], "category of 3, 1 missing"),
    "ignored": (["a", "b"], "ignored, as was asked for"),
    "numeric": (["1", "2", None], "numeric, 1 missing"),
    "date": (["31.12.2020"], "date (day.month.year)"),
    "boolean": (["x", "yes", "no"], "boolean, 1 missing"),
}


@pytest.mark.parametrize("case", [*CELLS, *ASKED_FOR])
def test_what_cells_are_taken_for(case):
    cells, expected = (CELLS | ASKED_FOR)[case]
    found = said(cells, case if case in ASKED_FOR else None)
    assert found.startswith(expected)
    assert found == expected or len(expected) >= 15


def test_an_identifier_by_its_name():
    values = RANDOM.permutation(100) * 7
    for name in ("id", "customer_id", "Customer ID"):
        (column,) = learn_columns(pandas.DataFrame({name: values}))
        assert column.reason == "each row its own"
    assert learn_columns(pandas.DataFrame({"paid": values}))[0].kind == "numeric"


def test_categories_of_pandas():
    codes, texts = to_codes(pandas.Series(pandas.Categorical(["b", None], categories=["a", "b"])))
    assert (codes.tolist(), texts) == ([0, -1], ["b"])


def test_a_value_is_the_same_in_every_type():
    for cells in ([1, 2], [1.0, 2.0], ["1", " 2"], np.asarray([1, 2], "uint8")):
        assert to_codes(pandas.Series(cells))[1] == ["1", "2"]
    assert to_codes(pandas.Series([True, False]))[1] == ["true", "false"]
    assert to_codes(pandas.Series([0.5, np.nan]))[1] == ["0.5"]


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"d": "numeric"}, "kinds names the column 'd'; the table has c"),
        ({"c": "float"}, r"kinds\['c'\] is 'float'; expected one of numeric, image, boolean, "),
        ({"c": "numeric"}, r"kinds\['c'\] is 'numeric', but column 'c', row 0: found 'x'; expe"),
        ({"c": "date"}, r"kinds\['c'\] is 'date', but column 'c', row 0: found 'x'; expected a d"),
        ({"c": "boolean"}, r"kinds\['c'\] is 'boolean', but no cell of it is one"),
    ],
)
def test_kinds_that_do_not_fit(kinds, message):
    with pytest.raises(ValueError, match=message):
        learn_columns(pandas.DataFrame({"c": ["x", "z"]}), kinds)


def test_numbers_that_are_none_name_column_and_row():
    series = pandas.Series(["1", "n.a.", "x" * 50], name="age", index=[10, 11, 12])
    with pytest.raises(
        CellError, match=r"column 'age', row 12: found 'x{37}\.\.\.'; expected a nu"
    ):
        numbers_of(series, ["n.a."])
    assert numbers_of(series[:2], ["n.a."]).tolist()[0] == 1.0
    with pytest.raises(CellError, match="row 0"):
        numbers_of(pandas.Series([1j]))


def test_text_is_read_as_the_same_number_as_python_reads():
    values = RANDOM.normal(size=500) * 10.0 ** RANDOM.integers(-300, 300, 500)
    texts = [repr(v) for v in values.tolist()]
    assert numbers_of(pandas.Series(texts)).tolist() == [float(t) for t in texts]


def test_yes_and_no_of_other_cells():
    found = booleans_of(pandas.Series(["YES", "f", "perhaps", None, "1"]))
    assert np.array_equal(found, [1, 0, np.nan, np.nan, 1], equal_nan=True)


def test_parts_of_dates():
    texts = ["1970-01-01", "2024-02-29T18:00:00+06:00", None]
    parts = date_parts(dates_of(pandas.Series(texts), "ISO8601"), True)
    assert np.array_equal(
        parts, [[1970, 1, 3, 0, 0], [2024, 2, 3, 19782.5, 12], [np.nan] * 5], equal_nan=True
    )
    zoned = pandas.to_datetime(pandas.Series(texts), utc=True, format="ISO8601")
    again = date_parts(dates_of(zoned.dt.tz_convert("Asia/Tokyo"), "ISO8601"), True)
    assert np.array_equal(again, parts, equal_nan=True)


def test_a_name_that_the_package_has_not():
    with pytest.raises(AttributeError, match=r"module 'xpnn\.data' has no attribute 'nothing'"):
        xpnn.data.nothing  # noqa: B018


def test_dates_that_are_none_name_column_and_row():
    with pytest.raises(CellError, match=r"row 1: found 'soon'; expected a date, day\.month\.year"):
        dates_of(pandas.Series(["1.1.2020", "soon"]), "%d.%m.%Y")
    with pytest.raises(CellError, match=r"row 0: found '5'; expected a date"):
        dates_of(pandas.Series([5, 6]), "ISO8601")
