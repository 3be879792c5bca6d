"""Tables that are larger than memory: read in windows, and learned as they would be in memory."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest

from xpnn import MLPClassifier, MLPRegressor
from xpnn.tabular import (
    ReadOptions,
    TabularClassifier,
    TabularPreprocessor,
    TabularRegressor,
    open_table,
    read_table,
)

pa = pytest.importorskip("pyarrow", reason="tables need the extra 'tables'")
pd = pytest.importorskip("pandas", reason="tables need the extra 'tables'")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FAST = {"hidden_layer_sizes": (16,), "max_iter": 40, "learning_rate_init": 0.02, "random_state": 0}


def rows_of(count, seed=0):
    """Rows with columns of every kind; "buys" and "price" can be predicted."""
    source = np.random.default_rng(seed)
    age, city = (
        source.normal(40, 10, count).round(3),
        source.choice(["Rome", "Oslo", "none"], count),
    )
    color = source.choice(["red", "green", "blue", "grey"], count)
    gaps = source.random(count) < 0.1
    return pd.DataFrame(
        {
            "number": np.arange(count) + 1,
            "age": np.where(gaps, np.nan, age),
            "rooms": source.integers(1, 9, count).astype(np.uint8),
            "city": city,
            "member": source.random(count) < 0.5,
            "since": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(source.integers(0, 900, count), "D"),
            "words": [
                f"a {a} thing {i}"
                for a, i in zip(color, source.integers(0, 500, count), strict=True)
            ],
            "key": [f"k-{i}" for i in range(count)],
            "price": 100 * age + 500 * (city == "Oslo"),
            "buys": np.where(age + 10 * (city == "Rome") > 43, "buys", "leaves"),
        }
    )


@pytest.fixture(params=["csv", "parquet"])
def save(request, tmp_path):
    """Write a frame to a file of each kind, and open it."""

    def write(frame, name="table"):
        path = tmp_path / f"{name}.{request.param}"
        if request.param == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path, index=False)
        return open_table(path)

    return write


@pytest.fixture
def in_windows(monkeypatch):
    """Make `fit` take tables for larger than memory, or not: ``in_windows(False)``."""

    def choose(windows=True):
        monkeypatch.setenv("XPNN_TABLE_MEMORY", "1 KiB" if windows else "1 GiB")

    choose()
    return choose


def classifier(**given):
    own = {
        name: given.pop(name) for name in ("column_types", "validation_fraction") if name in given
    }
    return TabularClassifier(MLPClassifier(**FAST | given), random_state=0, **own)


def regressor(**given):
    return TabularRegressor(MLPRegressor(**FAST | given), random_state=0)


def quietly(function, *args, **kwargs):
    """Call, without the warning about ignored columns; return what came and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args, **kwargs)
    return result, [str(w.message) for w in caught if "onverge" not in str(w.message)]


def test_windows_and_memory_learn_the_same_columns(save, in_windows):
    frame = rows_of(1500)
    table = save(frame.drop(columns="price"))
    windows, said = quietly(classifier().fit, table, "buys")
    in_windows(False)
    memory, also_said = quietly(classifier().fit, table, "buys")
    assert said == also_said
    assert len(said) == 1
    assert "'number' (a running row number), 'key' (every value is unique)" in said[0]
    assert windows.preprocessor_.columns_ == memory.preprocessor_.columns_
    assert [column.kind for column in windows.preprocessor_.columns_] == [
        "ignored", "numeric", "numeric", "categorical", "boolean", "datetime", "text", "ignored",
    ]  # fmt: skip
    assert windows.classes_.tolist() == memory.classes_.tolist() == ["buys", "leaves"]
    assert windows.classes_.dtype == memory.classes_.dtype
    assert windows.class_prior_.tolist() == memory.class_prior_.tolist()
    assert windows.target_name_ == memory.target_name_ == "buys"
    assert windows.feature_names_in_.tolist() == memory.feature_names_in_.tolist()
    held = rows_of(500, seed=1).drop(columns=["price", "buys"])
    truth = rows_of(500, seed=1)["buys"]
    assert memory.score(held, truth) > 0.9
    assert windows.score(held, truth) > 0.9
    assert windows.validation_indices_ is None
    assert windows.validation_metrics_["rows"] == pytest.approx(150, abs=40)
    assert windows.n_rows_ + windows.validation_metrics_["rows"] == 1500


