"""Fitted estimators as model files."""

import json

import numpy as np
import pytest
from scipy.sparse import csr_array

import sealing
import xpnn
from xpnn import MLPClassifier, MLPRegressor, Perceptron, backends
from xpnn.files import ModelFileError, read_record
from xpnn.layers import Activation, CustomActivation
from xpnn.optimizers import AdamW, CosineWarmup, RMSprop, chain, clip_by_global_norm
from xpnn.training import Loss

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GENERATOR = np.random.default_rng(3)
X = GENERATOR.normal(size=(40, 4))
SCORES = X @ GENERATOR.normal(size=(4, 3))
LABELS, TWO, SEVERAL = SCORES.argmax(axis=1), (SCORES[:, 0] > 0).astype(int), SCORES > 0
COMMON = {"hidden_layer_sizes": (6,), "random_state": 1, "max_iter": 3, "batch_size": 16}
DATES = np.asarray(["2020-01-01", "2021-01-01", "1950-01-01"], "M8[D]")
WORDS = np.asarray(["Äpfel", "b", "\ud800c"])


def classifier(y=LABELS, x=X, **options):
    return MLPClassifier(**COMMON | options).fit(x, y)


def regressor(y=SCORES, **options):
    return MLPRegressor(**COMMON | options).fit(X, y)


def perceptron(y=LABELS, x=X, **options):
    return Perceptron(random_state=0, **options).fit(x, y)


def framed(columns):
    pandas = pytest.importorskip("pandas", reason="frames need pandas")
    return pandas.DataFrame(X, columns=columns)


def rows_for(model):
    return framed(model.feature_names_in_) if hasattr(model, "feature_names_in_") else X


MODELS = {
    "numbers": classifier,
    "two classes": lambda: classifier(TWO),
    "one class": lambda: classifier(np.zeros(40)),
    "several labels": lambda: classifier(SEVERAL),
    "sparse labels": lambda: classifier(csr_array(SEVERAL.astype(int))),
    "words": lambda: classifier(WORDS[LABELS]),
    "words as objects": lambda: classifier(WORDS.astype(object)[LABELS]),
    "dates": lambda: classifier(DATES[LABELS]),
    "truth values": lambda: classifier(TWO > 0),
    "fractions": lambda: classifier(np.asarray([0.0, 1.0, 7.0])[LABELS]),
    "small integers": lambda: classifier(LABELS.astype("int8")),
    "names of features": lambda: classifier(x=framed(["a", "b", "c", "ü"])),
    "everything": lambda: classifier(
        hidden_layer_sizes=[5, np.int64(4)], activation=["gelu", Activation("elu", 0.5)],
        dropout=[0.1, 0], loss=Loss("softmax_cross_entropy", 0.1),
        optimizer=chain(clip_by_global_norm(2.0), AdamW(CosineWarmup(0.01, 1))),
        class_weight={0: 2.0, 1: 1, 2: 1},
        early_stopping=True, monitor="f1_macro",
    ),
    "array as sizes": lambda: classifier(hidden_layer_sizes=np.asarray([5, 4])),
    "hinge": lambda: classifier(loss="hinge"),
    "balanced": lambda: classifier(class_weight="balanced", weight_decay=0.1, clip_norm=1.0),
    "sgd": lambda: classifier(solver="sgd", learning_rate="adaptive", momentum=1.0),
    "lbfgs": lambda: classifier(solver="lbfgs"),
    "early stopping": lambda: regressor(early_stopping=True, learning_rate="constant"),
    "endless patience": lambda: regressor(n_iter_no_change=np.inf),
    "one column": lambda: regressor(SCORES[:, 0], loss="huber", delta=2.0),
    "counts": lambda: regressor(np.floor(np.exp(SCORES)), loss="poisson", dtype="float32"),
    "half precision": lambda: regressor(dtype="float16"),
    "no hidden layer": lambda: regressor(hidden_layer_sizes=()),
    "initialized": lambda: MLPClassifier(**COMMON).initialize(X, LABELS),
    "generator": lambda: classifier(random_state=np.random.RandomState(4)),
    "perceptron": perceptron,
    "perceptron of two classes": lambda: perceptron(TWO > 0, class_weight={True: 2.0}),
    "perceptron of words": lambda: perceptron(WORDS.astype(object)[LABELS]),
    "perceptron of fractions": lambda: perceptron(np.asarray([0.0, 1.0, 7.0])[LABELS], x=framed(
        ["a", "b", "c", "ü"])),
    "partial": lambda: MLPClassifier(**COMMON, early_stopping=True).partial_fit(
        X, LABELS, classes=[0, 1, 2], X_val=X, y_val=LABELS
    ),
}  # fmt: skip


