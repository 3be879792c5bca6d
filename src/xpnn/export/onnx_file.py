"""A network as an ONNX model, for the runtimes that serve such."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xpnn.backends import host, to_host
from xpnn.engine.trace import NAMESPACE
from xpnn.export.onnx_graph import Graph, OnnxError, check_opset, write
from xpnn.export.onnx_trace import add_function
from xpnn.functional import activation_rule, loss_rule
from xpnn.layers import Activation, Chain, Dense, Dropout, Layer, RawErrorDense, unflatten, walk
from xpnn.training import Loss, Network

ONNX_DTYPES = ("float16", "float32", "float64")


class _Operator(NamedTuple):
    """An operator that computes an activation, where runtimes have it."""

    name: str
    attributes: dict[str, Any]
    dtypes: tuple[str, ...] = ("float32",)
    since: int = 1


_OPERATORS = {
    "sigmoid": _Operator("Sigmoid", {}, ONNX_DTYPES),
    "tanh": _Operator("Tanh", {}, ONNX_DTYPES),
    "relu": _Operator("Relu", {}, ONNX_DTYPES),
    "leaky_relu": _Operator("LeakyRelu", {}),
    "elu": _Operator("Elu", {}),
    "gelu": _Operator("Gelu", {"approximate": "none"}, since=20),
    "gelu_tanh": _Operator("Gelu", {"approximate": "tanh"}, since=20),
    "softplus": _Operator("Softplus", {}),
    "softmax": _Operator("Softmax", {"axis": -1}, ONNX_DTYPES),
    "log_softmax": _Operator("LogSoftmax", {"axis": -1}, ("float32", "float64")),
}


def check_dtype(dtype: str | None, own: str | None, name: str = "dtype") -> str:
    """Choose the dtype of a model: the one asked for, else that of the parameters."""
    if dtype is not None and dtype not in ONNX_DTYPES:
        raise OnnxError(f"{name} is {dtype!r}; expected one of {', '.join(ONNX_DTYPES)}")
    # As in a model file: NumPy has no bfloat16, and what was never placed is float64.
    return dtype or {"bfloat16": "float32", None: "float64"}.get(own, own) or "float64"


def check_texts(name: str, texts: Sequence[str] | None, count: int) -> list[str] | None:
    """Check a list of names."""
    if texts is None:
        return None
    if isinstance(texts, str) or len(texts) != count:
        raise OnnxError(f"{name} is {texts!r}; expected {count} names")
    return [str(text) for text in texts]


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


def _add_layer(
    graph: Graph, layer: Layer, x: str, width: int, dtype: str, params: Any, tree: Any, where: str
) -> tuple[str, int]:
    """Add a layer as it predicts; `tree` has the names of `params`."""
    if type(layer) is Chain:
        for i, (inner, p, t) in enumerate(zip(layer.layers, params, tree, strict=True)):
            x, width = _add_layer(graph, inner, x, width, dtype, p, t, f"{where} {i}")
        return x, width
    if type(layer) is Dropout:
        return x, width
    if type(layer) is Activation:
        return add_activation(graph, x, width, dtype, layer.name, layer.alpha), width
    if type(layer) is RawErrorDense:
        dense = Dense(layer.width, layer.bias)
        x, width = _add_layer(graph, dense, x, width, dtype, params, tree, where)
        return add_activation(graph, x, width, dtype, layer.activation), width

    def forward(p: Any, rows: Any) -> Any:
        return layer.forward(p, rows, None, xp=NAMESPACE)[0]

    what, names = f"{where} ({layer!r})", [p.name for p in walk(tree)]
    y, outputs = add_function(graph, forward, x, width, dtype, params, names, what)
    if outputs != layer.outputs(width):
        raise OnnxError(f"{what} gives {outputs} columns; it promised {layer.outputs(width)}")
    return y, outputs


def add_scores(
    graph: Graph, layers: Any, tree: Any, theta: Any, inputs: int, x: str, dtype: str
) -> tuple[str, int]:
    """Add the layers of a network; return the name of the scores and their number."""
    params = unflatten(tree, to_host(theta).astype(dtype), xp=host)
    return _add_layer(graph, layers, x, inputs, dtype, params, tree, "layer")


def add_mean(graph: Graph, scores: str, width: int, dtype: str, loss: str) -> str:
    """Add what turns scores into probabilities or expected values."""
    mean = loss_rule(loss).mean
    if mean is None:
        return scores
    if mean.__name__ in ("sigmoid", "softmax"):
        return add_activation(graph, scores, width, dtype, mean.__name__)

    def formula(_: Any, z: Any) -> Any:
        return mean(z, xp=NAMESPACE)

    return add_function(graph, formula, scores, width, dtype, what=f"the loss {loss!r}")[0]


def add_column(graph: Graph, value: str, width: int) -> tuple[str, int | None]:
    """Drop the second axis of a single column, as predictions do."""
    if width != 1:
        return value, width
    return graph.add("Squeeze", value, graph.constant(host.asarray([1], host.int64))), None


def _add_meaning(graph: Graph, scores: str, width: int, dtype: str, loss: Loss) -> None:
    """Add the outputs that the loss gives a meaning to."""
    mean = add_mean(graph, scores, width, dtype, loss.name)
    if loss.kind == "regression":
        value, columns = add_column(graph, mean, width)
        graph.output(value, "prediction", dtype, columns)
        return
    if loss.kind == "multiclass":
        label = graph.add("ArgMax", scores, axis=1, keepdims=0)
        graph.output(label, "label", host.int64, None)
    else:
        above = graph.add("Greater", scores, graph.constant(host.asarray(0, dtype)))
        label, columns = add_column(graph, graph.cast(above, host.int64), width)
        graph.output(label, "label", host.int64, columns)
    if loss_rule(loss.name).mean is not None:
        graph.output(mean, "probabilities", dtype, width)


def network_to_onnx(
    network: Network,
    path: str | Path | None,
    *,
    opset: int | None,
    dtype: str | None,
    feature_names: Sequence[str] | None,
    class_names: Sequence[str] | None,
    doc: str,
) -> Any:
    """Make an ONNX model of a network; see `xpnn.estimators.to_onnx`."""
    if type(network.loss) is not Loss:
        raise OnnxError(
            f"a loss of the class {type(network.loss).__name__} cannot be written as ONNX: what "
            "it makes of scores is code"
        )
    graph = Graph(check_opset(opset))
    chosen = check_dtype(dtype, network.dtype)
    features = check_texts("feature_names", feature_names, network.inputs)
    if class_names is not None and network.loss.kind == "regression":
        raise OnnxError(f"class_names is {class_names!r}; the loss is about values, not classes")
    # One binary score tells two classes apart.
    two = network.loss.kind == "binary" and network.outputs == 1
    classes = check_texts("class_names", class_names, 2 if two else network.outputs)
    x = graph.input("x", chosen, network.inputs)
    scores, width = add_scores(
        graph, network.layers, network.tree, network.theta, network.inputs, x, chosen
    )
    graph.output(scores, "scores", chosen, width)
    _add_meaning(graph, scores, width, chosen, network.loss)
    properties = {"feature_names": features, "class_names": classes}
    return write(graph.model("xpnn", doc or repr(network), properties), path)
