import copy
import json

import numpy as np
import pytest

from xpnn import TableModel
from xpnn.backends import device_name
from xpnn.estimators.table_scores import classification_scores, regression_scores
from xpnn.estimators.table_target import Target, learn_target, split_rows

pytest.importorskip("pyarrow", reason="tables need the extra 'tables'")
pandas = pytest.importorskip("pandas", reason="tables need the extra 'tables'")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FAST = {"hidden_layer_sizes": (16,), "max_iter": 40, "learning_rate_init": 0.01}


@pytest.fixture
def table():
    random, rows = np.random.default_rng(0), 400
    age = random.normal(40, 10, rows).round(2)
    city = random.choice(["Rome", "Oslo", "Bern"], rows)
    return pandas.DataFrame(
        {
            "age": np.where(random.random(rows) < 0.05, np.nan, age),
            "city": city,
            "price": (100 * age + 500 * (city == "Oslo")).round(1),
            "buys": np.where(age + 10 * (city == "Rome") > 43, "buys", "leaves"),
            "group": (city == "Rome") * 2 + (age > 40),
            "late": age > 45,
        }
    )


def train(table, target, **options):
    others = {name: "ignored" for name in table if name not in ("age", "city", target)}
    model = TableModel(options.pop("task", "auto"), others)
    return model.fit(table, target, **{**FAST, **options})


def round_trip(model):
    config = json.loads(json.dumps(model.to_config(), allow_nan=False))
    return TableModel.from_config(config, model.estimator)


@pytest.mark.parametrize(
    ("target", "task", "dtype"),
    [
        ("buys", "classify", "U"),
        ("group", "classify", "i"),
        ("late", "classify", "b"),
        ("price", "regress", "f"),
    ],
)
def test_a_model_learns_and_comes_back(table, target, task, dtype):
    model = train(table, target)
    assert model.target.task == task
    found = model.predict(table.drop(columns=target))
    assert found.dtype.kind == dtype
    result = model.evaluate(table)
    baseline = result["baseline"]
    if task == "classify":
        assert result["accuracy"] == np.mean(found == table[target]) > 0.9
        assert result["accuracy"] > baseline["accuracy"] + 0.2
        assert result["log_loss"] < baseline["log_loss"] / 2
        assert result["roc_auc"] > 0.95
        assert baseline["roc_auc"] == 0.5
        proba = model.predict_proba(table)
        assert (model.classes[proba.argmax(axis=1)] == found).all()
        assert model.predict_proba(table[:0]).shape == (0, proba.shape[1])
    else:
        assert result["r2"] > 0.8 > baseline["r2"] + 0.7
        assert result["mae"] < baseline["mae"]
    again = round_trip(model)
    assert model.predict(table[:0]).shape == (0,)
    assert (again.predict(table) == found).all()
    assert again.evaluate(table) == result
    parts = again.evaluate([table[:150], table[150:150], table[150:]])
    for name, value in result.items():  # products of other shapes round in other ways
        assert parts[name] == (pytest.approx(value, 1e-6) if isinstance(value, float) else value)
    assert again.to_config() == model.to_config()
    assert again.describe() == model.describe()


def test_metrics_are_scikit_learns(table):
    from sklearn import metrics
    from sklearn.dummy import DummyClassifier

    model = train(table, "group", validation=table[300:])
    held, truth = table[300:], table["group"][300:]
    proba = model.predict_proba(held).astype(np.float64)
    proba /= proba.sum(axis=1, keepdims=True)
    result = model.record["validation"]
    assert result["rows"] == 100
    assert result["log_loss"] == pytest.approx(metrics.log_loss(truth, proba), rel=1e-12)
    area = metrics.roc_auc_score(truth, proba, multi_class="ovr")
    assert result["roc_auc"] == pytest.approx(area, rel=1e-12)
    matrix = metrics.confusion_matrix(truth, model.predict(held))
    assert result["confusion"] == {"labels": [0, 1, 2, 3], "matrix": matrix.tolist()}
    dummy = DummyClassifier().fit(table, table["group"])
    assert result["baseline"]["accuracy"] == dummy.score(held, truth)
    expected = metrics.log_loss(truth, dummy.predict_proba(held))
    assert result["baseline"]["log_loss"] == pytest.approx(expected, rel=1e-12)