def outputs(model):
    """Everything that a model says of rows."""
    names = ["predict", "predict_proba", "decision_function"]
    names += ["transform"] if getattr(model, "n_layers_", 0) > 2 else []
    found = [getattr(model, n)(rows_for(model)) for n in names if hasattr(model, n)]
    return [f.toarray() if hasattr(f, "toarray") else f for f in found]


def same_arrays(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.tolist() == b.tolist()
        if a.dtype.kind != "O":
            assert a.tobytes() == b.tobytes()
    return True


@pytest.mark.parametrize("name", MODELS)
def test_it_comes_back_the_same(name, tmp_path):
    model = MODELS[name]()
    path = xpnn.save(model, tmp_path / "m.safetensors", {"by": "me"})
    found = xpnn.load(path)
    assert type(found) is type(model)
    assert same_arrays(outputs(found), outputs(model))
    assert read_record(path) == {"by": "me"}
    for name in (
        "loss_curve_", "validation_scores_", "best_loss_", "t_", "stopped_", "loss_", "n_iter_",
        "n_features_in_", "converged_",
    ):  # fmt: skip
        assert getattr(found, name, None) == getattr(model, name, None)
    if isinstance(model, Perceptron):
        assert found.history_.verdict() == model.history_.verdict()
    again = xpnn.save(found, tmp_path / "again", {"by": "me"})
    assert again.read_bytes() == path.read_bytes()
    found, given = found.get_params(), model.get_params()
    assert found.keys() == given.keys()
    for name, value in given.items():
        if name == "random_state" and not isinstance(value, int):
            assert backends.generator_state(found[name]) == backends.generator_state(value)
        else:
            assert np.all(found[name] == value), name
            assert type(found[name]) is type(value) or isinstance(value, np.generic)


@pytest.mark.parametrize("name", [n for n in MODELS if n != "lbfgs"])
def test_it_goes_on_learning_the_same(name, tmp_path):
    model = MODELS[name]()
    if hasattr(model, "classes_"):
        y = model.classes_[LABELS % len(model.classes_)]
        if "labels" in name:
            y = SEVERAL.astype(int)
        if model.class_weight == "balanced":
            model.class_weight = None
    else:
        y = np.abs(SCORES[:, : model.n_outputs_])
        y = y[:, 0] if model.n_outputs_ == 1 else y
    found = xpnn.load(xpnn.save(model, tmp_path / "m"))
    for m in (model, found):
        given = {"X_val": rows_for(m), "y_val": y} if m.early_stopping else {}
        m.partial_fit(rows_for(m), y, **given)
    assert same_arrays(outputs(found), outputs(model))


def test_a_warm_start_goes_on_the_same(tmp_path):
    model = classifier(warm_start=True)
    found = xpnn.load(xpnn.save(model, tmp_path / "m"))
    assert same_arrays(outputs(found.fit(X, LABELS)), outputs(model.fit(X, LABELS)))
    assert found.loss_curve_ == model.loss_curve_
    assert len(found.loss_curve_) == 6


def test_weights_of_the_users_own_are_saved(tmp_path):
    model = classifier()
    model.coefs_ = [np.zeros_like(w) for w in model.coefs_]
    assert same_arrays(outputs(xpnn.load(xpnn.save(model, tmp_path / "m"))), outputs(model))


def weights_of(model):
    return [model.coef_] if isinstance(model, Perceptron) else model.coefs_


@pytest.mark.parametrize("make", [classifier, perceptron])
def test_every_library(make, backend, tmp_path):
    x = backend.asarray(X)
    model = make(x=x)
    scores = backends.to_host(outputs_on(model, x))
    path = xpnn.save(model, tmp_path / "m")
    for found in (xpnn.load(path), xpnn.load(path, backend)):
        assert backends.backend_of(weights_of(found)[0]) == backend
        assert (backends.to_host(outputs_on(found, x)) == scores).all()
    host = outputs_on(xpnn.load(path, "numpy"), X)
    assert isinstance(host, np.ndarray)
    assert np.allclose(host, scores, atol=1e-5)


def outputs_on(model, x):
    call = model.predict_proba if hasattr(model, "predict_proba") else model.decision_function
    return call(x)


@pytest.mark.parametrize("name", ["numbers", "partial", "perceptron"])
def test_another_dtype(name, tmp_path):
    path = xpnn.save(MODELS[name](), tmp_path / "m")
    found = xpnn.load(path, dtype="float32")
    again = xpnn.load(xpnn.save(found, tmp_path / "again"))  # every part of it has this dtype
    assert same_arrays(outputs(again), outputs(found))
    found.partial_fit(X, LABELS, **({"X_val": X, "y_val": LABELS} if name == "partial" else {}))
    assert {w.dtype.name for w in weights_of(found)} == {"float32"}
    half = xpnn.load(path, backends.select("numpy", dtype="float16"))
    assert {w.dtype.name for w in weights_of(half)} == {"float16"}
    with pytest.raises(ValueError, match="dtype='bfloat16' is not one of estimators"):
        xpnn.load(path, dtype="bfloat16")


def test_for_inference_leaves_the_optimizer_out(tmp_path):
    given = {"hidden_layer_sizes": (200,), "early_stopping": True, "validation_fraction": 0.2}
    model = classifier(**given)
    whole = xpnn.save(model, tmp_path / "whole")
    small = xpnn.save(model, tmp_path / "small", for_inference=True)
    bytes_of_parameters = sum(w.nbytes for w in [*model.coefs_, *model.intercepts_])
    assert whole.stat().st_size > 3 * bytes_of_parameters
    assert small.stat().st_size < bytes_of_parameters + 4_000
    assert same_arrays(outputs(xpnn.load(small)), outputs(model))


def test_a_model_for_inference_can_begin_to_learn_anew(tmp_path):
    found = xpnn.load(xpnn.save(classifier(), tmp_path / "m", for_inference=True))
    before = found.coefs_[0].copy()
    assert np.isfinite(found.partial_fit(X, LABELS).loss_)
    assert not (found.coefs_[0] == before).all()


def test_a_perceptron_for_inference_and_a_sparse_one(tmp_path):
    model = perceptron()
    scores = model.decision_function(X)
    found = xpnn.load(xpnn.save(model.sparsify(), tmp_path / "m", for_inference=True))
    assert found.decision_function(X).tobytes() == scores.tobytes()
    assert len(found.history_) == 0
    assert b"epochs" not in (tmp_path / "m").read_bytes()


def test_a_library_that_is_not_there_is_a_warning(tmp_path):
    path = xpnn.save(classifier(), tmp_path / "m")
    change = put("place", value=["cupy", "cuda:99", "float64"])
    other = sealing.edited(path, tmp_path / "other", change)
    with pytest.warns(UserWarning, match=r"the model was on cupy \(cuda:99\).*on NumPy now"):
        found = xpnn.load(other)
    assert same_arrays(outputs(found), outputs(xpnn.load(path)))


# What cannot be saved


def score(model, x, y):
    return 0.0


class Own(MLPClassifier):
    pass


class OwnSGD(RMSprop):
    pass


OWN = CustomActivation(lambda z, xp: z, lambda z, a, da, xp: da)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: classifier(activation=OWN), "^activation cannot be saved: a layer of the class"),
        (
            lambda: classifier(activation=(OWN.forward_function, OWN.backward_function)),
            "^activation holds <function .*, which cannot be saved: a model file holds no code",
        ),
        (lambda: classifier(early_stopping=True, monitor=score), "^monitor holds <function score"),
        (lambda: classifier(optimizer=OwnSGD(0.1)), r"^optimizer holds OwnSGD\("),
        (MLPClassifier, "the MLPClassifier is not fitted; call fit, and save it then"),
        (Perceptron, "the Perceptron is not fitted; call fit, and save it then"),
        (lambda: Own(**COMMON).fit(X, LABELS), "Own cannot be saved; expected one of Network, MLP"),
        (lambda: classifier().set_params(alpha=-1), "cannot be saved: The 'alpha' parameter"),
    ],
)
def test_what_cannot_be_saved_is_named(make, message, tmp_path):
    with pytest.raises(ModelFileError, match=message):
        xpnn.save(make(), tmp_path / "m")
    assert not list(tmp_path.iterdir())


