"""Rows that are read block by block: data larger than memory.

`xpnn.data.streams.open` makes a source of anything that can be read so.
"""

from xpnn.data.streams.source import Block, BlockShuffle, Source
from xpnn.data.streams.windows import Window, Windows

__all__ = ["Block", "BlockShuffle", "Source", "Window", "Windows"]
