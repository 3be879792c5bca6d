"""What a layer is: structure without arrays, and two pure functions.

Parameters of a whole network lie in ONE vector `theta`; a layer names what it needs
(`parameters`), and gets slices of the vector back (`unflatten`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from xpnn.backends import Array, HostGenerator, Namespace, host

Tree = Any
"""Parameters, gradients, noise or saved values: arrays in nested tuples."""


@dataclass(frozen=True)
class Parameter:
    """One array of parameters and its place in the flat vector.

    Parameters
    ----------
    name : str
        Path from the outermost chain, such as ``'0.weights'``.
    shape : tuple of int
        Shape of the array.
    draw : callable
        ``draw(rng) -> host array`` gives the initial values.
    decays : bool
        Whether L2 regularization applies (weights, not biases).
    offset : int
        Where it begins in `theta`.
    """

    name: str
    shape: tuple[int, ...]
    draw: Callable[[HostGenerator], Array]
    decays: bool = True
    offset: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Layer(ABC):
    """A layer; subclasses are frozen dataclasses of plain values.

    `forward` and `backward` are pure and see only what they are handed: they run on any
    array library, inside `jax.jit`, and under the engine's tracing arrays. `saved` is
    arrays and tuples only.
    """

    def __repr__(self) -> str:
        """Show the first field by place and others by name, where they are not the default."""
        shown = []
        for i, field in enumerate(fields(self)):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if i == 0:
                shown.append(repr(value))
            elif value != field.default:
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def outputs(self, inputs: int) -> int:
        """Width of the output for a width of the input."""
        return inputs

    def parameters(self, inputs: int) -> Tree:
        """Parameters for a width of the input: `Parameter` in nested tuples."""
        return ()

    def noise(self, inputs: int, rows: int) -> Tree:
        """Shape of the uniform noise that a training step wants, or None."""
        return None

    @abstractmethod
    def forward(self, params: Tree, x: Array, noise: Tree, *, xp: Namespace) -> tuple[Array, Tree]:
        """Compute the output.

        Parameters
        ----------
        params : tuple of array
            As `parameters` lists them.
        x : array, shape (n, inputs)
            Batch first.
        noise : array or None
            Uniform in [0, 1), in the shape that `noise` asks for; None when predicting.
        xp : module
            Namespace of the arrays.

        Returns
        -------
        y : array, shape (n, outputs)
        saved : tuple
            What `backward` needs.
        """

    @abstractmethod
    def backward(
        self, params: Tree, saved: Tree, dy: Array, *, xp: Namespace, input_gradient: bool = True
    ) -> tuple[Array | None, Tree]:
        """Compute the gradients.

        Parameters
        ----------
        params : tuple of array
            As in `forward`.
        saved : tuple
            From `forward`.
        dy : array, shape (n, outputs)
            Gradient of the loss in the output.
        xp : module
            Namespace of the arrays.
        input_gradient : bool, default True
            Whether `dx` is wanted; nobody asks a network's first layer for it.

        Returns
        -------
        dx : array, shape (n, inputs), or None
        dparams : tuple of array
            Like `params`.
        """


def walk(tree: Tree) -> Iterator[Any]:
    """Go through the leaves of nested tuples in order."""
    if isinstance(tree, tuple):
        for branch in tree:
            yield from walk(branch)
    else:
        yield tree


def map_leaves(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """Apply a function to the leaves of nested tuples, in order."""
    if isinstance(tree, tuple):
        return tuple(map(partial(map_leaves, function), tree))
    return function(tree)


def place(tree: Tree) -> Tree:
    """Give every `Parameter` of nested tuples its offset in the flat vector."""
    offset = 0

    def put(parameter: Parameter) -> Parameter:
        nonlocal offset
        placed = replace(parameter, offset=offset)
        offset += parameter.size
        return placed

    return map_leaves(put, tree)


def size(tree: Tree) -> int:
    """Number of elements of all parameters: the length of `theta`."""
    return sum(p.size for p in walk(tree))


def draw(tree: Tree, rng: HostGenerator) -> Array:
    """Draw the initial `theta` on the host, in float64."""
    parts = [host.reshape(p.draw(rng), (-1,)) for p in walk(tree)]
    return host.concatenate(parts) if parts else host.zeros(0)


def unflatten(tree: Tree, theta: Array, *, xp: Namespace) -> Tree:
    """Cut `theta` into the arrays of the parameters: views where the library has them."""
    return map_leaves(lambda p: xp.reshape(theta[p.offset : p.offset + p.size], p.shape), tree)


def flatten(arrays: Tree, *, xp: Namespace) -> Array:
    """Join arrays in nested tuples into one vector, the inverse of `unflatten`."""
    parts = [xp.reshape(a, (-1,)) for a in walk(arrays)]
    return parts[0] if len(parts) == 1 else xp.concat(parts)