def test_windows_are_what_a_frame_gives(save, in_windows):
    frame = rows_of(1500)
    table = save(frame.drop(columns="buys"))
    windows, _ = quietly(regressor().fit, table, "price")
    in_windows(False)
    memory, _ = quietly(regressor().fit, table, "price")
    assert windows.target_mean_ == pytest.approx(memory.target_mean_, rel=1e-12)
    assert windows.target_scale_ == pytest.approx(memory.target_scale_, rel=1e-12)
    held = rows_of(500, seed=1)
    x = held.drop(columns=["price", "buys"])
    assert memory.score(x, held["price"]) > 0.8
    assert windows.score(x, held["price"]) > 0.8
    read = table.read()
    assert (
        windows.predict(read.drop(columns="price"))
        == windows.predict(frame.drop(columns=["price", "buys"]))
    ).all()


def test_columns_are_nearly_the_same_beyond_exact_quantiles(tmp_path, in_windows):
    frame = rows_of(40_000)[["age", "city", "rooms", "buys"]]
    path = tmp_path / "table.parquet"
    frame.to_parquet(path)
    windows, _ = quietly(classifier(max_iter=2).fit, open_table(path), "buys")
    in_windows(False)
    memory, _ = quietly(classifier(max_iter=2).fit, open_table(path), "buys")
    assert [c.kind for c in windows.preprocessor_.columns_] == [
        c.kind for c in memory.preprocessor_.columns_
    ]
    found = windows.preprocessor_.columns_[0]
    ages = np.sort(frame["age"].dropna())
    for learned in (found, memory.preprocessor_.columns_[0]):
        rank = np.searchsorted(ages, learned.center[0]) / len(ages)
        assert rank == pytest.approx(0.5, abs=0.0005)
    assert found.missing == frame["age"].isna().sum()
    assert (found.low, found.high) == (ages[0], ages[-1])


def test_rows_of_a_sorted_table_are_mixed(save, in_windows):
    frame = rows_of(1500).drop(columns=["price", "since", "words", "key"]).sort_values("buys")
    frame["number"] = np.arange(1500)
    table = save(frame)
    model, said = quietly(classifier().fit, table, "buys")
    assert "'number' (a running row number)" in said[0]
    held = rows_of(500, seed=1)
    assert model.score(held[list(model.feature_names_in_)], held["buys"]) > 0.9


def test_no_row_number_leaks(save, in_windows):
    source = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"id": range(600), "noise": source.normal(size=600), "y": np.repeat(["a", "b"], 300)}
    )
    model, _ = quietly(classifier(validation_fraction=0.3).fit, save(frame), "y")
    assert model.validation_metrics_["accuracy"] < 0.7


@pytest.mark.parametrize("windows", [True, False])
def test_another_table_to_validate_on(save, in_windows, windows):
    in_windows(windows)
    names = ["age", "city", "rooms", "buys"]
    table, other = save(rows_of(800)[names]), save(rows_of(300, seed=1)[names[::-1]], "other")
    model = classifier(early_stopping=True).fit(table, "buys", X_val=other)
    assert model.validation_indices_ is None
    held = other.read(table.types)
    best = model.estimator_.best_validation_score_
    assert best > 0.9
    assert model.score(held.drop(columns="buys"), held["buys"]) == pytest.approx(best)


@pytest.mark.parametrize("windows", [True, False])
def test_rows_without_a_label_are_left_out(save, in_windows, windows):
    in_windows(windows)
    frame = rows_of(600)[["age", "city", "buys"]]
    expected = frame["buys"].value_counts(normalize=True)
    frame.loc[[5, 9, 70], "buys"] = None
    with pytest.warns(UserWarning, match=r"3 rows without a label in column 'buys'"):
        model = classifier().fit(save(frame), "buys")
    counts = frame["buys"].value_counts()
    assert model.class_prior_.tolist() == pytest.approx((counts / 597).sort_index().tolist())
    assert model.class_prior_.sum() == pytest.approx(expected.sum())
    assert model.score(frame.dropna()[["age", "city"]], frame.dropna()["buys"]) > 0.9


