"""Every array is made where the data is, and on no other device of the library.

CuPy makes the result of each operation on the device that is current, wherever its inputs
are. So nothing here may be computed while another device is current than that of the data,
which the fake devices are made to see: views, copies from device to device, and arrays that
are made on a device by name are all that may be.
"""

from __future__ import annotations

import pickle
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

from xpnn import McCullochPitts, MLPClassifier, MLPRegressor, Network, Neuron, Perceptron, select
from xpnn import functional as F
from xpnn.backends import device_name, device_of, libraries, on_device, to_float, to_host
from xpnn.data import BlockShuffle, stream
from xpnn.demos import mcculloch_pitts, neuron, perceptron, weighted_sum
from xpnn.functional import ACTIVATIONS, LOSSES
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, Adam, CosineWarmup, chain, clip_by_global_norm

strict = pytest.importorskip("array_api_strict")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ARRAY = type(strict.zeros(1))
DEVICES = ("device1", "device2", "no_float64")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(45, 4)).astype("float32")
LABELS = RNG.integers(3, size=45)
VALUES = RNG.uniform(0.1, 2.0, (45, 3)).astype("float32")
TARGETS = {"multiclass": LABELS, "binary": (VALUES > 1).astype("float32"), "regression": VALUES}
WEIGHT = RNG.uniform(0.5, 2.0, 45).astype("float32")


class Made:
    """Where arrays are made, and which device is current then."""

    def __init__(self):
        self.free, self.count, self.moving = 0, 0, False
        self.only: str | None = None
        self.current = ["CPU_DEVICE"]

    @contextmanager
    def allowed(self):
        self.free += 1
        try:
            yield
        finally:
            self.free -= 1

    @contextmanager
    def entered(self, device):
        self.current.append(device_name(device))
        try:
            yield
        finally:
            self.current.pop()

    def look(self, values, device):
        name = device_name(strict.Device("CPU_DEVICE") if device is None else device)
        if self.only is None or self.moving:
            return
        self.count += 1
        if name != self.only:
            raise AssertionError(f"an array was made on {name}, and not on {self.only}")
        if self.current[-1] != name and not self.free and values.base is None:
            raise AssertionError(f"an array was made on {name} while it was not current")


@pytest.fixture(params=DEVICES)
def here(request, monkeypatch):
    """A device that all arrays have to be made on, from now on; it is not the current one."""
    made, new, move = Made(), ARRAY._new.__func__, ARRAY.to_device
    item, asarray = ARRAY.__getitem__, strict.asarray

    def looking(cls, x, /, device=None):
        made.look(np.asarray(x), device)
        return new(cls, x, device)

    def moving(self, device, /, **options):
        made.moving = device_name(device) == "CPU_DEVICE"
        try:
            with made.allowed():
                return move(self, device, **options)
        finally:
            made.moving = False

    def viewing(self, key, /):
        with made.allowed():
            return item(self, key)

    def making(obj, /, *, device=None, **options):
        with nullcontext() if device is None else made.allowed():
            return asarray(obj, device=device, **options)

    monkeypatch.setattr(ARRAY, "_new", classmethod(looking))
    monkeypatch.setattr(ARRAY, "to_device", moving)
    monkeypatch.setattr(ARRAY, "__getitem__", viewing)
    monkeypatch.setattr(strict, "asarray", making)
    monkeypatch.setitem(libraries._CURRENT, "array_api_strict", made.entered)
    backend = select("array_api_strict", request.param, "float32")
    made.only = request.param
    backend.asarray(X)
    assert made.count == 1
    return backend


def are_here(here, *arrays):
    assert {device_of(array) for array in arrays} == {here.device}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_network_stays_on_its_device(loss, here):
    x, t = here.asarray(X), here.asarray(TARGETS[LOSSES[loss].kind])
    network = Network(4, [6, "relu", Dropout(0.2), 3], seed=0, loss=loss)
    network.fit(
        x, t, sample_weight=here.asarray(WEIGHT), epochs=2, batch_size=8, validation_fraction=0.2,
        l2=0.01, early_stopping=1,
        optimizer=chain(clip_by_global_norm(0.5), Adam(CosineWarmup(0.01, warmup=1))),
    )  # fmt: skip
    are_here(
        here, network.theta, network.copy_theta(), *network.parameters().values(),
        network.scores(x), network.predict(x), network.scores(X[0].tolist()),
    )  # fmt: skip
    if "cross_entropy" in loss:
        are_here(here, network.predict_proba(x))
    network.evaluate(x, t)
    network.assign(**{"0.weights": np.zeros((4, 6))})
    are_here(here, network.theta)


def test_a_source_and_a_checkpoint_stay_there_too(here, tmp_path):
    def train(epochs, resume):
        network = Network(4, [6, "tanh", 3], seed=0, backend=here)
        rows = stream(X, LABELS, weight=WEIGHT, shuffle=BlockShuffle(11, 3))
        network.fit(
            rows, epochs=epochs, batch_size=8, checkpoint=tmp_path / "run", resume=resume,
            X_val=stream(X, LABELS), optimizer=SGD(0.1, momentum=0.9),
        )  # fmt: skip
        are_here(here, network.theta)
        return to_host(network.theta)

    train(1, False)
    np.testing.assert_array_equal(train(3, True), train(3, False))


OPTIONS = {"hidden_layer_sizes": (6,), "max_iter": 3, "batch_size": 8, "random_state": 0}
ESTIMATORS = {
    "classes": (MLPClassifier, LABELS, {"class_weight": "balanced", "dropout": 0.2}),
    "early stopping": (MLPClassifier, LABELS, {"early_stopping": True, "n_iter_no_change": 1}),
    "several labels": (MLPClassifier, (VALUES > 1).astype(int), {"solver": "sgd"}),
    "values": (MLPRegressor, VALUES, {"weight_decay": 0.01, "clip_norm": 0.5}),
    "lbfgs": (MLPRegressor, VALUES, {"solver": "lbfgs"}),
}


