"""scikit-learn's estimators on any array library: change one import.

Parts are imported when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "MLPClassifier": "classifier",
    "MLPRegressor": "regressor",
    "Perceptron": "perceptron",
    "from_sklearn": "from_sklearn",
    "to_onnx": "onnx_export",
}

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "Perceptron",
    "from_sklearn",
    "to_onnx",
]

if TYPE_CHECKING:
    from xpnn.estimators.classifier import MLPClassifier
    from xpnn.estimators.from_sklearn import from_sklearn
    from xpnn.estimators.onnx_export import to_onnx
    from xpnn.estimators.perceptron import Perceptron
    from xpnn.estimators.regressor import MLPRegressor


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'xpnn.estimators' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"xpnn.estimators.{_WHERE[name]}"), name)
    globals()[name] = value
    return value
