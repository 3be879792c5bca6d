"""Tables in the forms that public ones come in: each becomes a model, or one clear line."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from xpnn import MLPClassifier, MLPRegressor
from xpnn.backends import InputError
from xpnn.data.files import DataFileError
from xpnn.tabular import TabularClassifier, TabularPreprocessor, TabularRegressor, open_table
from xpnn.tabular.scores import evaluate
from xpnn.tabular.target import task_of

pd = pytest.importorskip("pandas", reason="tables are pandas' frames")
pytest.importorskip("pyarrow", reason="files are read with it")

WORDS = (
    "good", "bad", "taste", "box", "dog", "cat", "price", "order", "came", "late", "fresh",
    "never", "again", "love", "small",
)  # fmt: skip
FIRST, LAST = ("Ann", "Bo", "Cleo", "Dee", "Émile"), ("Ash", "Birch", "Côté", "Elm", "Fir")

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 3}


# Columns: what makes one of n rows, and what it shall be taken for


def any_of(values):
    return lambda rng, n: rng.choice(np.asarray(values, object), n)


def written(format_, days=3000, seconds=False):
    def make(rng, n):
        unit = "s" if seconds else "D"
        steps = rng.integers(0, days * (86400 if seconds else 1), n)
        days_ = np.datetime64("2009-01-13") + steps.astype(f"timedelta64[{unit}]")
        return pd.Series(days_).dt.strftime(format_)

    return make


def sentences(rng, n):
    made = [" ".join(rng.choice(WORDS, rng.integers(6, 15))) for _ in range(n)]
    return [f'{text}, "{i}"\nsaid they' for i, text in enumerate(made)]


def titles(rng, n):
    made = [" ".join(rng.choice(WORDS, 3)) for _ in range(n)]
    made[1::9] = [made[0]] * len(made[1::9])
    return made


def full_names(rng, n):
    return [f"{rng.choice(LAST)}, {rng.choice(FIRST)} {i}" for i in range(n)]


def with_gaps(make, gap="", share=0.1):
    def made(rng, n):
        values = np.asarray(make(rng, n), object)
        values[rng.random(n) < share] = gap
        return values

    return made


def normal(rng, n):
    return rng.normal(10, 3, n).round(3)


def counted(rng, n):
    return rng.poisson(3, n)


FORMS = {
    "rownames": (lambda rng, n: np.arange(1, n + 1), "ignored"),
    "city": (any_of(["Oslo", "Rome", "Malmö", "St. Louis"]), "categorical"),
    "x": (normal, "numeric"),
    "year": (lambda rng, n: rng.integers(1990, 2021, n), "numeric"),
    "flag": (lambda rng, n: rng.integers(0, 2, n), "numeric"),
    "date": (written("%Y-%m-%d"), "datetime"),
    "share": (lambda rng, n: [f"{v:.1f}%" for v in rng.uniform(0, 100, n)], "numeric"),
    "amount": (lambda rng, n: rng.lognormal(8, 3, n).round(2), "numeric"),
    "union": (any_of(["yes", "no"]), "categorical"),
    "married": (any_of(["TRUE", "FALSE"]), "boolean"),
    "name": (full_names, "ignored"),
    "review": (sentences, "text"),
    "title": (titles, "text"),
    "visits": (counted, "numeric"),
    "age": (with_gaps(counted, "NA"), "numeric"),
    "income": (with_gaps(normal), "numeric"),
    "smoker": (with_gaps(any_of(["TRUE", "FALSE"]), "NA"), "boolean"),
    "grade": (with_gaps(any_of(["A1", "B2", "C3"])), "categorical"),
    "time": (lambda rng, n: (1949 + np.arange(n) / 12).round(3), "numeric"),
    "month": (lambda rng, n: np.datetime64("1949-01") + np.arange(n), "datetime"),
    "seen": (written("%m/%d/%Y"), "datetime"),
    "posted": (written("%d %b %Y"), "datetime"),
    "stamp": (written("%Y-%m-%dT%H:%M:%SZ", seconds=True), "datetime"),
    "caught": (written("%H:%M", seconds=True), "duration"),
    "price": (lambda rng, n: [f"${v:.2f}" for v in rng.uniform(1, 900, n)], "numeric"),
    "zip": (any_of(["02134", "10001", "00501", "94110"]), "categorical"),
    "quarter": (any_of([f"{y} Q{q}" for y in range(2001, 2011) for q in (1, 2)]), "categorical"),
    "country": (any_of([f"country {i}" for i in range(60)]), "categorical"),
    "rain": (with_gaps(lambda rng, n: rng.integers(0, 150, n) / 100, "T", 0.3), "categorical"),
    "p_value": (lambda rng, n: [f"{v:.2e}" for v in rng.uniform(0, 1e-4, n)], "numeric"),
    "household": (lambda rng, n: np.arange(n) // 4 + 101, "numeric"),
    "PatientId": (lambda rng, n: 1000 + 3 * np.arange(n), "ignored"),
    "bandNumber": (lambda rng, n: [f"1207-{i}" for i in rng.permutation(n)], "ignored"),
    "edition": (lambda rng, n: np.full(n, 3), "ignored"),
    "country code": (any_of(["NA", "NO", "SE"]), "categorical"),
    "dose": (lambda rng, n: [""] * n, "ignored"),
    "comment": (with_gaps(titles, share=0.7), "text"),
    "peak": (with_gaps(normal, "Inf", 0.02), "numeric"),
    "balance": (lambda rng, n: rng.normal(0, 1e12, n).round(), "numeric"),
}
# Targets, and what shall come of them: a task, or what a refusal says.
TARGETS = {
    "wage": (normal, "regression"),
    "species": (any_of(["setosa", "virginica", "versicolor"]), "classification"),
    "died": (lambda rng, n: rng.integers(0, 2, n), "classification"),
    "doctor": (counted, "classification"),
    "cases": (lambda rng, n: rng.poisson(rng.gamma(1, 200, n)), "regression"),
    "paid": (lambda rng, n: rng.lognormal(8, 3, n).round(2), "regression"),
    "won": (any_of(["True", "False"]), "classification"),
    "score": (with_gaps(normal, "NA", 0.4), "regression"),
    "rate": (lambda rng, n: [f"{v:.1f}%" for v in rng.uniform(0, 9, n)], "regression"),
    "class": (with_gaps(any_of(["a", "b"]), "", 0.2), "classification"),
    "released": (written("%Y-%m-%d"), "'released' holds datetime; expected labels or numbers"),
    "spam": (any_of(["N"]), "one class only, 'N'"),
    "remark": (sentences, "different labels in"),
    "outcome": (lambda rng, n: [""] * n, "'outcome' has no label in any row"),
    "slept": (written("%H:%M", seconds=True), "'slept' holds duration"),
}


def table_of(number):
    """A table of some of the forms: each form comes in several, most are narrow, some wide."""
    rng, rows = np.random.default_rng(number), 300 + 37 * (number % 7)
    wide, names = number % 14 == 3, list(FORMS)
    count = 58 if wide else 3 + number % 9
    columns = {}
    for place in range(count):
        name = names[(5 * number + place) % len(names)]
        if name not in columns:
            columns[name] = FORMS[name]
        elif FORMS[name][1] != "ignored":  # which may be so for its name
            columns[f"{name} {place}"] = FORMS[name]
    target = list(TARGETS)[number % len(TARGETS)]
    made = {name: make(rng, rows) for name, (make, _) in columns.items()}
    kinds = {name: kind for name, (_, kind) in columns.items()}
    return pd.DataFrame({**made, target: TARGETS[target][0](rng, rows)}), kinds, target


def train(frame, target, folder):
    """Learn from a file and measure on another one; the task, and the model."""
    apart = np.random.default_rng(1).random(len(frame)) < 0.2
    frame[~apart].to_csv(folder / "train.csv", index=False)
    frame[apart].to_csv(folder / "test.csv", index=False)
    table = open_table(folder / "train.csv")
    task, _ = task_of(table.read()[target])
    if task == "classification":
        model = TabularClassifier(MLPClassifier(**SMALL), random_state=0)
    else:
        model = TabularRegressor(MLPRegressor(**SMALL), random_state=0)
    model.fit(table, target)
    held = open_table(folder / "test.csv").read(table.types)
    held = held[held[target].notna()]
    X = held.drop(columns=target)
    assert evaluate(model, [(X, held[target])])["rows"] == len(held)
    predicted = model.predict(X)
    assert len(predicted) == len(held)
    assert np.isin(predicted, getattr(model, "classes_", predicted)).all()
    if task == "regression":
        assert np.isfinite(predicted).all()
    return task, model


@pytest.mark.parametrize("number", range(60))
def test_a_table_becomes_a_model_or_one_clear_line(number, tmp_path):
    frame, kinds, target = table_of(number)
    expected = TARGETS[target][1]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            outcome, model = train(frame, target, tmp_path)
        except (InputError, DataFileError) as error:
            outcome, model = str(error), None
            assert "\n" not in outcome
    if model is None:
        assert expected in outcome
        return
    assert outcome == expected
    columns = {column.name: column for column in model.preprocessor_.columns_}
    assert {name: column.kind for name, column in columns.items()} == kinds
    assert {one.category for one in caught} <= {UserWarning}
    told = [str(one.message) for one in caught]
    for name, column in columns.items():
        if column.kind == "ignored":
            assert any(f"{name!r} ({column.reason})" in text for text in told)


# What single tables showed


def kind_of(values, name="a"):
    frame = pd.DataFrame({name: values, "x": np.arange(len(values)) % 7})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return TabularPreprocessor().fit(frame).columns_[0]


def test_numbers_and_dates_are_one_word_of_a_text():
    rain = [f"{i / 100}" for i in range(150)] + ["T"] * 50
    assert kind_of(rain).kind == "categorical"
    dates = [f"before {d}.5.2012" for d in range(1, 31)] * 7
    assert "5.5.2012" in kind_of(dates + [f"{w} or {v}" for w in WORDS for v in WORDS]).values


def test_names_of_rows_are_ignored_in_any_order():
    order = np.random.default_rng(0).permutation(50)
    for values in (order, order + 0.0):
        for name in ("rownames", "Unnamed: 0"):
            assert kind_of(values, name).reason == "names of rows"
    assert kind_of(order, "size").kind == "numeric"


@pytest.mark.parametrize("name", ["PassengerId", "patid", "FlockID", "Tuna.id", "row-id", "INDEX"])
def test_rising_identifiers_are_ignored_however_they_are_written(name):
    values = np.arange(50) * 3 + 7
    assert kind_of(values, name).reason == "a running row number"
    assert kind_of(values // 6, name).kind == "numeric"


@pytest.mark.parametrize("name", ["paid", "humid", "days", "ideal", "id2"])
def test_rising_numbers_of_another_name_are_learned_from(name):
    assert kind_of(np.arange(50) * 3 + 7, name).kind == "numeric"


def test_sentences_are_learned_from_though_all_are_different():
    rng = np.random.default_rng(0)
    column = kind_of(sentences(rng, 100))
    assert (column.kind, "fresh" in column.values) == ("text", True)
    assert kind_of(full_names(rng, 100)).reason == "every value is unique"


def test_every_ignored_column_is_named():
    frame = pd.DataFrame({f"c{i}": [1] * 9 for i in range(60)} | {"x": [1, 2, 2] * 3})
    with pytest.warns(UserWarning, match=r"'c0' \(constant\), .*'c59' \(constant\)"):
        TabularPreprocessor().fit(frame)


def test_a_target_without_a_label_is_refused_by_name():
    with pytest.raises(InputError, match="column 'sex' has no label in any row"):
        task_of(pd.Series([None, None], name="sex", dtype="str"))


def test_many_classes_are_measured_without_a_warning():
    frame = pd.DataFrame({"x": np.arange(90) % 30 + 0.5})
    labels = pd.Series([f"class {i}" for i in np.arange(90) % 30])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = TabularClassifier(MLPClassifier(**SMALL), random_state=0)
        model.fit(frame, labels)
    assert evaluate(model, [(frame[:30], labels[:30])])["rows"] == 30


def test_measuring_thousands_of_classes_takes_little_memory():
    class Uniform:
        classes_ = np.arange(2000)

        def predict(self, X):
            return np.arange(len(X))

        def predict_proba(self, X):
            return np.full((len(X), 2000), 1 / 2000)

    rows, labels = pd.DataFrame({"x": np.zeros(50)}), pd.Series(np.arange(50))
    tracemalloc.start()
    try:
        found = evaluate(Uniform(), [(rows, labels)])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found["accuracy"], found["roc_auc"]) == (1.0, 0.5)
    assert peak < 600e6  # all bins of each class would be 2 GB
