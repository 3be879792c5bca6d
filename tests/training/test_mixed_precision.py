"""Forward and backward in 16 bits, parameters in float32; steps that overflow are skipped."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from resuming import KEY, Stop, header, outcome
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

import sealing
import xpnn
from xpnn import MLPClassifier, Network, select
from xpnn.backends import dtype_name, to_host
from xpnn.files import read_record
from xpnn.layers import Dense, Dropout
from xpnn.optimizers import SGD, Adam, LossScaler, RMSprop, chain, clip_by_global_norm
from xpnn.training import CheckpointError, History

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(60, 5))
LABELS = (X @ GENERATOR.normal(size=(5, 3))).argmax(axis=1)
WEIGHT = GENERATOR.uniform(0.5, 2.0, 60)
# How far a gradient may be from float64's: some roundings to 11 and to 8 bits.
LIMIT = {"float16": 2.0**-9, "bfloat16": 2.0**-6}
NUMPY = select("numpy", dtype="float32")
HALF = {"compute_dtype": "float16"}


@pytest.fixture(params=["numpy", "cupy", "torch", "jax"])
def library(request, use_library):
    """Each library that has 16-bit floats, with float32 parameters."""
    use_library(request.param)
    return select(request.param, dtype="float32")


@pytest.fixture(params=["float16", "bfloat16"])
def narrow(request):
    """The name of a dtype of 16 bits; bfloat16 is not NumPy's own."""
    library = request.getfixturevalue("library") if "library" in request.fixturenames else NUMPY
    if request.param == "bfloat16" and library.name in ("numpy", "cupy"):
        pytest.importorskip("ml_dtypes", reason=f"bfloat16 on {library.name} needs ml_dtypes")
    return request.param


def network(backend, **options):
    layers = [8, "gelu", Dropout(0.2), 6, "tanh", 3]
    return Network(5, layers, **{"seed": 3, "backend": backend} | options)


def train(backend, net=None, **options):
    net = network(backend) if net is None else net
    x, t = backend.asarray(X), backend.asarray(LABELS, "int64")
    return net, net.fit(x, t, **options)


def gradient_of(backend, **options):
    """Gradient and loss of a network with everything: dropout, row weights, L2."""
    net = network(backend)
    before = to_host(net.theta).astype("float64")
    weight = backend.asarray(WEIGHT)
    _, history = train(
        backend, net, optimizer=SGD(1.0), batch_size=None, epochs=1, l2=0.1, seed=1,
        sample_weight=weight, **options,
    )  # fmt: skip
    assert dtype_name(net.theta.dtype) == dtype_name(backend.dtype)
    return before - to_host(net.theta), history.loss[0]


@pytest.mark.parametrize("scale", [1.0, 2.0**10])
def test_gradients_are_those_of_float64_to_half_precision(library, narrow, scale):
    expected, expected_loss = gradient_of(select("numpy", dtype="float64"))
    gradient, loss = gradient_of(library, compute_dtype=narrow, loss_scale=scale)
    assert loss == pytest.approx(expected_loss, rel=LIMIT[narrow])
    assert np.linalg.norm(gradient - expected) < LIMIT[narrow] * np.linalg.norm(expected)


def test_what_float16_cannot_hold_a_scale_keeps(library):
    """Errors of 4e-6, shared out among 600 rows, are below the smallest float16."""
    x = library.asarray(np.ones((600, 1)))

    def learned(scale):
        net = Network(1, [Dense(1, bias=False, init="zeros")], loss="mean_squared_error", seed=0)
        options = {"optimizer": SGD(1.0), "batch_size": None, "epochs": 1}
        net.fit(x, x * 4e-6, compute_dtype="float16", loss_scale=scale, **options)
        return float(to_host(net.theta)[0])

    assert learned(1.0) == 0.0
    assert learned(2.0**16) == pytest.approx(8e-6, rel=2.0**-8)


