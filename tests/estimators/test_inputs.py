"""What rows and labels may look like."""

import beside_sklearn as beside
import numpy as np
import pytest
import scipy.sparse
from beside_sklearn import TASKS, assert_numbers, assert_same, assert_same_fit, fitted, problem
from numpy.testing import assert_array_equal

import xpnn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FORMATS = ["csr", "csc", "coo"]
SHORT = {"max_iter": 20, "n_iter_no_change": 30}


def sparse_rows(rows=40, features=6, seed=0, dtype=float):
    """Rows that are mostly zeros; one has nothing else."""
    source = np.random.default_rng(seed)
    x = source.normal(size=(rows, features)) * (source.random((rows, features)) < 0.3)
    x[3] = 0.0
    return x.astype(dtype)


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("task", ["multiclass", "several values"])
def test_sparse_rows_of_every_kind(task, solver, format_, kind):
    x, y = sparse_rows(), problem(task)[1]
    thin = getattr(scipy.sparse, f"{format_}_{kind}")(x)
    options = SHORT | {"solver": solver, "batch_size": 7, "alpha": 0.1}
    theirs, ours = assert_same_fit(task, thin, y, np.linspace(0.2, 2.0, len(x)), **options)
    assert_numbers(ours.transform(thin), ours.transform(x), "transform", 1e-12)
    # Either kind of rows may come after the other.
    assert_numbers(ours.predict(x), theirs.predict(x), "predict")


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_sparse_rows_for_every_task(task, early_stopping):
    x, y = scipy.sparse.csr_array(sparse_rows()), problem(task)[1]
    options = SHORT | {"early_stopping": early_stopping, "validation_fraction": 0.2}
    assert_same_fit(task, x, y, **options)
    models, classes = beside.pair(task), beside.classes_of(task, y)
    beside.each(models, lambda m: [m.partial_fit(x, y, **classes) for _ in range(20)])
    assert_same(models, x, y)


@pytest.fixture
def largest_dense(monkeypatch):
    """List of the numbers of rows with five features or more that were made dense at once."""
    seen = [0]
    for format_ in (*FORMATS, "lil", "dok", "bsr"):
        for kind in ("array", "matrix"):
            cls = getattr(scipy.sparse, f"{format_}_{kind}")

            def recording(self, *args, _plain=cls.toarray, **kwargs):
                if self.shape[1] >= 5:  # not the labels
                    seen.append(self.shape[0])
                return _plain(self, *args, **kwargs)

            monkeypatch.setattr(cls, "toarray", recording)
            monkeypatch.setattr(cls, "todense", lambda self: pytest.fail("made dense"))
    return seen


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_few_wide_sparse_rows_are_dense_at_once(solver, largest_dense):
    x = scipy.sparse.random_array((900, 20_000), density=0.001, rng=np.random.default_rng(0))
    model = xpnn.MLPClassifier((3,), solver=solver, max_iter=1, batch_size=64, random_state=0)
    model.fit(x, np.arange(900) % 2)
    assert model.predict(x).shape == (900,)
    assert 0 < max(largest_dense) <= 2**24 // (8 * 20_000)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_sparse_rows_are_never_dense_as_a_whole(solver, format_, dtype, largest_dense):
    x = scipy.sparse.random_array(
        (9000, 5), density=0.1, format=format_, dtype=dtype, rng=np.random.default_rng(0)
    )
    y = np.arange(9000) % 2
    model = xpnn.MLPClassifier((3,), solver=solver, max_iter=2, batch_size=64, random_state=0)
    model.fit(x, y)
    limit = 4096 if solver == "lbfgs" else 64
    assert 0 < max(largest_dense) <= limit
    del largest_dense[1:]
    if solver != "lbfgs":
        model.partial_fit(x, y)
        assert 0 < max(largest_dense) <= 64
        model.set_params(early_stopping=True, validation_fraction=0.6).fit(x, y)
    assert model.predict(x).shape == (9000,)
    assert model.predict_proba(x).shape == (9000, 2)
    assert model.transform(x).shape == (9000, 3)
    assert model.coefs_[0].dtype == dtype
    assert 64 < max(largest_dense) <= 4096


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_many_sparse_rows_go_through_in_parts_as_they_do_whole(solver):
    x = sparse_rows(9000, 5)
    thin, y = scipy.sparse.csr_array(x), x[:, 0] - x[:, 1]
    options = {"solver": solver, "max_iter": 5, "batch_size": 1000, "alpha": 0.5}
    dense, model = (beside.pair("values", **options)[1].fit(rows, y) for rows in (x, thin))
    assert model.loss_ == pytest.approx(dense.loss_, rel=1e-12)
    assert_numbers(model.coefs_[0], dense.coefs_[0], "coefs_", 1e-9)
    assert_numbers(model.predict(thin), dense.predict(x), "predict", 1e-9)


def test_sparse_tables_of_labels_come_back_sparse():
    x, y = problem("multilabel")
    table = scipy.sparse.csr_matrix(y)
    theirs, ours = fitted("multilabel", x, table, early_stopping=True, **SHORT)
    assert type(ours.predict(x)) is type(theirs.predict(x))
    assert_array_equal(ours.predict(x).toarray(), theirs.predict(x).toarray())
    assert ours.score(x, table) == theirs.score(x, table) == ours.score(x, y)
    assert_numbers(ours.coefs_[0], theirs.coefs_[0], "coefs_")
    assert not scipy.sparse.issparse(fitted("multilabel", x, y, max_iter=1)[1].predict(x))


