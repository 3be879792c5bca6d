"""scikit-learn's estimators on any array library: change one import."""

from xpnn.estimators.classifier import MLPClassifier
from xpnn.estimators.imports import from_sklearn
from xpnn.estimators.onnx_export import to_onnx
from xpnn.estimators.perceptron import Perceptron
from xpnn.estimators.regressor import MLPRegressor
from xpnn.estimators.table_columns import TablePreprocessing
from xpnn.estimators.table_model import TableModel

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "Perceptron",
    "TableModel",
    "TablePreprocessing",
    "from_sklearn",
    "to_onnx",
]
