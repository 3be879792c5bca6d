"""Every backward against what JAX and PyTorch derive by themselves from the forward."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import references
from xpnn import functional as F

GENERATOR = np.random.default_rng(0)
Z = references.away_from([0.0], GENERATOR.normal(size=(6, 4)))
DA = GENERATOR.normal(size=(6, 4))
WEIGHT = GENERATOR.uniform(0.5, 2.0, 6)


@pytest.mark.parametrize("name", list(F.ACTIVATIONS))
def test_activations(name, derive):
    rule = F.activation_rule(name)
    (found,) = derive(lambda here, z: here.xp.sum(here.asarray(DA) * rule.forward(z)), Z)
    expected = rule.backward(rule.forward(Z) if rule.saves_output else Z, DA)
    assert references.relative(expected, found) < 1e-10


@cache
def loss_case(name):
    t = references.targets(name, np.random.default_rng(1), 6, 4)
    return F.loss_rule(name), t, F.loss_rule(name).forward(Z, t, WEIGHT)[1]


@pytest.mark.parametrize("name", list(F.LOSSES))
def test_losses(name, derive):
    rule, t, saved = loss_case(name)
    (found,) = derive(lambda here, s: rule.forward(s, here.asarray(t), here.asarray(WEIGHT))[0], Z)
    assert references.relative(rule.backward(saved), found) < 1e-10


def test_linear(derive):
    x, weights, bias, dz = (GENERATOR.normal(size=s) for s in ((5, 3), (3, 2), (2,), (5, 2)))
    found = derive(
        lambda here, *arrays: here.xp.sum(here.asarray(dz) * F.linear(*arrays)), x, weights, bias
    )
    for gradient, expected in zip(F.linear_backward(x, weights, dz), found, strict=True):
        assert references.relative(gradient, expected) < 1e-10


def test_dropout_and_l2(derive):
    noise = np.random.default_rng(2).random((6, 4)).astype("float32")

    def function(here, x):
        y, _ = F.dropout(x, here.asarray(noise, "float32"), 0.4)
        return here.xp.sum(here.asarray(DA) * y) + F.l2_penalty(x, 0.3)[0]

    (found,) = derive(function, Z)
    expected = F.dropout_backward(F.dropout(Z, noise, 0.4)[1], DA)
    expected = expected + F.l2_penalty_backward((Z,), 0.3)
    assert references.relative(expected, found) < 1e-10
