"""scikit-learn's estimators on any array library: change one import."""

from xpnn.estimators.classifier import MLPClassifier
from xpnn.estimators.imports import from_sklearn
from xpnn.estimators.onnx_export import to_onnx
from xpnn.estimators.perceptron import Perceptron
from xpnn.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "Perceptron", "from_sklearn", "to_onnx"]
