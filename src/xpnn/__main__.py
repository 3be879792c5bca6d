"""Run the command line as ``python -m xpnn``."""

from xpnn.cli import main

if __name__ == "__main__":
    main()