CASES = [(name, where) for name in ESTIMATORS for where in ("follows", "chosen")]
CASES += [("classes", "a source"), ("values", "a source")]


@pytest.mark.parametrize(("name", "where"), CASES)
def test_an_estimator_stays_on_its_device(name, where, here):
    make, y, options = ESTIMATORS[name]
    x = here.asarray(X) if where == "follows" else X
    options = OPTIONS | options | {"dtype": "float32"}
    if where != "follows":
        options |= {"backend": here.name, "device": device_name(here.device)}
    model = make(**options)
    if where == "a source":
        model.fit(stream(X, y, shuffle=BlockShuffle(11, 3)))
    else:
        model.fit(x, y, sample_weight=WEIGHT)
    are_here(here, *model.coefs_, *model.intercepts_)
    results = [model.predict(x), model.transform(x)]
    results += [model.predict_proba(x)] if make is MLPClassifier else []
    for result in results:
        assert type(result) is type(x)
    model.score(x, y)


def test_the_check_sees_an_array_elsewhere(here):
    with pytest.raises(AssertionError, match="an array was made on CPU_DEVICE"):
        strict.asarray([1.0], dtype=strict.float32)
    x = here.asarray(X)
    with pytest.raises(AssertionError, match="while it was not current"):
        x + x
    with on_device(here.device):
        x + x


def test_all_else_that_a_network_does_stays_there(here):
    x, t = here.asarray(X), here.asarray(LABELS)
    network = Network(4, [6, "gelu", 3], seed=0, backend=here)
    scores, saved = network.forward(x)
    dx, gradients = network.backward(saved, scores)
    loss, gradient = network.loss_and_gradient(x, t, here.asarray(WEIGHT), l2=0.1)
    are_here(here, scores, dx, *gradients.values(), loss, gradient, network.copy().theta)
    rows = stream(X, LABELS)
    for found in (network.predict(rows), network.predict_proba(rows), network.scores(rows)):
        assert type(found) is np.ndarray
    assert float(network.evaluate(rows)[0]) == pytest.approx(to_float(network.evaluate(x, t)[0]))
    assert network.accuracy(rows) == network.accuracy(x, t)


def test_all_else_that_an_estimator_does_stays_there(here, tmp_path):
    x, options = here.asarray(X), OPTIONS | {"dtype": "float32"}
    model = MLPClassifier(**options, dropout=0.2)
    kept = {"checkpoint": tmp_path / "model"}
    model.fit(x, LABELS, X_val=x, y_val=LABELS, callbacks=[lambda run: None], **kept)
    again = MLPClassifier(**options, dropout=0.2)
    again.fit(x, LABELS, X_val=x, y_val=LABELS, **kept, resume=True)
    are_here(here, *model.coefs_, *again.coefs_)
    for a, b in zip(model.coefs_, again.coefs_, strict=True):
        np.testing.assert_array_equal(to_host(a), to_host(b))
    for _ in range(2):
        model.partial_fit(x, LABELS)
    model.predict_log_proba(x)
    model.coefs_ = [here.asarray(to_host(w)) for w in model.coefs_]
    model.predict(x)
    pickle.loads(pickle.dumps(model)).predict(x)
    model.to("numpy").predict(X)
    model.to(here.name, device_name(here.device)).predict(x)
    for stops in (False, True):
        unit = Perceptron(max_iter=3, random_state=0, early_stopping=stops).fit(x, LABELS)
        are_here(here, unit.coef_)
        assert unit.score(x, LABELS) > 0


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_stay_there(name, here):
    rule, z = ACTIVATIONS[name], here.asarray(X)
    a = rule.forward(z)
    are_here(here, a, rule.backward(a if rule.saves_output else z, z))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_stay_there(name, here):
    rule, t = LOSSES[name], here.asarray(TARGETS[LOSSES[name].kind])
    loss, saved = rule.forward(here.asarray(VALUES), t, here.asarray(WEIGHT))
    are_here(here, loss, rule.backward(saved))


def test_other_formulas_stay_there(here):
    x, labels = here.asarray(X), here.asarray(LABELS)
    w, b = here.asarray(VALUES[:4]), here.asarray(VALUES[0])
    noise = here.asarray(RNG.random((45, 4)))
    dropped, mask = F.dropout(x, noise, 0.2)
    penalty, saved = F.l2_penalty(x, 0.1)
    are_here(
        here, F.one_hot(labels, 3), F.accuracy(labels, labels), F.linear(x, w, b), dropped,
        *F.linear_backward(x, w, here.asarray(VALUES)), F.dropout_backward(mask, x), penalty,
        F.l2_penalty_backward(saved, 0.1), F.clip_by_norm(x, 0.5),
    )  # fmt: skip


def test_units_stay_there(here):
    x, row = here.asarray(X), here.asarray(X[0])
    unit = Neuron(row, 0.5, "tanh")
    are_here(
        here, unit(x), unit(here.asarray([1, 0, 2, 1], "int64")), unit.score(x),
        McCullochPitts.or_()(here.asarray([[0, 1]], "int64")),
        Neuron.random(4, seed=0, backend=here)(x),
    )  # fmt: skip
    explained = unit.explain(row)
    assert explained.contributions == pytest.approx((X[0] ** 2).tolist(), rel=1e-6)


@pytest.mark.parametrize("demo", [weighted_sum, mcculloch_pitts, neuron, perceptron])
def test_demos_stay_there(demo, here, tmp_path):
    demo.run(here, tmp_path)
