"""`python -m xpnn.bench QUESTION`: one benchmark in this process."""

import sys

from xpnn.bench.command import QUESTIONS, main

if len(sys.argv) < 2 or sys.argv[1] not in QUESTIONS:
    sys.exit(f"usage: python -m xpnn.bench {{{','.join(QUESTIONS)}}} [options]")
main(sys.argv[1], sys.argv[2:], prefix=f"python -m xpnn.bench {sys.argv[1]}")
