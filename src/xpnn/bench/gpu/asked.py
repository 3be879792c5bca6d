"""What a run on a GPU was asked for, in words that go from process to process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """Options of a run.

    Parameters
    ----------
    device : str, default 'cuda:0'
        A GPU, or ``cpu`` to go through all of it without one.
    data : str, optional
        Folder with the MNIST database; default, generated rows of its shape.
    quick : bool, default False
        Few rounds, and nothing that takes long to prepare.
    tiny : bool, default False
        Very little data: times mean nothing.
    seconds : float, default 60
        For one work, from the start of its process.
    only : str, default ''
        One contender of a work whose contenders have processes of their own.
    """

    device: str = "cuda:0"
    data: str | None = None
    quick: bool = False
    tiny: bool = False
    seconds: float = 60.0
    only: str = ""

    @property
    def folder(self) -> Path | None:
        """The folder with MNIST."""
        return None if self.data is None else Path(self.data)

    @property
    def cuda(self) -> bool:
        """Whether a GPU is asked for."""
        return self.device != "cpu"

    @property
    def backend(self) -> str:
        """The array library that this library runs on."""
        return "cupy" if self.cuda else "numpy"

    def count(self, usual: int) -> int:
        """Return the number of rounds, where `usual` is a work's own."""
        return 2 if self.tiny else min(usual, 5) if self.quick else usual
