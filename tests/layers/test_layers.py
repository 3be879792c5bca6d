"""Layers: structure, shapes, and what they do on every library."""

from __future__ import annotations

import copy
import pickle
from types import NoneType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_cases import CUSTOM, noise_for

from xpnn import functional as F
from xpnn.backends import generator, is_array
from xpnn.layers import (
    Activation,
    Chain,
    Dense,
    Dropout,
    Layer,
    RawErrorDense,
    chain,
    draw,
    flatten,
    place,
    size,
    unflatten,
    walk,
)  # fmt: skip

LAYERS = [
    Dense(4),
    Dense(4, bias=False, init="he_normal"),
    Activation("relu"),
    Activation("leaky_relu", alpha=0.2),
    Activation("softmax"),
    Dropout(0.5),
    Dropout(0.0),
    RawErrorDense(4),
    RawErrorDense(4, "tanh", bias=True),
    Chain((Dense(5), Activation("tanh"), Chain((Dropout(0.2), Dense(4))))),
]
every_layer = pytest.mark.parametrize(
    "layer", [*LAYERS, *CUSTOM.values()], ids=[*map(repr, LAYERS), *CUSTOM]
)


def run(layer, rows=6, inputs=3, seed=0):
    """Forward and backward on NumPy."""
    source = generator(seed)
    tree = place(layer.parameters(inputs))
    params = unflatten(tree, draw(tree, source), xp=np)
    x = source.normal(size=(rows, inputs))
    y, saved = layer.forward(params, x, noise_for(layer, inputs, rows, source), xp=np)
    dy = source.normal(size=y.shape)
    dx, gradients = layer.backward(params, saved, dy, xp=np)
    return params, x, y, saved, dy, dx, gradients


@every_layer
@pytest.mark.parametrize(("rows", "inputs"), [(6, 3), (1, 3), (6, 1), (1, 1)])
def test_shapes(layer, rows, inputs):
    params, x, y, _, _, dx, gradients = run(layer, rows, inputs)
    assert y.shape == (rows, layer.outputs(inputs))
    assert dx.shape == x.shape
    shapes = [a.shape for a in walk(params)]
    assert shapes == [g.shape for g in walk(gradients)]
    assert shapes == [p.shape for p in walk(layer.parameters(inputs))]


@every_layer
def test_saved_is_arrays_and_tuples_only(layer):
    saved = run(layer)[3]
    assert isinstance(saved, tuple)
    assert all(is_array(leaf) for leaf in walk(saved))


@every_layer
@pytest.mark.parametrize("again", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy])
def test_layers_pickle_copy_compare_and_hash(layer, again):
    other = again(layer)
    assert other == layer
    assert hash(other) == hash(layer)
    np.testing.assert_array_equal(run(other)[2], run(layer)[2])


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_repr_makes_the_layer_again(layer):
    assert eval(repr(layer)) == layer


@every_layer
def test_without_input_gradient_the_parameters_get_the_same(layer):
    params, _, _, saved, dy, _, gradients = run(layer)
    dx, again = layer.backward(params, saved, dy, xp=np, input_gradient=False)
    assert dx is None
    for g, h in zip(walk(gradients), walk(again), strict=True):
        np.testing.assert_array_equal(g, h)


@every_layer
def test_arguments_are_not_written_to(layer):
    source = generator(0)
    tree = place(layer.parameters(3))
    theta = draw(tree, source)
    x, noise = source.normal(size=(4, 3)), noise_for(layer, 3, 4, source)
    for array in (theta, x, *(n for n in walk(noise) if n is not None)):
        array.flags.writeable = False
    params = unflatten(tree, theta, xp=np)
    y, saved = layer.forward(params, x, noise, xp=np)
    for array in (*walk(saved), dy := np.ones(y.shape)):
        array.flags.writeable = False
    layer.backward(params, saved, dy, xp=np)


@given(
    inputs=st.integers(1, 5),
    widths=st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=4),
)
def test_flatten_undoes_unflatten(inputs, widths):
    layer = Chain(tuple(Dense(width, bias) for width, bias in widths))
    tree = place(layer.parameters(inputs))
    theta = np.arange(float(size(tree)))
    np.testing.assert_array_equal(flatten(unflatten(tree, theta, xp=np), xp=np), theta)


@pytest.mark.usefixtures("current")
def test_unflatten_and_flatten(backend, assert_close):
    tree = place(chain([3, "tanh", 2]).parameters(4))
    theta = np.random.default_rng(0).normal(size=size(tree))
    params = unflatten(tree, backend.asarray(theta), xp=backend.xp)
    assert [tuple(a.shape) for a in walk(params)] == [(4, 3), (3,), (3, 2), (2,)]
    assert_close(params[2][0], theta[15:21].reshape(3, 2), backend)
    assert_close(flatten(params, xp=backend.xp), theta, backend)


def test_offsets_and_names_tell_where_a_parameter_lies():
    layer = Chain((Dense(3), Chain((Activation("tanh"), Dense(2, bias=False)))))
    found = [(p.name, p.shape, p.offset, p.decays) for p in walk(place(layer.parameters(4)))]
    assert found == [
        ("0.weights", (4, 3), 0, True),
        ("0.bias", (3,), 12, False),
        ("1.1.weights", (3, 2), 15, True),
    ]


def test_biases_begin_at_zero_and_weights_as_the_initializer_says():
    tree = place(Dense(3, init="uniform", scale=0.5).parameters(4))
    theta = draw(tree, generator(1))
    np.testing.assert_array_equal(theta[:12], generator(1).uniform(-0.5, 0.5, (4, 3)).reshape(-1))
    assert not theta[12:].any()


