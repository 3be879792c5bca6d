"""Layers: structure without arrays, with a pure forward and backward each.

A network is a `Chain`, a layer made of layers. To write your own, see `Layer`: a frozen
dataclass with `forward` and `backward` is all that training and the engine ask for.
"""

from xpnn.layers.base import (
    Layer,
    Parameter,
    Tree,
    draw,
    flatten,
    place,
    size,
    unflatten,
    walk,
)
from xpnn.layers.chain import Chain, LayerSpec, chain
from xpnn.layers.core import Activation, CustomActivation, Dense, Dropout, RawErrorDense

__all__ = [
    "Activation",
    "Chain",
    "CustomActivation",
    "Dense",
    "Dropout",
    "Layer",
    "LayerSpec",
    "Parameter",
    "RawErrorDense",
    "Tree",
    "chain",
    "draw",
    "flatten",
    "place",
    "size",
    "unflatten",
    "walk",
]