# Files that contradict themselves


def put(*path, value):
    """A change of one place in the estimator's part of the header."""

    def change(header):
        place = header["estimator"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return header

    return change


def layers(*found):
    return put("layers", value={"layer": {"type": "Chain", "layers": list(found)}})


def dense(width):
    return {"type": "Dense", "width": width}


def optimizer(kind="Adam", **given):
    return put("solver", "optimizer", value={"object": kind, "fields": given})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: {**h, "estimator": 3}, "the estimator is a 3; expected one of MLPClassifier"),
        (put("class", value="Pipeline"), "the estimator is a 'Pipeline'; expected one of"),
        (put("fitted", value=[]), r"its fitted are \[\]"),
        (put("parameters", "alpha", value=-1), "cannot be made: The 'alpha' parameter"),
        (put("parameters", "beta", value=1), "cannot be made: .*unexpected keyword.*beta"),
        (put("parameters", "activation", value={"layer": {"type": "os"}}), "layer type 'os'"),
        (put("parameters", "alpha", value={"pickle": "x"}), "alpha is .*nothing can be made of"),
        (put("parameters", "alpha", value={"float": "1"}), "alpha cannot be made"),
        (put("parameters", "dtype", value={"array": "nowhere"}), "dtype cannot be made: 'nowhere'"),
        (put("layers", "layer", "layers", 0, "width", value=10**12), r"expected \(4, 10{12}\)"),
        (layers(dense(0), dense(3)), "layer Dense cannot be made: width is 0; expected a"),
        (layers(dense(6), dense(3)), "parameters.1.bias is missing, .*2.bias is not a parameter"),
        (layers(dense(6), dense(2)), r"its layers are Chain\(.*, with 3 outputs"),
        (put("layers", value=None), "its layers are None, with 3 outputs"),
        (put("fitted", "n_outputs_", value=2), "there are 3 classes and 2 outputs"),
        (put("place", 2, value="float32"), "type float64; expected .* float32"),
        (put("place", 2, value="int8"), r"its place is \['numpy', 'cpu', 'int8'\]"),
        (put("place", 0, value=3), r"its place is \[3, 'cpu', 'float64'\]"),
        (put("fitted", "loss_curve_", value=["a"]), r"loss_curve_ is \['a'\], which no"),
        (put("labels", value=None), "its labels are None; expected y_type_, sparse_input_"),
        (put("labels", "y_type_", value="x"), "y_type_ of its labels is 'x'"),
        (optimizer(learning_rate="a"), "optimizer cannot be made: learning_rate of Adam is 'a'"),
        (optimizer(beta=1), "optimizer cannot be made: beta of Adam is 1"),
        (optimizer(learning_rate=-1.0), "optimizer cannot be made: learning_rate is -1.0"),
        (put("solver", "optimizer", value=3), "optimizer of its solver is 3"),
        (optimizer("SGD", learning_rate=0.1), "state.1 is not a parameter"),
        (optimizer("Popen"), "cannot be made: 'Popen'"),
        (put("solver", "schedule", "fields", "mode", value="x"), "mode is 'x'; expected"),
    ],
)
def test_a_file_that_contradicts_itself(change, message, tmp_path):
    path = sealing.edited(xpnn.save(classifier(), tmp_path / "m"), tmp_path / "other", change)
    with pytest.raises(ModelFileError, match=message) as error:
        xpnn.load(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("parameters.0.bias"), "parameters.0.bias is missing"),
        (lambda a: a.update({"state.0": np.zeros(2)}), r"state.0 has shape \(2,\)"),
        (lambda a: a.update(best=np.zeros(2)), r"best has shape \(2,\)"),
        (lambda a: a.pop("classes_"), "classes_ cannot be made"),
        (lambda a: a.update(classes_=np.zeros((3, 1))), r"classes_ is array"),
    ],
)
def test_arrays_that_do_not_fit(change, message, tmp_path):
    path = xpnn.save(classifier(), tmp_path / "m")
    with pytest.raises(ModelFileError, match=message):
        xpnn.load(sealing.edited(path, tmp_path / "other", arrays=change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("fitted", "n_features_in_", value=5), r"coef_ has shape \(3, 4\) .*; expected \(3, 5"),
        (put("place", 2, value="float32"), "expected .* and float32"),
        (put("fitted", "n_iter_", value=-1), "n_iter_ is -1, which no Perceptron has"),
        (put("fitted", "coef_", value=3), "coef_ is 3, which no Perceptron has"),
        (put("fitted", "intercept_", value={"array": "coef_"}), "intercept_ is array"),
    ],
)
def test_a_perceptron_that_contradicts_itself(change, message, tmp_path):
    path = xpnn.save(perceptron(), tmp_path / "m")
    with pytest.raises(ModelFileError, match=message):
        xpnn.load(sealing.edited(path, tmp_path / "other", change))


