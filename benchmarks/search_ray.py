"""scikit-learn's own search for hyper-parameters, its fits on a Ray cluster.

python -m pip install "xpnn" ray
python benchmarks/search_ray.py [ADDRESS]

ADDRESS is that of a cluster, or auto on one of its machines; without one, Ray is started here.
"""

from __future__ import annotations

import sys

import ray
from joblib import parallel_backend
from ray.util.joblib import register_ray
from sklearn.datasets import load_digits
from sklearn.model_selection import RandomizedSearchCV

from xpnn import MLPClassifier

GRID = {"hidden_layer_sizes": [(32,), (64,), (64, 32)], "alpha": [1e-4, 1e-2]}


def main() -> None:
    given = sys.argv[1:2]
    ray.init(**({"address": given[0]} if given else {"num_cpus": 2}), include_dashboard=False)
    register_ray()
    x, t = load_digits(return_X_y=True)
    search = RandomizedSearchCV(
        MLPClassifier(early_stopping=True, random_state=0), GRID,
        n_iter=4, cv=3, random_state=0,
    )  # fmt: skip
    with parallel_backend("ray"):
        search.fit(x / 16.0, t)
    print(f"best: {search.best_params_}, accuracy {search.best_score_:.4f}")
    ray.shutdown()


if __name__ == "__main__":
    main()