def test_numbers_come_back_in_their_units(table):
    model = train(table, "price", validation=None)
    assert model.target.mean == pytest.approx(table["price"].mean())
    assert model.target.scale == pytest.approx(table["price"].std(ddof=0))
    truth, found = table["price"].to_numpy(), model.predict(table)
    result = model.evaluate(table)
    assert result["mae"] == pytest.approx(np.abs(truth - found).mean())
    assert result["rmse"] == pytest.approx(np.sqrt(((truth - found) ** 2).mean()))
    assert result["baseline"]["mae"] == pytest.approx(np.abs(truth - truth.mean()).mean())
    assert result["baseline"]["r2"] == pytest.approx(0, abs=1e-12)
    assert model.record["validation"] is None


def test_counts_are_not_standardised(table):
    counts = table.assign(price=(table["price"] / 100).round())
    model = train(counts, "price", loss="poisson", task="regress")
    assert (model.target.mean, model.target.scale) == (0.0, 1.0)
    assert (model.predict(table) > 0).all()


def test_the_preprocessing_is_learned_from_the_training_rows_only(table):
    other = table.assign(age=table["age"] + 1000)
    model = train(table, "buys", validation=other)
    alone = train(table, "buys", validation=None)
    assert model.preprocessing.to_config() == alone.preprocessing.to_config()
    part = train(table, "buys", validation=0.5)
    assert part.record["rows"] == part.record["validation_rows"] == 200
    assert part.preprocessing.to_config() != alone.preprocessing.to_config()


def test_the_same_seed_gives_the_same_model(table):
    first, second = train(table, "buys", seed=3), train(table, "buys", seed=3)
    assert (first.predict_proba(table) == second.predict_proba(table)).all()
    other = train(table, "buys", seed=4)
    assert (first.predict_proba(table) != other.predict_proba(table)).any()


def test_callbacks_early_stopping_and_the_record(table):
    epochs = []
    model = train(table, "buys", callbacks=[lambda run: epochs.append(run.history.epochs)])
    assert epochs == list(range(1, 41))
    record = model.record
    assert record["history"]["epoch"] == epochs
    assert len(record["history"]["validation_loss"]) == 40
    assert (record["rows"], record["validation_rows"]) == (360, 40)
    assert record["options"]["hidden_layer_sizes"] == [16]
    stopped = train(table, "buys", early_stopping=True, n_iter_no_change=2, max_iter=200)
    assert stopped.record["history"]["stopped"] == "early stopping"
    enough = train(table, "buys", callbacks=[lambda run: run.stop("enough")])
    assert enough.record["history"]["stopped"] == "enough"


def test_other_solvers_and_losses(table):
    model = train(table, "price", solver="lbfgs", max_iter=100)
    assert model.record["history"] is None
    assert model.record["validation"]["r2"] > 0.8
    model = train(table, "buys", loss="hinge")
    assert set(model.record["validation"]) >= {"accuracy", "confusion"}
    assert "log_loss" not in model.record["validation"]
    with pytest.raises(ValueError, match="'buys' has no probabilities: its loss is 'hinge'"):
        model.predict_proba(table)


def test_rows_without_a_target_are_left_out(table):
    table = table.astype({"group": "Int64"})
    table.loc[:49, ["buys", "group", "price"]] = None
    for target in ("buys", "group", "price"):
        model = train(table, target, validation=None)
        assert (model.record["rows"], model.record["rows_without_target"]) == (350, 50)
        assert model.evaluate(table)["rows"] == 350
        assert len(model.predict(table)) == 400
    with pytest.raises(ValueError, match="no row has a target in column 'price'"):
        model.evaluate(table[:50])


def test_text_is_as_good_as_typed_cells(table):
    """What is streamed as text, and labels of another type, mean the same."""
    text = table.astype(object).map(lambda v: None if v != v else str(v))
    for target in ("group", "price", "late"):
        model = train(table, target)
        assert (model.predict(text) == model.predict(table)).all()
        assert model.evaluate(text) == model.evaluate(table)


def test_a_label_that_was_never_learned_is_misread(table):
    model = train(table, "buys")
    strange = table.assign(buys=["other"] * 100 + table["buys"].tolist()[100:])
    result = model.evaluate(strange)
    assert result["unknown_labels"] == 100
    assert result["accuracy"] <= 0.75
    assert sum(map(sum, result["confusion"]["matrix"])) == 300
    only = model.evaluate(strange[:100])
    assert (only["accuracy"], only["log_loss"], only["roc_auc"]) == (0, None, None)
    assert model.evaluate(table[table["buys"] == "buys"])["roc_auc"] is None
    with pytest.raises(ValueError, match=r"validation has classes that the training .*: other"):
        train(table, "buys", validation=strange)


