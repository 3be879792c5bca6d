"""Dense networks from elsewhere: PyTorch's modules, and lists of arrays as Keras gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xpnn.backends import InputError, dtype_name, host, is_array, to_host
from xpnn.functional import ACTIVATIONS
from xpnn.layers import Activation, Chain, Dense, Dropout, Layer
from xpnn.training import Loss, Network

# Keras's word for the field's.
_NAMES = {"linear": "identity", "swish": "silu"}


class NetworkImportError(InputError):
    """A model from elsewhere cannot be made into a network; the message says why."""


# PyTorch


def _gelu(m: Any) -> Layer:
    return Activation({"none": "gelu", "tanh": "gelu_tanh"}[m.approximate])


def _softplus(m: Any) -> Layer:
    # Above its threshold PyTorch's is z itself, which at 20 is 2e-9 less.
    if m.beta != 1 or m.threshold < 20:
        raise InputError("expected beta=1 and a threshold of 20 or more")
    return Activation("softplus")


def _softmax(m: Any) -> Layer:
    if m.dim not in (1, -1, None):
        raise InputError(f"dim is {m.dim}; expected 1 or -1")
    return Activation("softmax" if type(m).__name__ == "Softmax" else "log_softmax")


def _flatten(m: Any) -> Layer:
    if m.start_dim != 1 or m.end_dim != -1:
        raise InputError("expected start_dim=1 and end_dim=-1")
    return Activation("identity")


# Module and name in torch.nn.modules -> an activation, or what makes a layer of it.
_MODULES: dict[str, str | Callable[[Any], Layer]] = {
    "linear.Identity": "identity",
    "linear.Linear": lambda m: Dense(int(m.out_features), bias=m.bias is not None),
    "activation.Sigmoid": "sigmoid",
    "activation.Tanh": "tanh",
    "activation.ReLU": "relu",
    "activation.LeakyReLU": lambda m: Activation("leaky_relu", float(m.negative_slope)),
    "activation.ELU": lambda m: Activation("elu", float(m.alpha)),
    "activation.GELU": _gelu,
    "activation.SiLU": "silu",
    "activation.Softplus": _softplus,
    "activation.Softmax": _softmax,
    "activation.LogSoftmax": _softmax,
    "dropout.Dropout": lambda m: Dropout(float(m.p)),
    "flatten.Flatten": _flatten,
}
_SEQUENTIAL = "container.Sequential"


class _Reader:
    """Goes through modules, and collects parameters on the way."""

    def __init__(self) -> None:
        self.arrays: dict[str, Any] = {}
        self.dtypes: dict[str, str] = {}  # and the first parameter of each
        self.widths: list[int] = []  # of the inputs, and of each Linear's outputs

    def layer(self, m: Any, name: str) -> Layer:
        """Make a layer of a module; `name` is its path, such as '1.0'."""
        kind, where = type(m), f"module {name} ({type(m).__qualname__})" if name else "the module"
        path = f"{kind.__module__}.{kind.__qualname__}".removeprefix("torch.nn.modules.")
        if path != _SEQUENTIAL and path not in _MODULES:
            known = sorted(k.rpartition(".")[2] for k in [*_MODULES, _SEQUENTIAL])
            raise NetworkImportError(
                f"{where} is a {kind.__module__}.{kind.__qualname__}; expected one of torch.nn's "
                f"{', '.join(known)}"
            )
        if m._forward_hooks or m._forward_pre_hooks:
            raise NetworkImportError(f"{where} has forward hooks, which are code")
        if path == _SEQUENTIAL:
            if not len(m):
                raise NetworkImportError(f"{name or 'the module'} is an empty Sequential")
            prefix = f"{name}." if name else ""
            return Chain(tuple(self.layer(inner, f"{prefix}{i}") for i, inner in enumerate(m)))
        make = _MODULES[path]
        try:
            layer = Activation(make) if isinstance(make, str) else make(m)
        except ValueError as error:
            raise NetworkImportError(f"{where} is {m!r}: {error}") from error
        if isinstance(layer, Dense):
            self._read(m, name, where)
        return layer

    def _read(self, m: Any, name: str, where: str) -> None:
        """Take the parameters of a `Linear`."""
        self.widths = self.widths or [int(m.in_features)]
        if m.in_features != self.widths[-1]:
            raise NetworkImportError(
                f"{where} takes {m.in_features} inputs; the layer before gives {self.widths[-1]}"
            )
        self.widths.append(int(m.out_features))
        for own, theirs in (("weights", m.weight), ("bias", m.bias)):
            if theirs is not None:
                self.dtypes.setdefault(dtype_name(theirs.dtype), f"{name}.{own}")
                values = to_host(theirs)
                self.arrays[f"{name}.{own}"] = values.T if own == "weights" else values


def from_torch(
    module: Any, *, loss: str | Loss = "softmax_cross_entropy", seed: Any = None
) -> Network:
    """Make a network of a PyTorch module, with the same parameters bit for bit.

    Parameters
    ----------
    module : torch.nn.Sequential
        Of `Linear`, `Dropout`, `Flatten` (which does nothing to rows), `Identity`,
        `Sequential`, `Sigmoid`, `Tanh`, `ReLU`, `LeakyReLU`, `ELU`, `GELU`, `SiLU`,
        `Softplus`, `Softmax`, `LogSoftmax`. Nothing of PyTorch is run.
    loss : str or Loss, default 'softmax_cross_entropy'
        What the scores mean. It holds the softmax or sigmoid of probabilities: hand in the
        module without a last `Softmax` or `Sigmoid`, such as ``module[:-1]``.
    seed : int or generator, optional
        For training on.

    Returns
    -------
    Network
        Its scores are what the module gives. What is ``1.0.weight`` there is
        ``1.0.weights`` here, a transposed copy. They live where the first data does.

    Raises
    ------
    NetworkImportError
        A module is of another class, or has options that there are none for here.

    Examples
    --------
    >>> import torch
    >>> from xpnn.export import from_torch
    >>> from_torch(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU()))
    Network(4, [Dense(8), Activation('relu')], loss='softmax_cross_entropy')
    """
    if not type(module).__module__.startswith("torch.nn."):
        raise NetworkImportError(
            f"module is a {type(module).__module__}.{type(module).__qualname__}; expected a "
            "torch.nn.Sequential"
        )
    reader = _Reader()
    if type(module).__qualname__ == "Sequential":
        layers = reader.layer(module, "")
    else:
        layers = Chain((reader.layer(module, "0"),))
    if not reader.widths:
        raise NetworkImportError("the module has no Linear, which would tell the number of inputs")
    if len(reader.dtypes) > 1:
        said = " and ".join(f"{name} is {dtype}" for dtype, name in reader.dtypes.items())
        raise NetworkImportError(f"{said}; expected one dtype")
    assert isinstance(layers, Chain)
    (dtype,) = reader.dtypes
    network = Network(reader.widths[0], layers, loss=loss, seed=seed, dtype=dtype)
    return network.assign(**reader.arrays)


# Lists of arrays


def _pairs(weights: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Group arrays into weights and bias (None where there is none) of each layer."""
    if is_array(weights) or isinstance(weights, str | dict) or not len(weights):
        raise NetworkImportError(
            f"weights is a {type(weights).__name__}; expected a list of pairs (weights, bias), or "
            "of arrays"
        )
    of_arrays = any(is_array(entry) for entry in weights)
    pairs: list[tuple[Any, Any]] = []
    for i, entry in enumerate(weights):
        if not of_arrays:
            pairs.append(_pair(entry, i))
        elif not is_array(entry) or entry.ndim not in (1, 2):
            what = tuple(entry.shape) if is_array(entry) else type(entry).__name__
            raise NetworkImportError(
                f"weights[{i}] is {what}; expected an array of one or two axes"
            )
        elif entry.ndim == 2:
            pairs.append((entry, None))
        elif not pairs or pairs[-1][1] is not None:
            raise NetworkImportError(
                f"weights[{i}] has shape {tuple(entry.shape)}; expected the weights of a layer, "
                "(inputs, outputs), before its bias"
            )
        else:
            pairs[-1] = (pairs[-1][0], entry)
    return pairs


