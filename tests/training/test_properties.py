"""Networks of any shape, on data of any shape."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import references
from xpnn import Network
from xpnn import functional as F
from xpnn.layers import Activation, Dropout
from xpnn.optimizers import SGD, Adam, RMSprop, chain, clip_by_global_norm

hidden = st.one_of(
    st.integers(1, 5),
    st.sampled_from(list(F.ACTIVATIONS)),
    st.builds(Dropout, st.sampled_from([0.0, 0.3, 0.8])),
    st.builds(Activation, st.just("elu"), st.sampled_from([0.5, 2.0])),
)
clipped = chain(clip_by_global_norm(0.1), SGD(0.01))
optimizers = st.sampled_from([SGD(0.01), SGD(0.01, 0.9), Adam(0.01), RMSprop(0.01), clipped])


@st.composite
def problems(draw):
    """A network, data that fits it, and options for its training."""
    inputs, outputs, rows = (draw(st.integers(1, 5)) for _ in range(3))
    loss = draw(st.sampled_from(list(F.LOSSES)))
    source = np.random.default_rng(draw(st.integers(0, 100)))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    x = source.normal(size=(rows, inputs)).astype(dtype)
    t = references.targets(loss, source, rows, outputs)
    if loss == "softmax_cross_entropy" and draw(st.booleans()):
        t = t.argmax(axis=1)
    options = {
        "batch_size": draw(st.one_of(st.none(), st.integers(1, 6))),
        "sample_weight": source.uniform(0.1, 2, rows) if draw(st.booleans()) else None,
        "l2": draw(st.sampled_from([0.0, 0.1])),
        "optimizer": draw(optimizers),
        "shuffle": draw(st.booleans()),
    }
    layers = [*draw(st.lists(hidden, max_size=4)), outputs]
    return Network(inputs, layers, loss=loss, seed=1), x, t, options


@given(problems())
def test_training_works(problem):
    network, x, t, options = problem
    for array in (x, t):
        array.flags.writeable = False
    history = network.fit(x, t, epochs=2, **options)
    assert len(history.loss) == 2
    assert network.theta.dtype == x.dtype
    assert np.isfinite(network.theta).all()
    scores = network.scores(x)
    assert scores.shape == (len(x), network.outputs)
    np.testing.assert_allclose(network.scores(x[0]), scores[0], rtol=1e-4, atol=1e-5)


@given(problems())
def test_gradient_is_the_slope(problem):
    network, x, t, options = problem
    x, weight, l2 = x.astype("float64"), options["sample_weight"], options["l2"]
    _, gradient = network.loss_and_gradient(x, t, weight, l2)
    direction = np.random.default_rng(0).normal(size=gradient.shape)
    direction /= np.linalg.norm(direction)
    start = np.array(network.theta)

    def loss(h):
        network.theta = start + h * direction
        return float(network.loss_and_gradient(x, t, weight, l2)[0])

    expected = references.slope(loss, 1e-5)
    # Where a kink lies within the step, differences are no witness: try another step.
    if abs(expected - references.slope(loss, 1e-6)) < 1e-6 * max(1.0, abs(expected)):
        np.testing.assert_allclose(gradient @ direction, expected, rtol=1e-5, atol=1e-6)
