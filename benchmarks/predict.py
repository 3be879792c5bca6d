"""How long does a prediction take, of one row and of 20,000?

python benchmarks/predict.py [--tiny] [--rounds N] [--threads 2] [--work NAMES] [--out FILE.json]
"""

from xpnn.bench.command import main

if __name__ == "__main__":
    main("predict")
