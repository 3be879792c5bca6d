"""Raw tables in, predictions out: labels and values of every kind, and rows that are strange."""

import datetime as dt
import pickle
import threading
import warnings
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

from depth import examples
from xpnn import MLPClassifier, MLPRegressor
from xpnn.tabular import TabularClassifier, TabularPreprocessor, TabularRegressor
from xpnn.tabular.cells import key_of
from xpnn.tabular.scores import evaluate
from xpnn.tabular.target import codes_of, task_of, unique_labels

pa = pytest.importorskip("pyarrow", reason="tables need the extra 'tables'")
pd = pytest.importorskip("pandas", reason="tables need the extra 'tables'")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FAST = {"hidden_layer_sizes": (16,), "max_iter": 60, "learning_rate_init": 0.02, "random_state": 0}


def made(kind, network, given):
    """An estimator whose network is small and quick to train; others of its options are `given`."""
    own = {name: given.pop(name) for name in ("column_types", "validation_fraction")
           if name in given}  # fmt: skip
    return kind(network(**FAST | given), random_state=0, **own)


def classifier(**given):
    return made(TabularClassifier, MLPClassifier, given)


def regressor(**given):
    return made(TabularRegressor, MLPRegressor, given)


@pytest.fixture
def table():
    source, rows = np.random.default_rng(0), 300
    age = source.normal(40, 10, rows).round(2)
    city = source.choice(["Rome", "Oslo", "Bern"], rows)
    return pd.DataFrame(
        {
            "age": np.where(source.random(rows) < 0.05, np.nan, age),
            "city": city,
            "member": source.random(rows) < 0.5,
            "since": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(source.integers(0, 900, rows), "D"),
            "price": 100 * age + 500 * (city == "Oslo"),
            "buys": np.where(age + 10 * (city == "Rome") > 43, "buys", "leaves"),
        }
    )


INPUTS = ["age", "city", "member", "since"]


def two_classes(labels, rows=80):
    """Rows that tell which of the labels is theirs, and the labels of the rows."""
    codes = np.arange(rows) % len(labels)
    noise = np.random.default_rng(0).normal(scale=0.1, size=(rows, 2))
    x = pd.DataFrame({"a": codes + noise[:, 0], "b": noise[:, 1]})
    return x, [labels[code] for code in codes]


# Rows of every library


def test_frames_of_every_library_give_the_same(table):
    x, y = table[INPUTS], table["buys"]
    model = classifier().fit(x, y)
    expected = model.predict_proba(x)
    assert model.score(x, y) > 0.9
    arrow = pa.Table.from_pandas(x, preserve_index=False)
    frames = [arrow, x.convert_dtypes(dtype_backend="pyarrow"), x.convert_dtypes()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import polars
        except ImportError:
            pass
        else:
            frames.append(polars.from_arrow(arrow))
    for frame in frames:
        assert (model.predict_proba(frame) == expected).all()
        again = classifier().fit(frame, y)
        assert (again.predict_proba(x) == expected).all()


def test_arrays_of_every_library_give_the_same(table):
    x = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    y = x[:, 0] > 0
    expected = classifier().fit(x, y).predict_proba(x)
    rows = [x.tolist(), x.astype(object), x.astype(np.float64)]
    labels = [y.tolist(), y.astype(object), y]
    try:
        import torch
    except ImportError:
        pass
    else:
        rows.append(torch.from_numpy(x))
        labels.append(torch.from_numpy(y))
    for own, truth in zip(rows, labels, strict=True):
        model = classifier().fit(own, truth)
        assert (model.predict_proba(own) == expected).all()
        assert (model.predict_proba(x) == expected).all()
        assert model.classes_.dtype == bool


def test_columns_are_found_by_name(table):
    x, y = table[INPUTS].assign(same=1), table["buys"]
    with pytest.warns(UserWarning, match=r"'same' \(constant\)"):
        model = classifier().fit(x, y)
    expected = model.predict_proba(x)
    assert model.feature_names_in_.tolist() == [*INPUTS, "same"]
    assert (model.predict_proba(x.iloc[:, ::-1]) == expected).all()
    assert (model.predict_proba(x.drop(columns="same")) == expected).all()
    with pytest.raises(ValueError, match="now missing: city"):
        model.predict(x.drop(columns="city"))
    with pytest.raises(ValueError, match="unseen at fit time: price, buys"):
        model.predict(table)


def test_no_rows_have_no_predictions(table):
    x = table[INPUTS]
    model = classifier().fit(x, table["buys"])
    assert model.predict(x[:0]).tolist() == []
    assert model.predict(x[:0]).dtype == model.classes_.dtype
    assert model.predict_proba(x[:0]).shape == (0, 2)
    assert regressor().fit(x, table["price"]).predict(x[:0]).shape == (0,)


# Labels

NOON = dt.datetime(2024, 1, 1, 12)
LABELS = {
    "text": (["none", "some"], "O"),
    "words for missing": (["NA", "none", "nan", ""], "O"),
    "booleans": ([False, True], "b"),
    "text of booleans": (["False", "True"], "O"),
    "integers": ([-5, 3], "i"),
    "large integers": ([10**18, 10**18 + 1], "i"),
    "huge integers": ([2**63 + 1, 2**63 + 2], "u"),
    "text of fractions": (["1.0", "2.0"], "O"),
    "signed text": (["+1", "+2"], "O"),
    "both signs": (["+1", "-1"], "O"),
    "long text": (["12345678901234567890", "12345678901234567891"], "O"),
    "floats": ([0.0, 1.0], "f"),
    "decimals": ([Decimal("0.5"), Decimal("1.5")], "O"),
    "dates": ([dt.date(1, 1, 1), dt.date(9999, 1, 1)], "O"),
    "datetimes": ([pd.Timestamp("2024-01-01 05:00"), pd.Timestamp("2024-01-02")], "O"),
    "times of a zone": (
        [pd.Timestamp("2024-01-01", tz="Asia/Tokyo"), pd.Timestamp(0, tz="UTC")],
        "O",
    ),
    "durations": ([pd.Timedelta(hours=1), pd.Timedelta(hours=2)], "O"),
    "periods": ([pd.Period("2024-01", "M"), pd.Period("2024-02", "M")], "O"),
    "integers of all sizes": ([-1, 2**63 + 1], "O"),
    "integers beyond all widths": ([2**70, 2**70 + 1], "O"),
    "mixed": (["a", 1], "O"),
    "composed": (["caf\u00e9", "tea"], "O"),
}


@pytest.mark.parametrize("sort", LABELS)
def test_labels_come_back_as_they_were(sort):
    labels, kind = LABELS[sort]
    x, y = two_classes(labels)
    for own in (y, pd.Series(y), pd.Series(y, dtype=object), pd.Series(y, dtype="category")):
        model = classifier().fit(x, own)
        assert model.classes_.dtype.kind == kind
        assert sorted(model.classes_, key=str) == sorted(labels, key=str)
        assert {type(v) for v in model.classes_.tolist()} == {type(v) for v in labels}
        assert model.predict(x).tolist() == y
        assert model.score(x, y) == 1
        assert model.class_prior_.tolist() == pytest.approx([1 / len(labels)] * len(labels))


WIDTHS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]