CODES = np.arange(40) % 3
LABELS = {
    "words": np.array(["pear", "fig", "apple"])[CODES],
    "long and short words": np.array(["a" * 40, "b", ""])[CODES],
    "objects": np.array(["pear", "fig", "apple"], dtype=object)[CODES],
    "a list of words": [["pear", "fig", "apple"][i] for i in CODES],
    "booleans": CODES > 0,
    "two words": np.where(CODES > 0, "yes", "no"),
    "int8": CODES.astype(np.int8),
    "uint64": CODES.astype(np.uint64) + 2**40,
    "negative": 10 * CODES - 7,
    "whole floats": CODES.astype(np.float64),
    "float32": CODES.astype(np.float32),
    "a list of integers": CODES.tolist(),
    "one class": np.zeros_like(CODES) + 5,
    "one word": np.array(["only"] * 40),
}
TABLE, COUNTS = problem("multilabel")[1], problem("counts")[1].astype(np.int8)
TARGETS = [("binary", y) for y in LABELS.values()]
for dtype in (bool, np.int8, np.uint8, np.int64, np.float32, np.float64):
    TARGETS.append(("multilabel", TABLE.astype(dtype)))
for dtype in (bool, np.int8, np.uint64, np.float32, object):
    TARGETS.append(("values", COUNTS.astype(dtype)))
CONSTANT = np.column_stack([TABLE, np.ones(40, int), np.zeros(40, int)])
TARGETS += [("multilabel", CONSTANT), ("multilabel", 0 * CONSTANT)]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(("task", "y"), TARGETS)
def test_targets_of_any_kind(task, y, solver):
    x = problem(task)[0]
    theirs, ours = assert_same_fit(task, x, y, solver=solver, alpha=0.5, **SHORT)
    assert ours.predict(x).dtype == theirs.predict(x).dtype
    if task == "binary":
        assert set(ours.predict(x)) <= set(np.asarray(y).tolist())


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("task", TASKS)
def test_float32_rows_give_float32_weights(task, solver):
    x, y = problem(task)
    x, options = x.astype(np.float32), SHORT | {"solver": solver, "alpha": 0.5}
    theirs, ours = fitted(task, x, y, learning_rate_init=0.01, **options)
    for name in ("coefs_", "intercepts_"):
        for found, expected in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            # scikit-learn's L-BFGS leaves float64 ones, whatever the rows are.
            assert_numbers(found, expected.astype(np.float32), name, 2e-3)
    found = ours.predict_proba(x) if task in beside.CLASSIFIERS else ours.predict(x)
    assert found.dtype == np.float32
    wide = fitted(task, x.astype(float), y, **options)[1]
    assert wide.coefs_[0].dtype == np.float64


KINDS = {
    "list": lambda x: x.tolist(),
    "tuple": lambda x: tuple(map(tuple, x)),
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "reversed twice": lambda x: x[::-1][::-1],
    "int32": lambda x: np.round(3 * x).astype(np.int32),
    "uint8": lambda x: np.round(3 * np.abs(x)).astype(np.uint8),
    "bool": lambda x: x > 0,
    "object": lambda x: x.astype(object),
    "other bytes": lambda x: x.astype(">f8"),
    "float16": lambda x: x.astype(np.float16),
    "masked": lambda x: np.ma.masked_array(x, mask=False),
    "subclass": lambda x: x.view(Mine),
}


class Mine(np.ndarray):
    """A subclass, as other packages have them."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", ["words", "several values"])
def test_rows_of_any_kind(task, kind):
    x, y = problem(task)
    x = KINDS[kind](x)
    theirs, ours = assert_same_fit(task, x, y.view(Mine) if kind == "subclass" else y, **SHORT)
    assert ours.coefs_[0].dtype == theirs.coefs_[0].dtype


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("task", ["binary", "multilabel", "values", "several counts"])
def test_read_only_arrays_are_taken_and_nothing_is_written_to(task, order, solver):
    arrays = [np.array(a, order=order) for a in (*problem(task), np.linspace(0.5, 2.0, 40))]
    kept = [a.copy() for a in arrays]
    model = beside.pair(task, solver=solver, **SHORT)[1]

    def use():
        model.fit(*arrays)
        if solver != "lbfgs":
            model.partial_fit(*arrays)
        model.predict(arrays[0])
        model.transform(arrays[0])
        model.score(*arrays)
        for array, copy in zip(arrays, kept, strict=True):
            assert_array_equal(array, copy)

    use()
    for array in arrays:
        array.flags.writeable = False
    use()


def test_results_belong_to_the_caller():
    x, y = problem("several values")
    model = beside.pair("several values", **SHORT)[1].fit(x, y)
    first, expected = model.predict(x), model.predict(x)
    model.predict(-x)
    assert_array_equal(first, expected)
    for found in (first, model.transform(x)):
        found[:] = 0.0
        assert_array_equal(model.predict(x), expected)


@pytest.mark.parametrize("rows", [1, 2, 3, 41])
@pytest.mark.parametrize("task", TASKS)
def test_any_number_of_rows_is_predicted(task, rows):
    x, y = problem(task, rows=41)
    models = fitted(task, x, y, **SHORT)
    if rows > 1:
        beside.assert_same_use(models, x[:rows], y[:rows])
    assert_numbers(models[1].predict(x[:rows]), models[0].predict(x[:rows]), "predict")


def test_one_feature_and_one_row():
    x, y = problem("values", features=1)
    assert_same_fit("values", x, y, **SHORT)
    models = fitted("several values", x[:1], problem("several values")[1][:1], **SHORT)
    assert_numbers(models[1].predict(x), models[0].predict(x), "predict")
