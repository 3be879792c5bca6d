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


def _interleaved(arrays: Any, layers: int) -> Any:
    """One vector of scikit-learn's arrays, all weights before all biases, in xpnn's order."""
    pairs = zip(arrays[:layers], arrays[layers:], strict=True)
    return np.concatenate([np.ravel(a) for pair in pairs for a in pair])


def _solver_state(theirs: Any, ours: Any, theta: Any) -> SolverState:
    """What `partial_fit` goes on with: the optimizer's state and learning rate."""
    schedule, made = make_schedule(ours), theirs._optimizer
    layers, count = ours.n_layers_ - 1, 0.0
    state: tuple[Any, ...] = ()
    adam = hasattr(made, "ms")
    if adam is not (ours.solver == "adam"):  # it was changed after the fit: no state to take over
        done = OptimizerState(epochs=len(theirs.loss_curve_))
        return SolverState(make_optimizer(ours), schedule, training=done)
    if adam:
        state = (_interleaved(made.ms, layers), _interleaved(made.vs, layers))
        count = float(made.t)
    else:
        assert isinstance(schedule, AdjustedRate)
        schedule.learning_rate = float(made.learning_rate)
        if ours.momentum:
            state = (_interleaved(made.velocities, layers),)
    carry = (theta, state, np.asarray(count, theta.dtype))
    epochs = len(theirs.loss_curve_)
    return SolverState(
        make_optimizer(ours), schedule, training=OptimizerState(carry, epochs=epochs)
    )


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
    layers = make_layers(
        [int(w.shape[1]) for w in model.coefs_[:-1]], ours.n_outputs_, ours.activation, ours.dropout
    )
    dtype = np.result_type(*model.coefs_, *model.intercepts_)
    theta = _interleaved([*model.coefs_, *model.intercepts_], ours.n_layers_ - 1)
    theta = theta.astype(dtype, copy=False)
    ours._random_state = copy.deepcopy(model._random_state)
    ours._loss = ours._make_loss()
    if as_network:
        network = Network(ours.n_features_in_, layers, loss=network_loss(ours._loss))
        pairs = zip(model.coefs_, model.intercepts_, strict=True)
        arrays = [array for pair in pairs for array in pair]
        # Its parameters have no place yet: they follow the first data.
        return network.assign(**dict(zip(network.parameters(), arrays, strict=True)))
    ours._set_network(layers, ours._loss, theta)
    ours._requested = (ours.dtype, ours.backend, ours.device)
    ours._best_theta, ours.stopped_ = None, False
    if ours.solver in STOCHASTIC:
        ours.validation_loss_curve_ = []
        if hasattr(model, "_optimizer"):
            ours._solver_state = _solver_state(model, ours, theta)
    return ours
