"""`TabularClassifier` and `TabularRegressor`: raw tables in, predictions out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from xpnn.backends import InputError
from xpnn.backends.libraries import memory_of
from xpnn.data.optional import import_optional
from xpnn.data.streams import bytes_of
from xpnn.estimators import MLPClassifier, MLPRegressor
from xpnn.tabular.cells import family_of, numbers_of
from xpnn.tabular.frames import to_frame, to_series
from xpnn.tabular.names import listed
from xpnn.tabular.preprocessor import Counts, TabularPreprocessor
from xpnn.tabular.reading import TableFile
from xpnn.tabular.scores import add_spread, evaluate
from xpnn.tabular.target import (
    check_classes,
    check_present,
    codes_of,
    split_rows,
    unique_labels,
    values_of,
)
from xpnn.training.warn import warn_caller

if TYPE_CHECKING:
    import pandas as pd

VARIABLE = "XPNN_TABLE_MEMORY"
"""Environment variable: tables that take more, such as ``2 GiB``, are read in windows."""
_CHUNK = 1 << 16


@dataclass(frozen=True)
class _Rows:
    """Checked rows with their labels and weights."""

    frame: pd.DataFrame
    y: pd.Series
    weight: Any = None

    def take(self, indices: Any) -> _Rows:
        weight = None if self.weight is None else self.weight[indices]
        return _Rows(self.frame.iloc[indices], self.y.iloc[indices], weight)


def _has_probabilities(model: Any) -> bool:
    """Whether the network inside has probabilities; raises its AttributeError where not."""
    return getattr(model._network(), "predict_proba", None) is not None


class BaseTabular(BaseEstimator):  # type: ignore[misc]
    """Base of `TabularClassifier` and `TabularRegressor`; not for use by itself."""

    def __init__(
        self,
        estimator: Any = None,
        *,
        column_types: Mapping[str, str] | None = None,
        validation_fraction: float | None = 0.1,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.column_types = column_types
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def set_params(self, **params: Any) -> Any:
        """Set parameters; those of the network, as ``estimator__alpha``, too where it is None.

        Parameters
        ----------
        **params
            Parameters by name.

        Returns
        -------
        estimator
            Itself.
        """
        inner = any(name.startswith("estimator__") for name in params)
        if inner and "estimator" not in params and self.estimator is None:
            self.estimator = self._default()
        return super().set_params(**params)

    # What a subclass says

    def _default(self) -> Any:
        raise NotImplementedError

    def _learn_target(self, parts: Callable[[], Iterator[pd.Series]]) -> None:
        """Learn what is predicted from labels that come in parts."""
        raise NotImplementedError

    def _encode_target(self, y: pd.Series, name: str) -> Any:
        """Labels as the network takes them."""
        raise NotImplementedError

    # Learning

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any, Any],
        options: dict[str, Any],
    ) -> Any:  # fmt: skip
        self._check_parameters()
        early = getattr(self.estimator, "early_stopping", False)
        if early and not self.validation_fraction and validation[0] is None:
            raise InputError(
                f"validation_fraction is {self.validation_fraction!r} without X_val; "
                "early_stopping=True of the network needs rows to validate on"
            )
        self.__dict__.pop("estimator_", None)
        if isinstance(X, TableFile):
            name = _target_name(X, y)
            if validation[0] is not None and not isinstance(validation[0], TableFile):
                raise InputError(
                    f"X_val is a {type(validation[0]).__name__}; expected a TableFile, as X is one"
                )
            others = ("sample_weight", "y_val", "sample_weight_val")
            for what, value in zip(others, (sample_weight, *validation[1:]), strict=True):
                if value is not None:
                    raise InputError(f"{what} beside a TableFile; expected None")
            self.target_name_, self.target_type_ = name, X.types.get(name)
            if not all(_fits_in_memory(table) for table in (X, validation[0]) if table is not None):
                return self._fit_windows(X, validation[0], options)
            # What the columns are is learned of all rows, those without a label too: rows that
            # are counted would have gaps.
            frame, labels = _read(X, name)
            preprocessor = TabularPreprocessor(self.column_types)
            preprocessor.fit_chunks([frame], text_types=X.types)
            rows, self.n_unlabelled_rows_ = _labelled(X, frame, labels)
            given: tuple[Any, Any, Any] = (None, None, None)
            if validation[0] is not None:
                apart, _ = _labelled(validation[0], *_read(validation[0], name, X.types))
                given = (apart.frame, apart.y, None)
            return self._fit_frames(rows, preprocessor, given, options)
        if y is None:
            raise InputError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None."
            )
        frame, has_names = to_frame(X)
        labels = to_series(y)
        rows = self._checked(frame, labels, sample_weight, "")
        self.n_unlabelled_rows_ = 0
        self.__dict__.pop("target_name_", None)
        self.target_type_ = None
        named = has_names or isinstance(labels.name, str)
        if labels.name is not None and named and str(labels.name) not in frame.columns:
            self.target_name_ = str(labels.name)
        preprocessor = TabularPreprocessor(self.column_types)
        preprocessor.fit_chunks([frame], has_names=has_names)
        return self._fit_frames(rows, preprocessor, validation, options)

    def _check_parameters(self) -> None:
        share = self.validation_fraction
        if share is not None and not (isinstance(share, Real) and 0 <= share < 1):
            raise InputError(
                f"validation_fraction is {share!r}; expected a share from 0 on and below 1, or None"
            )
        kind = type(self._default())
        if self.estimator is not None and not isinstance(self.estimator, kind):
            raise InputError(
                f"estimator is a {type(self.estimator).__name__}; expected a {kind.__name__}"
            )

    def _checked(self, frame: pd.DataFrame, y: pd.Series, weight: Any, suffix: str) -> _Rows:
        """Rows whose labels and weights are as many, and no label is missing."""
        if len(frame) != len(y):
            raise InputError(
                f"Found input variables with inconsistent numbers of samples: X{suffix} has "
                f"{len(frame)} rows, y{suffix} has {len(y)}"
            )
        check_present(y, f"y{suffix}")
        if weight is not None:
            name = f"sample_weight{suffix}"
            series = to_series(weight, name)
            if family_of(series) not in ("integer", "number", "boolean", ""):
                raise InputError(f"{name} holds {series.iloc[0]!r}; expected numbers")
            values, _ = numbers_of(series, "numeric", None)
            stand_in = np.empty((len(frame), 1))
            weight = _check_sample_weight(values, stand_in, ensure_non_negative=True)
        return _Rows(frame, y, weight)

    def _fit_frames(
        self,
        rows: _Rows,
        preprocessor: TabularPreprocessor,
        validation: tuple[Any, Any, Any],
        options: dict[str, Any],
    ) -> Any:
        """Learn from frames in memory."""
        self._learn_target(lambda: iter([rows.y]))
        self._publish(preprocessor)
        train, apart = self._split(rows, validation)
        pair: dict[str, Any] = {}
        if apart is not None and self._takes_validation:
            pair = {
                "X_val": preprocessor.encode(apart.frame),
                "y_val": self._encode_target(apart.y, "y_val"),
                "sample_weight_val": apart.weight,
            }
        self.n_rows_ = len(train.y)
        network = self._new_network()
        network.fit(
            preprocessor.encode(train.frame),
            self._encode_target(train.y, "y"),
            train.weight,
            **pair,
            **options,
        )
        self.estimator_ = network
        self._measure(iter([] if apart is None else [(apart.frame, apart.y)]))
        return self

    def _measure(self, parts: Iterator[tuple[pd.DataFrame, pd.Series]]) -> None:
        """Measure the model on its validation rows, where there are any."""
        first = next(parts, None)
        self.validation_metrics_ = None
        if first is not None:
            baseline = getattr(self, "class_prior_", getattr(self, "target_mean_", None))
            self.validation_metrics_ = evaluate(self, chain([first], parts), baseline=baseline)

    def _split(self, rows: _Rows, validation: tuple[Any, Any, Any]) -> tuple[_Rows, _Rows | None]:
        """Rows to learn from and rows to validate on: those given, or a share."""
        X_val, y_val, weight_val = validation
        self.validation_indices_ = None
        if X_val is not None:
            if y_val is None:
                raise InputError("y_val is None beside X_val; expected its labels")
            frame = self.preprocessor_.check(X_val)
            return rows, self._checked(frame, to_series(y_val, "y_val"), weight_val, "_val")
        for name, value in (("y_val", y_val), ("sample_weight_val", weight_val)):
            if value is not None:
                raise InputError(f"{name} without X_val; expected both or none")
        if not self.validation_fraction:
            return rows, None
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        codes = codes_of(rows.y, self.classes_) if hasattr(self, "classes_") else None
        train, apart = split_rows(len(rows.y), codes, self.validation_fraction, seed)
        if apart is None or (rows.weight is not None and not rows.weight[apart].any()):
            return rows, None
        self.validation_indices_ = apart
        return rows.take(train), rows.take(apart)

    def _publish(self, preprocessor: TabularPreprocessor) -> None:
        self.preprocessor_ = preprocessor
        self.n_features_in_ = preprocessor.n_features_in_
        self.__dict__.pop("feature_names_in_", None)
        if "feature_names_in_" in vars(preprocessor):
            self.feature_names_in_ = preprocessor.feature_names_in_

    def _new_network(self) -> Any:
        """A network as the caller wants it, with our seed where it has none."""
        network = self._default() if self.estimator is None else clone(self.estimator)
        if network.random_state is None and self.random_state is not None:
            rng = check_random_state(self.random_state)
            network.set_params(random_state=rng.randint(np.iinfo(np.int32).max))
        weights = getattr(network, "class_weight", None)
        if isinstance(weights, Mapping):  # by labels, where the network knows their numbers
            series = import_optional("pandas").Series(list(weights), dtype=object)
            codes = codes_of(series, self.classes_)
            if (codes < 0).any():
                odd = list(weights)[int(np.argmax(codes < 0))]
                raise InputError(f"class_weight names the class {odd!r}, which y has not")
            values = dict(zip(codes.tolist(), weights.values(), strict=True))
            network.set_params(class_weight=values)
        return network

    @property
    def _takes_validation(self) -> bool:
        network = self.estimator
        return network is None or network.solver != "lbfgs" or network.optimizer is not None

    # Learning from files that are larger than memory

    def _fit_windows(
        self, table: TableFile, validation: TableFile | None, options: dict[str, Any]
    ) -> Any:
        """Learn from a file window by window: passes for types, statistics and labels.

        The encoded rows lie in a temporary file, as reading text anew in each epoch takes longer.
        """
        if not self._takes_validation:
            raise InputError(
                "solver='lbfgs' looks at all rows at once; the table does not fit into memory"
            )
        name, types = self.target_name_, table.types
        frames = (frame.drop(columns=name) for frame in table.chunks(_CHUNK))
        preprocessor = TabularPreprocessor(self.column_types)
        preprocessor.fit_chunks(frames, text_types=types)
        counted = _Counted(table, name)
        self._learn_target(lambda: (y for _, y in counted))
        counted.warn()
        self.n_unlabelled_rows_ = counted.missing
        self._publish(preprocessor)
        self.validation_indices_ = None
        share = self.validation_fraction if validation is None else None
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        train: Iterable[Any] = counted
        apart: Callable[[], Iterator[Any]] | None = None
        if validation is not None:
            others = _Counted(validation, name, types)
            apart = lambda: iter(others)  # noqa: E731
        elif share:
            train = _Share(counted, share, seed, apart=False)
            apart = lambda: iter(_Share(counted, share, seed, apart=True))  # noqa: E731
        with tempfile.TemporaryDirectory(prefix="xpnn-") as folder:
            source = self._spool(train, Path(folder) / "train")
            held_out = None if apart is None else self._spool(apart(), Path(folder) / "apart")
            if validation is not None:
                others.warn()
            network = self._new_network()
            if source is None or (validation is not None and held_out is None):
                what = "learn from" if source is None else "validate on"
                raise InputError(f"{table.path}: there is no row to {what}")
            if held_out is not None:
                options = {**options, "X_val": held_out}
            self.n_rows_ = source.count()
            network.fit(source, **options)
        self.estimator_ = network
        self._measure(iter([]) if apart is None or held_out is None else apart())
        return self

    def _spool(self, rows: Iterable[tuple[pd.DataFrame, pd.Series]], path: Path) -> Any:
        """Write encoded rows to files, and make a source of them; None where there are none."""
        from xpnn.data import stream

        x, t, count = path.with_suffix(".x"), path.with_suffix(".t"), 0
        width, dtype = len(self.preprocessor_.get_feature_names_out()), np.dtype(np.float32)
        with x.open("wb") as features, t.open("wb") as targets:
            for frame, y in rows:
                features.write(self.preprocessor_.encode(frame).tobytes())
                found = self._encode_target(y, "y")
                targets.write(found.tobytes())
                count += len(found)
        if not count:
            return None
        npy = [_as_npy(x, dtype, (count, width)), _as_npy(t, found.dtype, (count,))]
        classes = getattr(self, "classes_", None)
        return stream(*npy, classes=None if classes is None else np.arange(len(classes)))

    # Use

    def _network(self) -> Any:
        check_is_fitted(self, "estimator_")
        return self.estimator_

    def _encoded(self, X: Any) -> Any:
        check_is_fitted(self, "estimator_")
        return self.preprocessor_.encode(self.preprocessor_.check(X))

    def count_unusual(self, X: Any) -> Counts:
        """Count the cells of rows that the training rows had none of.

        Parameters
        ----------
        X : pandas, polars or pyarrow frame, or array_like, shape (n, columns)
            Rows, as in `predict`.

        Returns
        -------
        dict of str to dict of str to int
            For each column that has any: ``unreadable`` cells, which count as missing;
            ``newly_missing`` ones where no training row missed one; ``infinite`` numbers; numbers
            ``far_outside`` of the training rows' range, by more than the range itself; and
            ``unknown`` categories, where `fit` saw at most 1000.
        """
        check_is_fitted(self, "estimator_")
        counts: Counts = {}
        self.preprocessor_.encode(self.preprocessor_.check(X), counts)
        return counts

    def _to_onnx(self, path: Any, opset: int | None, dtype: str | None, doc: str) -> Any:
        """Make an ONNX model; called by `xpnn.estimators.to_onnx`."""
        from xpnn.tabular.onnx import tabular_to_onnx

        check_is_fitted(self, "estimator_")
        return tabular_to_onnx(self, path, opset=opset, dtype=dtype, doc=doc)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.input_tags.sparse = False
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return "estimator_" in vars(self)


class TabularClassifier(ClassifierMixin, BaseTabular):  # type: ignore[misc]
    """Classifier of tables: a network with the preprocessing of its raw columns.

    Parameters
    ----------
    estimator : MLPClassifier, optional
        The network, not fitted; it is cloned. Its parameters can be searched as
        ``estimator__alpha`` and so on. Default: ``MLPClassifier()``.
    column_types : mapping of str to str, optional
        What some columns are, where their dtype does not say it: ``{"zip": "categorical"}``;
        'numeric', 'boolean', 'categorical', 'text', 'datetime', 'duration' or 'ignored'.
    validation_fraction : float or None, default 0.1
        Share of the rows that is set apart for early stopping
        (``MLPClassifier(early_stopping=True)``) and for measuring the model, evenly over the
        classes where the table is in memory; 0 or None for none.
    random_state : int, RandomState or None, default None
        For what is set apart; also for a network that has none of its own.

    Attributes
    ----------
    classes_ : numpy.ndarray, shape (classes,)
        Labels, in the order of `predict_proba`'s columns, in their own dtype.
    class_prior_ : numpy.ndarray, shape (classes,)
        Their shares of the rows of `fit`.
    estimator_ : MLPClassifier
        The fitted network; it takes encoded rows, and tells the numbers of the classes.
    preprocessor_ : TabularPreprocessor
        What encodes rows.
    validation_indices_ : numpy.ndarray or None
        Rows of `fit` that were set apart; None for none, and of a table larger than memory.
    validation_metrics_ : dict or None
        What was measured on the validation rows, beside a baseline; see
        `xpnn.tabular.scores.evaluate`.
    n_rows_, n_unlabelled_rows_ : int
        Rows that were learned from, and rows of a `TableFile` that had no label. These two, and
        what is of the validation rows, are not in model files.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : numpy.ndarray of str
        Their names, where `X` had names.
    target_name_ : str
        Name of the labels' column, where it has one.

    See Also
    --------
    TabularRegressor : The same for numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> from xpnn import TabularClassifier
    >>> weights, tails = [3.1, 4.0, 25.0, 31.0] * 10, ["short", "long"] * 20
    >>> frame = pd.DataFrame({"weight": weights, "tail": tails})
    >>> labels = ["cat", "cat", "dog", "dog"] * 10
    >>> model = TabularClassifier(random_state=0).fit(frame, labels)
    >>> model.predict(frame.head(3)).tolist()
    ['cat', 'cat', 'dog']
    """

    def _default(self) -> Any:
        return MLPClassifier()

    def _learn_target(self, parts: Callable[[], Iterator[pd.Series]]) -> None:
        classes, counts = unique_labels(parts())
        check_classes(classes, counts)
        self.classes_ = classes
        shares = np.asarray(list(counts.values()), np.float64)
        self.class_prior_ = shares / shares.sum()

    def _encode_target(self, y: pd.Series, name: str) -> Any:
        codes = codes_of(y, self.classes_)
        if (codes < 0).any():
            odd = y.iloc[int(np.argmax(codes < 0))]
            raise InputError(f"{name} has the label {odd!r}, which the training rows have not")
        return codes

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        callbacks: Any = (),
        checkpoint: Any = None,
        resume: Any = False,
    ) -> TabularClassifier:
        """Learn from labelled rows.

        Parameters
        ----------
        X : pandas, polars or pyarrow frame, array_like or TableFile, shape (n, columns)
            Raw rows. A `TableFile`, see `xpnn.tabular.open_table`, may be larger than memory: its
            encoded rows then go through a temporary file, where it would take more than a quarter
            of the memory, or than the environment variable ``XPNN_TABLE_MEMORY`` says, such as
            ``2 GiB``. Its rows without a label are left out,
            with a warning.
        y : array_like, shape (n,), or str
            Labels: text, booleans, integers, categories, intervals, `Decimal`. Of a `TableFile`,
            the name of their column.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows, 0 or more.
        X_val, y_val, sample_weight_val : optional
            Rows to validate on, in place of a share of `X`.
        callbacks : Callback, callable, or iterable of them
            As in `MLPClassifier.fit`.
        checkpoint, resume
            As in `MLPClassifier.fit`.

        Returns
        -------
        TabularClassifier
            The fitted estimator itself.

        Raises
        ------
        ValueError
            A label is missing, there is one class only, or no column can be learned from.

        Warns
        -----
        UserWarning
            Columns are ignored; names them and says why.
        """
        options = {"callbacks": callbacks, "checkpoint": checkpoint, "resume": resume}
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), options)

    def predict(self, X: Any) -> Any:
        """Predict labels.

        Parameters
        ----------
        X : pandas, polars or pyarrow frame, or array_like, shape (n, columns)
            Raw rows; columns of a frame are found by name, in any order.

        Returns
        -------
        numpy.ndarray, shape (n,)
            Labels, in the dtype of `classes_`.
        """
        x = self._encoded(X)
        if not len(x):
            return self.classes_[:0]
        return self.classes_[self.estimator_.predict(x)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Measure the accuracy on labelled rows.

        Parameters
        ----------
        X : pandas, polars or pyarrow frame, or array_like, shape (n, columns)
            Raw rows.
        y : array_like, shape (n,)
            Labels of any kind that `fit` takes; one that was never learned counts as wrong.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows.

        Returns
        -------
        float
            Share of the rows whose label is predicted.
        """
        from sklearn.metrics import accuracy_score

        x, labels = self._encoded(X), to_series(y)
        check_present(labels)
        codes = codes_of(labels, self.classes_)
        return float(accuracy_score(codes, self.estimator_.predict(x), sample_weight=sample_weight))

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:
        """Predict probabilities.

        Parameters
        ----------
        X : pandas, polars or pyarrow frame, or array_like, shape (n, columns)
            Raw rows.

        Returns
        -------
        numpy.ndarray of float32, shape (n, classes)
            In the order of `classes_`.
        """
        x = self._encoded(X)
        if not len(x):
            return np.empty((0, len(self.classes_)), np.float32)
        return self.estimator_.predict_proba(x)

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of the probabilities.

        Parameters
        ----------
        X : pandas, polars or pyarrow frame, or array_like, shape (n, columns)
            Raw rows.

        Returns
        -------
        numpy.ndarray of float32, shape (n, classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


class TabularRegressor(RegressorMixin, BaseTabular):  # type: ignore[misc]
    """Regressor of tables: a network with the preprocessing of its raw columns.

    Values are standardised for the network, unless its loss is 'poisson'.

    Parameters
    ----------
    estimator : MLPRegressor, optional
        The network, not fitted; it is cloned. Its parameters can be searched as
        ``estimator__alpha`` and so on. Default: ``MLPRegressor()``.
    column_types : mapping of str to str, optional
        What some columns are, where their dtype does not say it: ``{"zip": "categorical"}``;
        'numeric', 'boolean', 'categorical', 'text', 'datetime', 'duration' or 'ignored'.
    validation_fraction : float or None, default 0.1
        Share of the rows that is set apart for early stopping
        (``MLPRegressor(early_stopping=True)``) and for measuring the model; 0 or None for none.
    random_state : int, RandomState or None, default None
        For what is set apart; also for a network that has none of its own.

    Attributes
    ----------
    estimator_ : MLPRegressor
        The fitted network; it takes encoded rows, and tells standardised values.
    preprocessor_ : TabularPreprocessor
        What encodes rows.
    target_mean_, target_scale_ : float
        What values are standardised by: mean and standard deviation of the rows of `fit`.
    validation_indices_ : numpy.ndarray or None
        Rows of `fit` that were set apart; None for none, and of a table larger than memory.
    validation_metrics_ : dict or None
        What was measured on the validation rows, beside a baseline; see
        `xpnn.tabular.scores.evaluate`.
    n_rows_, n_unlabelled_rows_ : int
        Rows that were learned from, and rows of a `TableFile` that had no label. These two, and
        what is of the validation rows, are not in model files.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : numpy.ndarray of str
        Their names, where `X` had names.
    target_name_ : str
        Name of the values' column, where it has one.

    See Also
    --------
    TabularClassifier : The same for labels.
    """

    def _default(self) -> Any:
        return MLPRegressor()

    def _learn_target(self, parts: Callable[[], Iterator[pd.Series]]) -> None:
        sums = (0, 0.0, 0.0)
        for part in parts():
            sums = add_spread(sums, values_of(part))
        count, mean, squares = sums
        if not count:
            raise InputError("y has no value")
        scale = float(np.sqrt(squares / count))
        if not (np.isfinite(mean) and np.isfinite(scale)):
            raise InputError("Input y contains a value too large to be standardised")
        self.target_mean_, self.target_scale_ = mean, scale or 1.0

    @property
    def _shift(self) -> tuple[float, float]:
        network = self.estimator if "estimator_" not in vars(self) else self.estimator_
        if getattr(network, "loss", "") == "poisson":
            return 0.0, 1.0
        return self.target_mean_, self.target_scale_

    def _encode_target(self, y: pd.Series, name: str) -> Any:
        mean, scale = self._shift
        return (values_of(y, name) - mean) / scale

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        callbacks: Any = (),
        checkpoint: Any = None,
        resume: Any = False,
    ) -> TabularRegressor:
        """Learn from rows with known values.

        Parameters
        ----------
        X : pandas, polars or pyarrow frame, array_like or TableFile, shape (n, columns)
            Raw rows. A `TableFile`, see `xpnn.tabular.open_table`, may be larger than memory: its
            encoded rows then go through a temporary file, where it would take more than a quarter
            of the memory, or than the environment variable ``XPNN_TABLE_MEMORY`` says, such as
            ``2 GiB``. Its rows without a value are left out,
            with a warning.
        y : array_like, shape (n,), or str
            Values. Of a `TableFile`, the name of their column.
        sample_weight : array_like, shape (n,), optional
            Weights of the rows, 0 or more.
        X_val, y_val, sample_weight_val : optional
            Rows to validate on, in place of a share of `X`.
        callbacks : Callback, callable, or iterable of them
            As in `MLPRegressor.fit`.
        checkpoint, resume
            As in `MLPRegressor.fit`.

        Returns
        -------
        TabularRegressor
            The fitted estimator itself.

        Raises
        ------
        ValueError
            A value is missing, infinite or no number, or no column can be learned from.

        Warns
        -----
        UserWarning
            Columns are ignored; names them and says why.
        """
        options = {"callbacks": callbacks, "checkpoint": checkpoint, "resume": resume}
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), options)

    def predict(self, X: Any) -> Any:
        """Predict values.

        Parameters
        ----------
        X : pandas, polars or pyarrow frame, or array_like, shape (n, columns)
            Raw rows; columns of a frame are found by name, in any order.

        Returns
        -------
        numpy.ndarray of float64, shape (n,)
            In the unit of `y`.
        """
        x = self._encoded(X)
        if not len(x):
            return np.empty(0)
        mean, scale = self._shift
        return np.asarray(self.estimator_.predict(x), np.float64) * scale + mean


