"""Checkpoints: what a training needs to go on after its process was killed.

`Checkpoint` says where and when, `SavedTraining` is what a file holds, and
`CheckpointManager` writes and restores for one training.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from xpnn.backends import (
    Array,
    Device,
    HostGenerator,
    InputError,
    Namespace,
    dtype_name,
    generator_state,
    host,
    is_array,
    library_name,
    on_device,
    placement,
    restore_generator,
    rounding,
    to_device,
    to_host,
)
from xpnn.data.arrays_file import FileKind, read_arrays, write_arrays
from xpnn.distributed import ProcessGroup
from xpnn.engine import MODES, HostRows
from xpnn.engine.trees import leaves, map_tree
from xpnn.training.callbacks import Callback, Run
from xpnn.training.history import History
from xpnn.training.sampler import Sampler
from xpnn.training.warn import warn_caller

SAMPLE = 1024  # rows of the data that a checkpoint knows them by


class CheckpointError(InputError):
    """A checkpoint cannot be gone on from; the message says why."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, or is from elsewhere; the training goes on."""


CHECKPOINT = FileKind("xpnn-checkpoint", "checkpoint", 2, error=CheckpointError)


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
            isinstance(epochs, bool) or not isinstance(epochs, Integral) or epochs < 1
        ):
            raise InputError(f"every_epochs is {epochs!r}; expected a positive integer")
        if minutes is not None and (
            isinstance(minutes, bool) or not isinstance(minutes, Real) or not minutes > 0
        ):
            raise InputError(f"every_minutes is {minutes!r}; expected a number above 0")
        if self.on_error not in ("warn", "stop"):
            raise InputError(f"on_error is {self.on_error!r}; expected 'warn' or 'stop'")


def as_checkpoint(value: Any) -> Checkpoint | None:
    """Make a `Checkpoint` of a path; pass a `Checkpoint` and None on."""
    if value is None or isinstance(value, Checkpoint):
        return value
    if not isinstance(value, str | Path):
        raise TypeError(f"checkpoint is {value!r}; expected a Checkpoint or a path")
    return Checkpoint(value)


# What a training is known by


def describe(value: Any) -> str:
    """Say what an option is, the same in every process."""
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
class SavedTraining:
    """The content of a checkpoint."""

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
        """Steps that were taken."""
        return int(self.values["steps"])

    def engine(self, asked: str, xp: Namespace) -> str:
        """Choose how steps run: as they did before, where another way has other digits."""
        library = library_name(xp)
        same = self.values["library"] == library and library != "numpy"
        return str(self.values["engine"]) if same else asked

    def arrays_of(self, part: str) -> dict[str, Any]:
        """Arrays of one part, such as 'sampler', by the names that it gave them."""
        start = f"{part}."
        return {
            name.removeprefix(start): array
            for name, array in self.arrays.items()
            if name.startswith(start)
        }

    def carry(self, like: Any, xp: Namespace, device: Device) -> Any:
        """Parameters, optimizer state and count, where `like` is."""
        expected = leaves(like)
        names = [name for name in self.arrays if name.startswith("carry.")]
        if len(names) != len(expected):
            raise CheckpointError(
                f"{self.path}: it has {len(names)} arrays of parameters and optimizer state; "
                f"expected {len(expected)}"
            )
        waiting = iter(range(len(expected)))

        def restored(template: Array) -> Array:
            return self.array(f"carry.{next(waiting)}", template, xp, device)

        return map_tree(restored, like)

    def array(self, name: str, like: Array, xp: Namespace, device: Device) -> Array:
        """Bring an array to where `like` is, of the same shape and dtype."""
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
    names = {f.name for f in fields(History) if f.compare}
    # Where no step can be skipped, nothing is said of it.
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
    "identity": _texts,
    "engine": lambda v: isinstance(v, str) and v in MODES,
    "library": lambda v: isinstance(v, str),
    "rounding": lambda v: isinstance(v, str),
    "start": lambda v: isinstance(v, dict),
    "generator": lambda v: isinstance(v, dict),
    "history": _is_history,
    "callbacks": lambda v: isinstance(v, list) and all(isinstance(c, dict) for c in v),
    "steps": _count,
}


