"""The network of a table's model: made for a task, and held against its target."""

from __future__ import annotations

from typing import Any

from xpnn.backends import InputError
from xpnn.data.columns import listed
from xpnn.estimators.classifier import MLPClassifier
from xpnn.estimators.regressor import MLPRegressor
from xpnn.estimators.table_target import Target


def make_estimator(task: str, seed: int, options: dict[str, Any]) -> Any:
    """Make a network; the error names parameters that it has not."""
    kind = MLPClassifier if task == "classify" else MLPRegressor
    known = kind().get_params()
    wrong = [name for name in options if name not in known]
    if wrong:
        raise InputError(
            f"{listed(wrong)} is no parameter of {kind.__name__} for task {task!r}; expected some "
            f"of {', '.join(sorted(known))}"
        )
    return kind(**{"random_state": seed, **options})


def check_estimator(target: Target, estimator: Any, features: int) -> None:
    """Refuse a network that is not of this table.

    Raises
    ------
    ValueError
        Says what does not fit.
    """
    kind = MLPClassifier if target.task == "classify" else MLPRegressor
    if not isinstance(estimator, kind) or not hasattr(estimator, "coefs_"):
        raise InputError(f"estimator is {estimator!r}; expected a fitted {kind.__name__}")
    if estimator.n_features_in_ != features:
        raise InputError(
            f"the network takes {estimator.n_features_in_} features; the preprocessing gives "
            f"{features}"
        )
    if target.task == "classify" and list(estimator.classes_) != list(target.classes):
        raise InputError(
            f"the network tells the classes {listed(list(estimator.classes_))}; the target "
            f"has {listed(list(target.classes))}"
        )