@pytest.mark.parametrize("dtype", [*WIDTHS, "float32", "float64", "bool", "U5"])
def test_classes_have_the_dtype_of_the_labels(dtype):
    x, y = two_classes([0, 1])
    y = np.asarray(y).astype(dtype)
    model = classifier().fit(x, y)
    assert model.classes_.dtype == (y.dtype if dtype != "U5" else object)
    assert model.predict(x).tolist() == y.tolist()


def test_decimals_of_arrow_are_labels():
    x, y = two_classes([Decimal("0.5"), Decimal("1.5")])
    for own in (pa.array(y), pd.Series(y, dtype=pd.ArrowDtype(pa.decimal128(3, 1)))):
        assert classifier().fit(x, own).predict(x).tolist() == y


def test_labels_of_any_year():
    for days in (["20000-01-01", "2021-01-01"], ["2021-01-01", "0001-01-01"]):
        x, y = two_classes(days)
        labels = np.array(y, "datetime64[s]")
        model = classifier().fit(x, labels)
        assert sorted(label.year for label in model.classes_) == sorted(int(d[:-6]) for d in days)
        assert model.score(x, labels) == 1


@pytest.mark.parametrize("labels", [[b"a", b"b"], [1j, 2j], [[1], [2]]])
def test_labels_that_are_no_values_are_refused(labels):
    x, y = two_classes(labels)
    with pytest.raises(ValueError, match=r"\by\b"):
        classifier().fit(x, pd.Series(y))


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("Int8", "i"), ("UInt64", "i"), ("boolean", "b"), ("Float64", "f"), ("string", "O"),
        ("int64[pyarrow]", "i"), ("bool[pyarrow]", "b"), ("string[pyarrow]", "O"),
    ],
)  # fmt: skip
def test_nullable_labels_are_plain_classes(dtype, kind):
    x, y = two_classes([0, 1])
    y = pd.Series(y).astype(bool if "bool" in dtype else "int64").astype(dtype)
    model = classifier().fit(x, y)
    assert model.classes_.dtype.kind == kind
    assert model.predict(x).tolist() == y.tolist()


def test_labels_of_every_library():
    x, y = two_classes(["no", "yes"])
    given = [pa.array(y), pa.chunked_array([y[:30], y[30:]]), pa.array(y).dictionary_encode()]
    try:
        import polars
    except ImportError:
        pass
    else:
        given += [polars.Series("buys", y), polars.Series(y, dtype=polars.Categorical)]
    for own in given:
        assert classifier().fit(x, own).predict(x).tolist() == y
    for own in (pa.table({"buys": y}), pd.DataFrame({"buys": y}), np.array(y)[:, None]):
        with pytest.warns(Warning, match="column-vector y"):
            model = classifier().fit(x, own)
        assert model.predict(x).tolist() == y


