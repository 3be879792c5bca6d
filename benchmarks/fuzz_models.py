"""What `fuzz.py` feeds to the readers of model files and checkpoints.

Each is fuzzed twice: with damaged files, nearly all of which the checksums give away, and
with damaged headers that get right checksums, so that everything behind them is reached.
"""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
import warnings
from pathlib import Path

MODEL_TOKENS = (
    b'"', b"[", b"]", b"{}", b"null", b"-1", b"1e999", b"NaN", b"9" * 40, b'"tuple"', b'"array"',
    b'"as"', b'"<U999999999"', b'"object"', b'"Adam"', b'"layer"', b'"Dense"', b'"F16"', b"[[[[",
)  # fmt: skip


def _x():
    import numpy as np

    return np.arange(24.0).reshape(6, 4) % 7 / 7


def _network():
    import xpnn

    return xpnn.Network(4, [3, "tanh", xpnn.Dropout(0.25), 3], seed=0)


def _fit(net, **given):
    import numpy as np

    return net.fit(
        _x(), np.arange(6) % 3, epochs=2, batch_size=5, early_stopping=5,
        validation=(_x(), np.arange(6) % 3), **given,
    )  # fmt: skip


def _train_network(**given):
    net = _network()
    _fit(net, **given)
    return net


def _classifier(**given):
    import numpy as np

    import xpnn

    model = xpnn.MLPClassifier(
        (3, 2), activation=["gelu", "tanh"], dropout=0.1, optimizer=xpnn.AdamW(0.1), max_iter=2,
        class_weight={"a": 2.0, "b": 1.0}, n_iter_no_change=np.inf, random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(_x(), np.asarray(["a", "b"])[np.arange(6) % 2], **given)


@functools.cache
def _files(kind: str) -> tuple[bytes, ...]:
    """Valid files: 'model' or 'checkpoint'."""
    import xpnn

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        found = []
        given = {} if kind == "model" else {"checkpoint": path}
        for train in (_train_network, _classifier):
            model = train(**given)
            if kind == "model":
                xpnn.save(model, path, {"a": [1.5, "b"]})
            found.append(path.read_bytes())
    return tuple(found)


def model_seeds() -> list[bytes]:
    return list(_files("model"))


def checkpoint_seeds() -> list[bytes]:
    return list(_files("checkpoint"))


def _parts(content: bytes, key: str):
    from safetensors.numpy import load

    length = int.from_bytes(content[:8], "little")
    text = json.loads(content[8 : 8 + length])["__metadata__"][key]
    return text, load(content)


KEYS = {"model": "xpnn", "checkpoint": "xpnn-checkpoint"}


def header_seeds(kind: str) -> list[bytes]:
    """Headers of valid files, without checksums."""
    seeds = []
    for content in _files(kind):
        header = json.loads(_parts(content, KEYS[kind])[0])
        del header["sha256"], header["arrays_sha256"]
        seeds.append(json.dumps(header).encode())
    return seeds


def seal_header(kind: str, path: Path) -> None:
    """Make of a damaged header a file whose checksums are right."""
    from safetensors.numpy import save

    from xpnn.data.arrays_file import _digest, seal

    text = path.read_bytes().decode("latin-1")
    number = int('"estimator"' in text[:200])
    arrays = _parts(_files(kind)[number], KEYS[kind])[1]
    with contextlib.suppress(ValueError, RecursionError):
        header = json.loads(text)
        if isinstance(header, dict):
            text = seal({**header, "arrays_sha256": _digest(arrays)})
    path.write_bytes(save(arrays, metadata={KEYS[kind]: text}))


def read_model(path: Path) -> None:
    """Read a model file: header, record and model."""
    import xpnn
    from xpnn.files import read_record

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a model that lived elsewhere
        read_record(path)
        xpnn.load(path)


def read_a_checkpoint(path: Path) -> None:
    """Read a checkpoint, and go on from it with the training that it is of."""
    from xpnn.training.checkpoints import read_checkpoint

    kind = read_checkpoint(path).values["kind"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a training that ends too early
        if kind == "network":
            _train_network(resume=path)
        else:
            _classifier(resume=path)


def read_model_header(path: Path) -> None:
    seal_header("model", path)
    read_model(path)


def read_checkpoint_header(path: Path) -> None:
    seal_header("checkpoint", path)
    read_a_checkpoint(path)


def model_errors() -> tuple[type[BaseException], ...]:
    from xpnn.export import ModelFileError

    return (ModelFileError,)


def checkpoint_errors() -> tuple[type[BaseException], ...]:
    from xpnn.training import CheckpointError

    return (CheckpointError,)


# name, seeds, read, errors: for the table in `fuzz.py`
MODEL_READERS = (
    ("model", model_seeds, read_model, model_errors),
    ("model-header", lambda: header_seeds("model"), read_model_header, model_errors),
    ("checkpoint", checkpoint_seeds, read_a_checkpoint, checkpoint_errors),
    (
        "checkpoint-header", lambda: header_seeds("checkpoint"), read_checkpoint_header,
        checkpoint_errors,
    ),
)  # fmt: skip
