"""Fitted estimators, and pipelines that end in one, as ONNX models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from xpnn.backends import dtype_name, to_host
from xpnn.estimators.classifier import MLPClassifier
from xpnn.estimators.perceptron import Perceptron
from xpnn.estimators.regressor import MLPRegressor
from xpnn.export.onnx_file import add_column, add_mean, add_scores, check_dtype, network_to_onnx
from xpnn.export.onnx_graph import Graph, OnnxError, check_opset, write
from xpnn.training import Network

Estimator = MLPClassifier | MLPRegressor | Perceptron


# What comes out


def label_tensor(classes: Any) -> Any:
    """Classes as ONNX can hold them: int64, bool, float32, float64 or text."""
    classes = np.asarray(classes)
    kind = classes.dtype.kind
    if kind in "iu" and (not classes.size or int(classes.max()) <= np.iinfo(np.int64).max):
        return classes.astype(np.int64)
    if kind == "b" or classes.dtype in (np.float32, np.float64):
        return classes
    if kind == "f":
        return classes.astype(np.float64)
    if kind == "U" or (kind == "O" and all(isinstance(c, str) for c in classes)):
        return classes.astype(object)
    raise OnnxError(
        f"classes of dtype {classes.dtype} cannot be written as ONNX; expected integers, truth "
        "values, floats or text"
    )


def _add_label(graph: Graph, codes: str, classes: Any) -> None:
    """Add the output of labels, from the numbers of the classes."""
    classes = label_tensor(classes)
    found = graph.add("Gather", graph.constant(classes, "classes"), codes, axis=0)
    graph.output(found, "label", classes.dtype, None)


def _dtype_of(model: Any) -> str | None:
    """Name of the dtype of a fitted estimator's parameters."""
    if isinstance(model, Perceptron):
        return dtype_name(model.coef_.dtype)
    return model._fitted_network().dtype


def _yes(graph: Graph, scores: str, dtype: str, or_zero: bool = False) -> str:
    """Numbers 0 and 1: whether the only score is above 0; shape (n,)."""
    above = graph.add(
        "GreaterOrEqual" if or_zero else "Greater", scores, graph.constant(np.asarray(0, dtype))
    )
    return add_column(graph, graph.cast(above, np.int64), 1)[0]


def _add_classes(
    graph: Graph, model: MLPClassifier, scores: str, width: int, dtype: str, classes: Any
) -> None:
    """Add `label` and `probabilities`; for 'hinge', which has none, `scores`."""
    kind = model._label_binarizer.y_type_
    if kind.startswith("multilabel"):
        above = graph.add("Greater", scores, graph.constant(np.asarray(0, dtype)))
        graph.output(graph.cast(above, np.int64), "label", np.int64, width)
    elif len(classes) == 1:
        none = graph.add("Mul", _yes(graph, scores, dtype), graph.constant(np.asarray(0)))
        _add_label(graph, none, classes)
    elif width == 1:
        _add_label(graph, _yes(graph, scores, dtype), classes)
    else:
        _add_label(graph, graph.add("ArgMax", scores, axis=1, keepdims=0), classes)
    name = "softmax_cross_entropy" if model.out_activation_ == "softmax" else "binary_cross_entropy"
    if model.out_activation_ == "identity":
        graph.output(scores, "scores", dtype, width)
        return
    p = add_mean(graph, scores, width, dtype, name)
    logistic = model.out_activation_ == "logistic"
    if logistic and kind == "multiclass":  # each against the rest
        p = _shares(graph, p, dtype)
    elif logistic and width == 1 and not kind.startswith("multilabel"):
        rest = graph.add("Sub", graph.constant(np.asarray(1, dtype)), p)
        p, width = graph.add("Concat", rest, p, axis=1), 2
    graph.output(p, "probabilities", dtype, width)


