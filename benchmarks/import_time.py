"""How long does importing xpnn take, beside importing NumPy?

python benchmarks/import_time.py [--tiny] [--rounds N] [--threads 2] [--out FILE.json]
"""

from xpnn.bench.command import main

if __name__ == "__main__":
    main("import")