def take_steps(backend, optimizer, gradients):
    """Hand an optimizer gradients one after another; return all parameters and states."""
    xp = backend.xp
    theta = network(backend).theta
    state = optimizer.init(theta, xp=xp)
    seen = [(theta, state)]
    for number, gradient in enumerate(gradients, 1):
        rate, count = (backend.asarray(np.asarray(v, "float64")) for v in (0.1, float(number)))
        with np.errstate(all="ignore"):
            scaled = gradient * optimizer.loss_scale(state)
            theta, state = optimizer.update(theta, scaled, state, rate, count, xp=xp)
        seen.append((theta, state))
    return seen


def numbers(state):
    return [float(to_host(n)) for n in state[0]]


@pytest.mark.usefixtures("current")
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan], ids=str)
@pytest.mark.parametrize(
    "optimizer",
    [Adam(0.1), SGD(0.1, 0.9), chain(clip_by_global_norm(1.0), Adam(0.1))],
    ids=["Adam", "SGD", "clipped"],
)
def test_an_overflow_halves_the_scale_and_changes_nothing_else(optimizer, bad, backend):
    """On the whole matrix, strict devices too: the arithmetic is of the array API alone."""
    size = network(backend).size
    good = backend.asarray(np.linspace(-1, 1, size))
    wrong = backend.asarray(np.where(np.arange(size) == size - 1, bad, 0.5))
    scaled = chain(LossScaler(2.0**16, growth_interval=3), optimizer)
    seen = take_steps(backend, scaled, [good, wrong, good, good, good])
    (before, state), (after, then) = seen[1:3]
    assert to_host(after).tobytes() == to_host(before).tobytes()
    for a, b in zip(state[2], then[2], strict=True):
        assert to_host(a).tobytes() == to_host(b).tobytes()
    scales = [numbers(state) for _, state in seen]
    assert scales == [
        [2.0**16, 0, 0], [2.0**16, 1, 0], [2.0**15, 0, 1], [2.0**15, 1, 1], [2.0**15, 2, 1],
        [2.0**16, 0, 1],
    ]  # fmt: skip
    # The skipped step is not counted either: what follows is as if it had never been.
    straight = take_steps(backend, scaled, [good, good, good, good])
    assert to_host(seen[-1][0]).tobytes() == to_host(straight[-1][0]).tobytes()


@pytest.mark.usefixtures("current")
def test_the_scale_stays_a_normal_number(backend):
    optimizer = chain(LossScaler(2.0**64, growth_interval=1), SGD())
    zero = backend.asarray(np.zeros(network(backend).size))
    assert numbers(take_steps(backend, optimizer, [zero])[1][1])[0] == 2.0**64


def test_a_step_of_float16_that_overflows_is_skipped(library, tmp_path):
    """The errors of scores near 0 times 2**40 are infinite in float16, and the layers keep it."""
    expected = to_host(network(library).theta).tobytes()
    net, history = train(
        library, epochs=1, batch_size=None, optimizer=Adam(0.1), loss_scale=LossScaler(2.0**40),
        checkpoint=tmp_path / "c", **HALF,
    )  # fmt: skip
    assert np.isfinite(history.loss).all()
    assert to_host(net.theta).tobytes() == expected
    assert history.skipped == [1]
    carry = load_file(tmp_path / "c")
    assert [carry[f"carry.{i}"] for i in (1, 2, 3)] == [2.0**39, 0.0, 1.0]


@pytest.fixture(scope="module")
def digits():
    x, t = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order] / 16, t[order]


def read_digits(backend, digits, **options):
    x, t = backend.asarray(digits[0]), backend.asarray(digits[1], "int64")
    net = Network(64, [32, "relu", 10], seed=0)
    options |= {"epochs": 6, "batch_size": 96, "learning_rate": 0.02, "seed": 1}
    net.fit(x[:1440, ...], t[:1440, ...], **options)
    return net.accuracy(x[1440:, ...], t[1440:, ...])


def test_digits_are_read_as_well_as_in_float32(library, narrow, digits):
    """Within 1.5 points of accuracy: 357 digits are held out, a point is four of them."""
    expected = read_digits(NUMPY, digits)
    assert expected > 0.93
    assert abs(read_digits(library, digits, compute_dtype=narrow) - expected) <= 0.015


