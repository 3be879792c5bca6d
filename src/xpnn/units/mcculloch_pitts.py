"""The threshold unit of McCulloch and Pitts, logic built from it, and truth tables.

W. S. McCulloch and W. Pitts, "A logical calculus of the ideas immanent in nervous
activity", Bulletin of Mathematical Biophysics 5 (1943), 115-133. As in the tutorial, an
inhibitory input has a negative weight, where the paper lets it veto the unit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from xpnn.backends import (
    Array,
    ArrayLike,
    Backend,
    Device,
    Namespace,
    as_array,
    as_floating,
    host,
    on_device,
    placement,
    to_device,
    to_host,
)
from xpnn.functional import heaviside, linear
from xpnn.units.arguments import is_single_row, positive_integer

_LARGEST = 16  # inputs of a truth table: 65,536 rows


@dataclass(frozen=True)
class TruthTable:
    """A table that prints; iterating gives ``(inputs, outputs)`` for each row.

    Parameters
    ----------
    inputs : tuple of tuple of int
        All combinations of 0 and 1, counted up in binary.
    outputs : tuple of int
        The output for each.
    hidden : tuple of tuple of int
        Outputs of the hidden units for each; empty rows for a single unit.
    name : str
        Heading of the outputs.
    hidden_names : tuple of str
        Headings of the hidden units.
    """

    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[int, ...]
    hidden: tuple[tuple[int, ...], ...]
    name: str
    hidden_names: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[tuple[tuple[int, ...], int]]:
        return iter(zip(self.inputs, self.outputs, strict=True))

    def __len__(self) -> int:
        return len(self.inputs)

    def __str__(self) -> str:
        inputs = [f"x{i + 1}" for i in range(len(self.inputs[0]))]
        heads = (inputs, self.hidden_names, (self.name,))

        def cells(row: Sequence[Sequence[Any]]) -> list[str]:
            """Inputs, hidden units and output as texts, without a part that is empty."""
            return [
                "  ".join(f"{value:>{len(head)}}" for value, head in zip(part, names, strict=True))
                for part, names in zip(row, heads, strict=True)
                if names
            ]

        outputs = ((output,) for output in self.outputs)
        rule = "-+-".join("-" * len(cell) for cell in cells(heads))
        rows = zip(self.inputs, self.hidden, outputs, strict=True)
        return "\n".join([" | ".join(cells(heads)), rule, *(" | ".join(cells(r)) for r in rows)])


class _Logic(ABC):
    """What a unit and a network of units have in common."""

    name: str

    @abstractmethod
    def _layers(self) -> tuple[tuple[McCullochPitts, ...], ...]:
        """The units, layer by layer."""

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return len(self._layers()[0][0].weights)

    def _outputs(self, x: ArrayLike) -> tuple[list[Array], bool]:
        """Outputs of every layer, arrays of shape (n, units), and whether `x` is a single row."""
        x = as_array("x", x)
        xp, device = placement(x=x)
        if isinstance(x, host.ndarray) and x.size:
            odd = x[(x != 0) & (x != 1)]
            if odd.size:
                raise ValueError(f"x holds {odd[0].tolist()!r}; expected only 0 and 1")
        single = is_single_row("x", x, self.inputs)
        outputs = []
        with on_device(device):
            a = as_floating(x, xp)
            a = a[None, :] if single else a
            for layer in self._layers():
                a = _fire(layer, a, xp, device)
                outputs.append(a)
        return outputs, single

    def forward(self, x: ArrayLike) -> Array:
        """Fire or stay silent; calling does the same.

        Parameters
        ----------
        x : array_like of 0 and 1, shape (inputs,) or (n, inputs)
            A single row, or one row for each example. The values are checked where that
            is free, in lists and NumPy arrays; on a device nothing waits for a check.

        Returns
        -------
        array of 0 and 1, 0-d or shape (n,)
            In the dtype of `x`; the default float where `x` holds integers or booleans.

        Raises
        ------
        ValueError
            A row has another length than the weights, there is no row, or an input is
            neither 0 nor 1.
        """
        outputs, single = self._outputs(x)
        return outputs[-1][0, 0, ...] if single else outputs[-1][:, 0]

    __call__ = forward

    def truth_table(self, backend: Backend | None = None) -> TruthTable:
        """Compute the outputs, also those of hidden units, for every combination of inputs.

        Parameters
        ----------
        backend : Backend, optional
            Where to compute it; default, NumPy.

        Returns
        -------
        TruthTable

        Raises
        ------
        ValueError
            There are more than 16 inputs.
        """
        if self.inputs > _LARGEST:
            raise ValueError(
                f"a truth table of {self.inputs} inputs has 2**{self.inputs} rows; expected at "
                f"most {_LARGEST} inputs"
            )
        rows = tuple(product((0, 1), repeat=self.inputs))
        x = host.asarray(rows, dtype=host.float64)
        outputs, _ = self._outputs(x if backend is None else backend.asarray(x))
        table = host.concatenate([to_host(layer) for layer in outputs], axis=1).astype(int).tolist()
        return TruthTable(
            inputs=rows,
            outputs=tuple(row[-1] for row in table),
            hidden=tuple(tuple(row[:-1]) for row in table),
            name=self.name,
            hidden_names=tuple(unit.name for layer in self._layers()[:-1] for unit in layer),
        )


def _fire(units: tuple[McCullochPitts, ...], x: Array, xp: Namespace, device: Device) -> Array:
    """Outputs of shape (n, units) of units that read the same rows."""
    columns = host.asarray([unit.weights for unit in units], dtype=host.float64).T
    weights = to_device(columns, xp, device, x.dtype)
    limits = to_device([-float(unit.threshold) for unit in units], xp, device, x.dtype)
    return heaviside(linear(x, weights, limits, xp=xp), xp=xp)


def _number(name: str, value: float) -> float:
    given = as_array(name, value)
    if given.ndim != 0 or not math.isfinite(given):
        raise ValueError(f"{name} is {value!r}; expected one finite number")
    number: float = to_host(given).tolist()
    return number


@dataclass(frozen=True)
class McCullochPitts(_Logic):
    """A unit that fires (1) when the weighted sum of its inputs reaches a threshold.

    The weights are plain numbers until data comes in: the unit runs on whatever library
    and device its inputs live.

    Parameters
    ----------
    weights : sequence of float
        One for each input; positive ones excite, negative ones inhibit.
    threshold : float
        The unit fires where ``sum(weights * inputs) >= threshold``.
    name : str, default 'fires'
        Heading of its column in a truth table.

    Raises
    ------
    ValueError
        There is no weight, or a number is not finite.
    TypeError
        Something is not a number.

    References
    ----------
    McCulloch & Pitts (1943).

    Examples
    --------
    >>> from xpnn import McCullochPitts
    >>> print(McCullochPitts.and_().truth_table())
    x1  x2 | AND
    -------+----
     0   0 |   0
     0   1 |   0
     1   0 |   0
     1   1 |   1
    """

    weights: tuple[float, ...]
    threshold: float
    name: str = "fires"

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Iterable) or isinstance(self.weights, str):
            raise TypeError(f"weights is {self.weights!r}; expected a sequence of numbers")
        weights = tuple(_number(f"weights[{i}]", w) for i, w in enumerate(self.weights))
        if not weights:
            raise ValueError("weights is empty; expected one for each input")
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "threshold", _number("threshold", self.threshold))

    def _layers(self) -> tuple[tuple[McCullochPitts, ...], ...]:
        return ((self,),)

    @property
    def excitatory(self) -> tuple[int, ...]:
        """Inputs that push the unit to fire: those with positive weights."""
        return tuple(i for i, w in enumerate(self.weights) if w > 0)

    @property
    def inhibitory(self) -> tuple[int, ...]:
        """Inputs that hold the unit back: those with negative weights."""
        return tuple(i for i, w in enumerate(self.weights) if w < 0)

    @classmethod
    def and_(cls, n: int = 2) -> McCullochPitts:
        """Fires when all of `n` inputs do."""
        n = positive_integer("n", n)
        return cls((1,) * n, n, "AND")

    @classmethod
    def or_(cls, n: int = 2) -> McCullochPitts:
        """Fires when at least one of `n` inputs does."""
        return cls((1,) * positive_integer("n", n), 1, "OR")

    @classmethod
    def not_(cls) -> McCullochPitts:
        """Fires when its one input does not."""
        return cls((-1,), 0, "NOT")

    @classmethod
    def nand(cls, n: int = 2) -> McCullochPitts:
        """Fires unless all of `n` inputs do."""
        n = positive_integer("n", n)
        return cls((-1,) * n, 1 - n, "NAND")

    @classmethod
    def nor(cls, n: int = 2) -> McCullochPitts:
        """Fires when none of `n` inputs does."""
        return cls((-1,) * positive_integer("n", n), 0, "NOR")

    @staticmethod
    def xor() -> McCullochPittsNetwork:
        """Fires when exactly one of two inputs does: OR and NAND feed AND.

        One unit cannot: no line separates (0, 1) and (1, 0) from (0, 0) and (1, 1)
        (Minsky & Papert, "Perceptrons", 1969).
        """
        units = McCullochPitts.or_(), McCullochPitts.nand()
        return McCullochPittsNetwork((units, (McCullochPitts.and_(),)), "XOR")


@dataclass(frozen=True)
class McCullochPittsNetwork(_Logic):
    """Layers of threshold units, each reading all units of the layer before it.

    Parameters
    ----------
    layers : tuple of tuple of McCullochPitts
        The first layer reads the inputs; the last has one unit, the output.
    name : str, default 'fires'
        Heading of the output in a truth table.

    Raises
    ------
    ValueError
        A unit does not have as many inputs as there are units before it, or the last
        layer has not exactly one unit.
    """

    layers: tuple[tuple[McCullochPitts, ...], ...]
    name: str = "fires"

    def __post_init__(self) -> None:
        layers = tuple(tuple(layer) for layer in self.layers)
        if not layers or not all(layers):
            raise ValueError("layers holds no unit; expected at least one in every layer")
        width = layers[0][0].inputs
        for i, layer in enumerate(layers):
            for unit in layer:
                if unit.inputs != width:
                    raise ValueError(
                        f"a unit of layers[{i}] has {unit.inputs} weights; expected {width}"
                    )
            width = len(layer)
        if width != 1:
            raise ValueError(f"the last layer has {width} units; expected one")
        object.__setattr__(self, "layers", layers)

    def _layers(self) -> tuple[tuple[McCullochPitts, ...], ...]:
        return self.layers

    def hidden(self, x: ArrayLike) -> list[Array]:
        """Outputs of the hidden layers.

        Parameters
        ----------
        x : array_like of 0 and 1, shape (inputs,) or (n, inputs)
            A single row, or one row for each example.

        Returns
        -------
        list of array, shape (units,) or (n, units)
            One for each hidden layer.
        """
        outputs, single = self._outputs(x)
        return [layer[0, :] if single else layer for layer in outputs[:-1]]
