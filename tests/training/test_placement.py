"""Every array is made where the data is, and on no other device of the library."""

from __future__ import annotations

import numpy as np
import pytest

from xpnn import MLPClassifier, MLPRegressor, Network, select
from xpnn.backends import device_name, device_of, to_host
from xpnn.data import BlockShuffle, stream
from xpnn.functional import LOSSES
from xpnn.layers import Dropout
from xpnn.optimizers import SGD, Adam, Clipped, CosineWarmup

strict = pytest.importorskip("array_api_strict")
ARRAY = type(strict.zeros(1))
DEVICES = ("device1", "device2", "no_float64")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(45, 4)).astype("float32")
LABELS = RNG.integers(3, size=45)
VALUES = RNG.uniform(0.1, 2.0, (45, 3)).astype("float32")
TARGETS = {"labels": LABELS, "yes_no": (VALUES > 1).astype("float32"), "values": VALUES}
WEIGHT = RNG.uniform(0.5, 2.0, 45).astype("float32")


class Made:
    """Where arrays are made; copies to the host are none of them."""

    def __init__(self):
        self.reading, self.count = False, 0
        self.only: str | None = None

    def look(self, device):
        name = device_name(strict.Device("CPU_DEVICE") if device is None else device)
        if self.only is None or self.reading:
            return
        self.count += 1
        if name != self.only:
            raise AssertionError(f"an array was made on {name}, and not on {self.only}")


@pytest.fixture(params=DEVICES)
def here(request, monkeypatch):
    """A device that all arrays have to be made on, from now on."""
    made, new, move = Made(), ARRAY._new.__func__, ARRAY.to_device

    def looking(cls, x, /, device=None):
        made.look(device)
        return new(cls, x, device)

    def moving(self, device, /, **options):
        made.reading = device_name(device) == "CPU_DEVICE"
        try:
            return move(self, device, **options)
        finally:
            made.reading = False

    monkeypatch.setattr(ARRAY, "_new", classmethod(looking))
    monkeypatch.setattr(ARRAY, "to_device", moving)
    backend = select("array_api_strict", request.param, "float32")
    backend.asarray(X)
    made.only = request.param
    backend.asarray(X)
    assert made.count == 1
    return backend


def is_here(array, here):
    assert device_of(array) == here.device
    return to_host(array)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_network_stays_on_its_device(loss, here):
    x, t = here.asarray(X), here.asarray(TARGETS[LOSSES[loss].kind])
    network = Network(4, [6, "relu", Dropout(0.2), 3], seed=0, loss=loss)
    network.fit(
        x, t, sample_weight=here.asarray(WEIGHT), epochs=2, batch_size=8, validation=0.2,
        l2=0.01, early_stopping=1, optimizer=Clipped(Adam(CosineWarmup(0.01, warmup=1)), 0.5),
    )  # fmt: skip
    found = [
        network.theta, network.copy_theta(), *network.parameters().values(), network.scores(x),
        network.predict(x), network.scores(X[0].tolist()),
    ]  # fmt: skip
    if "cross_entropy" in loss:
        found.append(network.predict_proba(x))
    for array in found:
        is_here(array, here)
    network.evaluate(x, t)
    network.assign(**{"0.weights": np.zeros((4, 6))})
    is_here(network.theta, here)


def test_a_source_and_a_checkpoint_stay_there_too(here, tmp_path):
    def train(epochs, resume):
        network = Network(4, [6, "tanh", 3], seed=0, backend=here)
        rows = stream(X, LABELS, weight=WEIGHT, shuffle=BlockShuffle(11, 3))
        network.fit(
            rows, epochs=epochs, batch_size=8, checkpoint=tmp_path / "run", resume=resume,
            validation=stream(X, LABELS), optimizer=SGD(0.1, momentum=0.9),
        )  # fmt: skip
        return is_here(network.theta, here)

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
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
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
    for array in (*model.coefs_, *model.intercepts_):
        is_here(array, here)
    results = [model.predict(x), model.transform(x)]
    results += [model.predict_proba(x)] if make is MLPClassifier else []
    for result in results:
        assert type(result) is type(x)
    model.score(x, y)


def test_the_check_sees_an_array_elsewhere(here):
    with pytest.raises(AssertionError, match="an array was made on CPU_DEVICE"):
        strict.asarray([1.0], dtype=strict.float32)