def _shares(graph: Graph, p: str, dtype: str) -> str:
    """Divide rows by their sums, but not by 0."""
    whole = graph.add("ReduceSum", p, graph.constant(np.asarray([1])), keepdims=1)
    empty = graph.add("Equal", whole, graph.constant(np.asarray(0, dtype)))
    return graph.add(
        "Div", p, graph.add("Where", empty, graph.constant(np.asarray(1, dtype)), whole)
    )


def _add_perceptron(graph: Graph, model: Perceptron, x: str, dtype: str) -> None:
    coef = to_host(model.coef_.toarray() if issparse(model.coef_) else model.coef_)
    weights = graph.constant(coef.T.astype(dtype), "coef")
    bias = graph.constant(to_host(model.intercept_).astype(dtype), "intercept")
    scores = graph.add("Add", graph.add("MatMul", x, weights), bias)
    if len(model.classes_) == 2:
        _add_label(graph, _yes(graph, scores, dtype, model.fires_at_zero), model.classes_)
    else:
        _add_label(graph, graph.add("ArgMax", scores, axis=1, keepdims=0), model.classes_)
    graph.output(scores, "scores", dtype, len(coef))


def add_estimator(
    graph: Graph,
    model: Estimator,
    x: str,
    dtype: str,
    units: tuple[float, float] | None = None,
    classes: Any = None,
) -> None:
    """Add a fitted estimator and its outputs.

    `units` are scale and mean of the values, `classes` labels in place of the model's own.
    """
    if isinstance(model, Perceptron):
        _add_perceptron(graph, model, x, dtype)
        return
    network = model._fitted_network()
    scores, width = add_scores(
        graph, network.layers, network.tree, network.theta, network.inputs, x, dtype
    )
    if isinstance(model, MLPClassifier):
        labels = model.classes_ if classes is None else classes
        _add_classes(graph, model, scores, width, dtype, labels)
        return
    loss = "poisson" if model.out_activation_ == "exp" else "mean_squared_error"
    value, columns = add_column(graph, add_mean(graph, scores, width, dtype, loss), width)
    if units is not None:
        value, dtype = graph.cast(value, np.float64), "float64"
        value = graph.add("Mul", value, graph.constant(np.asarray(units[0])))
        value = graph.add("Add", value, graph.constant(np.asarray(units[1])))
    graph.output(value, "prediction", dtype, columns)


def _unwrap(model: Any) -> tuple[list[Any], Any]:
    """Take a pipeline apart: its preprocessing, and the estimator at its end."""
    # Not needed before, and neither are scikit-learn's modules that come with it.
    from sklearn.pipeline import Pipeline

    steps = [model]
    while any(isinstance(step, Pipeline) for step in steps):
        parts = [[inner for _, inner in s.steps] if isinstance(s, Pipeline) else [s] for s in steps]
        steps = [step for part in parts for step in part]
    model = steps.pop()
    if not isinstance(model, Estimator):
        raise OnnxError(
            f"model is or ends in a {type(model).__name__}; expected a Network, or an "
            "MLPClassifier, MLPRegressor or Perceptron of xpnn, by itself or at the end of a "
            "Pipeline"
        )
    check_is_fitted(model)
    steps = [s for s in steps if s is not None and not (isinstance(s, str) and s == "passthrough")]
    return steps, model


