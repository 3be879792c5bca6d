"""scikit-learn's fitted MLPs as xpnn's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import sklearn.neural_network
from sklearn.utils.validation import check_is_fitted

from xpnn.estimators.classifier import MLPClassifier
from xpnn.estimators.losses import network_loss
from xpnn.estimators.parameters import STOCHASTIC, make_layers, make_optimizer, make_schedule
from xpnn.estimators.regressor import MLPRegressor
from xpnn.estimators.rules import AdjustedRate, SolverState
from xpnn.training import Network
from xpnn.training.trainer import OptimizerState

_KINDS: dict[type, type] = {
    sklearn.neural_network.MLPClassifier: MLPClassifier,
    sklearn.neural_network.MLPRegressor: MLPRegressor,
}
_SAME = (
    "n_features_in_", "feature_names_in_", "n_outputs_", "n_layers_", "n_iter_", "t_", "loss_",
    "out_activation_", "classes_", "loss_curve_", "validation_scores_", "best_validation_score_",
    "best_loss_", "_no_improvement_count", "_label_binarizer",
)  # fmt: skip


def _in_order(arrays: Any) -> list[Any]:
    """Arrays that are all weights and then all biases, as scikit-learn has them, layer by layer."""
    layers = len(arrays) // 2
    pairs = zip(arrays[:layers], arrays[layers:], strict=True)
    return [np.asarray(array) for pair in pairs for array in pair]


def _vector(arrays: Any) -> Any:
    return np.concatenate([array.reshape(-1) for array in _in_order(arrays)])


def _solver_state(theirs: Any, ours: Any, theta: Any) -> SolverState:
    """What `partial_fit` goes on with: the optimizer's state and learning rate."""
    schedule, made = make_schedule(ours), theirs._optimizer
    training = OptimizerState(epochs=len(theirs.loss_curve_))
    adam = hasattr(made, "ms")
    if adam is (ours.solver == "adam"):  # else it was changed after the fit
        if adam:
            moments, count = [made.ms, made.vs], float(made.t)
        else:
            assert isinstance(schedule, AdjustedRate)
            schedule.learning_rate = float(made.learning_rate)
            moments, count = [made.velocities] if ours.momentum else [], 0.0
        state = tuple(map(_vector, moments))
        training.saved = (theta, state, np.asarray(count, theta.dtype))
    return SolverState(make_optimizer(ours), schedule, training=training)


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
        With the same parameters, fitted attributes, optimizer's state and predictions, on
        NumPy. `partial_fit`, and `fit` with ``warm_start=True``, go on as scikit-learn's.

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
    layers = make_layers(
        [int(w.shape[1]) for w in model.coefs_[:-1]], ours.n_outputs_, ours.activation, ours.dropout
    )
    arrays = [*model.coefs_, *model.intercepts_]
    ours._random_state = copy.deepcopy(model._random_state)
    ours._loss = ours._make_loss()
    if as_network:
        network = Network(ours.n_features_in_, layers, loss=network_loss(ours._loss))
        # Its parameters have no place yet: they follow the first data.
        names = network.parameters()
        return network.assign(**dict(zip(names, _in_order(arrays), strict=True)))
    theta = _vector(arrays)
    ours._set_network(layers, ours._loss, theta)
    ours._requested = (ours.dtype, ours.backend, ours.device)
    ours._best_theta, ours.stopped_ = None, False
    if ours.solver in STOCHASTIC:
        ours.validation_loss_curve_ = []
        if hasattr(model, "_optimizer"):
            ours._solver_state = _solver_state(model, ours, theta)
    return ours
