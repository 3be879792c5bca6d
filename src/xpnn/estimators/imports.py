"""scikit-learn's fitted MLPs as xpnn's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import sklearn.neural_network
from sklearn.utils.validation import check_is_fitted

from xpnn.estimators.base import STOCHASTIC
from xpnn.estimators.classifier import MLPClassifier
from xpnn.estimators.learner import Kept
from xpnn.estimators.rates import Rates
from xpnn.estimators.regressor import MLPRegressor
from xpnn.estimators.stochastic import make_optimizer
from xpnn.layers import unflatten, walk
from xpnn.training import Network

_KINDS: dict[type, type] = {
    sklearn.neural_network.MLPClassifier: MLPClassifier,
    sklearn.neural_network.MLPRegressor: MLPRegressor,
}
_SAME = (
    "n_features_in_", "feature_names_in_", "n_outputs_", "n_layers_", "n_iter_", "t_", "loss_",
    "out_activation_", "classes_", "loss_curve_", "validation_scores_", "best_validation_score_",
    "best_loss_", "_no_improvement_count", "_label_binarizer",
)  # fmt: skip
_NETWORK_LOSSES = {
    "softmax": "softmax_cross_entropy", "logistic": "binary_cross_entropy", "exp": "poisson",
    "identity": "mean_squared_error",
}  # fmt: skip


def _interleaved(arrays: Any, layers: int) -> Any:
    """One vector of scikit-learn's arrays, all weights before all biases, in xpnn's order."""
    pairs = zip(arrays[:layers], arrays[layers:], strict=True)
    return np.concatenate([np.ravel(a) for pair in pairs for a in pair])


def _take_over(theirs: Any, ours: Any, theta: Any) -> Kept:
    """What `partial_fit` goes on with: the optimizer's state and rate."""
    optimizer = make_optimizer(ours)
    rates, made = Rates(ours, optimizer), theirs._optimizer
    layers, count = ours.n_layers_ - 1, 0.0
    state: tuple[Any, ...] = ()
    if ours.solver == "adam":
        state = (_interleaved(made.ms, layers), _interleaved(made.vs, layers))
        count = float(made.t)
    else:
        rates.now = float(made.learning_rate)
        if ours.momentum:
            state = (_interleaved(made.velocities, layers),)
    return Kept(optimizer, rates, (theta, state, np.asarray(count, theta.dtype)))


def from_sklearn(model: Any, *, as_network: bool = False) -> Any:
    """Make a fitted estimator of xpnn of one of scikit-learn.

    Parameters
    ----------
    model : sklearn.neural_network.MLPClassifier or MLPRegressor
        Fitted; it stays as it is.
    as_network : bool, default False
        Whether to make a `Network` instead, whose labels are the numbers of the classes.

    Returns
    -------
    MLPClassifier, MLPRegressor or Network
        With the same parameters, fitted attributes and predictions, on NumPy; `to` moves
        it. `partial_fit`, and `fit` with ``warm_start=True``, go on as scikit-learn's would:
        the optimizer's state is taken over.

    Raises
    ------
    TypeError
        The model is of another class.
    NotFittedError
        It is not fitted.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor
    >>> from xpnn.estimators import from_sklearn
    >>> theirs = MLPRegressor((5,), solver="lbfgs", random_state=0).fit([[0.0], [1.0]], [1, 3])
    >>> from_sklearn(theirs).predict([[0.5]]) == theirs.predict([[0.5]])
    array([ True])
    """
    kind = _KINDS.get(type(model))
    if kind is None:
        raise TypeError(
            f"model is a {type(model).__module__}.{type(model).__name__}; expected a fitted "
            "sklearn.neural_network.MLPClassifier or MLPRegressor"
        )
    check_is_fitted(model)
    # A generator goes on from where it is, and both from the same place.
    ours = kind(**copy.deepcopy(model.get_params(deep=False)))
    for name in _SAME:
        if hasattr(model, name):
            setattr(ours, name, copy.deepcopy(getattr(model, name)))
    ours._hidden = [int(w.shape[1]) for w in model.coefs_[:-1]]
    ours._activation, ours._dropout = ours.activation, ours.dropout
    ours._library, ours._device_name = "numpy", "cpu"
    ours._dtype_name = np.result_type(*model.coefs_, *model.intercepts_).name
    theta = _interleaved([*model.coefs_, *model.intercepts_], ours.n_layers_ - 1)
    theta = theta.astype(ours._dtype_name, copy=False)
    ours._set_theta(theta)
    ours._objective = ours._make_objective()
    ours._random_state = copy.deepcopy(model._random_state)
    ours._best_theta, ours.stopped_ = None, False
    if ours.solver in STOCHASTIC:
        ours.validation_loss_curve_ = []
        if hasattr(model, "_optimizer"):
            ours._kept = _take_over(model, ours, theta)
    return _network(ours) if as_network else ours


def _network(model: Any) -> Network:
    made = model._structure
    network = Network(
        model.n_features_in_, made.layers, loss=_NETWORK_LOSSES[model.out_activation_],
        dtype=model._dtype_name,
    )  # fmt: skip
    arrays = unflatten(made.tree, model._theta(), xp=np)
    named = {p.name: a for p, a in zip(walk(made.tree), walk(arrays), strict=True)}
    return network.assign(**named)