def test_intervals_are_classes():
    values = np.random.default_rng(0).uniform(0, 3, 90)
    y = pd.cut(values, [0, 1, 2, 3])
    model = classifier().fit(pd.DataFrame({"v": values}), y)
    assert model.classes_.tolist() == list(y.categories)
    assert isinstance(model.predict(pd.DataFrame({"v": [0.5]}))[0], pd.Interval)
    assert model.score(pd.DataFrame({"v": values}), y) > 0.9
    assert model.score(pd.DataFrame({"v": values}), pd.Series(y)) > 0.9


def test_unused_categories_are_no_classes():
    x, y = two_classes(["no", "yes"])
    own = pd.Series(pd.Categorical(y, ["yes", "maybe", "no"]))
    assert classifier().fit(x, own).classes_.tolist() == ["no", "yes"]


@pytest.mark.parametrize("sort", ["text", "booleans", "integers", "composed"])
def test_labels_are_the_same_in_any_type_when_validating(sort):
    labels = LABELS[sort][0]
    x, y = two_classes(labels)
    other = [str(label) for label in y]
    if sort == "composed":
        other = ["cafe\u0301" if label == labels[0] else label for label in y]
    model = classifier(early_stopping=True).fit(x, y, X_val=x, y_val=other)
    assert model.estimator_.best_validation_score_ == 1


@pytest.mark.parametrize("null", [None, np.nan, pd.NA])
def test_a_missing_label_is_named_by_its_row(null):
    x, y = two_classes([False, True])
    for own in (["a" if label else "b" for label in y], list(y), [float(label) for label in y]):
        own[17] = null
        with pytest.raises(ValueError, match=r"y contains NaN: 1 labels are missing.*row 17"):
            classifier().fit(x, own)
    own = pd.Series(y, dtype="boolean")
    own[[17, 20]] = pd.NA
    with pytest.raises(ValueError, match=r"2 labels are missing.*row 17"):
        classifier().fit(x, own)
    with pytest.raises(ValueError, match=r"y_val contains NaN.*row 17"):
        classifier().fit(x, y, X_val=x, y_val=own)
    with pytest.raises(ValueError, match=r"y contains NaN.*row 3"):
        regressor().fit(x, [1.0, 2, 3, null, *range(76)])


class Untouched(MLPClassifier):
    """A network that must not be trained."""

    def fit(self, *args, **kwargs):
        raise AssertionError("it was trained")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a"] * 80, "one class only, 'a'"),
        ([7] * 80, "one class only"),
        ([f"name {i}" for i in range(80)], "80 different labels in 80 rows"),
        ([0.5 + i % 2 for i in range(80)], "fractions"),
        (np.array([0.5 + i % 2 for i in range(80)], object), "fractions"),
        (pd.Series([0.5 + i % 2 for i in range(80)], dtype="Float64"), "fractions"),
        ([0.0, np.inf] * 40, "infinity"),
    ],
)
def test_labels_that_are_no_classes_are_refused_before_training(labels, words):
    x, _ = two_classes([0, 1])
    with pytest.raises(ValueError, match=words):
        TabularClassifier(Untouched()).fit(x, labels)


def test_as_many_labels_as_rows_are_asked_for():
    x, y = two_classes([0, 1])
    with pytest.raises(ValueError, match="80 rows, y has 79"):
        classifier().fit(x, y[:-1])
    with pytest.raises(ValueError, match="requires y"):
        classifier().fit(x)
    with pytest.raises(ValueError, match="1d array"):
        classifier().fit(x, np.zeros((80, 2)))
    with pytest.raises(ValueError, match="estimator is a MLPRegressor; expected a MLPClassifier"):
        TabularClassifier(MLPRegressor()).fit(x, y)
    for share in (1, -0.1, "half"):
        with pytest.raises(ValueError, match="validation_fraction"):
            TabularClassifier(validation_fraction=share).fit(x, y)


# Labels of any kind

WORDS = st.sampled_from(["none", "NA", "", "1", "+1", "1.0", "01", "True", "e\u0301", "\u00e9"])
SORTS = st.one_of(
    st.lists(st.booleans() | st.integers(0, 3), min_size=2, max_size=20),
    st.lists(st.integers(-(2**70), 2**70), min_size=2, max_size=20),
    st.lists(st.integers(2**63, 2**64 - 1), min_size=2, max_size=20),
    st.lists(WORDS | st.text(max_size=3), min_size=2, max_size=20),
    st.lists(st.decimals(allow_nan=False, allow_infinity=False), min_size=2, max_size=20),
    st.lists(st.dates() | st.integers(0, 3), min_size=2, max_size=20),
    st.lists(st.datetimes(), min_size=2, max_size=20),
    st.lists(st.timedeltas(), min_size=2, max_size=20),
)


