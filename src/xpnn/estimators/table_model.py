"""`TableModel`: from a user's own table to a network that takes raw rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnn.backends import InputError
from xpnn.data.columns import listed
from xpnn.data.optional import import_optional
from xpnn.distributed import ProcessGroup, process_group
from xpnn.estimators.classifier import MLPClassifier
from xpnn.estimators.regressor import MLPRegressor
from xpnn.estimators.table_columns import TablePreprocessing
from xpnn.estimators.table_scores import (
    baseline_scores,
    classification_scores,
    confusion,
    regression_scores,
)
from xpnn.estimators.table_target import (
    UNKNOWN,
    Target,
    check_validation,
    learn_target,
    split_rows,
    target_from_config,
    with_rows,
    with_target,
)
from xpnn.training import Callback, History, Run

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1


class TableModel:
    """A network with the preprocessing of its table: raw rows in, labels or values out.

    Parameters
    ----------
    task : {'auto', 'classify', 'regress'}, default 'auto'
        'auto' takes a target of text, of truth values, or of whole numbers with at most 20
        different values (two rows each on average) for classes, and other numbers for
        numbers.
    kinds : mapping, optional
        What some columns are, where the rules of `xpnn.data.learn_columns` get them wrong:
        ``{"zip": "category", "note": "ignored"}``.

    Attributes
    ----------
    preprocessing : TablePreprocessing
        What turns rows into numbers; learned from the training rows only.
    target : Target
        The column that is learned.
    estimator : MLPClassifier or MLPRegressor
        The network. It takes and gives what the preprocessing and the target turn.
    record : dict
        What happened in the training, as plain values: rows, options, history, scores.
    """

    def __init__(self, task: str = "auto", kinds: Mapping[str, str] | None = None) -> None:
        self.task = task
        self.kinds = dict(kinds or {})
        self.preprocessing = TablePreprocessing(self.kinds)
        self.target: Target | None = None
        self.estimator: Any = None
        self.record: dict[str, Any] = {}

    # Learning

    def fit(
        self,
        frame: pd.DataFrame | None,
        target: str,
        validation: float | pd.DataFrame | None = 0.1,
        *,
        seed: int = 0,
        callbacks: Iterable[Any] = (),
        checkpoint: Any = None,
        resume: Any = False,
        **options: Any,
    ) -> TableModel:
        """Learn from a table.

        Parameters
        ----------
        frame : pandas.DataFrame
            Raw rows. Those without a target are ignored. With ``distributed="mpi"``, only
            rank 0's arguments count; the others may give None.
        target : str
            The column to learn.
        validation : float or pandas.DataFrame, default 0.1
            Share of the rows that is set apart, evenly over the classes, or a table of
            other rows; what is measured on them goes into `record`. None for none.
        seed : int, default 0
            For what is set apart, for start weights and for row orders.
        callbacks : iterable of Callback or callable
            As in `MLPClassifier.fit`. When they start, the columns are learned.
        checkpoint, resume
            As in `xpnn.training.fit`: the same rows and options go on to the same model.
        **options
            Parameters of `MLPClassifier` or `MLPRegressor`, such as
            ``hidden_layer_sizes``, ``max_iter``, ``early_stopping``, ``progress``.

        Returns
        -------
        TableModel

        Raises
        ------
        ValueError
            The table has no such column, or it is neither classes nor numbers; or there is
            nothing to learn from.
        """
        group = process_group(options.get("distributed"))
        given = (frame, target, validation, seed, options)
        if group is None:
            self._learn(None, given, callbacks, checkpoint, resume)
            return self
        with group.session():
            self._learn(group, given, callbacks, checkpoint, resume)
            # What only rank 0 knows.
            state = (self.task, self.kinds, self.record)
            self.task, self.kinds, self.record = group.broadcast(state, wait_forever=True)
        return self

    def _learn(
        self, group: ProcessGroup | None, given: tuple[Any, ...], callbacks: Iterable[Any],
        checkpoint: Any, resume: Any,
    ) -> None:  # fmt: skip
        """Do the work of `fit`."""
        began, first = time.perf_counter(), group is None or group.is_main
        keep, validation_rows = _KeepHistory(), None
        counts: dict[str, int] = {}
        arrays: list[Any] = [None] * 4
        if first:
            counts, validation_rows, arrays = self._prepare(*given)
        if group is not None:
            made = (self.preprocessing, self.target, self.estimator)
            made = group.broadcast(made, wait_forever=True)
            self.preprocessing, self.target, self.estimator = made
            arrays = group.broadcast(arrays)
        x, y, *pair = arrays
        fit_options = {"callbacks": callbacks, "checkpoint": checkpoint, "resume": resume}
        if self.estimator.solver != "lbfgs":
            fit_options["callbacks"] = [keep, *callbacks]
            if pair[0] is not None:
                fit_options |= {"X_val": pair[0], "y_val": pair[1]}
        self.estimator.fit(x, y, **fit_options)
        if not first:
            return
        self.record = {
            **counts,
            "features": len(self.preprocessing.feature_names),
            "seconds": time.perf_counter() - began,
            "options": {"seed": given[3], **{k: _plain(v) for k, v in given[4].items()}},
            "history": keep.as_plain(),
            "validation": None if validation_rows is None else self.evaluate(validation_rows),
        }

    def _prepare(
        self, frame: Any, target: str, validation: Any, seed: int, options: dict[str, Any]
    ) -> tuple[dict[str, int], Any, list[Any]]:
        """Learn the columns; return counts, the rows set apart, and all as numbers."""
        rows = with_target(frame, target)
        found = learn_target(target, rows[target], self.task)
        if validation is None or isinstance(validation, int | float):
            train, validation_rows = split_rows(rows, found, validation, seed)
        else:
            train, validation_rows = rows, with_target(validation, target)
            check_validation(found, validation_rows)
        estimator = _make_estimator(found.task, seed, options)
        scaled = found.task == "regress" and getattr(estimator, "loss", "") != "poisson"
        found = with_rows(found, train[target], scaled)
        preprocessing = TablePreprocessing(self.kinds).fit(train.drop(columns=target))
        self.preprocessing, self.target, self.estimator = preprocessing, found, estimator
        lbfgs = estimator.solver == "lbfgs"
        pair = (None, None) if validation_rows is None or lbfgs else self._arrays(validation_rows)
        counts = {
            "rows": len(train),
            "validation_rows": 0 if validation_rows is None else len(validation_rows),
            "rows_without_target": len(frame) - len(rows),
        }
        return counts, validation_rows, [*self._arrays(train), *pair]

    def _arrays(self, rows: pd.DataFrame) -> tuple[Any, Any]:
        """Numbers and targets as the estimator takes them."""
        target = self._target()
        x = self.preprocessing.transform(rows.drop(columns=target.name))
        if target.task == "classify":
            return x, target.labels[target.codes(rows[target.name])]
        return x, (target.values(rows[target.name]) - target.mean) / target.scale

    def _target(self) -> Target:
        if self.target is None:
            raise InputError("the model has learned nothing yet; call fit")
        return self.target

    # Use

    @property
    def classes(self) -> Any:
        """The labels, in the order of the columns of `predict_proba`."""
        return self._target().labels

    def _numbers(self, frame: pd.DataFrame) -> Any:
        target = self._target()
        if isinstance(frame, import_optional("pandas").DataFrame):
            frame = frame.drop(columns=target.name, errors="ignore")
        return self.preprocessing.transform(frame)

    def predict(self, frame: pd.DataFrame) -> Any:
        """Predict labels, or values in their units.

        Parameters
        ----------
        frame : pandas.DataFrame
            Raw rows, with or without the target.

        Returns
        -------
        numpy.ndarray, shape (n,)
            Labels in the dtype that they came in, or float64.
        """
        target, x = self._target(), self._numbers(frame)
        if not len(x):
            return target.labels[:0] if target.task == "classify" else np.empty(0)
        found = self.estimator.predict(x)
        return found if target.task == "classify" else self._in_units(found)

    def _in_units(self, found: Any) -> Any:
        target = self._target()
        return np.asarray(found, np.float64) * target.scale + target.mean

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        """Predict probabilities.

        Parameters
        ----------
        frame : pandas.DataFrame
            Raw rows, with or without the target.

        Returns
        -------
        numpy.ndarray, shape (n, classes)
            In the order of `classes`.

        Raises
        ------
        ValueError
            The model tells numbers, or its loss knows no probabilities.
        """
        target = self._target()
        if not self.has_probabilities:
            raise InputError(
                f"the model of {target.name!r} has no probabilities: "
                + ("it tells a number" if target.task == "regress" else "its loss is 'hinge'")
            )
        x = self._numbers(frame)
        return self.estimator.predict_proba(x) if len(x) else np.empty((0, len(self.classes)))

    @property
    def has_probabilities(self) -> bool:
        """Whether `predict_proba` can be called."""
        return self._target().task == "classify" and hasattr(self.estimator, "predict_proba")

    def evaluate(self, frame: pd.DataFrame | Iterable[pd.DataFrame]) -> dict[str, Any]:
        """Measure the model on rows with a target, beside one that has learned nothing.

        Parameters
        ----------
        frame : pandas.DataFrame or iterable of them
            Raw rows with the target; rows without one are ignored.

        Returns
        -------
        dict
            ``task``, ``rows``, the metrics (see `xpnn.estimators.table_scores`), for classes
            ``unknown_labels`` (rows of a class never learned, which count as misread) and
            ``confusion``; ``baseline``: the same metrics of the training rows' majority
            class or mean.

        Raises
        ------
        ValueError
            No row has a target.
        """
        target = self._target()
        frames: Any = [frame] if isinstance(frame, import_optional("pandas").DataFrame) else frame
        tables = (with_target(part, target.name) for part in frames)
        parts = [self._outcome(rows) for rows in tables if len(rows)]
        if not parts:
            raise InputError(f"no row has a target in column {target.name!r}")
        truths, predictions, probas = zip(*parts, strict=True)
        truth, predicted = np.concatenate(truths), np.concatenate(predictions)
        proba = None if probas[0] is None else np.concatenate(probas)
        result: dict[str, Any] = {"task": target.task, "rows": len(truth)}
        if target.task == "regress":
            result |= regression_scores(truth, predicted)
        else:
            result |= classification_scores(truth, predicted, proba, len(target.classes))
            result["unknown_labels"] = int((truth == UNKNOWN).sum())
            result["confusion"] = confusion(target, truth, predicted)
        result["baseline"] = baseline_scores(target, truth, proba is not None)
        return result

    def _outcome(self, rows: pd.DataFrame) -> tuple[Any, Any, Any]:
        """Truth, prediction and probabilities of rows that have a target."""
        target, x = self._target(), self._numbers(rows)
        found = self.estimator.predict(x)
        if target.task == "regress":
            return target.values(rows[target.name]), self._in_units(found), None
        proba = self.estimator.predict_proba(x) if self.has_probabilities else None
        return target.codes(rows[target.name]), np.searchsorted(target.labels, found), proba

    # As data

    def to_config(self) -> dict[str, Any]:
        """Everything but the estimator, as plain values for JSON.

        Returns
        -------
        dict
            For `from_config`.
        """
        return {
            "format": FORMAT,
            "target": self._target().to_config(),
            "preprocessing": self.preprocessing.to_config(),
            "record": self.record,
        }

    @classmethod
    def from_config(cls, config: Any, estimator: Any) -> TableModel:
        """Put a model together again.

        Parameters
        ----------
        config : dict
            What `to_config` gave.
        estimator : MLPClassifier or MLPRegressor
            The fitted network.

        Returns
        -------
        TableModel

        Raises
        ------
        ValueError
            It is something else, or the network is not of this table.
        """
        names = {"format", "target", "preprocessing", "record"}
        if not isinstance(config, Mapping) or set(config) != names:
            raise InputError(f"a table's model is {str(config)[:80]}; expected {sorted(names)}")
        if config["format"] != FORMAT or isinstance(config["format"], bool):
            raise InputError(
                f"a table's model has the format {config['format']!r}; this xpnn reads {FORMAT}"
            )
        if not isinstance(config["record"], Mapping):
            raise InputError("a table's model has a record that is no dictionary")
        target = target_from_config(config["target"])
        made = cls(target.task)
        made.target, made.estimator = target, estimator
        made.preprocessing = TablePreprocessing.from_config(config["preprocessing"])
        made.record = dict(config["record"])
        _check_estimator(target, estimator, len(made.preprocessing.feature_names))
        return made

    def describe(self, *, joined: bool = True) -> str:
        """Say what each column is taken for, what is learned, and what was measured."""
        lines = [self.preprocessing.describe(joined=joined), self._target().describe()]
        return "\n".join([*lines, *_summary(self.estimator, self.record)])

    def __repr__(self) -> str:
        if self.target is None:
            return f"TableModel({self.task!r}, nothing learned)"
        return f"TableModel({self.target.task} {self.target.name!r}, {self.preprocessing!r})"


# The network and what is remembered of its training


def _make_estimator(task: str, seed: int, options: dict[str, Any]) -> Any:
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


def _check_estimator(target: Target, estimator: Any, features: int) -> None:
    """Refuse a network that is not of this table."""
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


class _KeepHistory(Callback):
    """Keep the history of a training."""

    def __init__(self) -> None:
        self.history: History | None = None

    def on_train_begin(self, run: Run) -> None:
        """Remember where it is written."""
        self.history = run.history

    def as_plain(self) -> dict[str, Any] | None:
        """The history as plain values; None where the solver keeps none."""
        return None if self.history is None else _plain(self.history.to_dict())


def _plain(value: Any) -> Any:
    """A value as JSON knows it; the text of what it does not know."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return repr(value)


def layer_widths(estimator: Any) -> list[int]:
    """Features, hidden layers and outputs of a fitted estimator."""
    return [estimator.n_features_in_, *(int(b.shape[0]) for b in estimator.intercepts_)]


def _summary(estimator: Any, record: dict[str, Any]) -> list[str]:
    """Lines about the network and what was measured."""
    widths = layer_widths(estimator)
    lines = [f"network: {' - '.join(map(str, widths))}, {estimator.n_iter_} epochs"]
    if record.get("rows"):
        lines.append(
            f"learned from {record['rows']:,} rows, measured on {record['validation_rows']:,}"
        )
    measured = record.get("validation") or {}
    baseline = measured.get("baseline", {})
    for name, value in measured.items():
        if isinstance(value, float):
            other = baseline.get(name)
            beside = "" if other is None else f" ({baseline['name']}: {other:.4f})"
            lines.append(f"{name}: {value:.4f}{beside}")
    return lines
