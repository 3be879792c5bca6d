"""The estimators' parameters: which values they may have, and what is made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from xpnn.backends import PRECISIONS, InputError
from xpnn.distributed import MPIOptions
from xpnn.engine import MODES
from xpnn.estimators.rules import AdjustedRate
from xpnn.functional import ACTIVATIONS
from xpnn.layers import (
    Activation,
    Chain,
    CustomActivation,
    Dense,
    Dropout,
    Layer,
    Parameter,
    Tree,
    place,
    size,
    walk,
)
from xpnn.optimizers import (
    SGD,
    Adam,
    AdamW,
    LossScaler,
    Optimizer,
    OptimizerChain,
    Schedule,
    add_decayed_weights,
    chain,
    clip_by_global_norm,
)
from xpnn.training.options import COMPUTE_DTYPES

CONSTRAINTS: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions({"logistic", *ACTIVATIONS}), Layer, "array-like"],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"}), Schedule],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    "dropout": ["array-like", Interval(Real, 0, 1, closed="left")],
    "optimizer": [None, Optimizer],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
    "monitor": [StrOptions({"score", "loss"}), str, callable],
    "dtype": [None, StrOptions({"float16", "float32", "float64"})],
    "compute_dtype": [None, StrOptions(set(COMPUTE_DTYPES))],
    "loss_scale": [
        None,
        StrOptions({"dynamic"}),
        LossScaler,
        Interval(Real, 0, None, closed="neither"),
    ],
    "precision": [StrOptions(set(PRECISIONS))],
    "deterministic": ["boolean"],
    "gradient_accumulation_steps": [Interval(Integral, 1, None, closed="left")],
    "backend": [None, str],
    "device": [None, str],
    "engine": [StrOptions(set(MODES))],
    "progress": ["boolean"],
    "distributed": [None, StrOptions({"mpi"}), MPIOptions],
}

# Parameters that do not change what is learned, or say only for how long.
WITHOUT_EFFECT = frozenset(
    {
        "max_iter",
        "verbose",
        "progress",
        "warm_start",
        "deterministic",
        "backend",
        "device",
        "distributed",
        "engine",
    }
)

STOCHASTIC = ("sgd", "adam")


def uses_steps(model: Any) -> bool:
    """Whether a model's solver goes step by step, and does not search along lines."""
    return model.solver in STOCHASTIC or model.optimizer is not None


def has_partial_fit(model: Any) -> bool:
    """Whether a model's solver goes step by step; the error that it does not, else."""
    if not uses_steps(model):
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{model.solver} is not stochastic."
        )
    return True


def _any(value: Any) -> bool:
    return any(value) if hasattr(value, "__iter__") else bool(value)


def _decays(optimizer: Optimizer) -> bool:
    if isinstance(optimizer, OptimizerChain):
        links = optimizer.transformations
        return any(isinstance(x, add_decayed_weights) for x in links) or _decays(
            optimizer.optimizer
        )
    return isinstance(optimizer, AdamW)


def check_combinations(model: Any, hidden: Sequence[int], given: dict[str, bool]) -> None:
    """Refuse what would have no effect, or two of them.

    scikit-learn's own parameters are left to its rules.
    """
    if model.solver == "lbfgs":
        idle = {
            "optimizer": model.optimizer is not None,
            "a schedule as learning_rate": isinstance(model.learning_rate, Schedule),
            "dropout": _any(model.dropout),
            "weight_decay": model.weight_decay > 0,
            "clip_norm": model.clip_norm is not None,
            "compute_dtype": model.compute_dtype is not None,
            "gradient_accumulation_steps": model.gradient_accumulation_steps > 1,
            "monitor": model.monitor != "score",
            "progress": model.progress,
            **given,
        }
        wrong = [name for name, is_given in idle.items() if is_given]
        if wrong:
            raise InputError(
                f"solver='lbfgs' has no steps and no epochs, and does not go with "
                f"{', '.join(wrong)}; take solver='adam' or 'sgd'"
            )
    if model.optimizer is not None:
        _check_optimizer(model)
    if model.loss_scale is not None and model.compute_dtype is None:
        raise InputError(f"loss_scale is {model.loss_scale!r}; it needs compute_dtype='float16'")
    if _any(model.dropout) and not hidden:
        raise InputError(f"dropout is {model.dropout!r}; the model has no hidden layers")
    if model.monitor != "score" and not model.early_stopping:
        raise InputError(f"monitor is {model.monitor!r}; it needs early_stopping=True")
    if isinstance(model.monitor, str) and model.monitor not in ("score", "loss"):
        from sklearn.metrics import get_scorer

        get_scorer(model.monitor)  # a name that it does not know is its error


def _check_optimizer(model: Any) -> None:
    chosen = model.learning_rate
    if isinstance(chosen, str) and chosen != "constant":
        raise InputError(
            f"learning_rate={chosen!r} belongs to solver='sgd'; an optimizer takes a schedule"
        )
    if isinstance(chosen, Schedule) and isinstance(model.optimizer.learning_rate, Schedule):
        raise InputError("learning_rate and that of the optimizer are both schedules")
    if model.weight_decay and _decays(model.optimizer):
        raise InputError(
            f"weight_decay is {model.weight_decay!r} beside an optimizer with a weight_decay "
            "of its own"
        )


# What is made of them

# scikit-learn's word for the field's.
_NAMES = {"logistic": "sigmoid"}


