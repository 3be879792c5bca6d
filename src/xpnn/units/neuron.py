"""One neuron: a weighted sum, a bias, an activation; and what its weights mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from xpnn.backends import (
    Array,
    ArrayLike,
    Backend,
    Device,
    HostGenerator,
    Namespace,
    as_array,
    as_floating,
    backend_of,
    generator,
    host,
    is_array,
    on_device,
    placement,
    select,
    to_device,
    to_float,
    to_host,
)
from xpnn.functional import initializer, linear
from xpnn.layers import Activation
from xpnn.units.arguments import is_single_row, positive_integer

_BIG = 0.5  # share of the largest weight up to which an input must be big to count
_SHOWN = 8  # weights that a repr writes out


@dataclass(frozen=True)
class Explanation:
    """How a neuron computed its output for one row; all values on the host.

    Parameters
    ----------
    inputs, weights, contributions : tuple of float
        ``contributions[i] = inputs[i] * weights[i]``.
    bias, score, output : float
        The score is the sum of contributions and bias, the output its activation.
    activation : str
        Name of the activation.
    most_sensitive : int or None
        Input with the weight largest in size, the first of equals; None where all are 0.
    largest_contribution : int or None
        Input whose contribution is largest in size; None where all are 0.
    ignored : tuple of int
        Inputs with weight 0.
    logic : str
        The weights read as logic; see `Neuron.logic`.
    names : tuple of str
        Names of the inputs.
    """

    inputs: tuple[float, ...]
    weights: tuple[float, ...]
    contributions: tuple[float, ...]
    bias: float
    score: float
    output: float
    activation: str
    most_sensitive: int | None
    largest_contribution: int | None
    ignored: tuple[int, ...]
    logic: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("input", "value", "weight", "value*weight", "")]
        columns = zip(self.names, self.inputs, self.weights, self.contributions, strict=True)
        for i, (name, *values) in enumerate(columns):
            remarks = {
                "most sensitive": i == self.most_sensitive,
                "contributes most": i == self.largest_contribution,
                "ignored": i in self.ignored,
            }
            remark = ", ".join(text for text, holds in remarks.items() if holds)
            rows.append((name, *(f"{value:.6g}" for value in values), remark))
        for name in ("bias", "score", "output"):
            remark = self.activation if name == "output" else ""
            rows.append((name, "", "", f"{getattr(self, name):.6g}", remark))
        a, b, c, d = (max(len(row[column]) for row in rows) for column in range(4))
        lines = [
            f"{name:<{a}}  {value:>{b}}  {weight:>{c}}  {product:>{d}}  {remark}".rstrip()
            for name, value, weight, product, remark in rows
        ]
        return "\n".join([*lines, f"The score is high if: {self.logic}"])


@dataclass(frozen=True, eq=False, repr=False)
class Neuron:
    """A neuron ``output = activation(inputs @ weights + bias)``.

    It computes in the dtype of the rows that come in; lists and integers take that of the
    weights, and go where the weights live.

    Parameters
    ----------
    weights : array_like, shape (inputs,)
        Array of any library; lists become a NumPy array, integers the default float.
    bias : float, default 0
        Shifts the activation to the left (positive) or right, whatever the inputs are.
    activation : str, default 'identity'
        A name in `xpnn.functional.ACTIVATIONS`. Softmax, of one unit alone, is always 1.
    alpha : float, optional
        Parameter of 'leaky_relu' and 'elu'.

    Raises
    ------
    ValueError
        `weights` is not one-dimensional or empty, `bias` is not one number, or the
        activation is not known.
    TypeError
        `weights` or `bias` does not hold numbers.

    References
    ----------
    Goodfellow, Bengio, Courville, "Deep Learning" (2016), equation 6.3.

    Examples
    --------
    >>> from xpnn import Neuron
    >>> neuron = Neuron([0.1, 0.2, 0.0])
    >>> round(float(neuron([8.5, 0.65, 1.2])), 2)
    0.98
    >>> neuron.logic()
    'BIG input[0] OR input[1]'
    """

    weights: Array
    bias: float = 0.0
    activation: str = "identity"
    alpha: float | None = None
    _layer: Activation = field(init=False)

    def __post_init__(self) -> None:
        weights = as_array("weights", self.weights)
        shape = tuple(weights.shape)
        if len(shape) != 1 or shape[0] == 0:
            raise ValueError(f"weights has shape {shape}; expected (inputs,), one for each input")
        bias = as_array("bias", self.bias)
        if bias.ndim != 0:
            raise ValueError(f"bias has shape {tuple(bias.shape)}; expected one number")
        layer = Activation(self.activation, self.alpha)
        xp, device = placement(weights=weights)
        with on_device(device):
            own = xp.asarray(as_floating(weights, xp), copy=True)
        found = {"weights": own, "bias": to_float(bias), "alpha": layer.alpha, "_layer": layer}
        for name, value in found.items():
            object.__setattr__(self, name, value)

    @classmethod
    def random(
        cls,
        inputs: int,
        activation: str = "identity",
        *,
        alpha: float | None = None,
        seed: int | HostGenerator | None = None,
        backend: Backend | str | None = None,
    ) -> Neuron:
        """Make a neuron with standard normal weights and bias 0.

        Parameters
        ----------
        inputs : int
            Number of inputs.
        activation, alpha : optional
            As for `Neuron`.
        seed : int or generator, optional
            The same seed gives the same weights on every library.
        backend : Backend or str, optional
            Where the weights live; default, NumPy.

        Returns
        -------
        Neuron

        Raises
        ------
        ValueError
            `inputs` is not a positive integer.
        """
        inputs = positive_integer("inputs", inputs)
        weights = initializer("normal")(generator(seed), inputs, 1, scale=1.0)[:, 0]
        if isinstance(backend, str):
            backend = select(backend)
        if backend is not None:
            weights = to_device(weights, backend.xp, backend.device, backend.dtype)
        return cls(weights, 0.0, activation, alpha)

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return int(self.weights.shape[0])

    def __repr__(self) -> str:
        values = to_host(self.weights).tolist()
        shown = ", ".join(f"{w:.6g}" for w in values[:_SHOWN])
        text = f"[{shown}]" if len(values) <= _SHOWN else f"[{shown}, ...] ({len(values)} weights)"
        alpha = "" if self.alpha is None else f", alpha={self.alpha!r}"
        own = backend_of(self.weights).describe()
        return (
            f"<Neuron weights={text}, bias={self.bias:.6g}, "
            f"activation={self.activation!r}{alpha}; {own}>"
        )

    def _rows(self, x: ArrayLike) -> tuple[Array, Namespace, Device]:
        """Bring lists and integers to the weights' place and dtype; an array must be there."""
        if is_array(x) and not isinstance(x, host.generic):
            x = as_array("x", x)
            xp, device = placement(x=x, weights=self.weights)
            return as_floating(x, xp, self.weights.dtype), xp, device
        xp, device = placement(weights=self.weights)
        return to_device(as_array("x", x), xp, device, self.weights.dtype), xp, device

    def _run(self, x: ArrayLike, activation: Activation | None) -> Array:
        x, xp, device = self._rows(x)
        single = is_single_row("x", x, self.inputs)
        with on_device(device):
            rows = x[None, :] if single else x
            weights = xp.astype(self.weights, x.dtype, copy=False)
            z = linear(rows, weights[:, None], self.bias, xp=xp)
            if activation is not None:
                z = activation.forward((), z, None, xp=xp)[0]
            return z[0, 0, ...] if single else z[:, 0]

    def score(self, x: ArrayLike) -> Array:
        """Weighted sum and bias, before the activation.

        Parameters
        ----------
        x : array_like, shape (inputs,) or (n, inputs)
            A single row, or one row for each example.

        Returns
        -------
        array, 0-d or shape (n,)

        Raises
        ------
        ValueError
            A row has another length than the weights, or there is no row.
        MixedArraysError
            `x` lives elsewhere than the weights.
        """
        return self._run(x, None)

    def forward(self, x: ArrayLike) -> Array:
        """Compute the output, the activation of the score; calling the neuron does the same.

        Parameters
        ----------
        x : array_like, shape (inputs,) or (n, inputs)
            A single row, or one row for each example.

        Returns
        -------
        array, 0-d or shape (n,)

        Raises
        ------
        ValueError, MixedArraysError
            As in `score`.
        """
        return self._run(x, self._layer)

    __call__ = forward

    def _names(self, names: Sequence[str] | None) -> tuple[str, ...]:
        if names is None:
            return tuple(f"input[{i}]" for i in range(self.inputs))
        if len(names) != self.inputs:
            raise ValueError(f"names has {len(names)} entries; expected {self.inputs}")
        return tuple(str(name) for name in names)

    def logic(self, names: Sequence[str] | None = None) -> str:
        """Read the weights as logic: the score is high if ...

        A negative weight reads as NOT; one at most half as large as the largest needs a
        BIG input to count; one of 0 is ignored. Reads the weights from the device.

        Parameters
        ----------
        names : sequence of str, optional
            Names of the inputs; default ``input[0]``, ``input[1]``, ...

        Returns
        -------
        str

        Raises
        ------
        ValueError
            There are more or fewer names than inputs.
        """
        names = self._names(names)
        weights = to_host(self.weights).tolist()
        largest = max(abs(w) for w in weights)
        terms = [
            f"{'NOT ' if w < 0 else ''}{'BIG ' if abs(w) <= _BIG * largest else ''}{name}"
            for name, w in zip(names, weights, strict=True)
            if w != 0
        ]
        return " OR ".join(terms) or "nothing (every weight is 0)"

    def explain(self, x: ArrayLike, names: Sequence[str] | None = None) -> Explanation:
        """Explain the output for one row; reads it from the device.

        Parameters
        ----------
        x : array_like, shape (inputs,)
            A single row.
        names : sequence of str, optional
            Names of the inputs; default ``input[0]``, ``input[1]``, ...

        Returns
        -------
        Explanation

        Raises
        ------
        ValueError
            `x` is not one row of the right length, or the number of names is wrong.
        MixedArraysError
            `x` lives elsewhere than the weights.
        """
        names = self._names(names)
        x, xp, device = self._rows(x)
        if tuple(x.shape) != (self.inputs,):
            raise ValueError(
                f"x has shape {tuple(x.shape)}; expected a single row of shape ({self.inputs},)"
            )
        with on_device(device):
            products = to_host(x * xp.astype(self.weights, x.dtype, copy=False)).tolist()
        weights = to_host(self.weights).tolist()
        return Explanation(
            inputs=tuple(to_host(x).tolist()),
            weights=tuple(weights),
            contributions=tuple(products),
            bias=self.bias,
            score=to_float(self.score(x)),
            output=to_float(self.forward(x)),
            activation=self.activation,
            most_sensitive=_largest(weights),
            largest_contribution=_largest(products),
            ignored=tuple(i for i, w in enumerate(weights) if w == 0),
            logic=self.logic(names),
            names=names,
        )


def _largest(values: list[Any]) -> int | None:
    """Index of the first entry that is largest in size; None where all are 0."""
    index = int(host.argmax(host.abs(values)))
    return index if values[index] != 0 else None