def test_small_steps_are_not_lost(narrow):
    """Of steps of 1e-5 from a weight of 1, 16-bit parameters would keep none."""
    x = np.ones((1, 1), "float32")
    net = Network(1, [Dense(1, bias=False)], loss="sum_squared_errors", backend=NUMPY)
    net.assign(**{"0.weights": [[1.0]]})
    net.fit(x, x * 0, epochs=100, optimizer=SGD(5e-6), compute_dtype=narrow, loss_scale=1.0)
    assert 1 - float(net.theta[0]) == pytest.approx(1e-3, rel=0.01)


# How it runs


@pytest.mark.parametrize("engine", ["planned", "native"])
def test_planned_steps_are_the_pure_ones(engine, narrow):
    if engine == "native":
        pytest.importorskip("llvmlite", reason="native code needs llvmlite")
    options = {
        "epochs": 3, "batch_size": 16, "l2": 1e-3, "learning_rate": 0.01, "sample_weight": WEIGHT,
        "compute_dtype": narrow, "loss_scale": LossScaler(2.0**36, growth_interval=4),
    }  # fmt: skip
    pure, expected = train(NUMPY, engine="pure", **options)
    planned, found = train(NUMPY, engine=engine, **options)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    np.testing.assert_allclose(planned.theta, pure.theta, rtol=1e-4, atol=1e-5)


def test_a_fixed_scale_and_none_change_nothing_that_float16_can_hold():
    scales = (1.0, 2.0**8, "dynamic", LossScaler(), None)
    found = [train(NUMPY, epochs=2, loss_scale=scale, **HALF)[0].theta for scale in scales]
    for theta in found[1:]:
        np.testing.assert_allclose(theta, found[0], atol=2e-3)
    assert found[2].tobytes() == found[3].tobytes() == found[4].tobytes()


def test_a_fixed_scale_that_overflows_is_an_error():
    net = network(NUMPY)
    before, settings = net.theta.tobytes(), np.geterr()
    message = "the network keeps the weights from before the training"
    with pytest.raises(FloatingPointError, match=message):
        train(NUMPY, net, epochs=2, loss_scale=2.0**40, **HALF)
    assert net.theta.tobytes() == before
    assert np.geterr() == settings


def test_a_plan_shows_what_a_step_computes_in(narrow):
    """The engine has a rule for all of it, which reading a number on the way would not have."""

    def plan(**options):
        return network(NUMPY).plan_step(X, LABELS, l2=1e-3, **options).describe()

    text = plan(compute_dtype=narrow)
    assert f" {narrow}[" in text
    assert "theta        float32[" in text
    # A scale that adapts itself is state: scale, good steps, skipped steps.
    assert ("state 4 " in text) == (narrow == "float16")
    assert "float16" not in plan()
    own = plan(compute_dtype=narrow, loss_scale=1024.0)
    assert "state 2 " not in own
    assert " 1024)" in own


# Steps that are skipped

# Far too large: halved by each of the first steps until the gradients fit.
SKIPPING = HALF | {"loss_scale": LossScaler(2.0**30, growth_interval=1000)}
FIXED = HALF | {"loss_scale": 8.0}


def skip(backend=NUMPY, **options):
    """A training of three steps an epoch, the first of which are skipped."""
    net = Network(5, [8, "tanh", 3], seed=3)
    return train(backend, net, **{"epochs": 4, "batch_size": 20} | SKIPPING | options)


@pytest.mark.parametrize("engine", ["auto", "pure"])
def test_each_epoch_says_how_many_were_skipped(engine, library, tmp_path):
    path = tmp_path / "c"
    _, history = skip(library, engine=engine, checkpoint=path, epochs=6)
    assert len(history.skipped) == history.epochs == 6
    assert history.skipped[0] == 3  # all steps of the first epoch
    assert history.skipped[-1] == 0
    assert history.loss[-1] < history.loss[0]
    # Where CuPy's pure step rounds weights' gradients to 16 bits, it skips more.
    assert sum(history.skipped) < 12 or library.name == "cupy"
    # Nothing else changes the scale here: each skipped step halved it.
    scale = load_file(path)["carry.1"]
    assert sum(history.skipped) == round(np.log2(2.0**30 / scale))


