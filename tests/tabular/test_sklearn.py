"""The tabular estimators among scikit-learn's tools."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import parametrize_with_checks

from xpnn import MLPClassifier, MLPRegressor
from xpnn.tabular import TabularClassifier, TabularPreprocessor, TabularRegressor

pytest.importorskip("pyarrow", reason="tables need the extra 'tables'")
pd = pytest.importorskip("pandas", reason="tables need the extra 'tables'")
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WEIGHTS = (
    "what is learned of the columns, such as medians and which columns are ignored, does not "
    "depend on weights, and rows are set apart by their number"
)
EXCUSED = {
    TabularClassifier: {"check_sample_weight_equivalence_on_dense_data": WEIGHTS},
    TabularRegressor: {"check_sample_weight_equivalence_on_dense_data": WEIGHTS},
    TabularPreprocessor: {},
}
CHECKED = [
    TabularPreprocessor(),
    TabularClassifier(),
    TabularRegressor(),
    TabularClassifier(
        MLPClassifier(hidden_layer_sizes=(20,), learning_rate_init=0.03, early_stopping=True)
    ),
    TabularRegressor(MLPRegressor(hidden_layer_sizes=(20,), solver="lbfgs", max_iter=100)),
]


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(CHECKED, expected_failed_checks=lambda e: EXCUSED[type(e)])
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.fixture
def table():
    source, rows = np.random.default_rng(0), 240
    age, city = source.normal(40, 10, rows), source.choice(["Rome", "Oslo", "Bern"], rows)
    return pd.DataFrame(
        {
            "age": age,
            "city": city,
            "since": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(source.integers(0, 900, rows), "D"),
            "price": 100 * age + 500 * (city == "Oslo"),
            "buys": np.where(age + 10 * (city == "Rome") > 43, "buys", "leaves"),
        }
    )


INPUTS = ["age", "city", "since"]


def classifier(**own):
    network = MLPClassifier(hidden_layer_sizes=(8,), max_iter=40, learning_rate_init=0.03)
    return TabularClassifier(network, random_state=0, **own)


def regressor():
    network = MLPRegressor(hidden_layer_sizes=(8,), max_iter=60, learning_rate_init=0.03)
    return TabularRegressor(network, random_state=0)


def test_clones_have_the_same_parameters():
    model = classifier(column_types={"city": "text"}, validation_fraction=0.2)
    other = clone(model)
    assert repr(other) == repr(model)
    assert other.estimator is not model.estimator
    assert other.get_params()["estimator__hidden_layer_sizes"] == (8,)
    other.set_params(estimator__alpha=0.5, column_types=None)
    assert other.estimator.alpha == 0.5
    assert model.estimator.alpha != 0.5
    assert model.column_types == {"city": "text"}


@quiet
def test_cross_validation(table):
    scores = cross_val_score(classifier(), table[INPUTS], table["buys"], cv=3)
    assert scores.min() > 0.85
    areas = cross_val_score(classifier(), table[INPUTS], table["buys"], cv=3, scoring="roc_auc")
    assert areas.min() > 0.9
    assert cross_val_score(regressor(), table[INPUTS], table["price"], cv=3).min() > 0.8
    found = cross_val_predict(classifier(), table[INPUTS], table["buys"], cv=3)
    assert np.mean(found == table["buys"]) > 0.85


@quiet
def test_grid_search_over_parameters_of_the_network(table):
    grid = {"estimator__alpha": [1e-4, 100.0], "validation_fraction": [0.1, None]}
    search = GridSearchCV(classifier(), grid, cv=2).fit(table[INPUTS], table["buys"])
    assert search.best_params_["estimator__alpha"] == 1e-4
    assert search.best_score_ > 0.85
    assert search.predict(table[INPUTS]).tolist()[:2] == table["buys"].tolist()[:2]


@quiet
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_after_a_transformer_that_makes_frames(table, library):
    pytest.importorskip(library)
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    before = ColumnTransformer(
        [("scaled", numbers, ["age"])], remainder="passthrough", verbose_feature_names_out=False
    ).set_output(transform=library)
    given = table[INPUTS]
    if library == "polars":
        import polars

        given = polars.from_pandas(given)
    model = make_pipeline(before, classifier()).fit(given, table["buys"])
    assert model.score(given, table["buys"]) > 0.9
    assert model[-1].feature_names_in_.tolist() == INPUTS
    kinds = [column.kind for column in model[-1].preprocessor_.columns_]
    assert kinds == ["numeric", "categorical", "datetime"]


@quiet
def test_pipelines(table):
    made_column = FunctionTransformer(lambda X: X.assign(old=X["age"] > 50))
    model = make_pipeline(made_column, classifier()).fit(table[INPUTS], table["buys"])
    assert model.score(table[INPUTS], table["buys"]) > 0.9
    other = make_pipeline(TabularPreprocessor(), LogisticRegression(max_iter=1000))
    other.fit(table[INPUTS], table["buys"])
    assert other.score(table[INPUTS], table["buys"]) > 0.9


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_preprocessor_makes_frames(table, library):
    pytest.importorskip(library)
    made = TabularPreprocessor().set_output(transform=library)
    frame = made.fit_transform(table[INPUTS])
    assert list(frame.columns) == made.get_feature_names_out().tolist()
    plain = TabularPreprocessor().fit_transform(table[INPUTS])
    assert (frame.to_numpy() == plain).all()


@quiet
def test_estimators_are_shown_in_html(table):
    before = estimator_html_repr(classifier())
    after = estimator_html_repr(classifier().fit(table[INPUTS], table["buys"]))
    for text in (before, after):
        assert "TabularClassifier" in text
        assert "MLPClassifier" in text
    assert "<span>Not fitted</span>" in before
    assert "<span>Fitted</span>" in after
    assert "TabularPreprocessor" in estimator_html_repr(TabularPreprocessor())


def test_parameters_of_the_network_can_be_set_where_none_is_given():
    model = TabularClassifier().set_params(estimator__alpha=0.5)
    assert model.estimator.alpha == 0.5
    given = MLPRegressor()
    assert TabularRegressor().set_params(estimator=given).estimator is given