def test_a_layer_without_a_bias_which_no_estimator_has(tmp_path):
    path = xpnn.save(classifier(), tmp_path / "m")
    change = put("layers", "layer", "layers", 0, "bias", value=False)
    other = sealing.edited(path, tmp_path / "other", change, lambda a: a.pop("parameters.0.bias"))
    with pytest.raises(ModelFileError, match=r"its layers are .*; an estimator's all have a bias"):
        xpnn.load(other)


@pytest.mark.parametrize(
    ("texts", "dtype", "message"),
    [
        (list(WORDS), "<U500000000", "texts of up to 5 characters with the dtype"),
        (["a" * 30_000, *"b" * 30_000], "<U30000", "would take 3,600,120,000 bytes"),
    ],
)
def test_texts_wider_than_they_are_take_no_memory(texts, dtype, message, tmp_path):
    path = xpnn.save(classifier(WORDS[LABELS]), tmp_path / "m")
    value = {"texts": texts, "as": dtype, "shape": [len(texts)]}
    change = put("fitted", "classes_", value=value)
    with pytest.raises(ModelFileError, match=message):
        xpnn.load(sealing.edited(path, tmp_path / "other", change))


def test_what_is_written_is_plain_json(tmp_path):
    header = sealing.header_of(xpnn.save(regressor(n_iter_no_change=np.inf), tmp_path / "m"))
    assert json.loads(json.dumps(header, allow_nan=False)) == header