def test_reports_of_several_epochs_and_accumulated_batches_add_up():
    _, one = skip()
    _, two = skip(report_every=3)
    assert two.epoch == [3, 4]
    assert two.skipped == [sum(one.skipped[:3]), one.skipped[3]]
    assert skip(gradient_accumulation_steps=2)[1].skipped[0] == 3


@pytest.mark.parametrize("options", [{"compute_dtype": None, "loss_scale": None}, FIXED])
def test_nothing_is_said_where_no_step_can_be_skipped(options):
    _, history = skip(**options)
    assert history.skipped == []
    assert "skipped" not in history.to_dict()
    assert "skipped" not in repr(history) + history._repr_html_()


def test_skipped_steps_are_shown_where_there_are_any(tmp_path):
    network, history = skip()
    assert f"{sum(history.skipped)} steps skipped" in repr(history)
    assert "steps skipped</th>" in history._repr_html_()
    xpnn.save(network, tmp_path / "m", history.to_dict())
    assert read_record(tmp_path / "m")["skipped"] == history.skipped
    none = History(loss=[1.0], epoch=[1], skipped=[0])
    assert "skipped" not in repr(none) + none._repr_html_()
    assert none.to_dict()["skipped"] == [0]


@pytest.mark.parametrize("optimizer", [SGD(0.01), Adam(0.01), RMSprop(0.01)], ids=repr)
def test_engines_count_the_same_skipped_steps(optimizer):
    """What only the count is made from is kept on a plan too."""
    pure, planned = (
        skip(engine=engine, optimizer=optimizer, epochs=6)[1].skipped
        for engine in ("pure", "planned")
    )
    assert planned == pure
    assert sum(pure) > 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators(tmp_path):
    histories = []
    options = {"hidden_layer_sizes": (8,), "batch_size": 20, "random_state": 0} | SKIPPING

    def keep(run):
        histories.append(run.history)

    def fit(epochs, **given):
        return MLPClassifier(max_iter=epochs, **options).fit(X, LABELS, callbacks=keep, **given)

    assert np.isfinite(fit(4).loss_)
    skipped = histories[-1].skipped
    assert skipped[0] == 3
    assert len(skipped) == 4
    fit(2, checkpoint=tmp_path / "c")
    fit(4, checkpoint=tmp_path / "c", resume=True)
    assert histories[-1].skipped == skipped
    # Each call of partial_fit has a history of its own, which goes on where the optimizer was.
    model = MLPClassifier(**options)
    for _ in range(2):
        model.partial_fit(X, LABELS, classes=[0, 1, 2], callbacks=keep)
        model = pickle.loads(pickle.dumps(model))
    assert [h.skipped for h in histories[-2:]] == [skipped[:1], skipped[1:2]]


# Checkpoints and files


@pytest.mark.parametrize("engine", ["planned", "pure"])
def test_a_crash_changes_no_byte(tmp_path, engine):
    options = {
        "epochs": 6, "batch_size": 16, "learning_rate": 0.02, "compute_dtype": "float16",
        "loss_scale": LossScaler(2.0**24, growth_interval=5), "engine": engine,
    }  # fmt: skip
    expected = outcome(*train(NUMPY, **options))
    path = tmp_path / "c"
    with pytest.raises(RuntimeError, match="crash"):
        train(NUMPY, checkpoint=path, callbacks=[Stop(3)], **options)
    scale, _, skipped = (load_file(path)[f"carry.{i}"] for i in (1, 2, 3))
    assert scale < 2.0**24
    assert sum(header(path)["history"]["skipped"]) == skipped > 0
    assert outcome(*train(NUMPY, checkpoint=path, resume=True, **options)) == expected
    for changed in ({"compute_dtype": None, "loss_scale": None}, {"precision": "high"}):
        with pytest.raises(CheckpointError, match=next(iter(changed))):
            train(NUMPY, resume=path, **options | changed)


