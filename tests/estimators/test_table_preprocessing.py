import copy
import json
import warnings

import numpy as np
import pytest

from xpnn.estimators import TablePreprocessing

pytest.importorskip("pyarrow", reason="tables need the extra 'tables'")
pandas = pytest.importorskip("pandas", reason="tables need the extra 'tables'")
RANDOM = np.random.default_rng(0)


@pytest.fixture
def table():
    rows = 300
    return pandas.DataFrame(
        {
            "signed": pandas.date_range("2020-01-01", periods=rows),
            "age": np.where(RANDOM.random(rows) < 0.1, np.nan, RANDOM.normal(40, 9, rows)),
            "size": RANDOM.integers(0, 50, rows),
            "city": RANDOM.choice(["Rome", "Oslo", None], rows),
            "street": RANDOM.choice([f"s{i}" for i in range(30)], rows, p=[0.42] + [0.02] * 29),
            "member": RANDOM.choice(["yes", "no"], rows),
            "same": 1,
        }
    )


def same_bits(a, b):
    return a.shape == b.shape and (a.view(np.uint32) == b.view(np.uint32)).all()


def test_it_is_what_scikit_learns_pipeline_gives(table):
    """Numbers, missing ones, dates and categories as a ColumnTransformer of scikit-learn's."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    train, test = table[:200], table[200:].copy()
    test.loc[250, ["city", "street"]] = ["Paris", "new"]
    test.loc[251, ["size", "member", "signed"]] = None
    made = TablePreprocessing().fit(train)

    def raw(rows):
        days = rows["signed"]
        numbers = rows[["age", "size"]].assign(
            member=rows["member"].map({"yes": 1.0, "no": 0.0}),
            year=days.dt.year,
            month=days.dt.month,
            weekday=days.dt.day_of_week,
            days=(days.astype("datetime64[s]").astype("int64") / 86400).where(days.notna()),
        )
        return numbers.assign(city=rows["city"].fillna(""), street=rows["street"].fillna(""))

    numbers = ["year", "month", "weekday", "days", "age", "size", "member"]
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=2, max_categories=100,
        sparse_output=False,
    )  # fmt: skip
    peer = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
            ("m", MissingIndicator(error_on_new=False), numbers),
            ("c", one_hot, ["city", "street"]),
        ]
    ).fit(raw(train))
    for rows in (train, test):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found unknown categories")
            expected = peer.transform(raw(rows)).astype(np.float32)
        assert same_bits(made.transform(rows), expected)


def test_names_of_features(table):
    made = TablePreprocessing({"street": "ignored"}).fit(table)
    assert made.feature_names == [
        "signed year", "signed month", "signed weekday", "signed days since 1970",
        "age", "size", "member", "age missing", "city missing", "city=Oslo", "city=Rome",
    ]  # fmt: skip
    assert made.transform(table).shape == (300, 11)
    assert made.transform(table).dtype == np.float32
    assert repr(made) == "TablePreprocessing(7 columns, 11 features)"


def test_rare_and_unknown_values_share_a_feature():
    rows = pandas.DataFrame({"c": ["a"] * 5 + ["b"] * 5 + ["x", "y"]})
    made = TablePreprocessing().fit(rows)
    assert made.feature_names == ["c=a", "c=b", "c other"]
    new = pandas.DataFrame({"c": ["b", "x", "new", None]})
    assert made.transform(new).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]]
    made = TablePreprocessing().fit(rows[:10])
    assert made.transform(new).tolist() == [[0, 1], [0, 0], [0, 0], [0, 0]]
    # There are at most a hundred.
    rows = pandas.DataFrame({"c": [f"v{i % 300:03d}" for i in range(1200)]})
    made = TablePreprocessing().fit(rows)
    assert len(made.feature_names) == 100
    assert made.feature_names[-1] == "c other"
    assert made.transform(rows)[:, -1].sum() == 201 * 4


def test_nothing_is_learned_from_other_rows(table):
    made = TablePreprocessing().fit(table[:100])
    config = copy.deepcopy(made.to_config())
    made.transform(table)
    assert made.to_config() == config
    own = made.transform(table[:100])
    places = [made.feature_names.index(n) for n in ("size", "member")]
    assert np.abs(own[:, places].mean(axis=0)).max() < 1e-6
    assert np.abs(own[:, places].std(axis=0) - 1).max() < 1e-6


def test_data_comes_back_bit_for_bit(table):
    made = TablePreprocessing().fit(table)
    again = TablePreprocessing.from_config(
        json.loads(json.dumps(made.to_config(), allow_nan=False))
    )
    assert same_bits(again.transform(table), made.transform(table))
    assert again.to_config() == made.to_config()
    assert again.feature_names == made.feature_names
    assert again.describe() == made.describe()


def test_text_gives_the_same_numbers(table):
    """A file that is streamed as text turns into what the typed table does."""
    made = TablePreprocessing().fit(table)
    text = table.assign(
        age=[None if v != v else repr(v) for v in table["age"].tolist()],
        size=table["size"].astype(str),
        signed=table["signed"].dt.strftime("%Y-%m-%d"),
    )
    assert same_bits(made.transform(text), made.transform(table))


def test_blocks_of_rows_change_nothing(table, monkeypatch):
    from xpnn.estimators import table_columns

    made = TablePreprocessing().fit(table)
    whole = made.transform(table)
    monkeypatch.setattr(table_columns, "_CELLS", 100)
    assert same_bits(made.transform(table), whole)
    assert same_bits(made.transform(table.iloc[::-1])[::-1].copy(), whole)


def test_pictures_keep_all_pixels():
    pixels = RANDOM.integers(0, 256, (20, 9)).astype("uint8")
    pixels[:, 3] = 0
    made = TablePreprocessing().fit(pandas.DataFrame(pixels))
    assert (made.transform(pandas.DataFrame(pixels)) == (pixels / 255.0).astype("f4")).all()


def test_missing_columns_are_named_and_extra_ones_said_once(table):
    made = TablePreprocessing().fit(table)
    with pytest.raises(
        ValueError, match="the table lacks the columns size, member; it has signed, "
    ):
        made.transform(table.drop(columns=["size", "member", "same"]))
    assert made.transform(table.drop(columns="same")).shape[0] == 300
    more = table.assign(other=1, more=2)
    with pytest.warns(UserWarning, match="has not learned are ignored: other, more") as caught:
        made.transform(more)
    assert len(caught) == 1
    made.transform(more)  # a warning would be an error


def test_a_cell_of_another_kind_is_named(table):
    made = TablePreprocessing().fit(table)
    wrong = table.astype({"size": str})
    wrong.loc[7, "size"] = "many"
    with pytest.raises(ValueError, match="column 'size', row 7: found 'many'; expected a number"):
        made.transform(wrong)


def test_extreme_numbers():
    made = TablePreprocessing().fit(pandas.DataFrame({"a": [1.0, 2.0, 3.0]}))
    found = made.transform(pandas.DataFrame({"a": [1e300, -1e300, np.inf]}))
    assert np.isfinite(found).all()
    assert found[2, 0] == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pandas.DataFrame({"a": [1, 1]}), "no column to learn from:\na: ignored, constant: 1"),
        (pandas.DataFrame({"a": []}), "the table has no rows"),
        (pandas.DataFrame([[1, 2]], columns=[1, "1"]), "there are two columns '1'"),
        (np.ones((2, 2)), r"frame is a ndarray; expected a pandas\.DataFrame"),
    ],
)
def test_nothing_to_learn_from(rows, message):
    with pytest.raises(ValueError, match=message):
        TablePreprocessing().fit(rows)


def test_nothing_learned(table):
    for use in (lambda p: p.transform(table), lambda p: p.to_config()):
        with pytest.raises(ValueError, match="has learned nothing yet; call fit"):
            use(TablePreprocessing())


def changed(config, column, **fields):
    config = copy.deepcopy(config)
    config["columns"][column] = {**config["columns"][column], **fields}
    return config


def test_bad_configs_are_refused(table):
    good = TablePreprocessing().fit(table).to_config()
    names = [column["name"] for column in good["columns"]]
    age, city, signed = (names.index(name) for name in ("age", "city", "signed"))
    cases = [
        (None, "expected a format and columns"),
        ({}, "expected a format and columns"),
        ({**good, "more": 1}, "expected a format and columns"),
        ({**good, "format": 2}, "reads up to 1: install a newer"),
        ({**good, "format": True}, "has the format True"),
        ({**good, "columns": {}}, "has columns that are no list"),
        ({**good, "columns": []}, "leaves all columns out"),
        ({**good, "columns": ["a"]}, "column 1 is a; expected its name and kind"),
        ({**good, "columns": good["columns"] * 2}, "there are two columns 'signed'"),
        (changed(good, age, code="import os"), "has the field 'code'; expected name, kind"),
        (changed(good, age, kind="object"), "kind is 'object'; expected one of numeric"),
        (changed(good, age, name=5), "name is 5; expected a str"),
        (changed(good, age, mean=[]), "mean has 0 numbers; expected 1"),
        (changed(good, age, mean=["1"]), "mean is '1'; expected a float"),
        (changed(good, age, mean=[float("nan")]), "mean is nan; expected a finite number"),
        (changed(good, age, mean=[10**400]), "expected a finite number"),
        (changed(good, age, scale=[0.0]), r"scale is \[0.0\]; expected numbers above 0"),
        (changed(good, age, fill=1.0), "fill is 1.0; expected a list"),
        (changed(good, age, flag=1), "flag is 1; expected a bool"),
        (changed(good, age, missing=-1), "missing is -1; expected 0 or more"),
        (changed(good, age, categories=["a"]), "of the kind 'numeric' has categories"),
        (changed(good, city, categories=["b", "a"]), "categories are not sorted"),
        (changed(good, city, categories=[], rare=False), "a category without categories"),
        (changed(good, city, flag=True), "flag is True, but it has no numbers"),
        (changed(good, signed, form="%x"), "form is '%x'; expected one of ISO8601"),
        (changed(good, signed, hours=True), "fill has 4 numbers; expected 5"),
    ]
    for config, message in cases:
        with pytest.raises(ValueError, match=message):
            TablePreprocessing.from_config(config)
    assert TablePreprocessing.from_config(good).to_config() == good


def test_kinds_reach_the_preprocessing(table):
    made = TablePreprocessing({"size": "category", "same": "numeric"}).fit(table)
    assert "size=7" in made.feature_names
    assert {c.name: c.kind for c in made.columns}["same"] == "numeric"
    assert [c.name for c in made.columns] == list(table)