def test_what_is_set_apart():
    rows = pandas.DataFrame({"y": ["a"] * 80 + ["b"] * 20 + ["c"]})
    target = learn_target("y", rows["y"])
    learned, held = split_rows(rows, target, 0.1, 0)
    assert held["y"].value_counts().to_dict() == {"a": 9, "b": 2}
    assert "c" in set(learned["y"])
    assert sorted([*learned.index, *held.index]) == list(range(101))
    assert list(held.index) == sorted(held.index)
    many = pandas.DataFrame({"y": [f"c{i // 2}" for i in range(30)]})
    learned, held = split_rows(many, learn_target("y", many["y"]), 0.4, 0)
    assert set(held["y"]) <= set(learned["y"])
    for none in (0, None):
        learned, held = split_rows(rows, target, none, 0)
        assert (learned is rows, held) == (True, None)
    for share in (1.0, -0.1, 2):
        with pytest.raises(ValueError, match="expected a share above 0 and below 1"):
            split_rows(rows, target, share, 0)
    with pytest.raises(ValueError, match="too few to set some apart"):
        split_rows(rows[:3], target, 0.5, 0)


TARGETS = {
    "text": (["a", "b"] * 5, "classify", "it holds text"),
    "truth": ([True, False] * 5, "classify", "it holds truth values"),
    "few whole numbers": ([1, 2, 3] * 5, "classify", "whole numbers, 3 different ones"),
    "whole floats": ([1.0, 2.0] * 5, "classify", "whole numbers, 2 different ones"),
    "fractions": ([1.0, 2.5] * 5, "regress", "it holds fractions"),
    "many whole numbers": (list(range(21)) * 9, "regress", "numbers, 21 different ones in 189"),
    "a number a row": (list(range(9)), "regress", "numbers, 9 different ones in 9 rows"),
    "text of numbers": (["1.5", "2.5"] * 5, "regress", "it holds fractions"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_the_task_is_decided_from_the_target(case):
    cells, task, reason = TARGETS[case]
    found = learn_target("y", pandas.Series(cells))
    assert (found.task, found.reason.startswith(reason)) == (task, True)


@pytest.mark.parametrize(
    ("cells", "task", "message"),
    [
        (["a", "a"], "auto", "target 'y' holds one value only, 'a'; expected two"),
        ([], "auto", "target 'y' holds nothing in any row"),
        (["2020-01-01", "2020-01-02"], "auto", "holds dates; expected classes or numbers"),
        ([f"n{i}" for i in range(30)], "auto", "holds 30 different texts in 30 rows; expected cl"),
        (["a", "b"], "regress", "holds text; task='regress' needs numbers"),
        ([0.5, 1.5], "classify", "holds fractions; task='classify' needs labels"),
        ([1.0, np.inf], "auto", "holds an infinite number"),
        ([[1], [2]], "auto", "holds object cells; expected text or numbers"),
        ([1, 2], "cluster", "task is 'cluster'; expected one of auto, classify, regress"),
    ],
)
def test_targets_that_cannot_be_learned(cells, task, message):
    with pytest.raises(ValueError, match=message):
        learn_target("y", pandas.Series(cells), task)


def test_wrong_calls_are_named(table):
    fit, model = TableModel().fit, train(table, "price")
    cases = [
        (lambda: fit(table, "y"), "has no column 'y' to be the target; it has age, city"),
        (lambda: fit(table, "buys", hidden=5, a=1), "hidden, a is no parameter of MLPClassifier"),
        (lambda: fit(np.ones((2, 2)), "x0"), r"a table is a ndarray; expected a pandas\.DataFrame"),
        (lambda: fit(table.assign(y=[[1]] * 400), "y"), "neither text nor numbers: unhash"),
        (lambda: model.evaluate(table.assign(price=np.inf)), "'price' holds an infinite number"),
        (lambda: TableModel().predict(table), "the model has learned nothing yet; call fit"),
        (lambda: model.predict_proba(table), "has no probabilities: it tells a number"),
        (lambda: model.predict(table[["city"]]), "the table lacks the columns age"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


def test_bad_configs_are_refused(table):
    model, other = train(table, "group"), train(table, "price")
    good = model.to_config()

    def put(**fields):
        return {**copy.deepcopy(good), "target": {**good["target"], **fields}}

    cases = [
        (None, "a table's model is None; expected"),
        ({**good, "format": 2}, "has the format 2; this xpnn reads 1"),
        ({**good, "record": []}, "has a record that is no dictionary"),
        ({**good, "preprocessing": {}}, "expected a format and columns"),
        ({**good, "target": {}}, "expected baseline, classes, counts"),
        (put(name=1), "target: name is 1; expected text"),
        (put(task="auto"), "target: task 'auto' and dtype 'int64'; expected classify or regress"),
        (put(dtype="object"), "dtype 'object'; expected"),
        (put(mean="0"), "target: mean is '0'; expected a number"),
        (put(scale=0), "expected finite numbers, and a scale above 0"),
        (put(mean=float("nan")), "expected finite numbers"),
        (put(classes=5), "classes and counts are no lists"),
        (put(classes=[0]), "1 classes with 4 counts; expected 2 or more"),
        (put(classes=[0, 1, 3, 2]), "not different, sorted int64 values"),
        (put(classes=[0, 1, 2, "3"]), "not different, sorted int64 values"),
        (put(counts=[0, 0, 0, 0]), "its counts are no numbers of rows"),
        (put(task="regress"), "target: a number has classes"),
        (put(classes=[0, 1, 2, 4]), "the network tells the classes 0, 1, 2, 3; the target"),
    ]
    for config, message in cases:
        with pytest.raises(ValueError, match=message):
            TableModel.from_config(config, model.estimator)
    with pytest.raises(ValueError, match="expected a fitted MLPClassifier"):
        TableModel.from_config(good, other.estimator)
    narrow = TableModel().fit(table[["age", "group"]], "group", **FAST)
    with pytest.raises(ValueError, match="the network takes 2 features; the preprocessing gives 5"):
        TableModel.from_config(good, narrow.estimator)


def test_it_says_what_it_is(table):
    model = train(table[["age", "city", "buys"]], "buys")
    lines = model.describe().splitlines()
    assert lines[:3] == [
        f"age: numeric, {model.preprocessing.columns[0].missing} missing",
        "city: category of 3",
        "buys: target, 2 classes: buys, leaves (it holds text)",
    ]
    assert lines[3] == "network: 5 - 16 - 1, 40 epochs"
    assert lines[4] == "learned from 360 rows, measured on 40"
    assert lines[5].startswith("accuracy: 0.9")
    assert "(majority class, leaves: 0." in lines[5]
    assert repr(TableModel()) == "TableModel('auto', nothing learned)"
    assert repr(model).startswith("TableModel(classify 'buys', TablePreprocessing(2 columns, 5 ")


def test_scores_of_single_rows():
    assert regression_scores(np.ones(1), np.ones(1)) == {"r2": None, "mae": 0.0, "rmse": 0.0}
    scores = classification_scores(np.asarray([1]), np.asarray([1]), np.asarray([[0.5, 0.5]]), 2)
    assert scores["accuracy"] == 1.0
    assert scores["log_loss"] == pytest.approx(np.log(2))
    assert scores["roc_auc"] is None


def test_labels_keep_their_type():
    target = Target("y", "classify", dtype="float64", classes=(0.0, 1.0), counts=(1, 1))
    assert target.labels.dtype == "float64"


def test_on_every_library(table, backend):
    place = {"backend": backend.name, "device": device_name(backend.device)}
    model = train(table, "buys", max_iter=3, **place)
    found = model.predict(table)
    assert isinstance(found, np.ndarray)
    assert set(found) <= {"buys", "leaves"}
    assert isinstance(model.predict_proba(table), np.ndarray)


def test_a_training_cut_short_goes_on_to_the_same_model(table, tmp_path):
    kept = {"checkpoint": tmp_path / "kept.safetensors"}
    whole = train(table, "buys")
    train(table, "buys", max_iter=7, **kept)
    resumed = train(table, "buys", resume=True, **kept)
    assert resumed.record["history"]["loss"] == whole.record["history"]["loss"]
    assert resumed.evaluate(table) == whole.evaluate(table)
    with pytest.raises(ValueError, match="a checkpoint of another training"):
        train(table[:300], "buys", resume=True, **kept)
