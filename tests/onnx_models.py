"""Running ONNX models, and holding what comes out against what xpnn predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xpnn.checks.tolerance import deviation, tolerance


def runtime():
    """Return onnxruntime, or skip the test where it, or onnx, is not installed."""
    pytest.importorskip("onnx", reason="onnx is not installed")
    return pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def known(opset):
    """The opset, or the newest one that the installed onnx knows."""
    import onnx

    return min(opset, onnx.defs.onnx_opset_version())


def run(model, feeds):
    """Run a model, or the file that holds one, on NumPy arrays; outputs by name."""
    import onnx

    ort = runtime()
    if not isinstance(model, Path):
        onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def assert_values(found, expected, dtype, computed=None):
    """Hold numbers to a shape, a dtype, and the tolerance of the dtype they are computed in."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == dtype
    assert found.shape == expected.shape
    _, relative = deviation(found, expected)
    assert relative <= tolerance(computed or dtype), f"deviates by {relative:.3g}"


def metadata(model):
    """The model's properties as a dictionary."""
    return {entry.key: entry.value for entry in model.metadata_props}