def to_onnx(
    model: Any,
    path: str | Path | None = None,
    *,
    opset: int | None = None,
    dtype: str | None = None,
    input_dtype: str | None = None,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    doc: str = "",
) -> Any:
    """Make an ONNX model of a fitted estimator, with its preprocessing, or of a network.

    The input is `X` of shape (n, features), any n. Behind a `ColumnTransformer` each
    column is an input of its own, of shape (n, 1), under its name (`X0`, `X1`, ... where
    it has none): numbers (also truth values) as floats with NaN for a missing one,
    categories and other text as text with the empty one for a missing one. Columns that
    are dropped are no inputs. Of a `TabularClassifier` or `TabularRegressor` each column that
    is not ignored is an input too: numbers, booleans and durations (in seconds) as float64, NaN
    for a missing one; categories as text, "" for a missing one, integers without a point,
    booleans as True and False; dates as int64, seconds since 1970 in UTC, the lowest number for
    a missing one, as NumPy has it: ``column.astype("datetime64[s]").astype("int64")``.

    Of a `Network` the input is `x`; it has the output `scores` too. Dropout leaves nothing
    behind, and layers of the user's own are written as the operations that they consist of.

    The outputs have the values and shapes of `predict` and `predict_proba`: `label` and
    `probabilities` (for 'hinge' and `Perceptron`: `scores`), or `prediction`. Labels are
    int64, bool, floats or text, as the classes are. Where a column has the name of an output,
    the output gets a number (`label_2`), and `outputs` in the metadata says which is which.

    Parameters
    ----------
    model : MLPClassifier, MLPRegressor, Perceptron, Pipeline, TabularClassifier,
        TabularRegressor or Network
        Fitted, on any library and device. A pipeline may hold the steps that
        `xpnn.estimators.onnx_steps.STEPS` lists, nested too. An unknown category is encoded
        as the encoder does; with ``handle_unknown='error'`` the runtime fails.
    path : path, optional
        Where to write it; an older file there stays whole until the new one is.
    opset : int, default 18
        Version of ONNX's operators, one of 18 to 26. Runtimes know 18 since 2023; newer ones
        have an operator for GELU (20), and nothing else that these models need.
    dtype : {'float16', 'float32', 'float64'}, optional
        What the network computes in, and of its outputs. Default: as it was fitted.
    input_dtype : {'float32', 'float64'}, optional
        Of numbers that come in, and of the preprocessing. Default: 'float64' with
        preprocessing, as in scikit-learn; else `dtype`.
    feature_names, class_names : sequence of str, optional
        Of a network, which knows none: written into the metadata.
    doc : str, optional
        Description; default, the model's representation.

    Returns
    -------
    onnx.ModelProto
        Names of the features and classes are in its metadata, as JSON.

    Raises
    ------
    OnnxError
        A step or a layer does something that ONNX lacks, or an argument is wrong.
    NotFittedError
        The model is not fitted.
    ImportError
        The package onnx is not installed.
    """
    if isinstance(model, Network):
        if input_dtype is not None:
            raise OnnxError(f"input_dtype is {input_dtype!r}; a Network has no preprocessing")
        return network_to_onnx(
            model,
            path,
            opset=opset,
            dtype=dtype,
            feature_names=feature_names,
            class_names=class_names,
            doc=doc,
        )
    for name, texts in (("feature_names", feature_names), ("class_names", class_names)):
        if texts is not None:
            raise OnnxError(f"{name} is {texts!r}; a {type(model).__name__} knows its own")
    if hasattr(model, "_to_onnx"):  # a tabular estimator, of which nothing is known here
        if input_dtype is not None:
            raise OnnxError(f"input_dtype is {input_dtype!r}; a table's numbers are float64")
        return model._to_onnx(path, opset, dtype, doc)
    steps, last = _unwrap(model)
    graph = Graph(check_opset(opset))
    dtype = check_dtype(dtype, _dtype_of(last))
    outer = check_dtype(input_dtype, "float64" if steps else dtype, "input_dtype")
    if steps and outer == "float16":
        raise OnnxError("input_dtype is 'float16'; preprocessing needs 'float32' or 'float64'")
    if steps:
        from xpnn.estimators.onnx_steps import add_steps

        x = add_steps(graph, steps, outer)
    else:
        x = graph.input("X", outer, int(last.n_features_in_))
    x = x if outer == dtype else graph.cast(x, dtype)
    add_estimator(graph, last, x, dtype)
    return write(graph.model("xpnn", doc or str(model), _properties(model, last)), path)


def _properties(model: Any, last: Estimator) -> dict[str, Sequence[str] | None]:
    names = getattr(model, "feature_names_in_", None)
    classes = getattr(last, "classes_", None)
    return {"feature_names": names, "class_names": classes}
