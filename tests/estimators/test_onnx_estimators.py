"""Fitted estimators as ONNX models, run by onnxruntime."""

from __future__ import annotations

import json

import numpy as np
import pytest
import small
from beside_sklearn import quietly
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.exceptions import NotFittedError

from onnx_models import assert_values, known, metadata, run, runtime
from xpnn import MLPClassifier, MLPRegressor, Network, Perceptron
from xpnn.backends import to_host
from xpnn.estimators import to_onnx
from xpnn.export import OPSETS, OnnxError
from xpnn.layers import Activation

runtime()
every_opset = pytest.mark.parametrize("opset", OPSETS)
LABELS = small.LABELS


def assert_label(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype == {"U": object, "i": "int64"}.get(expected.dtype.kind, expected.dtype)
    assert found.tolist() == expected.tolist()


def assert_same(model, estimator, x):
    """Every output against what the estimator says of the same rows."""
    found = run(model, {"X": x})
    weights = estimator.coef_ if isinstance(estimator, Perceptron) else estimator.coefs_[0]
    if isinstance(estimator, MLPRegressor):
        name, expected = "prediction", estimator.predict(x)
    else:
        assert_label(found.pop("label"), estimator.predict(x))
        if hasattr(estimator, "predict_proba"):
            name, expected = "probabilities", estimator.predict_proba(x)
        else:
            scores = np.asarray(estimator.decision_function(x))
            name, expected = "scores", scores.reshape(len(x), -1)
    assert_values(found.pop(name), expected, str(np.asarray(weights).dtype))
    assert not found


TARGETS = {
    "two": small.TWO,
    "several": LABELS,
    "wide": LABELS * 1000 - 5,
    "short": LABELS.astype("int8"),
    "truth": small.TWO.astype(bool),
    "floats": LABELS * 2.0,
    "words": np.array(["pear", "Äpfel", ""])[LABELS],
    "objects": np.array(["pear", "fig", "apple"], object)[LABELS],
    "several labels": small.SEVERAL.astype(int),
    "one class": np.full(40, 7),
    "one word": np.full(40, "fig"),
}


LOSSES = ("log_loss", "softmax_cross_entropy", "binary_cross_entropy", "hinge")
CASES = [
    (target, loss, OPSETS[number % 2])
    for number, target in enumerate(TARGETS)
    for loss in LOSSES
    if (target, loss) != ("several labels", "softmax_cross_entropy")
]


@pytest.mark.parametrize(("target", "loss", "opset"), CASES)
def test_classifiers(target, loss, opset):
    model = quietly(small.classifier, TARGETS[target], loss=loss)
    assert_same(to_onnx(model, opset=known(opset)), model, small.X)


@every_opset
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "huber", "absolute_error"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_regressors(loss, outputs, opset):
    y = small.COUNTS if outputs == 3 else small.COUNTS[:, 0]
    model = quietly(small.regressor, y, loss=loss)
    assert_same(to_onnx(model, opset=known(opset)), model, small.X)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes(dtype):
    model = quietly(small.classifier, dtype=dtype)
    assert_same(to_onnx(model), model, small.X.astype(dtype))
    other = run(to_onnx(model, dtype="float32"), {"X": small.X.astype("float32")})
    assert_values(other["probabilities"], model.predict_proba(small.X.astype(dtype)), "float32")
    wide = run(to_onnx(model, dtype="float32", input_dtype="float64"), {"X": small.X})
    assert_values(wide["probabilities"], other["probabilities"], "float32")


def test_layers_of_all_kinds():
    model = quietly(
        small.classifier, hidden_layer_sizes=(6, 5), dropout=0.2,
        activation=["gelu", Activation("elu", alpha=0.5)],
    )  # fmt: skip
    assert_same(to_onnx(model), model, small.X)
    model = quietly(small.classifier, hidden_layer_sizes=())
    assert_same(to_onnx(model), model, small.X)


def test_real_data():
    for load, kind in ((load_digits, MLPClassifier), (load_iris, MLPClassifier),
                       (load_diabetes, MLPRegressor)):  # fmt: skip
        x, y = load(return_X_y=True)
        model = quietly(
            kind(hidden_layer_sizes=(20,), random_state=0, max_iter=5).fit, x / x.max(), y
        )
        assert_same(to_onnx(model), model, x / x.max())


def test_from_every_library(backend):
    x = backend.asarray(small.X)
    model = quietly(MLPClassifier((6,), random_state=1, max_iter=2).fit, x, LABELS)
    found = run(to_onnx(model), {"X": to_host(x)})
    assert_label(found["label"], to_host(model.predict(x)).astype("int64"))
    assert_values(found["probabilities"], to_host(model.predict_proba(x)), to_host(x).dtype.name)


@pytest.mark.parametrize("target", ["two", "several", "words"])
def test_perceptrons(target):
    model = Perceptron(max_iter=5, tol=None, random_state=0).fit(small.X, TARGETS[target])
    assert_same(to_onnx(model), model, small.X)
    sparse = clone(model).fit(small.X, TARGETS[target]).sparsify()
    assert_same(to_onnx(sparse), model, small.X)


@pytest.mark.parametrize("fires", [False, True])
def test_a_perceptron_at_its_threshold(fires):
    model = quietly(Perceptron(fires_at_zero=fires, max_iter=5).fit, [[0.0], [1.0]], [0, 1])
    model.coef_, model.intercept_ = np.array([[1.0]]), np.array([-1.0])
    assert run(to_onnx(model), {"X": np.array([[1.0]])})["label"].tolist() == [int(fires)]
    assert model.predict(np.array([[1.0]])).tolist() == [int(fires)]


def test_what_the_model_says_of_itself(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    import onnx

    names = ["a", "b", "c", "Größe"]
    frame = pandas.DataFrame(small.X, columns=names)
    model = quietly(MLPClassifier((3,), max_iter=1).fit, frame, TARGETS["words"])
    path = tmp_path / "model.onnx"
    to_onnx(model, path, doc="which fruit")
    read = onnx.load(path)
    assert {key: json.loads(text) for key, text in metadata(read).items()} == {
        "feature_names": names, "class_names": ["", "pear", "Äpfel"],
    }  # fmt: skip
    assert read.doc_string == "which fruit"
    assert read.producer_name == "xpnn"
    assert to_onnx(model).doc_string == str(model)
    assert_label(run(path, {"X": small.X})["label"], model.predict(frame))


def test_networks_go_the_same_way():
    network = Network(4, [3], backend="numpy", dtype="float64")
    assert_values(run(to_onnx(network), {"x": small.X})["scores"], network.scores(small.X),
                  "float64")  # fmt: skip
    with pytest.raises(OnnxError, match="input_dtype is 'float32'; a Network has no prepro"):
        to_onnx(network, input_dtype="float32")


def test_what_is_refused(tmp_path):
    from sklearn.linear_model import LogisticRegression

    model, dated = quietly(small.classifier), quietly(small.classifier)
    dated.classes_ = np.array(["2020", "2021", "2022"], "datetime64[Y]")
    cases = [
        (LogisticRegression(), {}, "model is or ends in a LogisticRegression; expected a N"),
        (model, {"opset": 3}, "opset is 3; expected"),
        (model, {"input_dtype": "int8"}, "input_dtype is 'int8'; expected one of float16"),
        (model, {"class_names": ["a"]}, r"class_names is \['a'\]; a MLPClassifier knows its own"),
        (dated, {}, r"classes of dtype datetime64\[Y\] cannot be written"),
    ]
    for wrong, options, message in cases:
        with pytest.raises(OnnxError, match=message):
            to_onnx(wrong, tmp_path / "model.onnx", **options)
    with pytest.raises(NotFittedError):
        to_onnx(MLPClassifier(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