class Spy(Layer):
    """Notes whether the gradient in its input was asked for."""

    def __init__(self, inside):
        self.inside, self.asked = inside, []

    def parameters(self, inputs):
        return self.inside.parameters(inputs)

    def outputs(self, inputs):
        return self.inside.outputs(inputs)

    def forward(self, params, x, noise, *, xp):
        return self.inside.forward(params, x, noise, xp=xp)

    def backward(self, params, saved, dy, *, xp, input_gradient=True):
        self.asked.append(input_gradient)
        return self.inside.backward(params, saved, dy, xp=xp, input_gradient=input_gradient)


def test_nobody_computes_what_the_first_parameters_do_not_need():
    below, first, above = Spy(Activation("tanh")), Spy(Dense(3)), Spy(Dense(2))
    layer = Chain((below, first, above))
    tree = place(layer.parameters(4))
    params = unflatten(tree, draw(tree, generator(0)), xp=np)
    y, saved = layer.forward(params, np.ones((5, 4)), None, xp=np)
    dx, gradients = layer.backward(params, saved, y, xp=np, input_gradient=False)
    assert dx is None
    assert (below.asked, first.asked, above.asked) == ([], [False], [True])
    assert gradients[0] == ()


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (
            [100, "relu", 10],
            [Dense(100, init="he_uniform"), Activation("relu"), Dense(10)],
        ),
        ([3, "tanh", Dropout(0.1)], [Dense(3), Activation("tanh"), Dropout(0.1)]),
        ([5, Activation("elu")], [Dense(5, init="he_uniform"), Activation("elu")]),
        (4, [Dense(4)]),
        ("tanh", [Activation("tanh")]),
        (Dense(2), [Dense(2)]),
    ],
)
def test_short_forms(short, long):
    assert chain(short) == Chain(tuple(long))


def test_numpys_numbers_become_pythons():
    layers = chain(
        [
            np.int64(5),
            Activation("elu", np.float32(0.5)),
            Dropout(np.float64(0.25)),
            Dense(np.uint8(3), scale=np.float32(0.5), init="normal"),
            RawErrorDense(np.int8(2)),
        ]
    )
    assert layers == chain(
        [
            Dense(5, init="he_uniform"),
            Activation("elu", 0.5),
            Dropout(0.25),
            Dense(3, scale=0.5, init="normal"),
            RawErrorDense(2),
        ]
    )
    for layer in layers.layers:
        assert {type(value) for value in vars(layer).values()} <= {int, float, str, bool, NoneType}
    assert chain(np.int64(4)) == chain(4)


def test_a_numpy_number_in_a_layer_keeps_float32():
    x, noise = np.ones((2, 3), "float32"), np.full((2, 3), 0.5, "float32")
    for layer in (Activation("leaky_relu", np.float64(0.3)), Dropout(np.float64(0.25))):
        y, saved = layer.forward((), -x, noise, xp=np)
        dx, _ = layer.backward((), saved, x, xp=np)
        assert y.dtype == dx.dtype == np.float32


def test_a_chain_is_passed_on():
    layer = Chain((Dense(2),))
    assert chain(layer) is layer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(0), "width is 0; expected a positive integer"),
        (lambda: Dense(2.0), r"width is 2\.0; expected a positive integer"),
        (lambda: Dense(True), "width is True; expected"),
        (lambda: Dense(3, init="he"), "initializer='he' is not known; expected one of glorot"),
        (lambda: Dense(3, scale=0.1), "scale=0.1 goes with init='normal' or 'uniform', not 'glo"),
        (lambda: Activation("rely"), "activation='rely' is not known; expected one of identity"),
        (lambda: Activation("tanh", 0.1), "alpha=0.1 was given, but 'tanh' has no alpha"),
        (lambda: Dropout(1.0), r"rate is 1\.0; expected 0 <= rate < 1"),
        (lambda: Dropout(-0.1), r"rate is -0\.1; expected"),
        (lambda: RawErrorDense(0), "width is 0; expected"),
        (lambda: RawErrorDense(2, "soft"), "activation='soft' is not known"),
        (lambda: Chain(()), "layers is empty; expected at least one layer"),
        (lambda: chain([]), "layers is empty"),
        (lambda: Dropout("0.5"), "rate is '0.5'; expected a number"),
        (lambda: Activation("elu", [1.0]), r"alpha is \[1\.0\]; expected a number"),
        (lambda: Dense(3, init="normal", scale="x"), "scale is 'x'; expected a number"),
    ],
)
def test_constructors_say_what_is_wrong(make, message):
    """What is no number is a TypeError, what is out of range a ValueError."""
    with pytest.raises(TypeError if "a number" in message else ValueError, match=message):
        make()


@pytest.mark.parametrize("entry", [2.5, None, True, ["tanh"]])
def test_chain_refuses_what_is_no_layer(entry):
    with pytest.raises(TypeError, match=r"layers\[1\] is .*; expected a Layer, a width"):
        chain([3, entry])


def test_dropout_does_nothing_when_predicting():
    x = np.ones((2, 3))
    y, saved = Dropout(0.9).forward((), x, None, xp=np)
    assert y is x
    assert Dropout(0.9).backward((), saved, x, xp=np) == (x, ())


def test_alpha_reaches_the_formula():
    x = np.array([[-2.0, 3.0]])
    y, saved = Activation("leaky_relu", 0.5).forward((), x, None, xp=np)
    np.testing.assert_array_equal(y, F.leaky_relu(x, 0.5))
    dx, _ = Activation("leaky_relu", 0.5).backward((), saved, np.ones((1, 2)), xp=np)
    np.testing.assert_array_equal(dx, [[0.5, 1.0]])
