"""The command line."""

from xpnn.cli.app import main

__all__ = ["main"]