def read_checkpoint(path: str | Path) -> SavedTraining:
    """Read a checkpoint."""
    values, arrays = read_arrays(path, CHECKPOINT)
    for key, fits in _CHECKS.items():
        if key not in values or not fits(values[key]):
            raise CheckpointError(f"{path}: its {key} is not what a checkpoint has there")
    return SavedTraining(Path(path), values, arrays)


# Writing and restoring


@dataclass
class TrainState:
    """A training as it stands after an epoch (from 1); shares nothing that changes with it."""

    epoch: int
    values: dict[str, Any]
    arrays: dict[str, Array]


class CheckpointManager:
    """The checkpoints of one training, on all its processes: rank 0 reads and writes.

    `found` is what the training goes on from, or None.
    """

    def __init__(
        self,
        kind: str,
        checkpoint: Any,
        resume: bool | str | Path,
        group: ProcessGroup | None = None,
    ) -> None:
        self.kind, self.checkpoint = kind, as_checkpoint(checkpoint)
        self.path = None if self.checkpoint is None else Path(self.checkpoint.path)
        self.group, self.first = group, group is None or group.is_main
        self.found = self._find(resume) if self.first else None
        if group is not None:
            self.found = group.broadcast(self.found)
        if not self.first:
            self.checkpoint = None
        if self.found is not None and self.found.values["kind"] != kind:
            raise CheckpointError(
                f"{self.found.path}: it is of the kind {self.found.values['kind']!r}; this "
                f"training needs one of the kind {kind!r}"
            )
        self.identity: dict[str, str] = {}
        self._start: dict[str, Any] = {}
        self._latest: TrainState | None = None
        self._tried = 0 if self.found is None else self.found.history().epochs
        self._when = time.monotonic()
        self._warned = False

    def _find(self, resume: bool | str | Path) -> SavedTraining | None:
        """Read what is to be gone on from."""
        if isinstance(resume, str | Path):
            return read_checkpoint(resume)
        if not isinstance(resume, bool):
            raise TypeError(f"resume is {resume!r}; expected True, False or a path")
        if resume and self.path is None:
            raise InputError("resume=True goes on from the file of checkpoint=..., which is None")
        there = resume and self.path is not None and self.path.exists()
        return read_checkpoint(self.path) if there and self.path is not None else None

    # Going on

    def start(self, rng: HostGenerator) -> None:
        """Note where the generator begins, or bring it to where the other training began."""
        self._rng, self._before = rng, generator_state(rng)
        self._start = self._before
        if self.found is not None:
            try:
                restore_generator(rng, self.found.values["start"])
            except ValueError as error:
                raise CheckpointError(f"{self.found.path}: {error}") from error
            self._start = self.found.values["start"]

    def check(self, identity: dict[str, Any], epochs: int) -> None:
        """Compare the training that is asked for with that of the checkpoint and other processes.

        `identity` holds the options and data that change the numbers of a training, by name;
        the error names what differs.
        """
        self.identity = {name: describe(value) for name, value in identity.items()}
        if self.group is not None:
            seeds = dict.fromkeys(self.identity.keys() & {"seed", "random_state"}, "rank 0's")
            self.group.check_same_options({**self.identity, **seeds, "epochs": str(epochs)})
        if self.found is None:
            return
        was = self.found.values["identity"]
        differs = [
            f"{name} is {self.identity.get(name)}, the checkpoint has {was.get(name)}"
            for name in sorted(self.identity.keys() | was.keys())
            if self.identity.get(name) != was.get(name)
        ]
        done = self.found.history().epochs
        if done > epochs:
            differs.append(f"{epochs} epochs are asked for, the checkpoint is after {done}")
        if differs:
            restore_generator(self._rng, self._before)
            raise CheckpointError(
                f"{self.found.path}: a checkpoint of another training: {'; '.join(differs)}"
            )

    def restore(self, run: Run, sampler: Sampler, callbacks: Sequence[Callback]) -> None:
        """Bring history, sampler and callbacks to where they were in `found`."""
        found = self.found
        assert found is not None
        was, here = found.values["rounding"], rounding()
        libraries = {found.values["library"], library_name(run.network.backend.xp)}
        if self.first and libraries == {"numpy"} and was != here:
            warn_caller(
                f"{found.path}: written with {was}; here is {here}: the last digits may come out "
                "otherwise than in a training that was not interrupted",
                CheckpointWarning,
            )
        states = found.values["callbacks"]
        with_state = [call for call in callbacks if call.save_state()]
        if not self.first:  # rank 0 has more, behind those of every rank
            states = states[: len(with_state)]
        names = [type(call).__name__ for call in with_state]
        if names != [state.get("name") for state in states]:
            raise CheckpointError(
                f"{found.path}: it has the states of other callbacks than {names}"
            )
        try:
            sampler.restore(found.values["generator"], found.arrays_of("sampler"))
        except ValueError as error:
            raise CheckpointError(f"{found.path}: {error}") from error
        vars(run.history).update(vars(found.history()))
        run.history.stopped = "" if found.stopped == "interrupted" else found.stopped
        for i, (call, state) in enumerate(zip(with_state, states, strict=True)):
            try:
                call.load_state(run, {**state["values"], **found.arrays_of(f"callback.{i}")})
            except (KeyError, TypeError, ValueError) as error:
                raise CheckpointError(
                    f"{found.path}: the state of the callback {names[i]} cannot be "
                    f"restored: {error}"
                ) from error

    # Writing

    def after_epoch(self, trainer: Any, last: bool) -> str | None:
        """Write a checkpoint of a `Trainer` when it is time; say why the training must stop."""
        if self.checkpoint is None:
            return None
        self._latest = _state_of(trainer)
        return self._write() if last or self._due(trainer.history.epochs) else None

    def _due(self, epoch: int) -> bool:
        assert self.checkpoint is not None
        epochs, minutes = self.checkpoint.every_epochs, self.checkpoint.every_minutes
        if epochs is None and minutes is None:
            epochs = 1
        if epochs is not None and epoch // epochs > self._tried // epochs:
            return True
        return minutes is not None and time.monotonic() - self._when >= 60.0 * minutes

    def interrupted(self) -> None:
        """Write the last whole epoch down, if that is not done yet."""
        if self._latest is not None and self._latest.epoch > self._tried:
            self._latest.values["history"]["stopped"] = "interrupted"
            failed = self._write()
            if failed is not None:
                self._warn(failed)

    def _write(self) -> str | None:
        latest = self._latest
        assert latest is not None
        assert self.checkpoint is not None
        assert self.path is not None
        values = {"kind": self.kind, "identity": self.identity, "start": self._start}
        failed = None
        try:
            write_arrays(
                self.path,
                CHECKPOINT,
                values | latest.values,
                {name: to_host(array) for name, array in latest.arrays.items()},
                temp_name=f".{self.path.name}.part",
            )
        except OSError as error:
            failed = f"the checkpoint {self.path} could not be written: {error}"
        # Not before: where Ctrl-C comes in between, there is something left to write.
        self._tried, self._when = latest.epoch, time.monotonic()
        if failed is not None and self.checkpoint.on_error == "warn":
            self._warn(f"{failed}. The training goes on")
            return None
        return failed

    def _warn(self, text: str) -> None:
        if self._warned:
            return
        self._warned = True
        warn_caller(
            f"{text}; the checkpoint before, if there is one, stays as it is", CheckpointWarning
        )


def _state_of(trainer: Any) -> TrainState:
    """Take the state of a training between two epochs."""
    compiled, history = trainer.compiled, trainer.history
    arrays = {f"carry.{i}": leaf for i, leaf in enumerate(leaves(compiled.carry))}
    generator, own = trainer.sampler.state()
    arrays |= {f"sampler.{key}": array for key, array in own.items()}
    states: list[dict[str, Any]] = []
    for call in trainer.callbacks:
        state = call.save_state()
        if not state:
            continue
        names = [key for key, value in state.items() if is_array(value)]
        arrays |= {f"callback.{len(states)}.{key}": state[key] for key in names}
        values = {key: _copied(value) for key, value in state.items() if key not in names}
        states.append({"name": type(call).__name__, "values": values})
    values = {
        "engine": compiled.mode,
        "library": library_name(compiled.backend.xp),
        "rounding": rounding(),
        "generator": generator,
        "history": {key: _copied(value) for key, value in history.to_dict().items()},
        "callbacks": states,
        "steps": trainer.steps_taken,
    }
    return TrainState(history.epochs, values, arrays)


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