@examples(300)
@given(labels=SORTS, cut=st.integers(0, 20))
def test_every_label_is_one_of_the_classes(labels, cut):
    series = pd.Series(labels, dtype=object)
    classes, counts = unique_labels([series])
    codes = codes_of(series, classes)
    assert (codes >= 0).all()
    assert list(counts.values()) == np.bincount(codes, minlength=len(classes)).tolist()
    for label, code in zip(labels, codes, strict=True):
        same = classes[code] == label
        assert same or key_of(classes[code]) == key_of(label)
    parts = [part for part in (series[:cut], series[cut:]) if len(part)]
    again, other = unique_labels(parts)
    assert other == counts
    assert (codes_of(series, again) == codes).all()
    one_by_one = [codes_of(series[i : i + 1], classes)[0] for i in range(len(series))]
    assert one_by_one == codes.tolist()


@pytest.mark.parametrize(
    ("values", "task", "why"),
    [
        (["a", "b"] * 20, "classification", "text"),
        ([True, False] * 20, "classification", "boolean"),
        ([1, 2, 3] * 20, "classification", "3 different integers"),
        ([1.0, 2.0, np.nan] * 20, "classification", "2 different integers"),
        (range(40), "regression", "40 different integers"),
        ([0.5, 1.0] * 20, "regression", "fractions"),
    ],
)
def test_what_is_to_be_learned_is_told_from_the_labels(values, task, why):
    assert task_of(pd.Series(values)) == (task, why)


@pytest.mark.parametrize(
    "values", [pd.to_datetime(["2024-01-01"] * 9), [None] * 9, pd.to_timedelta(range(9), unit="h")]
)
def test_what_cannot_be_learned_is_refused(values):
    with pytest.raises(
        ValueError,
        match=r"column 'y' (holds .*|has no label in any row); expected labels or numbers",
    ):
        task_of(pd.Series(values, name="y"))


# Weights and validation


def test_class_weights_are_by_label(table):
    x, y = table[INPUTS], table["buys"]
    plain = classifier().fit(x, y)
    for weights in ({"buys": 50.0}, {"buys": 50.0, "leaves": 1.0}):
        biased = classifier(class_weight=weights).fit(x, y)
        assert (biased.predict(x) == "buys").sum() > (plain.predict(x) == "buys").sum()
    numbers = (y == "buys").astype(int)
    other = classifier(class_weight={"1": 50.0}).fit(x, numbers)
    assert (other.predict(x) == 1).sum() > (plain.predict(x) == "buys").sum()
    assert classifier(class_weight="balanced").fit(x, y).score(x, y) > 0.9
    with pytest.raises(ValueError, match="class_weight names the class 'lends'"):
        classifier(class_weight={"lends": 2}).fit(x, y)


def test_sample_weights(table):
    x, y = table[INPUTS], table["buys"]
    wrong = np.where(np.arange(len(y)) % 3 == 0, "buys", y)
    weight = np.where(np.arange(len(y)) % 3 == 0, 0.0, 1.0)
    assert classifier().fit(x, wrong, weight).score(x, y) > 0.9
    assert classifier().fit(x, wrong, pd.Series(weight)).score(x, y) > 0.9
    text = ["much"] * len(y)
    with pytest.raises(ValueError, match="sample_weight holds 'much'; expected numbers"):
        classifier().fit(x, y, text)
    for bad, words in (
        (weight[:-1], "sample_weight"),
        (-weight, "(?i)negative"),
        (weight * np.nan, "NaN"),
    ):
        with pytest.raises(ValueError, match=words):
            classifier().fit(x, y, bad)
    assert regressor().fit(x, table["price"], weight + 1).score(x, table["price"]) > 0.8


def test_a_share_is_set_apart_evenly(table):
    x, y = table[INPUTS], table["buys"]
    model = classifier(validation_fraction=0.2).fit(x, y)
    apart = model.validation_indices_
    assert len(apart) == 60
    assert (np.diff(apart) > 0).all()
    assert np.mean(y[apart] == "buys") == pytest.approx(np.mean(y == "buys"), abs=0.02)
    for none in (0, None):
        assert classifier(validation_fraction=none).fit(x, y).validation_indices_ is None
    assert len(regressor().fit(x, table["price"]).validation_indices_) == 30


def test_a_class_of_one_row_is_learned_from():
    x, y = two_classes(["no", "yes"])
    y[5] = "once"
    model = classifier(validation_fraction=0.3).fit(x, y)
    assert 5 not in model.validation_indices_
    assert model.classes_.tolist() == ["no", "once", "yes"]


