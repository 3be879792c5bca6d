"""Layers one after the other: a network is a layer made of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral

from xpnn.backends import Array, Namespace
from xpnn.functional.checked_numbers import is_integer
from xpnn.layers.base import Layer, Parameter, Tree, map_leaves, walk
from xpnn.layers.core import Activation, Dense

LayerSpec = Layer | int | str

_RECTIFIERS = frozenset({"relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "softplus"})


@dataclass(frozen=True, repr=False)
class Chain(Layer):
    """Layers applied one after the other.

    Parameters
    ----------
    layers : tuple of Layer
        At least one.
    """

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("layers is empty; expected at least one layer")

    def widths(self, inputs: int) -> list[int]:
        """Width that each layer is handed, and last the chain's output."""
        widths = [inputs]
        for layer in self.layers:
            widths.append(layer.outputs(widths[-1]))
        return widths

    def outputs(self, inputs: int) -> int:
        """Width of the last layer's output."""
        return self.widths(inputs)[-1]

    def parameters(self, inputs: int) -> Tree:
        """One tuple for each layer, names prefixed with the layer's number."""
        found = []
        for i, (layer, width) in enumerate(zip(self.layers, self.widths(inputs), strict=False)):

            def named(parameter: Parameter, number: int = i) -> Parameter:
                return replace(parameter, name=f"{number}.{parameter.name}")

            found.append(map_leaves(named, layer.parameters(width)))
        return tuple(found)

    def noise(self, inputs: int, rows: int) -> Tree:
        """One entry for each layer; None where no layer wants any."""
        shapes = []
        for layer, width in zip(self.layers, self.widths(inputs), strict=False):
            shapes.append(layer.noise(width, rows))
        return None if shapes.count(None) == len(shapes) else tuple(shapes)

    def forward(self, params: Tree, x: Array, noise: Tree, *, xp: Namespace) -> tuple[Array, Tree]:
        """Apply each layer to the output of the one before; see `Layer.forward`."""
        saved = []
        noises = (None,) * len(self.layers) if noise is None else noise
        for layer, p, layer_noise in zip(self.layers, params, noises, strict=True):
            x, kept = layer.forward(p, x, layer_noise, xp=xp)
            saved.append(kept)
        return x, tuple(saved)

    def backward(
        self, params: Tree, saved: Tree, dy: Array, *, xp: Namespace, input_gradient: bool = True
    ) -> tuple[Array | None, Tree]:
        """Go through the layers backwards by the chain rule; see `Layer.backward`."""
        gradients: list[Tree] = []
        dx: Array | None = dy
        for i in range(len(self.layers) - 1, -1, -1):
            # Nothing below the first layer with parameters wants a gradient.
            wanted = input_gradient or next(walk(params[:i]), None) is not None
            if dx is None:
                gradients.append(params[i])  # holds no array, and so does its gradient
                continue
            dx, dparams = self.layers[i].backward(
                params[i], saved[i], dx, xp=xp, input_gradient=wanted
            )
            gradients.append(dparams)
        return dx, tuple(reversed(gradients))


def chain(layers: Sequence[LayerSpec] | Chain) -> Chain:
    """Make a chain from layers and their short forms.

    Parameters
    ----------
    layers : sequence of Layer, int or str
        An integer is a `Dense` of that width, a string an `Activation` of that name. The
        weights of a short dense layer start as He et al. advise where a rectifier
        follows it, else as Glorot and Bengio do.

    Returns
    -------
    Chain

    Raises
    ------
    TypeError
        An entry is none of these.

    Examples
    --------
    >>> from xpnn.layers import chain
    >>> chain([100, "relu", 10]).layers
    (Dense(100, init='he_uniform'), Activation('relu'), Dense(10))
    """
    if isinstance(layers, Chain):
        return layers
    if isinstance(layers, str | Integral | Layer):
        layers = [layers]
    made: list[Layer] = []
    for i, spec in enumerate(layers):
        following = layers[i + 1] if i + 1 < len(layers) else None
        name = following.name if isinstance(following, Activation) else following
        if isinstance(spec, Layer):
            made.append(spec)
        elif isinstance(spec, str):
            made.append(Activation(spec))
        elif is_integer(spec):
            rectified = isinstance(name, str) and name in _RECTIFIERS
            made.append(Dense(spec, init="he_uniform" if rectified else "glorot_uniform"))
        else:
            raise TypeError(
                f"layers[{i}] is {spec!r}; expected a Layer, a width (int) or an activation (str)"
            )
    return Chain(tuple(made))