def hidden_widths(sizes: Any) -> list[int]:
    """Read `hidden_layer_sizes`."""
    widths = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    if not all(isinstance(w, Integral) and not isinstance(w, bool) for w in widths):
        raise TypeError(f"hidden_layer_sizes must be integers, got {widths}.")
    if any(w <= 0 for w in widths):
        raise InputError(f"hidden_layer_sizes must be > 0, got {widths}.")
    return [int(w) for w in widths]


def _activation(spec: Any) -> Layer:
    if isinstance(spec, Layer):
        return spec
    if isinstance(spec, str):
        return Activation(_NAMES.get(spec, spec))
    if isinstance(spec, tuple) and len(spec) == 2 and all(map(callable, spec)):
        return CustomActivation(*spec)
    raise InputError(
        f"activation holds {spec!r}; expected a name ({', '.join(['logistic', *ACTIVATIONS])}), "
        "a layer, or a pair of functions (forward, backward)"
    )


def _for_each(name: str, value: Any, count: int, single: Callable[[Any], bool]) -> list[Any]:
    """Spread one value over the hidden layers, or check that there is one for each."""
    if single(value):
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise InputError(f"{name} has {len(values)} entries; expected one, or {count} hidden ones")
    return values


def _one_activation(value: Any) -> bool:
    pair = isinstance(value, tuple) and len(value) == 2 and all(map(callable, value))
    return isinstance(value, str | Layer) or pair


def make_layers(hidden: Sequence[int], outputs: int, activation: Any, dropout: Any) -> Chain:
    """Make the layers; `activation` and `dropout` may have an entry for each hidden layer."""
    activations = _for_each("activation", activation, len(hidden), _one_activation)
    rates = _for_each("dropout", dropout, len(hidden), lambda v: isinstance(v, Real))
    for rate in rates:
        if not isinstance(rate, Real) or not 0 <= float(rate) < 1:
            raise InputError(f"dropout holds {rate!r}; expected 0 <= dropout < 1")
    layers: list[Layer] = []
    for width, spec, rate in zip(hidden, activations, rates, strict=True):
        layers += [Dense(width), _activation(spec)]
        if rate:
            layers.append(Dropout(float(rate)))
    return Chain((*layers, Dense(outputs)))


def hidden_ends(layers: Chain) -> list[int]:
    """For each hidden layer, how many layers of the chain end with its activation."""
    return [i + 2 for i, layer in enumerate(layers.layers[:-1]) if isinstance(layer, Dense)]


def weights_of(tree: Tree) -> list[Parameter]:
    """Weights of each dense layer."""
    return [p for p in walk(tree) if p.decays]


def biases_of(tree: Tree) -> list[Parameter]:
    """Biases of each dense layer."""
    return [p for p in walk(tree) if not p.decays]


def packing(tree: Tree) -> Any:
    """Indices of the flat vector's entries in scikit-learn's order: weights, then biases."""
    ordered = [*weights_of(tree), *biases_of(tree)]
    return np.concatenate([np.arange(p.offset, p.offset + p.size) for p in ordered])


def initial_weights(inputs: int, layers: Chain, activation: Any, rng: Any, dtype: Any) -> Any:
    """Draw the flat vector as scikit-learn draws its weights: number by number the same.

    Glorot & Bengio (2010), equation 16; before the logistic function with 2 in place of 6,
    and so before the output after a logistic layer.
    """
    tree = place(layers.parameters(inputs))
    parameters = list(walk(tree))  # weights, biases, weights, ...
    specs = _for_each("activation", activation, len(parameters) // 2 - 1, _one_activation)
    specs = [*specs, specs[-1] if specs else activation]
    logistic: tuple[Any, ...] = ("logistic", "sigmoid", Activation("sigmoid"))
    theta = np.empty(size(tree), dtype)
    for weight, bias, spec in zip(parameters[::2], parameters[1::2], specs, strict=True):
        factor = 2.0 if spec in logistic else 6.0
        bound = math.sqrt(factor / sum(weight.shape))
        for parameter in (weight, bias):
            drawn = rng.uniform(-bound, bound, parameter.shape).reshape(-1)
            theta[parameter.offset : parameter.offset + parameter.size] = drawn
    return theta


def make_optimizer(model: Any) -> Optimizer:
    """Make the optimizer that a model's parameters ask for."""
    rate = float(model.learning_rate_init)
    optimizer: Optimizer
    if model.optimizer is not None:
        optimizer = model.optimizer
    elif model.solver == "sgd":
        momentum = float(model.momentum)
        optimizer = _Momentum(rate, momentum, bool(model.nesterovs_momentum and momentum))
    else:
        optimizer = Adam(rate, float(model.beta_1), float(model.beta_2), float(model.epsilon))
    links: list[Any] = []
    if model.clip_norm is not None:
        links.append(clip_by_global_norm(float(model.clip_norm)))
    if model.weight_decay:
        links.append(add_decayed_weights(float(model.weight_decay)))
    return chain(*links, optimizer) if links else optimizer


@dataclass(frozen=True)
class _Momentum(SGD):
    """SGD that takes a momentum of 1 too, as scikit-learn does."""

    def __post_init__(self) -> None:
        """Everything was checked by the estimator."""


def make_schedule(model: Any) -> Schedule:
    """Make the learning rate that a model's parameters ask for."""
    own = model.optimizer.learning_rate if model.optimizer is not None else model.learning_rate_init
    chosen = model.learning_rate if isinstance(model.learning_rate, Schedule) else own
    if isinstance(chosen, Schedule):
        return chosen
    # scikit-learn's modes belong to its 'sgd'.
    mode = model.learning_rate if model.solver == "sgd" and model.optimizer is None else "constant"
    return AdjustedRate(float(chosen), mode, model.power_t)
