"""How long does one record take, beside the tutorials' own code?

python benchmarks/online.py [--tiny] [--rounds N] [--threads 2] [--work NAMES] [--out FILE.json]
"""

from xpnn.bench.command import main

if __name__ == "__main__":
    main("online")