def test_rows_to_validate_on(table):
    x, y = table[INPUTS], table["buys"]
    early = {"early_stopping": True, "max_iter": 100, "n_iter_no_change": 3}
    model = classifier(**early).fit(x[:200], y[:200], X_val=x[200:].iloc[:, ::-1], y_val=y[200:])
    assert model.validation_indices_ is None
    best = model.estimator_.best_validation_score_
    assert best > 0.85
    assert model.estimator_.n_iter_ < 100
    assert model.score(x[200:], y[200:]) == pytest.approx(best)
    weight = np.ones(100)
    weighted = classifier(**early).fit(
        x[:200], y[:200], X_val=x[200:], y_val=y[200:], sample_weight_val=weight
    )
    assert weighted.estimator_.validation_scores_ == pytest.approx(
        model.estimator_.validation_scores_
    )
    own = classifier(**early).fit(x, y)
    apart = own.validation_indices_
    assert own.score(x.iloc[apart], y[apart]) == pytest.approx(
        own.estimator_.best_validation_score_
    )
    values = regressor(**early).fit(x[:200], table["price"][:200], X_val=x[200:],
                                    y_val=table["price"][200:])  # fmt: skip
    assert values.score(x[200:], table["price"][200:]) == pytest.approx(
        values.estimator_.best_validation_score_, abs=1e-5
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"X_val": "x"}, "y_val is None"),
        ({"y_val": "y"}, "y_val without X_val"),
        ({"sample_weight_val": "y"}, "sample_weight_val without X_val"),
        ({"X_val": "x", "y_val": "other"}, "y_val has the label 'other'"),
        ({"X_val": "short", "y_val": "y"}, "X_val has 79 rows, y_val has 80"),
        ({"X_val": "less", "y_val": "y"}, "now missing: b"),
    ],
)
def test_validation_that_does_not_fit_is_refused(given, words):
    x, y = two_classes(["no", "yes"])
    what = {"x": x, "y": y, "other": ["other", *y[1:]], "short": x[1:], "less": x[["a"]]}
    with pytest.raises(ValueError, match=words):
        classifier().fit(x, y, **{name: what[value] for name, value in given.items()})


# Values


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_values_come_back_in_their_unit(table, scale):
    x, y = table[INPUTS], table["price"] * scale
    model = regressor().fit(x, y)
    assert model.score(x, y) > 0.8
    assert model.predict(x).dtype == np.float64
    assert model.target_mean_ == pytest.approx(y.mean())
    assert model.target_scale_ == pytest.approx(y.std(ddof=0))
    assert model.target_name_ == "price"


def test_values_of_any_type(table):
    x, y = table[INPUTS], table["price"].round()
    expected = regressor().fit(x, y).predict(x)
    for own in (
        y.astype(int), y.astype("Int64"), y.astype(object), y.tolist(), y.map(Decimal),
        y.astype("int32[pyarrow]"), pa.array(y), y.to_numpy(), y.astype(str),
    ):  # fmt: skip
        np.testing.assert_allclose(regressor().fit(x, own).predict(x), expected)


def test_counts_are_not_standardised(table):
    x = table[INPUTS]
    y = np.random.default_rng(0).poisson(np.exp(table["age"].fillna(40) / 20))
    model = regressor(loss="poisson").fit(x, y)
    assert (model.predict(x) > 0).all()
    assert model.score(x, y) > 0.4
    with pytest.raises(ValueError):
        regressor(loss="poisson").fit(x, -1.0 - y)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["low", "high"] * 40, "y holds 'low'; expected numbers"),
        (["1", "many"] * 40, "y holds 'many'"),
        ([dt.date(2024, 1, 1)] * 80, "expected numbers"),
        ([1.0, np.inf] * 40, "infinity"),
        ([1e308, -1e308] * 40, "too large"),
    ],
)
def test_values_that_are_no_numbers_are_refused(values, words):
    x, _ = two_classes([0, 1])
    with pytest.raises(ValueError, match=words):
        regressor().fit(x, values)


def test_constant_values_are_learned():
    x, _ = two_classes([0, 1])
    np.testing.assert_allclose(regressor().fit(x, [3.5] * 80).predict(x), 3.5, atol=0.5)


# What is learned


def test_a_flag_of_small_integers_is_learned_perfectly():
    source = np.random.default_rng(0)
    flag = source.integers(0, 2, 300)
    for dtype in ("uint8", "int8", "bool", "uint16"):
        x = pd.DataFrame({"flag": flag.astype(dtype), "noise": source.normal(size=300)})
        assert classifier().fit(x, flag).score(x, flag) == 1
    pixels = np.column_stack([flag, np.full(300, 255)]).astype(np.uint8)
    with pytest.warns(UserWarning, match=r"'x1' \(constant\)"):
        model = classifier(max_iter=200).fit(pixels, flag)
    assert model.score(pixels, flag) == 1


def test_row_numbers_of_a_sorted_table_do_not_leak():
    source = np.random.default_rng(0)
    y = np.repeat(["a", "b"], 150)
    for name in ("number", "id"):
        x = pd.DataFrame({name: np.arange(300) + 1, "noise": source.normal(size=300)})
        reasons = set()
        for seed in range(4):
            model = classifier(validation_fraction=0.3).set_params(random_state=seed)
            with pytest.warns(UserWarning, match="running row number"):
                model.fit(x, y)
            reasons.add(tuple(column.reason for column in model.preprocessor_.columns_))
            apart = model.validation_indices_
            assert model.score(x.iloc[apart], y[apart]) < 0.7
        assert reasons == {("a running row number", "")}
        kept = classifier(column_types={name: "numeric"}).fit(x, y)
        assert kept.score(x, y) > 0.95


