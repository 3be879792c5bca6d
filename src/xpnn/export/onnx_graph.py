"""Putting ONNX models together: values, nodes, and the model round them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xpnn import __version__
from xpnn.backends import InputError, host
from xpnn.data.files import atomic_write
from xpnn.data.optional import import_optional

OPSETS = (18, 26)
"""The oldest and the newest version of ONNX's operators that models are written for."""

_ML = 3  # version of the operators of ai.onnx.ml, in every runtime since 2022
_DOMAIN = "ai.onnx.ml"
_LARGEST = 2**31 - 2**20  # bytes of parameters: one protobuf message holds less than 2 GiB


class OnnxError(InputError):
    """A model cannot be written as ONNX; the message says why."""


def check_opset(opset: int | None) -> int:
    """Choose the version of the operators, or check the one that is asked for."""
    oldest, newest = OPSETS
    newest = min(newest, import_optional("onnx", "onnx").defs.onnx_opset_version())
    if opset is None:
        return oldest
    if isinstance(opset, bool) or not isinstance(opset, int) or not oldest <= opset <= newest:
        raise OnnxError(f"opset is {opset!r}; expected an integer from {oldest} to {newest}")
    return opset


class Graph:
    """Nodes and constants on their way into a model; values are known by their names."""

    def __init__(self, opset: int) -> None:
        self.onnx, self.opset = import_optional("onnx", "onnx"), opset
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.bytes = 0
        # What an output is -> its name, which differs where an input has that name already.
        self.output_names: dict[str, str] = {}
        self._names: set[str] = set()
        self._constants: dict[Any, str] = {}

    def _name(self, wanted: str) -> str:
        """Make a name that no value has yet."""
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name

    def add(
        self, op: str, *inputs: str, output: str = "", ml: bool = False, **attributes: Any
    ) -> str:
        """Add a node with one output; return the name of that value."""
        name = self._name(output or op.lower())
        node = self.onnx.helper.make_node(
            op, list(inputs), [name], name=name, domain=_DOMAIN if ml else "", **attributes
        )
        self.nodes.append(node)
        return name

    def constant(self, values: Any, name: str = "") -> str:
        """Add an array and return its name; without a name of its own, add it once only."""
        array = host.asarray(values, order="C")
        if array.dtype.kind in "UT":
            array = array.astype(object)
        if name:
            return self._store(array, name)
        texts = array.dtype.kind == "O"
        content = tuple(array.reshape(-1).tolist()) if texts else array.tobytes()
        key = (array.dtype.str, array.shape, content)
        if key not in self._constants:
            self._constants[key] = self._store(array, "constant")
        return self._constants[key]

    def _store(self, array: Any, wanted: str) -> str:
        name = self._name(wanted)
        self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        self.bytes += array.nbytes
        return name

    def cast(self, value: str, dtype: Any) -> str:
        """Convert a value to a NumPy dtype."""
        return self.add("Cast", value, to=self._type(dtype))

    def input(self, name: str, dtype: Any, width: int) -> str:
        """Declare an input of shape (n, width); an object dtype is text."""
        # In ONNX an empty name means that there is no value.
        unique = self._name(name or "input")
        self.inputs.append(self._info(unique, dtype, ["n", width]))
        return unique

    def output(self, value: str, name: str, dtype: Any, width: int | None) -> None:
        """Declare a value an output of shape (n, width), or (n,) where `width` is None.

        The names of inputs are the user's: an output of the same name gets a number behind it.
        """
        unique = self.add("Identity", value, output=name)
        self.output_names[name] = unique
        self.outputs.append(self._info(unique, dtype, ["n"] if width is None else ["n", width]))

    def _type(self, dtype: Any) -> int:
        dtype = host.dtype(dtype)
        if dtype.kind in "OUT":
            return int(self.onnx.TensorProto.STRING)
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(dtype))

    def _info(self, name: str, dtype: Any, shape: list[Any]) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, self._type(dtype), shape)

    def model(self, name: str, doc: str, properties: Mapping[str, Sequence[str] | None]) -> Any:
        """Finish and check the model."""
        if self.bytes > _LARGEST:
            raise OnnxError(
                f"the parameters take {self.bytes:,} bytes; an ONNX file holds less than 2 GiB. "
                'dtype="float32" or "float16" halves them'
            )
        helper = self.onnx.helper
        graph = helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, self.initializers, doc_string=doc
        )
        imports = [helper.make_opsetid("", self.opset)]
        if any(node.domain == _DOMAIN for node in self.nodes):
            imports.append(helper.make_opsetid(_DOMAIN, _ML))
        model = helper.make_model(
            graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports),
            producer_name="xpnn", producer_version=__version__, doc_string=doc,
        )  # fmt: skip
        given = {
            key: json.dumps(list(map(str, texts)), ensure_ascii=False)
            for key, texts in properties.items()
            if texts is not None
        }
        if any(name != unique for name, unique in self.output_names.items()):
            given["outputs"] = json.dumps(self.output_names)
        helper.set_model_props(model, given)
        self.onnx.checker.check_model(model, full_check=True)
        return model


def write(model: Any, path: str | Path | None) -> Any:
    """Write a model to a file, whole or not at all; return the model."""
    if path is not None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
    return model
