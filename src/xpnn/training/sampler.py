"""What a training draws: the order of the rows, and noise for dropout."""

from __future__ import annotations

from typing import Any

from xpnn.backends import (
    HostGenerator,
    InputError,
    generator_state,
    host,
    restore_generator,
    uniform_noise,
)
from xpnn.layers import Tree


class Sampler:
    """Draws everything random of a training on the host, from one generator, which advances."""

    def __init__(self, rng: HostGenerator, shuffle: bool = True) -> None:
        self.rng, self.shuffle = rng, shuffle

    def indices(self, rows: int, batch_size: int) -> Any:
        """Draw the order of an epoch's rows; None means as they are.

        All rows in one batch are added up in any order, so none is drawn.
        """
        if not self.shuffle or rows <= batch_size:
            return None
        return self.rng.permutation(rows)

    def seed(self, own: int | None, epoch: int) -> Any:
        """Draw the seed by which a stream mixes its rows in an epoch; None means as they come.

        With a seed of the stream's `own` the order follows from that and the epoch (from 0).
        """
        if not self.shuffle:
            return None
        return int(self.rng.integers(2**63)) if own is None else (own, epoch)

    def noise(self, shapes: Tree) -> Tree:
        """Draw noise of these shapes (tuples of int in nested tuples; None where none)."""
        if shapes is None:
            return None
        if all(isinstance(n, int) for n in shapes):
            return uniform_noise(self.rng, shapes)
        return tuple(self.noise(part) for part in shapes)

    # What a checkpoint keeps

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Where the generator is, and arrays that the next epoch builds on."""
        return generator_state(self.rng), {}

    def restore(self, state: dict[str, Any], arrays: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        restore_generator(self.rng, state)


class RandomStateSampler(Sampler):
    """Draws in scikit-learn's order: each epoch shuffles the order of the one before.

    scikit-learn's `shuffle(indices, random_state=rng)` permutes what it is handed, so the
    order of an epoch depends on all epochs before it. It also shuffles a single batch.
    """

    def __init__(self, rng: HostGenerator, shuffle: bool = True) -> None:
        super().__init__(rng, shuffle)
        self._indices: Any = None
        self._noise: Sampler | None = None  # of this epoch

    def noise(self, shapes: Tree) -> Tree:
        """Draw noise, of which scikit-learn has none, from a generator of the epoch's own.

        It takes half the time of a `RandomState`.
        """
        if shapes is None:
            return None
        if self._noise is None:
            seed = self.rng.randint(2**32, size=4, dtype=host.uint32)
            self._noise = Sampler(host.random.default_rng(seed))
        return self._noise.noise(shapes)

    def indices(self, rows: int, batch_size: int) -> Any:
        """Draw the order of an epoch's rows; rows that stay as they are have one too."""
        self._noise = None
        if self._indices is None or len(self._indices) != rows:
            self._indices = host.arange(rows)
        if self.shuffle:
            permutation = host.arange(rows)
            self.rng.shuffle(permutation)
            self._indices = self._indices[permutation]
        return self._indices

    def seed(self, own: int | None, epoch: int) -> Any:
        """Draw a stream's seed; see `Sampler.seed`."""
        self._noise = None
        if not self.shuffle:
            return None
        return int(self.rng.randint(2**31 - 1)) if own is None else (own, epoch)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Where the generator is, and the order of the rows."""
        arrays = {}
        if self._indices is not None:
            small = len(self._indices) < 2**31
            arrays["indices"] = self._indices.astype(host.int32 if small else host.int64)
        return generator_state(self.rng), arrays

    def restore(self, state: dict[str, Any], arrays: dict[str, Any]) -> None:
        """Go on from what `state` gave; see `Sampler.restore`."""
        kept = arrays.get("indices")
        if kept is not None:
            whole = kept.ndim == 1 and kept.dtype.kind == "i"
            if not whole or not host.array_equal(host.sort(kept), host.arange(len(kept))):
                raise InputError("its indices are not a permutation of rows")
            self._indices = kept.astype(host.int64)
        super().restore(state, arrays)
