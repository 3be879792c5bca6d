"""Write the README's table: made-up animals in a shelter, with gaps, categories and dates.

    python benchmarks/pets.py [FOLDER]

Writes `pets.csv` (1,000 rows) and `new-pets.csv` (200 rows).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd


def make(rows: int = 1200) -> pd.DataFrame:
    """Draw animals; whether one is adopted depends on age, kind, vaccination and month."""
    source = np.random.default_rng(0)
    age = source.gamma(2, 2.2, rows).round(1)
    weight = source.normal(8, 4, rows).clip(1).round(1)
    kind = source.choice(["dog", "cat", "rabbit", "bird"], rows, p=[0.45, 0.4, 0.1, 0.05])
    vaccinated = source.choice(["yes", "no"], rows, p=[0.7, 0.3])
    days = pd.to_timedelta(source.integers(0, 365, rows), "D")
    arrived = pd.Timestamp("2025-01-01") + days
    score = 1.6 - 0.45 * age + 0.9 * (kind == "dog") + 0.5 * (kind == "cat") - 0.05 * weight
    score = score + 1.2 * (vaccinated == "yes") + 0.8 * (arrived.month > 9)
    score = score + source.normal(0, 0.6, rows)
    table = pd.DataFrame({
        "id": np.arange(rows) + 1,
        "kind": kind,
        "age": np.where(source.random(rows) < 0.06, np.nan, age),
        "weight": weight,
        "vaccinated": vaccinated,
        "arrived": arrived.strftime("%Y-%m-%d"),
        "adopted": np.where(score > 0, "yes", "no"),
    })  # fmt: skip
    table.loc[source.random(rows) < 0.03, "kind"] = ""
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path(), help="default: here")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    animals = make()
    animals.iloc[:1000].to_csv(folder / "pets.csv", index=False)
    animals.iloc[1000:].to_csv(folder / "new-pets.csv", index=False)
