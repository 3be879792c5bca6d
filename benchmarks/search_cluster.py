"""scikit-learn's own search for hyper-parameters, its fits on a Dask or a Ray cluster.

    python -m pip install xpnn distributed     or   python -m pip install xpnn ray
    python benchmarks/search_cluster.py dask [tcp://head:8786]
    python benchmarks/search_cluster.py ray [ADDRESS]

Without an address, two workers are started here.
"""

from __future__ import annotations

import sys

from joblib import parallel_backend
from sklearn.datasets import load_digits
from sklearn.model_selection import RandomizedSearchCV

from xpnn import MLPClassifier

GRID = {"hidden_layer_sizes": [(32,), (64,), (64, 32)], "alpha": [1e-4, 1e-2]}


def connect(library: str, address: str) -> None:
    """Connect to the cluster, and let joblib know of it."""
    if library == "dask":
        from dask.distributed import Client, LocalCluster

        Client(address or LocalCluster(n_workers=2, threads_per_worker=1))
    elif library == "ray":
        import ray
        from ray.util.joblib import register_ray

        ray.init(**({"address": address} if address else {"num_cpus": 2}))
        register_ray()
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    library, address = (*sys.argv[1:], "", "")[:2]
    connect(library, address)
    x, t = load_digits(return_X_y=True)
    model = MLPClassifier(early_stopping=True, random_state=0)
    search = RandomizedSearchCV(model, GRID, n_iter=4, cv=3, random_state=0)
    with parallel_backend(library):
        search.fit(x / 16.0, t)
    print(f"best: {search.best_params_}, accuracy {search.best_score_:.4f}")
