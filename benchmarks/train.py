"""How long does an epoch of training take, beside the matrix products in it and the peers?

python benchmarks/train.py [--tiny] [--rounds N] [--threads 2] [--work mnist,wide,tabular]
                           [--data FOLDER_WITH_MNIST] [--out FILE.json]
"""

from xpnn.bench.command import main

if __name__ == "__main__":
    main("train")