def test_words_predict(table):
    source = np.random.default_rng(0)
    words = ["red", "green", "blue", "car", "house", "tree"]
    texts = np.array([f"{' '.join(source.choice(words, 4))} {i % 350}" for i in range(400)])
    texts[350:] = texts[:50]
    y = np.array(["car" in text for text in texts])
    model = classifier().fit(pd.DataFrame({"text": texts}), y)
    assert model.preprocessor_.columns_[0].kind == "text"
    assert model.score(pd.DataFrame({"text": texts}), y) > 0.95
    new = pd.DataFrame({"text": ["A CAR, unheard of", "green trees"]})
    assert model.predict(new).tolist() == [True, False]


def test_none_is_a_class_and_a_category(table):
    source = np.random.default_rng(0)
    insured = source.choice(["none", "basic", "NA"], 300)
    x = pd.DataFrame({"insured": insured, "noise": source.normal(size=300)})
    model = classifier().fit(x, insured)
    assert model.classes_.tolist() == ["NA", "basic", "none"]
    assert model.preprocessor_.columns_[0].values == ("NA", "basic", "none")
    assert model.preprocessor_.columns_[0].missing == 0
    assert model.score(x, insured) == 1


# Strange rows


def test_strange_rows_leave_the_others_alone(table):
    table["stay"] = pd.to_timedelta(np.arange(300) % 7, "h")
    names = [*INPUTS, "stay"]
    full = table.fillna({"age": 40.0})[names]
    model = classifier().fit(full, table["buys"])
    expected = model.predict_proba(full)
    strange = full.astype(object)
    strange.iloc[0, 0] = None
    strange.iloc[1, 0] = np.inf
    strange.iloc[2, 0] = 1e30
    strange.iloc[3, 0] = "forty"
    strange.iloc[4, 1] = "Paris"
    strange.iloc[5, 1] = None
    strange.iloc[6, 2] = "perhaps"
    strange.iloc[7, 3] = dt.datetime(9999, 1, 1)
    strange.iloc[8, 3] = None
    strange.iloc[9, 4] = None
    with pytest.warns(UserWarning, match="cannot be read as") as caught:
        found = model.predict_proba(strange)
    assert sorted(str(w.message).partition(":")[0] for w in caught) == [
        "column 'age'",
        "column 'member'",
    ]
    assert "1 cells" in str(caught[0].message)
    assert np.isfinite(found).all()
    assert (found[10:] == expected[10:]).all()
    with pytest.warns(UserWarning, match="cannot be read as"):
        assert model.count_unusual(strange) == {
            "age": {"unreadable": 1, "infinite": 1, "newly_missing": 1, "far_outside": 1},
            "city": {"unknown": 1, "newly_missing": 1},
            "member": {"unreadable": 1},
            "since": {"far_outside": 1, "newly_missing": 1},
            "stay": {"newly_missing": 1},
        }
    assert model.count_unusual(full) == {}


@pytest.mark.parametrize(
    "strange",
    [
        dt.date(1, 1, 1),
        dt.date(9999, 12, 31),
        dt.datetime(3000, 1, 1),
        "2500-01-01",
        "never",
        None,
        5,
    ],
)
def test_one_strange_date_does_not_end_the_prediction(table, strange):
    x = table[INPUTS]
    model = classifier().fit(x, table["buys"])
    expected = model.predict_proba(x)
    other = x.astype({"since": object})
    other.loc[0, "since"] = strange
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = model.predict_proba(other)
    assert (found[1:] == expected[1:]).all()
    assert np.isfinite(found).all()


def test_a_column_that_is_of_another_sort_counts_as_unreadable(table):
    x = table[INPUTS]
    model = classifier().fit(x, table["buys"])
    for name, cells in {"age": "text", "since": 5.0, "member": 7}.items():
        with pytest.warns(UserWarning, match=f"column '{name}': 300 cells cannot be read"):
            found = model.count_unusual(x.assign(**{name: cells}))
        assert found == {name: {"unreadable": 300}}
    with pytest.warns(UserWarning, match="column 'age': 300 cells cannot be read"):
        model.predict(x.assign(age=pd.Timestamp("2024-01-01")))


def test_identifiers_of_20_digits_are_classes_and_categories():
    own = [10**19 + i for i in range(3)]
    x = pd.DataFrame({"key": pd.Series(own * 30, dtype="uint64")})
    model = classifier(column_types={"key": "categorical"}).fit(x, x["key"])
    assert model.classes_.tolist() == own
    assert model.classes_.dtype == np.uint64
    assert model.predict(x).tolist() == own * 30
    assert model.predict(pd.DataFrame({"key": [str(v) for v in own]})).tolist() == own
    nullable = pd.Series([*own * 30, None], dtype="UInt64")
    other = classifier().fit(pd.DataFrame({"key": nullable.astype(str)}), [*own * 30, own[0]])
    assert other.classes_.tolist() == own


