"""Layers as ONNX nodes: an operator of ONNX's own where there is one, else the formula."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from xpnn.engine.trace import NAMESPACE
from xpnn.export.onnx_graph import Graph, OnnxError
from xpnn.export.onnx_trace import add_function
from xpnn.functional import activation_rule
from xpnn.layers import Activation, Chain, Dense, Dropout, Layer, RawErrorDense, walk


@dataclass(frozen=True)
class _Operator:
    """An operator that computes an activation, where runtimes have it."""

    name: str
    attributes: dict[str, Any] = field(default_factory=dict)
    dtypes: frozenset[str] = frozenset({"float32"})
    since: int = 1


_EVERY = frozenset({"float16", "float32", "float64"})
_OPERATORS = {
    "sigmoid": _Operator("Sigmoid", dtypes=_EVERY),
    "tanh": _Operator("Tanh", dtypes=_EVERY),
    "relu": _Operator("Relu", dtypes=_EVERY),
    "leaky_relu": _Operator("LeakyRelu"),
    "elu": _Operator("Elu"),
    "gelu": _Operator("Gelu", {"approximate": "none"}, since=20),
    "gelu_tanh": _Operator("Gelu", {"approximate": "tanh"}, since=20),
    "softplus": _Operator("Softplus"),
    "softmax": _Operator("Softmax", {"axis": -1}, dtypes=_EVERY),
    "log_softmax": _Operator("LogSoftmax", {"axis": -1}, frozenset({"float32", "float64"})),
}


def add_activation(
    graph: Graph, x: str, width: int, dtype: str, name: str, alpha: float | None = None
) -> str:
    """Add one of `xpnn.functional.ACTIVATIONS`; return the name of the result."""
    rule, operator = activation_rule(name), _OPERATORS.get(name)
    if name == "identity":
        return x
    if name == "silu" and dtype == "float32":
        return graph.add("Mul", x, graph.add("Sigmoid", x))
    if operator is not None and dtype in operator.dtypes and graph.opset >= operator.since:
        given = dict(operator.attributes)
        if rule.alpha is not None:
            given["alpha"] = float(rule.alpha if alpha is None else alpha)
        return graph.add(operator.name, x, **given)
    options = {} if alpha is None else {"alpha": alpha}

    def formula(_: Any, z: Any) -> Any:
        return rule.forward(z, **options, xp=NAMESPACE)

    return add_function(graph, formula, x, width, dtype, what=f"the activation {name!r}")[0]


def add_layer(
    graph: Graph, layer: Layer, x: str, width: int, dtype: str, params: Any, names: Any,
    where: str = "layer",
) -> tuple[str, int]:  # fmt: skip
    """Add a layer as it predicts."""
    kind = type(layer)
    if kind is Chain:
        assert isinstance(layer, Chain)
        for i, (inner, p, n) in enumerate(zip(layer.layers, params, names, strict=True)):
            x, width = add_layer(graph, inner, x, width, dtype, p, n, f"{where} {i}")
        return x, width
    if kind is Dropout:
        return x, width
    if kind is Activation:
        assert isinstance(layer, Activation)
        return add_activation(graph, x, width, dtype, layer.name, layer.alpha), width
    if kind is RawErrorDense:
        assert isinstance(layer, RawErrorDense)
        dense = Dense(layer.width, layer.bias)
        x, width = add_layer(graph, dense, x, width, dtype, params, names, where)
        return add_activation(graph, x, width, dtype, layer.activation), width

    def forward(p: Any, rows: Any) -> Any:
        return layer.forward(p, rows, None, xp=NAMESPACE)[0]

    what = f"{where} ({layer!r})"
    y, outputs = add_function(graph, forward, x, width, dtype, params, list(walk(names)), what)
    if outputs != layer.outputs(width):
        raise OnnxError(f"{what} gives {outputs} columns; it promised {layer.outputs(width)}")
    return y, outputs
