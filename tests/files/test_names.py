"""Names that a user chose are no matter to a model file, whatever we chose."""

import numpy as np
import pytest

import xpnn
from xpnn import MLPClassifier, MLPRegressor, Network, Perceptron, TabularClassifier
from xpnn.files import read_record

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Keys of the header, of its parts and of safetensors, names of arrays, and text that looks alike.
NAMES = [
    "format", "step/x", "arrays", "array", "tuple", "dict", "float", "texts", "object", "layer",
    "RandomState", "sha256", "xpnn", "kind", "record", "network", "estimator", "table", "class",
    "parameters", "fitted", "place", "epochs", "target", "__metadata__", "classes_", "state.0",
    "best", "parameters.0.bias", ', "sha256": "', "",
]  # fmt: skip
X = np.random.default_rng(0).normal(size=(60, len(NAMES)))
LABELS = np.asarray(["format", "step/x", "arrays"])[np.abs(X[:, :3]).argmax(axis=1)]
RECORD = {name: {name: [name, {name: 1}]} for name in NAMES}
COMMON = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}
WEIGHTS = dict.fromkeys(["format", "step/x", "arrays"], 1.0)


def frame():
    pandas = pytest.importorskip("pandas", reason="frames need pandas")
    return pandas.DataFrame(X, columns=NAMES)


ESTIMATORS = {
    "classifier": (MLPClassifier(**COMMON, class_weight=WEIGHTS), LABELS),
    "regressor": (MLPRegressor(**COMMON), X[:, 0]),
    "perceptron": (Perceptron(random_state=0), LABELS),
}


@pytest.mark.parametrize("for_inference", [False, True])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_features_classes_and_keys_of_the_record(name, for_inference, tmp_path):
    model, y = ESTIMATORS[name]
    model.fit(frame(), y)
    path = xpnn.save(model, tmp_path / "m", RECORD, for_inference=for_inference)
    found = xpnn.load(path)
    assert read_record(path) == RECORD
    assert found.feature_names_in_.tolist() == NAMES
    assert found.predict(frame()).tolist() == model.predict(frame()).tolist()


@pytest.mark.parametrize("for_inference", [False, True])
def test_the_record_of_a_network(for_inference, tmp_path):
    network = Network(len(NAMES), [3], seed=0, backend="numpy")
    path = xpnn.save(network, tmp_path / "m", RECORD, for_inference=for_inference)
    assert read_record(path) == RECORD
    assert xpnn.load(path).scores(X).tolist() == network.scores(X).tolist()


@pytest.mark.parametrize("for_inference", [False, True])
@pytest.mark.parametrize("target", ["format", "record", "target"])
def test_columns_and_categories_of_a_table(target, for_inference, tmp_path):
    words = np.asarray(NAMES)[np.arange(60) % len(NAMES)]
    table = frame().assign(words=words).drop(columns=target)
    model = TabularClassifier(MLPClassifier(**COMMON), random_state=0)
    model.fit(table, frame()[target].set_axis(table.index).map(lambda v: NAMES[int(v > 0)]))
    path = xpnn.save(model, tmp_path / "m", RECORD, for_inference=for_inference)
    found = xpnn.load(path)
    assert read_record(path) == RECORD
    assert list(found.predict(table)) == list(model.predict(table))
    assert found.target_name_ == target