# The same again


def test_the_same_seed_gives_the_same_bytes(table):
    x, y = table[INPUTS], table["buys"]

    def bytes_of(seed, **own):
        network = MLPClassifier(hidden_layer_sizes=(8,), max_iter=5)
        model = TabularClassifier(network, random_state=seed, **own).fit(x, y)
        return [array.tobytes() for array in model.estimator_.coefs_]

    assert bytes_of(1) == bytes_of(1)
    assert bytes_of(np.random.RandomState(1)) == bytes_of(np.random.RandomState(1))
    assert bytes_of(1) != bytes_of(2)


def test_fit_changes_nothing_of_the_callers(table):
    x, y = table[INPUTS], table["buys"]
    before, labels, filters = x.copy(deep=True), y.copy(deep=True), list(warnings.filters)
    network = MLPClassifier(**FAST, class_weight={"buys": 2.0})
    given = repr(network.get_params())
    model = TabularClassifier(network, column_types={"city": "categorical"}, random_state=3)
    model.fit(x, y).predict(x)
    pd.testing.assert_frame_equal(x, before)
    pd.testing.assert_series_equal(y, labels)
    assert warnings.filters == filters
    assert repr(network.get_params()) == given
    assert not hasattr(network, "coefs_")
    assert model.estimator is network
    assert model.estimator_ is not network


def test_pickles_predict_the_same(table):
    x = table[INPUTS]
    for model, target in ((classifier(), "buys"), (regressor(), "price")):
        model.fit(x, table[target])
        again = pickle.loads(pickle.dumps(model))
        assert (again.predict(x) == model.predict(x)).all()
        assert again.preprocessor_.columns_ == model.preprocessor_.columns_


def test_fitting_again_forgets(table):
    x = table[INPUTS]
    model = classifier().fit(x, table["buys"])
    model.fit(x[["age", "city"]].to_numpy(object), ["a", "b", "c"] * 100)
    assert model.n_features_in_ == 2
    assert not hasattr(model, "feature_names_in_")
    assert not hasattr(model, "target_name_")
    assert model.classes_.tolist() == ["a", "b", "c"]
    other = regressor().fit(x, table["price"])
    other.set_params(estimator__loss="poisson")
    assert other.fit(x, table["price"]).predict(x).mean() == pytest.approx(4200, rel=0.5)


def test_a_failed_fit_leaves_no_model(table):
    model = classifier().fit(table[INPUTS], table["buys"])
    model.set_params(estimator__learning_rate_init=-1)
    with pytest.raises(ValueError, match="learning_rate_init"):
        model.fit(table[INPUTS], ["a", "b", "c"] * 100)
    with pytest.raises(NotFittedError):
        model.predict(table[INPUTS])