# Files


def _target_name(table: TableFile, y: Any) -> str:
    if not isinstance(y, str):
        raise InputError(
            f"y is a {type(y).__name__}; expected the name of a column, as X is a TableFile"
        )
    if y not in table.columns:
        raise InputError(f"{table.path}: no column {y!r}; it has {listed(table.columns)}")
    return y


def _fits_in_memory(table: TableFile) -> bool:
    """Whether a file can be read whole: it unpacks to a quarter of the memory or less."""
    files = [table.path] if table.path.is_file() else table.path.rglob("*")
    size = sum(file.stat().st_size * _unpacks_to(file) for file in files if file.is_file())
    given = os.environ.get(VARIABLE)
    try:
        most = bytes_of(given) if given else (memory_of("numpy", "cpu") or 2**32) // 4
    except ValueError as error:
        raise InputError(f"{VARIABLE}: {error}") from error
    return size <= most


def _unpacks_to(file: Path) -> int:
    """How many times a file's size its table takes in memory, at a guess."""
    packed = file.suffix.lower() in (".gz", ".zst", ".bz2", ".xz", ".parquet", ".pq")
    return 10 if packed else 2


def _read(table: TableFile, name: str, types: Any = None) -> tuple[pd.DataFrame, pd.Series]:
    """Read a file whole: all rows, and their labels."""
    frame = table.read(types)
    return frame, frame.pop(name)


