"""Writing checkpoints on a training's way, and going on from one."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpnn.backends import (
    Array,
    HostGenerator,
    generator_state,
    is_array,
    library_name,
    restore_generator,
    to_host,
)
from xpnn.data.arrays_file import write_arrays
from xpnn.distributed import Group
from xpnn.engine.compile import Runner, mode_of
from xpnn.engine.trees import leaves
from xpnn.training.callbacks import Callback, Run
from xpnn.training.checkpoints import (
    CHECKPOINT,
    CheckpointError,
    CheckpointWarning,
    Saved,
    as_checkpoint,
    read_checkpoint,
)
from xpnn.training.history import History


@dataclass
class Snapshot:
    """A training as it stands after an epoch.

    Parameters
    ----------
    epoch : int
        Number of the epoch, from 1.
    values : dict
        Everything that is not an array.
    arrays : dict of str to array
        Arrays of the training's library, or NumPy's.
    """

    epoch: int
    values: dict[str, Any]
    arrays: dict[str, Array]


class Keeper:
    """The checkpoints of one training; does nothing where none were asked for.

    Parameters
    ----------
    kind : {'network', 'estimator'}
        What trains.
    checkpoint : Checkpoint, path or None
        Where and how often to write.
    resume : bool or path
        Whether to go on from what is there, or where from.
    group : Group, optional
        Processes that train together: rank 0 reads and writes.

    Attributes
    ----------
    found : Saved or None
        What to go on from.

    Raises
    ------
    CheckpointError
        What there is cannot be gone on from.
    FileNotFoundError
        `resume` is a path, and there is nothing.
    """

    def __init__(
        self, kind: str, checkpoint: Any, resume: bool | str | Path, group: Group | None = None
    ) -> None:
        self.kind, self.checkpoint = kind, as_checkpoint(checkpoint)
        self.path = None if self.checkpoint is None else Path(self.checkpoint.path)
        self.group, self.first = group, group is None or group.first
        self.found = self._find(resume) if self.first else None
        if group is not None:
            self.found = group.from_first(self.found)
        if not self.first:
            self.checkpoint = None
        if self.found is not None and self.found.values["kind"] != kind:
            raise CheckpointError(
                f"{self.found.path}: it is of the kind {self.found.values['kind']!r}; this "
                f"training needs one of the kind {kind!r}"
            )
        self.made_for: dict[str, str] = {}
        self._start: dict[str, Any] = {}
        self._latest: Snapshot | None = None
        self._tried = 0 if self.found is None else self.found.history().epochs
        self._when = time.monotonic()
        self._warned = False

    def _find(self, resume: bool | str | Path) -> Saved | None:
        """Read what is to be gone on from."""
        if isinstance(resume, str | Path):
            return read_checkpoint(resume)
        if not isinstance(resume, bool):
            raise TypeError(f"resume is {resume!r}; expected True, False or a path")
        if resume and self.path is None:
            raise ValueError("resume=True goes on from the file of checkpoint=..., which is None")
        there = resume and self.path is not None and self.path.exists()
        return read_checkpoint(self.path) if there and self.path is not None else None

    @property
    def active(self) -> bool:
        """Whether there is anything to do."""
        return self.checkpoint is not None or self.found is not None

    # Going on

    def start(self, source: HostGenerator) -> None:
        """Note where the generator begins, or bring it to where the other training began."""
        if not self.active:
            return
        self._before = generator_state(source)
        self._start = self._before
        if self.found is not None:
            self._restore(source, "start")
            self._start = self.found.values["start"]

    def _restore(self, source: HostGenerator, key: str) -> None:
        assert self.found is not None
        try:
            restore_generator(source, self.found.values[key])
        except ValueError as error:
            raise CheckpointError(f"{self.found.path}: {error}") from error

    def check(self, made_for: dict[str, str], source: HostGenerator, epochs: int) -> None:
        """Hold the training that is asked for against the one that the checkpoint is of.

        Parameters
        ----------
        made_for : dict of str to str
            Options and data, described.
        source : generator
            As in `start`; put back where it was if the checkpoint is refused.
        epochs : int
            How many are asked for.

        Raises
        ------
        CheckpointError
            Names what differs.
        """
        self.made_for = made_for
        if self.found is None:
            return
        was = self.found.values["made_for"]
        differs = [
            f"{name} is {made_for.get(name)}, the checkpoint has {was.get(name)}"
            for name in sorted(made_for.keys() | was.keys())
            if made_for.get(name) != was.get(name)
        ]
        done = self.found.history().epochs
        if done > epochs:
            differs.append(f"{epochs} epochs are asked for, the checkpoint is after {done}")
        if differs:
            restore_generator(source, self._before)
            raise CheckpointError(
                f"{self.found.path}: a checkpoint of another training: {'; '.join(differs)}"
            )

    def engine(self, asked: str, xp: Any) -> str:
        """Choose how steps run: as they did before, where that was on the same library."""
        if self.found is None or self.found.values["library"] != library_name(xp):
            return asked
        return str(self.found.values["engine"])

    def restore(
        self, run: Run, history: History, source: HostGenerator, calls: Sequence[Callback]
    ) -> None:
        """Bring history, generator and callbacks to where they were."""
        if self.found is None:
            return
        vars(history).update(vars(self.found.history()))
        stopped = self.found.stopped
        history.stopped = "" if stopped == "interrupted" else stopped
        self._restore(source, "generator")
        if not self.first:
            return  # callbacks are rank 0's
        states = self.found.values["callbacks"]
        kept = [call for call in calls if call.save_state()]
        names = [type(call).__name__ for call in kept]
        if names != [state.get("name") for state in states]:
            raise CheckpointError(
                f"{self.found.path}: it has the states of other callbacks than {names}"
            )
        for i, (call, state) in enumerate(zip(kept, states, strict=True)):
            try:
                values = dict(state["values"])
                for key in state["arrays"]:
                    values[key] = self.found.arrays[f"callback.{i}.{key}"]
                call.load_state(run, values)
            except (KeyError, TypeError, ValueError) as error:
                raise CheckpointError(
                    f"{self.found.path}: the state of the callback {names[i]} cannot be "
                    f"restored: {error}"
                ) from error

    # Writing

    def after_epoch(self, epoch: int, take: Callable[[], Snapshot], last: bool) -> str | None:
        """Write a checkpoint when it is time.

        Parameters
        ----------
        epoch : int
            Number of the epoch that ended, from 1.
        take : callable
            Takes the snapshot.
        last : bool
            Whether no epoch follows.

        Returns
        -------
        str or None
            Why the training must stop.
        """
        if self.checkpoint is None:
            return None
        self._latest = take()
        return self._write() if last or self._due(epoch) else None

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
        taken = self._latest
        assert taken is not None
        assert self.checkpoint is not None
        assert self.path is not None
        values = {"kind": self.kind, "made_for": self.made_for, "start": self._start}
        failed = None
        try:
            write_arrays(
                self.path, CHECKPOINT, values | taken.values,
                {name: to_host(array) for name, array in taken.arrays.items()},
                temp_name=f".{self.path.name}.part",
            )  # fmt: skip
        except OSError as error:
            failed = f"the checkpoint {self.path} could not be written: {error}"
        # Not before: where Ctrl-C comes in between, there is something left to write.
        self._tried, self._when = taken.epoch, time.monotonic()
        if failed is not None and self.checkpoint.on_error == "warn":
            self._warn(f"{failed}. The training goes on")
            return None
        return failed

    def _warn(self, text: str) -> None:
        if self._warned:
            return
        self._warned = True
        warnings.warn(
            f"{text}; the checkpoint before, if there is one, stays as it is",
            CheckpointWarning,
            stacklevel=8 if self.kind == "network" else 9,
        )


def snapshot(
    runner: Runner, xp: Any, history: History, source: HostGenerator, calls: Sequence[Callback],
    own: dict[str, Any], arrays: dict[str, Array],
) -> Snapshot:  # fmt: skip
    """Take a snapshot of a training between two epochs.

    Parameters
    ----------
    runner : Runner
        Has parameters, optimizer state and count.
    xp : module
        Namespace of the training.
    history : History
        What happened so far.
    source : generator
        Where random numbers come from.
    calls : sequence of Callback
        Those with a state are asked for it.
    own : dict
        More plain values.
    arrays : dict of str to array
        More arrays.

    Returns
    -------
    Snapshot
        Shares nothing that changes with the training.
    """
    arrays = dict(arrays)
    arrays |= {f"carry.{i}": leaf for i, leaf in enumerate(leaves(runner.state()))}
    states: list[dict[str, Any]] = []
    for call in calls:
        state = call.save_state()
        if not state:
            continue
        names = [key for key, value in state.items() if is_array(value)]
        arrays |= {f"callback.{len(states)}.{key}": state[key] for key in names}
        values = {key: value for key, value in state.items() if key not in names}
        states.append({"name": type(call).__name__, "values": values, "arrays": names})
    record = {k: list(v) if isinstance(v, list) else v for k, v in history.to_dict().items()}
    values = {
        "engine": mode_of(runner),
        "library": library_name(xp),
        "generator": generator_state(source),
        "history": record,
        "callbacks": states,
        "own": own,
    }
    return Snapshot(history.epochs, values, arrays)
