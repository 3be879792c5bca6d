"""Rows that are read block by block: data larger than memory."""

from xpnn.data.streams.open import stream
from xpnn.data.streams.source import Block, BlockShuffle, Source
from xpnn.data.streams.windows import Window, Windows

__all__ = ["Block", "BlockShuffle", "Source", "Window", "Windows", "stream"]