def _pair(entry: Any, i: int) -> tuple[Any, Any]:
    many = isinstance(entry, tuple | list)
    if not many or len(entry) not in (1, 2):
        what = f"a {type(entry).__name__} of {len(entry)}" if many else f"{entry!r:.80}"
        raise NetworkImportError(
            f"weights[{i}] is {what}; expected a pair (weights, bias), where bias may be None"
        )
    return entry[0], entry[1] if len(entry) == 2 else None


def _numbers(what: str, values: Any) -> Any:
    """An array of numbers on the host; integers become float64."""
    try:
        array = to_host(values)
        kind = array.dtype.kind
    except (TypeError, ValueError) as error:
        raise NetworkImportError(f"{what} is no array of numbers: {error}") from error
    if kind not in "iuf" or array.dtype.itemsize > 8:
        raise NetworkImportError(f"{what} has dtype {array.dtype}; expected floats")
    return array if kind == "f" else array.astype(host.float64)


def _check_shapes(i: int, weights: Any, bias: Any, width: int) -> None:
    """Compare a layer's shapes with the width of the layer before; 0 where there is none."""
    shape = tuple(weights.shape)
    if len(shape) != 2 or 0 in shape or (width and shape[0] != width):
        turned = len(shape) == 2 and width and shape[1] == width
        hint = "; transposed it would fit, as PyTorch has it" if turned else ""
        raise NetworkImportError(
            f"the weights of layer {i} have shape {shape}; expected ({width or 'inputs'}, "
            f"outputs){hint}"
        )
    if bias is not None and tuple(bias.shape) != shape[1:]:
        raise NetworkImportError(
            f"the bias of layer {i} has shape {tuple(bias.shape)}; expected ({shape[1]},)"
        )


