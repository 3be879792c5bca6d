"""The column that is learned, classes or numbers, and the rows that are set apart by it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np

from xpnn.backends import InputError
from xpnn.data.cells import NO, YES, is_text, numbers_of, to_codes
from xpnn.data.columns import learn_column, listed
from xpnn.data.optional import import_optional

if TYPE_CHECKING:
    import pandas as pd

TASKS = ("auto", "classify", "regress")
MOST_CLASSES = 20  # of whole numbers that are taken for classes
_DTYPES = {"bool": bool, "int64": int, "float64": float, "str": str}
UNKNOWN, NOTHING = -2, -1


@dataclass(frozen=True)
class Target:
    """What a table's model learns to predict: the classes or the numbers of a column.

    `task` is 'classify' or 'regress', and `reason` says why. `dtype` is that of the labels or
    numbers, a key of `_DTYPES`. `classes` are in the order of the model's outputs, `counts` are
    their training rows. A number is learned less `mean`, divided by `scale`; `baseline` is the
    mean of the training rows.
    """

    name: str
    task: str
    reason: str = ""
    dtype: str = "float64"
    classes: tuple[Any, ...] = ()
    counts: tuple[int, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    baseline: float = 0.0

    @property
    def labels(self) -> Any:
        """The classes as an array in their own dtype."""
        return np.asarray(self.classes, dtype=_DTYPES[self.dtype])

    def codes(self, series: pd.Series) -> Any:
        """Number of each row's class; `NOTHING` or `UNKNOWN` where there is none."""
        codes, texts = to_codes(series)
        known = {_text(value): i for i, value in enumerate(self.classes)}
        if self.dtype == "bool":  # a text file says it in many words
            words = dict.fromkeys(YES, known["true"]) | dict.fromkeys(NO, known["false"])
            known, texts = words, [text.lower() for text in texts]
        places = [known.get(text, UNKNOWN) for text in texts]
        return np.asarray([*places, NOTHING], np.int64)[codes]

    def values(self, series: pd.Series) -> Any:
        """Numbers of rows that have a target, in their units."""
        values = numbers_of(series)
        if np.isnan(values).any():
            raise InputError(f"target {self.name!r} holds an infinite number")
        return values

    def describe(self) -> str:
        """Say in a line what is learned."""
        if self.task == "regress":
            return f"{self.name}: target, a number ({self.reason})"
        shown = listed([str(value) for value in self.classes])
        return f"{self.name}: target, {len(self.classes)} classes: {shown} ({self.reason})"

    def to_config(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}