def test_threads_predict_the_same(table):
    x = table[INPUTS]
    model = classifier().fit(x, table["buys"])
    expected = model.predict_proba(x)
    start, found = threading.Barrier(8), []

    def predict():
        start.wait()
        found.append(all((model.predict_proba(x) == expected).all() for _ in range(10)))

    threads = [threading.Thread(target=predict) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_probabilities_only_where_the_network_has_them(table):
    x, y = table[INPUTS], table["buys"]
    model = classifier().fit(x, y)
    proba = model.predict_proba(x)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(model.predict_log_proba(x), np.log(proba))
    assert (model.classes_[proba.argmax(axis=1)] == model.predict(x)).all()
    hinge = classifier(loss="hinge").fit(x, y)
    assert not hasattr(hinge, "predict_proba")
    assert hinge.score(x, y) > 0.9


def test_lbfgs_learns(table):
    x, y = table[INPUTS], table["buys"]
    assert classifier(solver="lbfgs").fit(x, y).score(x, y) > 0.9
    assert regressor(solver="lbfgs").fit(x, table["price"]).score(x, table["price"]) > 0.9


def test_callbacks_and_checkpoints_reach_the_network(table, tmp_path):
    x, y = table[INPUTS], table["buys"]
    seen = []
    classifier(max_iter=3).fit(x, y, callbacks=lambda *args: seen.append(args))
    assert len(seen) >= 3
    whole = classifier(max_iter=6).fit(x, y)
    path = tmp_path / "training.checkpoint"
    classifier(max_iter=3).fit(x, y, checkpoint=path)
    again = classifier(max_iter=6).fit(x, y, checkpoint=path, resume=True)
    assert (again.predict_proba(x) == whole.predict_proba(x)).all()


# Scores


def test_scores_are_scikit_learns(table):
    from sklearn import metrics

    x, held = table[INPUTS][:200], table[200:]
    model = classifier().fit(x, table["buys"][:200])
    result = evaluate(model, [(held[INPUTS][:50], held["buys"][:50]),
                              (held[INPUTS][50:], held["buys"][50:])])  # fmt: skip
    truth, proba = held["buys"], model.predict_proba(held[INPUTS]).astype(float)
    assert (result["task"], result["rows"]) == ("classification", 100)
    assert result["accuracy"] == model.score(held[INPUTS], truth)
    proba /= proba.sum(axis=1, keepdims=True)
    assert result["log_loss"] == pytest.approx(metrics.log_loss(truth, proba), rel=1e-5)
    area = metrics.roc_auc_score(truth == "leaves", proba[:, 1])
    assert result["roc_auc"] == pytest.approx(area, rel=1e-5)
    matrix = metrics.confusion_matrix(truth, model.predict(held[INPUTS]))
    assert result["confusion"] == {"labels": ["buys", "leaves"], "matrix": matrix.tolist()}
    assert result["unknown_labels"] == 0
    assert result["baseline"]["accuracy"] == pytest.approx(truth.value_counts(normalize=True).max())
    assert result["baseline"]["roc_auc"] == 0.5
    values = regressor().fit(x, table["price"][:200])
    result, found = evaluate(values, [(held[INPUTS], held["price"])]), values.predict(held[INPUTS])
    assert result["task"] == "regression"
    assert result["r2"] == pytest.approx(metrics.r2_score(held["price"], found))
    assert result["mae"] == pytest.approx(metrics.mean_absolute_error(held["price"], found))
    assert result["rmse"] == pytest.approx(metrics.root_mean_squared_error(held["price"], found))
    assert result["baseline"]["r2"] == pytest.approx(0)


def test_labels_never_learned_count_as_wrong(table):
    x, y = two_classes(["no", "yes"])
    model = classifier().fit(x, y)
    strange = pd.Series(["perhaps", *y[1:]])
    result = evaluate(model, [(x, strange)])
    assert result["unknown_labels"] == 1
    assert result["accuracy"] == pytest.approx(79 / 80)
    assert sum(map(sum, result["confusion"]["matrix"])) == 79
    given = evaluate(model, [(x, strange)], baseline=[0.25, 0.75])
    assert given["baseline"]["name"] == "majority class, yes"
    with pytest.raises(ValueError, match="no row has a label"):
        evaluate(model, [(x[:0], strange[:0])])


def test_scores_of_several_classes_and_of_one(table):
    x, y = two_classes(["a", "b", "c"])
    model = classifier().fit(x, y)
    assert evaluate(model, [(x, pd.Series(y))])["roc_auc"] == pytest.approx(1)
    only = evaluate(model, [(x[:1], pd.Series(y[:1]))])
    assert only["roc_auc"] is None
    assert only["accuracy"] == 1
    one = regressor().fit(x, np.arange(80.0))
    assert evaluate(one, [(x[:1], pd.Series([0.0]))])["r2"] is None


def test_the_preprocessor_inside_is_the_preprocessor(table):
    x = table[INPUTS]
    model = classifier().fit(x, table["buys"])
    alone = TabularPreprocessor().fit(x)
    assert model.preprocessor_.columns_ == alone.columns_
    assert (model.preprocessor_.transform(x) == alone.transform(x)).all()
    assert model.estimator_.n_features_in_ == len(alone.get_feature_names_out())


@pytest.mark.parametrize("share", [None, 0])
def test_early_stopping_without_rows_to_validate_on_is_refused(table, share):
    model = classifier(early_stopping=True, validation_fraction=share)
    x, y = table[INPUTS], table["buys"]
    with pytest.raises(ValueError, match="early_stopping=True of the network needs rows"):
        model.fit(x, y)
    assert model.fit(x, y, X_val=x, y_val=y).score(x, y) > 0.8


def test_labels_that_are_booleans_meet_words_of_any_case(table):
    model = classifier().fit(table[INPUTS], table["buys"] == "buys")
    x, truth = table[INPUTS], model.predict(table[INPUTS])
    words = pd.Series(np.where(truth, "TRUE", "false"))
    result = evaluate(model, [(x, words)])
    assert (result["accuracy"], result["unknown_labels"]) == (1, 0)


def test_labels_that_have_the_name_of_a_feature_name_no_target(table):
    x = table[INPUTS]
    model = classifier().fit(x, pd.cut(x[INPUTS[0]].fillna(0), 2))
    assert model.predict(x).shape == (len(x),)
    assert not hasattr(model, "target_name_")
    assert classifier().fit(x, table["buys"]).target_name_ == "buys"


def test_values_are_measured_in_parts_as_whole(table):
    from sklearn import metrics

    x, y = table[INPUTS], table["price"].sort_values()
    x = x.loc[y.index]
    model = regressor().fit(x, y)
    parts = [(x[start : start + 70], y[start : start + 70]) for start in range(0, len(y), 70)]
    result = evaluate(model, parts, baseline=model.target_mean_)
    assert result["r2"] == pytest.approx(metrics.r2_score(y, model.predict(x)))
    middle = np.full(len(y), model.target_mean_)
    for name, metric in (("mae", "mean_absolute_error"), ("rmse", "root_mean_squared_error")):
        assert result["baseline"][name] == pytest.approx(getattr(metrics, metric)(y, middle))