@pytest.fixture
def checkpoint(tmp_path):
    skip(checkpoint=tmp_path / "c", epochs=2)
    return tmp_path / "c"


def test_a_checkpoint_without_the_list_is_read(checkpoint, tmp_path):
    def change(values):
        return values | {"history": {k: v for k, v in values["history"].items() if k != "skipped"}}

    expected, history = skip(epochs=4)
    assert header(checkpoint)["history"]["skipped"] == history.skipped[:2]
    before = sealing.edited(checkpoint, tmp_path / "before", change, key=KEY)
    network, again = skip(epochs=4, resume=before)
    assert network.theta.tobytes() == expected.theta.tobytes()
    assert again.skipped == [0, 0, *history.skipped[2:]]


@pytest.mark.parametrize("wrong", [[-1, 0], [0.5, 0], [1], "no", [True, 0], None])
def test_a_checkpoint_with_a_wrong_list_is_refused(checkpoint, tmp_path, wrong):
    def change(values):
        return values | {"history": values["history"] | {"skipped": wrong}}

    other = sealing.edited(checkpoint, tmp_path / "other", change, key=KEY)
    with pytest.raises(CheckpointError, match="its history is not what a checkpoint has there"):
        skip(resume=other)


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compute_dtype": "float32"}, "compute_dtype is 'float32'; expected None or one of fl"),
        ({"compute_dtype": "half"}, "compute_dtype is 'half'; expected None or one of float16"),
        ({"loss_scale": 8.0}, "loss_scale is 8.0; it needs compute_dtype='float16'"),
        (HALF | {"loss_scale": 0}, "loss_scale is 0; expected 'dynamic', a"),
        (HALF | {"loss_scale": True}, "loss_scale is True; expected 'dyn"),
        (HALF | {"loss_scale": "much"}, "loss_scale is 'much'; expected"),
        ({"precision": "low"}, "precision is 'low'; expected one of highest, high, medium"),
    ],
)
@pytest.mark.parametrize("call", ["fit", "plan_step"])
def test_options_are_checked(options, message, call):
    with pytest.raises(ValueError, match=message):
        getattr(network(NUMPY), call)(X, LABELS, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init_scale": 0.0}, "init_scale is 0.0; expected a finite number"),
        ({"init_scale": np.inf}, "init_scale is inf; expected"),
        ({"growth_factor": 0.5}, "growth_factor is 0.5; expected 1 or more"),
        ({"backoff_factor": 1.0}, "backoff_factor is 1.0; expected 0 < backoff_factor < 1"),
        ({"growth_interval": 0}, "growth_interval is 0; expected a positive integer"),
        ({"growth_interval": 2.5}, "growth_interval is 2.5; expected a positive integer"),
    ],
)
def test_scales_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        LossScaler(**options)


def test_parameters_of_16_bits_are_no_master_weights():
    with pytest.raises(ValueError, match="the parameters are float16; expected float32"):
        network("numpy", dtype="float16").fit(X, LABELS, **HALF)


def test_a_library_without_the_dtype_says_so(use_library):
    use_library("array_api_strict")
    with pytest.raises(ValueError, match="dtype='float16' is not a dtype of array_api_strict"):
        train(select("array_api_strict"), **HALF)


def test_without_ml_dtypes_bfloat16_says_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(RuntimeError, match=r"needs ml_dtypes.*pip install \"xpnn\[bfloat16\]\""):
        train(NUMPY, compute_dtype="bfloat16")


def test_targets_and_weights_of_a_half_network_keep_their_digits():
    """In 16 bits 2049 is 2048, and 70,000 infinite."""
    x, y = np.ones((4, 2), "float16"), np.full(4, 2049.0)
    network = Network(2, [1], loss="mean_squared_error", seed=0).assign(**{"0.weights": [[0], [0]]})
    loss, _ = network.evaluate(x, y)
    assert float(loss) == 2049.0**2
    history = network.fit(x, y, np.full(4, 70_000.0), epochs=1, batch_size=None)
    assert history.loss == pytest.approx([2049.0**2], rel=1e-6)
