"""xpnn: neural networks written once for every array library.

`xp` is the namespace of whatever array came in, `nn` is neural networks. The same
forward and backward functions run on NumPy, CuPy, PyTorch, JAX and every other library
that follows the Python array API standard.

Importing `xpnn` imports nothing else; each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "MLPClassifier": "xpnn.estimators",
    "MLPRegressor": "xpnn.estimators",
    "Perceptron": "xpnn.estimators",
    "TabularClassifier": "xpnn.tabular",
    "TabularRegressor": "xpnn.tabular",
    "Network": "xpnn.training",
    "Loss": "xpnn.training",
    "EarlyStopping": "xpnn.training",
    "Callback": "xpnn.training",
    "Checkpoint": "xpnn.training",
    "History": "xpnn.training",
    "Activation": "xpnn.layers",
    "Chain": "xpnn.layers",
    "Dense": "xpnn.layers",
    "Dropout": "xpnn.layers",
    "Layer": "xpnn.layers",
    "SGD": "xpnn.optimizers",
    "Adam": "xpnn.optimizers",
    "AdamW": "xpnn.optimizers",
    "RMSprop": "xpnn.optimizers",
    "Neuron": "xpnn.units",
    "McCullochPitts": "xpnn.units",
    "available": "xpnn.backends",
    "select": "xpnn.backends",
    "load": "xpnn.files",
    "save": "xpnn.files",
}
_MODULES = (
    "backends", "checks", "data", "demos", "engine", "estimators", "export",
    "files", "functional", "layers", "optimizers", "plots", "tabular", "training", "units",
)  # fmt: skip

__all__ = ["__version__", *_WHERE, *_MODULES]

if TYPE_CHECKING:
    from xpnn.backends import available as available
    from xpnn.backends import select as select
    from xpnn.estimators import MLPClassifier, MLPRegressor, Perceptron
    from xpnn.files import load as load
    from xpnn.files import save as save
    from xpnn.layers import Activation, Chain, Dense, Dropout, Layer
    from xpnn.optimizers import SGD, Adam, AdamW, RMSprop
    from xpnn.tabular import TabularClassifier, TabularRegressor
    from xpnn.training import Callback, Checkpoint, EarlyStopping, History, Loss, Network
    from xpnn.units import McCullochPitts, Neuron


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"xpnn.{name}")
    else:
        raise AttributeError(f"module 'xpnn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
