"""Checkpoints: what a training needs to go on after its process was killed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from xpnn.backends import (
    Array,
    Device,
    InputError,
    Namespace,
    dtype_name,
    host,
    is_array,
    on_device,
    placement,
    to_device,
    to_host,
)
from xpnn.data.arrays_file import FileKind, read_arrays
from xpnn.engine import MODES, HostRows
from xpnn.engine.trees import leaves, map_tree
from xpnn.training.callbacks import Callback
from xpnn.training.history import History

SAMPLE = 1024  # rows of the data that a checkpoint knows them by


class CheckpointError(InputError):
    """A checkpoint cannot be gone on from; the message says why."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; the training goes on."""


CHECKPOINT = FileKind("xpnn-checkpoint", "checkpoint", 1, error=CheckpointError)


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often a training writes down all that it needs to go on.

    Parameters
    ----------
    path : path
        The file, usually ending in ``.safetensors``. Each checkpoint takes the place of
        the one before, once it is whole; one training at a time may write there.
    every_epochs : int, optional
        Epochs from one to the next. Default: 1, unless `every_minutes` is given. They are
        written at reports only, so that `report_every` is the least.
    every_minutes : float, optional
        Minutes from one to the next; written when the epoch ends that they run out in.
    on_error : {'warn', 'stop'}, default 'warn'
        What happens when one cannot be written, on a full disk say: the training goes on
        with one `CheckpointWarning`, or it stops and `History.stopped` says why. The
        checkpoint before stays in both cases.

    Raises
    ------
    ValueError
        An argument is out of range.
    """

    path: str | Path
    every_epochs: int | None = None
    every_minutes: float | None = None
    on_error: str = "warn"

    def __post_init__(self) -> None:
        epochs, minutes = self.every_epochs, self.every_minutes
        if epochs is not None and (
            isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1
        ):
            raise InputError(f"every_epochs is {epochs!r}; expected a positive integer")
        if minutes is not None and (
            isinstance(minutes, bool) or not isinstance(minutes, int | float) or not minutes > 0
        ):
            raise InputError(f"every_minutes is {minutes!r}; expected a number above 0")
        if self.on_error not in ("warn", "stop"):
            raise InputError(f"on_error is {self.on_error!r}; expected 'warn' or 'stop'")


def as_checkpoint(value: Any) -> Checkpoint | None:
    """Make a `Checkpoint` of a path; pass a `Checkpoint` and None on.

    Raises
    ------
    TypeError
        It is something else.
    """
    if value is None or isinstance(value, Checkpoint):
        return value
    if not isinstance(value, str | Path):
        raise TypeError(f"checkpoint is {value!r}; expected a Checkpoint or a path")
    return Checkpoint(value)


# What a training is told apart by


def describe(value: Any) -> str:
    """Say what an option is, the same in every process.

    Parameters
    ----------
    value : object
        Plain values, layers, losses, optimizers, schedules, functions, callbacks, arrays,
        and lists of them.

    Returns
    -------
    str
        Functions by name only; objects of unknown classes by their class.
    """
    if isinstance(value, host.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(describe, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{describe(k)}: {describe(v)}' for k, v in value.items())}}}"
    if is_array(value) or isinstance(value, HostRows):
        return fingerprint(value)
    name = type(value).__qualname__
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, Callback):
        parts = {key: v for key, v in vars(value).items() if not key.startswith("_")}
    elif hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    else:
        return name
    return f"{name}({', '.join(f'{key}={describe(v)}' for key, v in parts.items())})"


def source_of(data: Any) -> Any:
    """How the rows of a source are mixed; None for arrays, which are no source."""
    return getattr(getattr(data, "source", None), "shuffle", None)


def fingerprint(x: Any) -> str:
    """Say what an array is: dtype, shape, and a checksum of up to `SAMPLE` rows of it."""
    shape = tuple(x.shape)
    kind = f"{dtype_name(x.dtype)} {'x'.join(map(str, shape))}"
    if not shape or 0 in shape:
        return kind
    count = min(shape[0], SAMPLE)
    picks = host.arange(count) * (shape[0] - 1) // max(count - 1, 1)
    if isinstance(x, HostRows):
        rows = x.take(picks)
    else:
        xp, device = placement(x=x)
        with on_device(device):
            rows = to_host(xp.take(x, to_device(picks, xp, device), axis=0))
    return f"{kind} {sha256(host.ascontiguousarray(rows).tobytes()).hexdigest()[:16]}"


# What is in one


@dataclass
class Saved:
    """The content of a checkpoint.

    Parameters
    ----------
    path : Path
        Where it came from.
    values : dict
        Everything that is not an array.
    arrays : dict of str to numpy.ndarray
        Carry, callbacks' arrays, and what an estimator adds.
    """

    path: Path
    values: dict[str, Any]
    arrays: dict[str, Any]

    def history(self) -> History:
        """What happened until then."""
        return History(**{k: v for k, v in self.values["history"].items() if k != "stopped"})

    @property
    def stopped(self) -> str:
        """Why the training had ended; empty where it had not."""
        return str(self.values["history"]["stopped"])

    @property
    def steps(self) -> int:
        """Steps that were taken.

        Raises
        ------
        CheckpointError
            It does not say.
        """
        steps = self.values["own"].get("steps")
        if not _count(steps):
            raise CheckpointError(f"{self.path}: its number of steps is {steps!r}")
        return int(steps)

    def carry(self, like: Any, xp: Namespace, device: Device) -> Any:
        """Parameters, optimizer state and count, where `like` is.

        Parameters
        ----------
        like : nested tuples of array
            A carry before the first step: shapes and dtypes.
        xp, device
            Where it shall be.

        Returns
        -------
        nested tuples of array

        Raises
        ------
        CheckpointError
            The arrays are not like these.
        """
        expected = leaves(like)
        names = [name for name in self.arrays if name.startswith("carry.")]
        if len(names) != len(expected):
            raise CheckpointError(
                f"{self.path}: it has {len(names)} arrays of parameters and optimizer state; "
                f"expected {len(expected)}"
            )
        waiting = iter(range(len(expected)))

        def bring(template: Array) -> Array:
            return self.array(f"carry.{next(waiting)}", template, xp, device)

        return map_tree(bring, like)

    def array(self, name: str, like: Array, xp: Namespace, device: Device) -> Array:
        """Bring an array to where `like` is, of the same shape and dtype.

        Raises
        ------
        CheckpointError
            There is none, or its shape or dtype is another.
        """
        found, dtype = self.arrays.get(name), dtype_name(like.dtype)
        stored = "float32" if dtype == "bfloat16" else dtype
        if found is None or found.shape != tuple(like.shape) or found.dtype != stored:
            what = "missing" if found is None else f"{found.dtype} of shape {found.shape}"
            raise CheckpointError(
                f"{self.path}: {name} is {what}; expected {stored} of shape {tuple(like.shape)}"
            )
        return to_device(found, xp, device, like.dtype)


def _numbers(value: Any, kinds: type | tuple[type, ...] = (int, float)) -> bool:
    return isinstance(value, list) and all(
        isinstance(v, kinds) and not isinstance(v, bool) for v in value
    )


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def _is_history(value: Any) -> bool:
    names = {f.name for f in fields(History)}
    # Where no step can be skipped, and in files of versions before, nothing is said of it.
    if not isinstance(value, dict) or set(value) | {"skipped"} != names:
        return False
    lists = [v for k, v in value.items() if k not in ("rows", "stopped", "best_epoch", "epoch")]
    numbers, best = value["epoch"], value["best_epoch"]
    skipped = value.get("skipped", [])
    return (
        all(map(_numbers, lists))
        and _numbers(numbers, int)
        and all(a < b for a, b in zip([0, *numbers], numbers, strict=False))
        and isinstance(skipped, list)
        and all(map(_count, skipped))
        and all(len(v) in (0, len(numbers)) for v in lists)
        and len(value["loss"]) == len(numbers)
        and _count(value["rows"])
        and isinstance(value["stopped"], str)
        and (best is None or _count(best))
    )


_CHECKS: dict[str, Any] = {
    "kind": lambda v: v in ("network", "estimator"),
    "made_for": _texts,
    "engine": lambda v: isinstance(v, str) and v in MODES,
    "library": lambda v: isinstance(v, str),
    "start": lambda v: isinstance(v, dict),
    "generator": lambda v: isinstance(v, dict),
    "history": _is_history,
    "callbacks": lambda v: isinstance(v, list) and all(isinstance(c, dict) for c in v),
    "own": lambda v: isinstance(v, dict),
}


def read_checkpoint(path: str | Path) -> Saved:
    """Read a checkpoint.

    Parameters
    ----------
    path : path
        A file that a training wrote.

    Returns
    -------
    Saved

    Raises
    ------
    CheckpointError
        The file is not a whole checkpoint, is from a newer xpnn, or is damaged.
    FileNotFoundError
        There is none.
    """
    values, arrays = read_arrays(path, CHECKPOINT)
    for key, fits in _CHECKS.items():
        if key not in values or not fits(values[key]):
            raise CheckpointError(f"{path}: its {key} is not what a checkpoint has there")
    return Saved(Path(path), values, arrays)
