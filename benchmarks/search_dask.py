"""scikit-learn's own search for hyper-parameters, its fits on a Dask cluster.

python -m pip install "xpnn" distributed
python benchmarks/search_dask.py [SCHEDULER]

SCHEDULER is an address such as tcp://head:8786; without one, two workers are started here.
"""

from __future__ import annotations

import sys

from dask.distributed import Client, LocalCluster
from joblib import parallel_backend
from sklearn.datasets import load_digits
from sklearn.model_selection import RandomizedSearchCV

from xpnn import MLPClassifier

GRID = {"hidden_layer_sizes": [(32,), (64,), (64, 32)], "alpha": [1e-4, 1e-2]}


def main() -> None:
    given = sys.argv[1:2]
    where = given[0] if given else LocalCluster(n_workers=2, threads_per_worker=1)
    x, t = load_digits(return_X_y=True)
    search = RandomizedSearchCV(
        MLPClassifier(early_stopping=True, random_state=0), GRID,
        n_iter=4, cv=3, random_state=0,
    )  # fmt: skip
    with Client(where) as client, parallel_backend("dask"):
        search.fit(x / 16.0, t)
        print(f"{len(client.scheduler_info()['workers'])} workers")
    print(f"best: {search.best_params_}, accuracy {search.best_score_:.4f}")
    if not given:
        where.close()


if __name__ == "__main__":
    main()
