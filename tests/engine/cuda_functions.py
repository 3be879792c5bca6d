"""All elementwise functions of the standard, with operands and what NumPy makes of them."""

from __future__ import annotations

from itertools import product

import numpy as np

from xpnn.engine.operations import ELEMENTWISE
from xpnn.engine.trace import NAMESPACE

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int8", "uint8", "bool"]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, -7.0, 100.0, 1e-3, np.inf, -np.inf, np.nan]
INTEGERS = [0, 1, 2, 3, 5, 7, 100, 127]
# What the standard has for floats only, and NumPy raises or invents for integers.
FLOATS_ONLY = {"reciprocal"}


def operands(dtype):
    """All pairs of some numbers."""
    numbers = {"b": [False, True], "f": SPECIAL}.get(np.dtype(dtype).kind, INTEGERS)
    if np.dtype(dtype).kind == "i":
        numbers = [*numbers, -1, -3, -100, np.iinfo(dtype).min, np.iinfo(dtype).max]
    random = np.random.default_rng(0).normal(size=(2, 40)) * 3
    pairs = np.array(list(product(numbers, repeat=2))).T
    if np.dtype(dtype).kind == "f":
        pairs = np.concatenate([pairs, random], axis=1)
    a, b = np.ascontiguousarray(pairs).astype(dtype)
    return a, b, np.abs(b.astype("int64") % 70).astype(dtype) if a.dtype.kind in "iu" else b.copy()


def known(dtype):
    """Functions that NumPy has for a dtype: the numbers of their operands, and what they give.

    The operands are `operands`, and a third one, of small numbers that are not negative.
    """
    found = {}
    arrays = operands(dtype)
    kind = np.dtype(dtype).kind
    for name, function in ELEMENTWISE.items():
        if kind != "f" and name in FLOATS_ONLY:
            continue
        small = kind in "iu" and name in ("pow", "bitwise_left_shift", "bitwise_right_shift")
        given = (0, 2 if small else 1)[: function.nin]
        try:
            expected = function(*(arrays[i] for i in given))
        except TypeError:
            continue
        if name == "nextafter" and expected.dtype == np.float16:
            continue
        found[name] = given, expected
    return found


def all_of(functions):
    """A function of three operands that does all of these."""
    return lambda *arrays: tuple(
        getattr(NAMESPACE, name)(*(arrays[i] for i in given))
        for name, (given, _) in functions.items()
    )