@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize("missing", [[0], [5, 70], [598, 599]])
def test_row_numbers_are_seen_where_labels_are_missing(save, in_windows, windows, missing):
    in_windows(windows)
    frame = rows_of(600)[["number", "age", "buys"]].sort_values("buys", ignore_index=True)
    frame["number"] = np.arange(600) + 1
    frame.loc[missing, "buys"] = None
    _, said = quietly(classifier(max_iter=2).fit, save(frame), "buys")
    assert any("'number' (a running row number)" in text for text in said)


@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        ([0, 1], "int64"), ([False, True], "bool"), ([10**18, 10**18 + 1], "int64"),
        ([2**63 + 1, 2**63 + 2], "uint64"), (["NA", "none"], "object"),
    ],
)  # fmt: skip
def test_labels_keep_their_kind(save, in_windows, windows, labels, dtype):
    in_windows(windows)
    frame = rows_of(400)[["rooms", "city"]].assign(y=np.array(labels)[np.arange(400) % 2])
    frame["rooms"] = np.arange(400) % 2 + frame["rooms"] / 1e3
    table = save(frame)
    if dtype == "object" and table.path.suffix == ".csv":
        table = open_table(table.path, ReadOptions(dtype={"y": "text"}))
    model = classifier(max_iter=100).fit(table, "y")
    assert model.classes_.dtype == dtype
    assert model.classes_.tolist() == labels
    assert model.score(frame[["rooms", "city"]], frame["y"]) > 0.9


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float64", "Int64", "category", "Decimal"])
def test_labels_of_parquet_keep_their_dtype(tmp_path, in_windows, dtype):
    from decimal import Decimal

    frame = rows_of(300)[["age", "city"]]
    y = pd.Series(np.arange(300) % 3)
    frame["y"] = y.map(Decimal) if dtype == "Decimal" else y.astype(dtype)
    path = tmp_path / "table.parquet"
    frame.to_parquet(path)
    windows = classifier(max_iter=2).fit(open_table(path), "y")
    in_windows(False)
    memory = classifier(max_iter=2).fit(open_table(path), "y")
    assert windows.classes_.tolist() == memory.classes_.tolist() == [0, 1, 2]
    assert windows.classes_.dtype == memory.classes_.dtype


