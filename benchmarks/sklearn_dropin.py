"""How do xpnn's estimators do in the place of scikit-learn's: fit, epoch, prediction?

python benchmarks/sklearn_dropin.py [--tiny] [--rounds N] [--threads 2] [--data FOLDER_WITH_MNIST]
                                    [--work NAMES] [--out FILE.json]

NAMES: fit, epoch, predict, or one table of them: digits-float32, digits-float64, mnist,
classification, regression; epoch-mnist, epoch-wide, epoch-tabular; row, rows.
"""

from xpnn.bench.command import main

if __name__ == "__main__":
    main("dropin", description=__doc__.splitlines()[0])
