"""Models that no model file holds, and what writes them."""

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xpnn
from xpnn import MLPClassifier, MLPRegressor, Perceptron, TabularRegressor
from xpnn.files import ModelFileError
from xpnn.optimizers import AdamW, CosineWarmup, chain, clip_by_global_norm

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GENERATOR = np.random.default_rng(3)
X = GENERATOR.normal(size=(60, 4))
LABELS = np.asarray(["no", "yes", "perhaps"])[np.abs(X[:, :3]).argmax(axis=1)]
VALUES = X @ GENERATOR.normal(size=4) + 3
COMMON = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
OPTIMIZER = chain(clip_by_global_norm(1.0), AdamW(CosineWarmup(0.01)))

MODELS = {
    "classifier": make_pipeline(StandardScaler(), MLPClassifier(**COMMON)),
    "regressor": make_pipeline(StandardScaler(), MLPRegressor(**COMMON, dtype="float32")),
    "perceptron": make_pipeline(StandardScaler(), Perceptron(random_state=0)),
    "transformed target": TransformedTargetRegressor(MLPRegressor(**COMMON)),
    "options": make_pipeline(
        StandardScaler(),
        MLPClassifier(**COMMON, optimizer=OPTIMIZER, activation=["gelu"], dropout=0.1),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_skops_writes_models_of_scikit_learn_with_ours_in_them(name, tmp_path):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    y = VALUES if name in ("regressor", "transformed target") else LABELS
    model, path = MODELS[name].fit(X, y), tmp_path / "m.skops"
    skops.dump(model, path)
    trusted = skops.get_untrusted_types(file=path)
    assert all(kind.startswith("xpnn.") or kind == "functools.partial" for kind in trusted)
    found = skops.load(path, trusted=trusted)
    assert found.predict(X).tolist() == model.predict(X).tolist()
    if hasattr(model, "steps"):  # and it goes on learning the same
        for pipe in (model, found):
            pipe[-1].partial_fit(pipe[0].transform(X), y)
        assert found.predict(X).tolist() == model.predict(X).tolist()
    found.fit(X, y)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (MODELS["classifier"], r"sklearn\.pipeline\.Pipeline cannot be saved; .*skops\.io\.dump"),
        (MODELS["transformed target"], r"\.TransformedTargetRegressor cannot be saved; .*skops"),
        (
            StandardScaler(),
            r"\.StandardScaler cannot be saved; expected one of Network, MLP.*skops",
        ),
        (LogisticRegression(), r"\.LogisticRegression cannot be saved; expected one of .*skops"),
        (3, "a builtins.int cannot be saved; expected one of Network, .*, TabularRegressor$"),
        (
            None,
            "a builtins.NoneType cannot be saved; expected one of Network, .*, TabularRegressor$",
        ),
        (TabularRegressor(), "the TabularRegressor is not fitted; call fit, and save it then"),
    ],
)
@pytest.mark.parametrize("for_inference", [False, True])
def test_what_is_no_model_of_ours_is_named(model, message, for_inference, tmp_path):
    with pytest.raises(ModelFileError, match=message):
        xpnn.save(model, tmp_path / "m", for_inference=for_inference)
    assert not list(tmp_path.iterdir())
