"""Measuring: this library beside its peers and beside the bare arithmetic, in one run.

Importing this package imports no array library, so that the number of threads can still
be chosen. `python -m xpnn.bench QUESTION`, `xpnn bench` and the scripts in the
repository's `benchmarks/` all end in `xpnn.bench.command`.
"""