def _activations(activations: Any, count: int) -> list[Layer | None]:
    """One activation, or None, for each layer."""
    if activations is None or isinstance(activations, str | Layer):
        activations = [activations] * (count - 1) + [None]
    if len(activations) != count:
        raise NetworkImportError(
            f"activations has {len(activations)} entries; expected {count}, one for each layer"
        )
    chosen: list[Layer | None] = []
    for i, given in enumerate(activations):
        name = _NAMES.get(given, given) if isinstance(given, str) else given
        if name is None or isinstance(name, Layer):
            chosen.append(name)
        elif name in ACTIVATIONS:
            chosen.append(None if name == "identity" else Activation(name))
        else:
            raise NetworkImportError(
                f"activations[{i}] is {given!r}; expected None, a Layer, or one of "
                f"{', '.join([*ACTIVATIONS, *_NAMES])}"
            )
    return chosen


def from_weights(
    weights: Sequence[Any],
    activations: Any,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    seed: Any = None,
) -> Network:
    """Make a network of the arrays of its dense layers.

    Parameters
    ----------
    weights : sequence of pairs, or of arrays
        Pairs (weights, bias) with weights of shape (inputs, outputs) and a bias of shape
        (outputs,) or None; or all arrays in a row, as ``model.get_weights()`` of Keras
        gives them, where a layer without a bias has none.
    activations : str, Layer, None, or a sequence of them
        One for each layer, the last one's included; None and 'linear' do nothing. A single
        one is that of all layers but the last. Names are those of
        `xpnn.functional.ACTIVATIONS`; Keras's leaky ReLU is ``Activation("leaky_relu", 0.2)``.
    loss : str or Loss, default 'softmax_cross_entropy'
        What the scores mean. It holds the softmax or sigmoid of probabilities: give None
        for that of the last layer.
    seed : int or generator, optional
        For training on.

    Returns
    -------
    Network
        In the arrays' dtype, the widest where they differ. Its parameters live where the
        first data does.

    Raises
    ------
    NetworkImportError
        Shapes or numbers of entries do not fit, or an activation is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn.export import from_weights
    >>> from_weights([np.ones((2, 3)), np.zeros(3), np.ones((3, 1)), np.zeros(1)], "tanh")
    Network(2, [Dense(3), Activation('tanh'), Dense(1)], loss='softmax_cross_entropy')
    """
    pairs = _pairs(weights)
    layers: list[Layer] = []
    arrays: dict[str, Any] = {}
    width = 0
    after = _activations(activations, len(pairs))
    for i, ((w, b), activation) in enumerate(zip(pairs, after, strict=True)):
        w = _numbers(f"the weights of layer {i}", w)
        b = b if b is None else _numbers(f"the bias of layer {i}", b)
        _check_shapes(i, w, b, width)
        width = int(w.shape[1])
        arrays[f"{len(layers)}.weights"] = w
        if b is not None:
            arrays[f"{len(layers)}.bias"] = b
        layers.append(Dense(width, bias=b is not None))
        if activation is not None:
            layers.append(activation)
    dtype = host.result_type(*(values.dtype for values in arrays.values())).name
    inputs = int(arrays["0.weights"].shape[0])
    return Network(inputs, layers, loss=loss, seed=seed, dtype=dtype).assign(**arrays)