@pytest.mark.parametrize("windows", [True, False])
def test_what_does_not_fit_is_refused(save, in_windows, windows):
    in_windows(windows)
    frame = rows_of(200)[["age", "city", "price", "buys"]]
    table = save(frame)
    x, y = frame[["age"]], frame["buys"]
    for call, words in (
        (lambda: classifier().fit(table), "y is a NoneType; expected the name of a column"),
        (lambda: classifier().fit(table, "sells"), "no column 'sells'; it has age, city"),
        (lambda: classifier().fit(table, "buys", np.ones(200)), "sample_weight"),
        (lambda: classifier().fit(table, "buys", X_val=x, y_val=y), "X_val is a DataFrame"),
        (lambda: classifier().fit(table, "price"), "fractions"),
        (lambda: regressor().fit(table, "buys"), "expected numbers"),
        (lambda: classifier(column_types={"buys": "text"}).fit(table, "buys"), "column_types"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    alone = save(frame.assign(buys="same"), "alone")
    with pytest.raises(ValueError, match="one class only"):
        classifier().fit(alone, "buys")
    only = save(frame[["buys"]], "only")
    with pytest.raises(ValueError, match=r"0 feature\(s\)"):
        classifier().fit(only, "buys")
    if windows:
        with pytest.raises(ValueError, match="lbfgs"):
            classifier(solver="lbfgs").fit(table, "buys")
    else:
        classifier(solver="lbfgs").fit(table, "buys")


def test_the_variable_is_checked(save, monkeypatch):
    table = save(rows_of(50)[["age", "buys"]])
    monkeypatch.setenv("XPNN_TABLE_MEMORY", "much")
    with pytest.raises(ValueError, match="XPNN_TABLE_MEMORY"):
        classifier().fit(table, "buys")


def test_the_same_seed_gives_the_same_bytes(save, in_windows):
    table = save(rows_of(600)[["age", "city", "buys"]])

    def learned(seed):
        network = MLPClassifier(hidden_layer_sizes=(8,), max_iter=3)
        model = TabularClassifier(network, random_state=seed).fit(table, "buys")
        return [array.tobytes() for array in model.estimator_.coefs_], model.validation_metrics_

    (one, apart), (same, apart_too), (other, _) = learned(1), learned(1), learned(2)
    assert one == same
    assert apart == apart_too
    assert one != other


def test_class_weights_are_by_label(save, in_windows):
    frame = rows_of(800)[["age", "city", "buys"]]
    table = save(frame)
    plain = classifier().fit(table, "buys")
    biased = classifier(class_weight={"buys": 50.0}).fit(table, "buys")
    assert (biased.predict(frame[["age", "city"]]) == "buys").sum() > (
        plain.predict(frame[["age", "city"]]) == "buys"
    ).sum()


def test_a_folder_of_files_is_one_table(tmp_path, in_windows):
    frame = rows_of(900)[["age", "city", "buys"]]
    for i in range(3):
        frame[300 * i : 300 * (i + 1)].to_parquet(tmp_path / f"part-{i}.parquet")
    windows = classifier().fit(open_table(tmp_path), "buys")
    in_windows(False)
    memory = classifier().fit(read_table(tmp_path)[["age", "city"]], frame["buys"])
    assert windows.preprocessor_.columns_ == memory.preprocessor_.columns_
    assert windows.score(frame[["age", "city"]], frame["buys"]) > 0.9


def test_nothing_is_left_in_the_temporary_folder(save, in_windows, monkeypatch, tmp_path):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    table = save(rows_of(200)[["age", "city", "buys"]])
    classifier(max_iter=2).fit(table, "buys")
    with pytest.raises(RuntimeError, match="enough"):
        classifier(max_iter=2).fit(table, "buys", callbacks=end)
    assert list(folder.iterdir()) == []


def end(*_):
    raise RuntimeError("enough")


def peak_of(learn, path, rows):
    """Largest memory of learning from a file with so many rows."""
    source = np.random.default_rng(0)
    values = np.array([f"value {i}" for i in range(100)])
    frame = pd.DataFrame({f"c{i}": source.choice(values, rows) for i in range(4)})
    frame.insert(0, "n", source.normal(size=rows))
    frame.assign(y=frame["n"] > 0).to_parquet(path, row_group_size=10_000)
    del frame
    tracemalloc.start()
    try:
        learn(open_table(path))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_statistics_do_not_grow_with_the_rows(tmp_path):
    def learn(table):
        TabularPreprocessor().fit_chunks(table.chunks(10_000))

    peak_of(learn, tmp_path / "first.parquet", 1000)  # what is imported and kept
    small = peak_of(learn, tmp_path / "small.parquet", 60_000)
    large = peak_of(learn, tmp_path / "large.parquet", 240_000)
    assert large < 1.2 * small


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path, in_windows):
    def learn(table):
        network = MLPClassifier(hidden_layer_sizes=(4,), max_iter=1, batch_size=200)
        TabularClassifier(network, random_state=0).fit(table, "y")

    peak_of(learn, tmp_path / "first.parquet", 1000)
    # Of 100,000 encoded rows there is more than one window.
    small = peak_of(learn, tmp_path / "small.parquet", 100_000)
    large = peak_of(learn, tmp_path / "large.parquet", 300_000)
    assert large < 1.2 * small


@pytest.mark.parametrize("windows", [True, False])
def test_text_is_read_at_prediction_as_it_was_in_the_file(tmp_path, in_windows, windows):
    in_windows(windows)
    frame = rows_of(600)
    written = pd.DataFrame(
        {
            "since": frame["since"].dt.strftime("%d/%m/%Y"),
            "age": frame["age"].map(
                lambda age: "" if np.isnan(age) else str(age).replace(".", ",")
            ),
            "buys": frame["buys"],
        }
    )
    path = tmp_path / "table.csv"
    written.to_csv(path, sep=";", index=False)
    model = classifier().fit(open_table(path, ReadOptions(decimal=",")), "buys")
    assert [c.kind for c in model.preprocessor_.columns_] == ["datetime", "numeric"]
    parsed = model.predict_proba(frame[["since", "age"]])
    raw = written[["since", "age"]].replace({"age": {"": None}})
    assert (model.predict_proba(raw) == parsed).all()
    assert (model.predict_proba(read_table(path, decimal=",")[["since", "age"]]) == parsed).all()


@pytest.mark.parametrize(("given", "early"), [(None, False), (0.2, False), (0.2, True)])
def test_early_stopping_with_and_without_a_share(save, in_windows, given, early):
    table = save(rows_of(600)[["age", "city", "buys"]])
    model = classifier(validation_fraction=given, early_stopping=early).fit(table, "buys")
    assert (model.validation_metrics_ is None) == (given is None)
    with pytest.raises(ValueError, match="early_stopping=True of the network needs rows"):
        classifier(validation_fraction=None, early_stopping=True).fit(table, "buys")
    held = rows_of(300, seed=1)
    assert model.score(held[["age", "city"]], held["buys"]) > 0.85


def test_a_label_of_other_rows_only_is_refused(save, in_windows):
    frame = rows_of(300)[["age", "city", "buys"]]
    other = frame.assign(buys=["lends", *frame["buys"][1:]])
    with pytest.raises(ValueError, match="'lends'"):
        classifier().fit(save(frame), "buys", X_val=save(other, "other"))


def test_training_goes_on_from_a_checkpoint(save, in_windows, tmp_path):
    table = save(rows_of(600)[["age", "city", "buys"]])
    x = rows_of(100, seed=1)[["age", "city"]]
    expected = classifier(max_iter=6).fit(table, "buys").predict_proba(x)
    path = tmp_path / "training.checkpoint"
    classifier(max_iter=3).fit(table, "buys", checkpoint=path)
    model = classifier(max_iter=6).fit(table, "buys", checkpoint=path, resume=True)
    assert (model.predict_proba(x) == expected).all()


def test_models_of_windows_are_pickled(save, in_windows):
    frame = rows_of(300)[["age", "city", "price"]]
    model = regressor().fit(save(frame), "price")
    again = pickle.loads(pickle.dumps(model))
    x = frame[["age", "city"]]
    assert (again.predict(x) == model.predict(x)).all()


def test_counts_of_windows_are_not_standardised(save, in_windows):
    frame = rows_of(600)[["age", "city"]]
    frame["count"] = np.random.default_rng(0).poisson(np.exp(frame["age"].fillna(40) / 20))
    model = regressor(loss="poisson").fit(save(frame), "count")
    assert (model.predict(frame[["age", "city"]]) > 0).all()
    assert model.score(frame[["age", "city"]], frame["count"]) > 0.3


@pytest.mark.parametrize("windows", [True, False])
def test_values_that_are_missing_are_left_out(save, in_windows, windows):
    in_windows(windows)
    frame = rows_of(600)[["age", "city", "price"]]
    frame.loc[[1, 2], "price"] = np.nan
    with pytest.warns(UserWarning, match=r"2 rows without a label in column 'price'"):
        model = regressor().fit(save(frame), "price")
    assert model.target_mean_ == pytest.approx(frame["price"].mean())


@pytest.mark.parametrize("windows", [True, False])
def test_a_column_without_a_label_anywhere_is_refused(save, in_windows, windows):
    in_windows(windows)
    frame = rows_of(100)[["age", "city"]].assign(y=pd.Series([None] * 100, dtype="str"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError):
            classifier().fit(save(frame), "y")
        with pytest.raises(ValueError):
            regressor().fit(save(frame), "y")


def test_weights_may_be_balanced(save, in_windows):
    frame = rows_of(800)[["age", "city"]]
    frame["y"] = np.where(frame["age"] > 50, "old", "young")
    model = classifier(class_weight="balanced").fit(save(frame), "y")
    known = frame.dropna()
    assert model.score(known[["age", "city"]], known["y"]) > 0.9


@pytest.mark.parametrize("windows", [True, False])
def test_arguments_that_a_file_brings_itself_are_refused(save, in_windows, windows):
    in_windows(windows)
    table = save(rows_of(100)[["age", "city", "buys"]])
    for name in ("sample_weight", "y_val", "sample_weight_val"):
        with pytest.raises(ValueError, match=f"{name} beside a TableFile; expected None"):
            classifier().fit(table, "buys", **{name: [1.0] * 100})
    with pytest.raises(ValueError, match="X is a TableFile; expected rows"):
        classifier().fit(table, "buys").predict(table)


def test_nothing_to_learn_from_is_said(save, in_windows):
    table = save(rows_of(100)[["age", "city", "buys"]])
    other = save(rows_of(100)[["age", "city"]].assign(buys=None), "other")
    with pytest.raises(ValueError, match="there is no row to validate on"):
        quietly(classifier().fit, table, "buys", X_val=other)