def _text(value: Any) -> str:
    """A class as `to_codes` writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def learn_target(name: str, series: pd.Series, task: str = "auto") -> Target:
    """Decide what a target column is, from all rows that have a target; see `TableModel`.

    What only the training rows may say is not in it yet: see `with_rows`. A ValueError says why a
    column is neither classes nor numbers, or not what `task` says.
    """
    if task not in TASKS:
        raise InputError(f"task is {task!r}; expected one of {', '.join(TASKS)}")
    dtype, values = _values(name, series)
    count = len(set(values)) if dtype == "str" else len(np.unique(values))
    if task == "auto":
        task, reason = _decide(dtype, values, count)
    else:
        reason = "as was asked for"
    if task == "regress":
        if dtype in ("str", "bool"):
            raise InputError(
                f"target {name!r} holds {'text' if dtype == 'str' else 'truth values'}; "
                "task='regress' needs numbers"
            )
        return Target(name, task, reason, dtype)
    if dtype == "float64" and (values != np.floor(values)).any():
        raise InputError(f"target {name!r} holds fractions; task='classify' needs labels")
    if count < 2:
        raise InputError(f"target {name!r} holds one value only, {values[0]!r}; expected two")
    if dtype == "str" and count > MOST_CLASSES and count > len(values) / 2:
        raise InputError(
            f"target {name!r} holds {count:,} different texts in {len(values):,} rows; expected "
            "classes"
        )
    classes = sorted(set(values if dtype == "str" else values.tolist()))
    return Target(name, task, reason, dtype, tuple(classes))


def _values(name: str, series: pd.Series) -> tuple[str, Any]:
    """Dtype and values of a target column."""
    types = import_optional("pandas.api.types")
    if not len(series):
        raise InputError(f"target {name!r} holds nothing in any row")
    if types.is_bool_dtype(series.dtype):
        return "bool", series.to_numpy(dtype=bool)
    if isinstance(series.dtype, types.CategoricalDtype):
        series = series.astype(object).infer_objects()
    if types.is_integer_dtype(series.dtype):
        return "int64", series.to_numpy(dtype=np.int64)
    if types.is_float_dtype(series.dtype):
        values = series.to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            raise InputError(f"target {name!r} holds an infinite number")
        return "float64", values
    column = learn_column(name, series)
    if column.kind == "date":
        raise InputError(f"target {name!r} holds dates; expected classes or numbers")
    if column.kind == "numeric":
        return "float64", numbers_of(series, column.words)
    if not is_text(series):
        raise InputError(f"target {name!r} holds {series.dtype} cells; expected text or numbers")
    codes, texts = to_codes(series)
    return "str", [texts[i] for i in codes]


def _decide(dtype: str, values: Any, count: int) -> tuple[str, str]:
    if dtype in ("str", "bool"):
        return "classify", "it holds text" if dtype == "str" else "it holds truth values"
    if (values != np.floor(values)).any():
        return "regress", "it holds fractions"
    if count <= MOST_CLASSES and 2 * count <= len(values):
        return "classify", f"whole numbers, {count} different ones"
    return "regress", f"numbers, {count:,} different ones in {len(values):,} rows"


def with_rows(target: Target, rows: pd.Series, scaled: bool = True) -> Target:
    """Learn what only the training rows may say: counts of classes, or mean and scale.

    `scaled` is whether numbers are standardised.
    """
    if target.task == "classify":
        counts = np.bincount(target.codes(rows), minlength=len(target.classes))
        return replace(target, counts=tuple(counts.tolist()))
    values = target.values(rows)
    with np.errstate(over="ignore"):
        mean, scale = float(np.mean(values)), float(np.std(values))
    if not math.isfinite(scale):
        raise InputError(f"target {target.name!r} holds numbers that are too large")
    if not scaled:
        return replace(target, baseline=mean)
    return replace(target, mean=mean, scale=scale or 1.0, baseline=mean)


def target_from_config(config: Any) -> Target:
    """Make a target from what `Target.to_config` gave."""
    names = set(Target("", "").to_config())
    if not isinstance(config, Mapping) or set(config) != names:
        raise InputError(f"target is {str(config)[:80]}; expected {', '.join(sorted(names))}")
    numbers = {}
    for name, hint in get_type_hints(Target).items():
        value = config[name]
        if hint is str and not isinstance(value, str):
            raise InputError(f"target: {name} is {value!r}; expected text")
        if hint is float:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"target: {name} is {value!r}; expected a number")
            numbers[name] = float(value) if abs(value) < 1e308 else math.inf
    if config["task"] not in TASKS[1:] or config["dtype"] not in _DTYPES:
        raise InputError(
            f"target: task {config['task']!r} and dtype {config['dtype']!r}; expected "
            f"{' or '.join(TASKS[1:])}, and one of {', '.join(_DTYPES)}"
        )
    if not all(map(math.isfinite, numbers.values())) or numbers["scale"] <= 0:
        raise InputError(f"target: {numbers}; expected finite numbers, and a scale above 0")
    classes, counts = config["classes"], config["counts"]
    _check_classes(config["task"], config["dtype"], classes, counts)
    lists = {"classes": tuple(classes), "counts": tuple(counts)}
    return Target(**{**config, **numbers, **lists})


def _check_classes(task: str, dtype: str, classes: Any, counts: Any) -> None:
    if not isinstance(classes, list | tuple) or not isinstance(counts, list | tuple):
        raise InputError("target: classes and counts are no lists")
    if task == "regress":
        if classes or counts:
            raise InputError("target: a number has classes")
        return
    if len(classes) < 2 or len(counts) != len(classes):
        raise InputError(
            f"target: {len(classes)} classes with {len(counts)} counts; expected 2 or more, and a "
            "count for each"
        )
    kind = _DTYPES[dtype]
    if not all(type(value) is kind for value in classes) or list(classes) != sorted(set(classes)):
        raise InputError(f"target: its classes are not different, sorted {dtype} values")
    if not all(type(n) is int and n >= 0 for n in counts) or not sum(counts):
        raise InputError("target: its counts are no numbers of rows")


# Rows


def split_rows(
    rows: pd.DataFrame, target: Target, share: float | None, seed: int
) -> tuple[pd.DataFrame, Any]:
    """Set a share of the rows apart for validation, in their order: the same for the same seed.

    Classes are spread evenly; one of a single row stays with the training rows. Without a share,
    the second table is None.
    """
    from sklearn.model_selection import train_test_split

    if not share:
        return rows, None
    if not 0 < share < 1:
        raise InputError(f"validation is {share!r}; expected a share above 0 and below 1")
    if len(rows) < 4:
        raise InputError(f"{len(rows)} rows with a target are too few to set some apart")
    indices = np.arange(len(rows))
    count = min(max(1, math.ceil(len(rows) * share)), len(rows) - 1)
    if target.task != "classify":
        train, apart = train_test_split(indices, test_size=count, random_state=seed)
        return rows.iloc[np.sort(train)], rows.iloc[np.sort(apart)]
    codes = target.codes(rows[target.name])
    alone = np.bincount(codes)[codes] == 1
    free = indices[~alone]
    classes = len(np.unique(codes[free]))
    even = codes[free] if classes <= min(count, len(free) - count) else None
    if not 0 < count < len(free):
        raise InputError(f"{len(free)} rows of classes with 2 rows are too few to set some apart")
    train, apart = train_test_split(free, test_size=count, random_state=seed, stratify=even)
    train = np.concatenate([train, indices[alone]])
    # Every class is learned: what would only be measured goes back.
    strange = ~np.isin(codes[apart], codes[train])
    train, apart = np.concatenate([train, apart[strange]]), apart[~strange]
    if not len(apart):
        return rows, None
    return rows.iloc[np.sort(train)], rows.iloc[np.sort(apart)]


def with_target(frame: Any, name: str) -> pd.DataFrame:
    """Rows of a table that have a target; a ValueError where there is no such column."""
    pandas = import_optional("pandas")
    if not isinstance(frame, pandas.DataFrame):
        raise InputError(f"a table is a {type(frame).__name__}; expected a pandas.DataFrame")
    names = [str(column) for column in frame.columns]
    if names.count(name) != 1:
        said = "no column" if name not in names else "more than one column"
        raise InputError(f"the table has {said} {name!r} to be the target; it has {listed(names)}")
    frame = frame.set_axis(names, axis=1)
    try:
        codes = Target(name, "classify").codes(frame[name])
    except TypeError as error:
        raise InputError(
            f"target {name!r} holds cells that are neither text nor numbers: {error}"
        ) from error
    return frame[codes != NOTHING]


def check_validation(target: Target, rows: pd.DataFrame) -> None:
    """Refuse validation rows of other classes than the training rows'."""
    if not len(rows):
        raise InputError(f"validation has no row with a target in column {target.name!r}")
    if target.task != "classify":
        return
    strange = rows[target.name][target.codes(rows[target.name]) == UNKNOWN].unique()
    if len(strange):
        raise InputError(
            f"validation has classes that the training rows have not: "
            f"{listed([str(value) for value in strange])}"
        )