def _labelled(table: TableFile, frame: pd.DataFrame, y: pd.Series) -> tuple[_Rows, int]:
    """Rows that have a label, and how many have none."""
    missing = y.isna().to_numpy()
    count = int(missing.sum())
    _warn_missing(table, str(y.name), count)
    rows = _Rows(frame[~missing].reset_index(drop=True), y[~missing].reset_index(drop=True))
    return rows, count


def _warn_missing(table: TableFile, name: str, count: int) -> None:
    if count:
        warn_caller(f"{table.path}: {count:,} rows without a label in column {name!r} are left out")


class _Counted:
    """Rows of a file that have a label, chunk by chunk; counts them and the others."""

    def __init__(self, table: TableFile, name: str, types: Any = None) -> None:
        self.table, self.name, self.types = table, name, types
        self.missing = 0

    def __iter__(self) -> Iterator[tuple[pd.DataFrame, pd.Series]]:
        self.missing = 0
        for frame in self.table.chunks(_CHUNK, self.types):
            y = frame.pop(self.name)
            missing = y.isna().to_numpy()
            self.missing += int(missing.sum())
            yield frame[~missing], y[~missing].reset_index(drop=True)

    def warn(self) -> None:
        """Say how many rows were left out."""
        _warn_missing(self.table, self.name, self.missing)


class _Share:
    """A share of the rows that have a label, or all others: the same in each pass."""

    def __init__(self, rows: _Counted, share: float, seed: int, *, apart: bool) -> None:
        self.rows, self.share, self.seed, self.apart = rows, share, seed, apart

    def __iter__(self) -> Iterator[tuple[pd.DataFrame, pd.Series]]:
        rng = np.random.default_rng(self.seed)
        for frame, y in self.rows:
            own = (rng.random(len(y)) < self.share) == self.apart
            yield frame[own], y[own]


def _as_npy(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    """View a file of plain numbers as an array that is read piece by piece."""
    return np.memmap(path, dtype, "r", shape=shape)
