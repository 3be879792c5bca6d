"""Every elementwise function has a CUDA expression, which gives NumPy's numbers."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_functions import DTYPES, all_of, known, operands
from cuda_on_host import run_plan
from cuda_pairs import MARKS

from xpnn.engine.cuda.plan import CudaPlan
from xpnn.engine.cuda.source import EXPRESSIONS
from xpnn.engine.operations import ELEMENTWISE
from xpnn.engine.trace import NAMESPACE, UnknownOperationError

# Exactly rounded, or only a choice: all bits are NumPy's.
EXACT = {
    "abs", "add", "ceil", "copysign", "divide", "floor", "floor_divide", "multiply", "negative",
    "nextafter", "positive", "reciprocal", "remainder", "sqrt", "square", "subtract", "trunc",
}  # fmt: skip


def test_every_function_has_an_expression():
    assert set(EXPRESSIONS) >= set(ELEMENTWISE)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_function_is_tried():
    assert set().union(*map(known, DTYPES)) == set(ELEMENTWISE)


@MARKS[0]
@MARKS[1]
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
def test_it_gives_numpys_numbers(dtype):
    functions = known(dtype)
    found = run_plan(all_of(functions), operands(dtype))
    for (name, (_, expected)), one in zip(functions.items(), found, strict=True):
        assert one.dtype == expected.dtype, name
        eps = np.finfo(one.dtype).eps if one.dtype.kind == "f" else 0.0
        if name in EXACT or not eps:
            np.testing.assert_array_equal(one, expected, err_msg=name)
            if eps:
                numbers = ~np.isnan(expected)
                signs = np.signbit(one), np.signbit(expected)
                np.testing.assert_array_equal(*(s[numbers] for s in signs), err_msg=name)
        else:
            tiny = float(np.finfo(one.dtype).tiny)
            np.testing.assert_allclose(one, expected, rtol=4 * eps, atol=tiny, err_msg=name)


def test_what_has_no_expression_is_named():
    a = np.ones(3, "float16")
    with pytest.raises(UnknownOperationError, match="nextafter of float16"):
        CudaPlan(lambda a: NAMESPACE.nextafter(a, a), (a,), ["a"], {})
    with pytest.raises(UnknownOperationError, match="300 beside uint8"):
        CudaPlan(lambda a: a < 300, (np.ones(3, "uint8"),), ["a"], {})
