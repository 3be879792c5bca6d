"""Code that a training calls on its way: early stopping and whatever a user adds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from xpnn.backends import Array, InputError, placement, to_device
from xpnn.training.history import History


@dataclass
class Run:
    """A training under way, as callbacks see it.

    Parameters
    ----------
    network : Any
        The network, with the parameters as they stand after the epoch.
    history : History
        What happened so far.
    epochs : int
        Epochs that were asked for.
    model : object
        What `fit` was called on: an estimator, or the network itself.
    batch : int
        Number of the batch that ended, from 0 in each epoch; for `on_batch_end`.
    batch_loss : float
        Its loss, the penalty included.
    rows_seen : int
        Training rows that the epoch has gone through so far.
    weights_epoch : int
        Epoch (from 1) whose weights the network has; 0 before the first.
    """

    network: Any
    history: History
    epochs: int
    model: Any
    batch: int = 0
    batch_loss: float = math.nan
    rows_seen: int = 0
    weights_epoch: int = 0

    def stop(self, reason: str) -> None:
        """End the training after this epoch (or batch).

        Parameters
        ----------
        reason : str
            Becomes `History.stopped`; the first reason that is given counts.

        Raises
        ------
        ValueError
            It is empty, or no text.
        """
        if not isinstance(reason, str) or not reason:
            raise InputError(f"reason is {reason!r}; expected a text that is not empty")
        self.history.stopped = self.history.stopped or reason


class Callback:
    """Base of callbacks; override what is needed.

    What the methods return is ignored: `Run.stop` ends a training.

    Attributes
    ----------
    on_every_rank : bool
        Whether all processes of a training call it, and not only rank 0.
    """

    on_every_rank = False

    def on_train_begin(self, run: Run) -> None:
        """Before the first epoch."""

    def on_epoch_end(self, run: Run) -> None:
        """After each epoch (each report, where `report_every` is more than 1)."""

    def on_batch_end(self, run: Run) -> None:
        """After each step, where a callback overrides this: the loss is read every time."""

    def on_train_end(self, run: Run) -> None:
        """After the last epoch, also when the training was interrupted or failed."""

    def save_state(self) -> dict[str, Any]:
        """What a checkpoint shall keep of this callback: plain values and arrays by name."""
        return {}

    def load_state(self, run: Run, state: dict[str, Any]) -> None:
        """Go on from what `save_state` gave, its arrays on the host; after `on_train_begin`."""

    @property
    def wants_batches(self) -> bool:
        """Whether `on_batch_end` does anything."""
        return type(self).on_batch_end is not Callback.on_batch_end


_HOOKS = ("on_train_begin", "on_epoch_end", "on_batch_end", "on_train_end")


class _Adapter(Callback):
    """A function of a run, or an object that has some of a callback's methods."""

    def __init__(self, hooks: dict[str, Callable[[Run], Any]]) -> None:
        self._hooks = hooks

    def _call(self, hook: str, run: Run) -> None:
        if hook in self._hooks:
            self._hooks[hook](run)

    def on_train_begin(self, run: Run) -> None:
        self._call("on_train_begin", run)

    def on_epoch_end(self, run: Run) -> None:
        self._call("on_epoch_end", run)

    def on_batch_end(self, run: Run) -> None:
        self._call("on_batch_end", run)

    def on_train_end(self, run: Run) -> None:
        self._call("on_train_end", run)

    @property
    def wants_batches(self) -> bool:
        return "on_batch_end" in self._hooks


def as_callbacks(given: Any) -> list[Callback]:
    """List callbacks: none, one, or several.

    A function of a run is called after each epoch; of another object those of a callback's
    methods that it has are called.
    """
    if given is None:
        return []
    several = isinstance(given, Iterable) and not isinstance(given, Callback)
    return [_as_callback(one) for one in (given if several else [given])]


def _as_callback(given: Any) -> Callback:
    if isinstance(given, Callback):
        return given
    if isinstance(given, type):
        raise TypeError(f"a callback is the class {given.__name__}; expected an instance of it")
    hooks = {name: h for name in _HOOKS if callable(h := getattr(given, name, None))}
    if not hooks and callable(given):
        hooks = {"on_epoch_end": given}
    if not hooks:
        raise TypeError(
            f"a callback is {given!r}; expected a Callback, a function of a run, or an object with "
            f"one of {', '.join(_HOOKS)}"
        )
    return _Adapter(hooks)


class EarlyStopping(Callback):
    """Stop when the monitored figure stops improving, and restore the best weights.

    Parameters
    ----------
    patience : int, default 10
        Epochs without an improvement before stopping.
    min_delta : float, default 0
        An improvement counts when it is larger than this.
    monitor : {'validation_loss', 'validation_accuracy', 'loss'}, default 'validation_loss'
        What is monitored.
    restore : bool, default True
        Whether the network ends with the weights of the best epoch; also after Ctrl-C.

    Raises
    ------
    ValueError
        An argument is out of range, or training has nothing of the monitored kind.
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.0,
        monitor: str = "validation_loss",
        restore: bool = True,
    ) -> None:
        whole = isinstance(patience, Integral) and not isinstance(patience, bool)
        if not whole or patience < 1:
            raise InputError(f"patience is {patience!r}; expected an integer, 1 or more")
        if not min_delta >= 0:
            raise InputError(f"min_delta is {min_delta!r}; expected 0 or more")
        if monitor not in ("validation_loss", "validation_accuracy", "loss"):
            raise InputError(
                f"monitor={monitor!r} is not known; expected 'validation_loss', "
                "'validation_accuracy' or 'loss'"
            )
        self.patience = int(patience)
        self.min_delta = min_delta
        self.monitor = monitor
        self.restore = restore

    def check_monitor(self, validates: bool, kind: str) -> None:
        """Refuse to monitor what a training will not have.

        Parameters
        ----------
        validates : bool
            Whether there are validation rows.
        kind : {'multiclass', 'binary', 'regression'}
            Of the loss: a regression's has no accuracy.

        Raises
        ------
        ValueError
            Names the monitor, and what to give.
        """
        accuracy = self.monitor == "validation_accuracy"
        if self.monitor.startswith("validation") and not (
            validates and (kind != "regression" or not accuracy)
        ):
            raise InputError(
                f"early stopping monitors {self.monitor}, but there is none: give X_val and y_val, "
                "a validation_fraction, or another monitor"
            )

    def on_train_begin(self, run: Run) -> None:
        """Forget what an earlier training left."""
        self._best = -math.inf
        self._best_theta: Array | None = None
        self._waited = 0

    def on_epoch_end(self, run: Run) -> None:
        """Keep the weights when they are the best so far; stop when patience is out."""
        figures = getattr(run.history, self.monitor)
        self.check_monitor(bool(figures), "")
        sign = 1.0 if self.monitor == "validation_accuracy" else -1.0
        if sign * figures[-1] > self._best + self.min_delta:
            self._best = sign * figures[-1]
            self._best_theta = run.network.copy_theta()
            run.history.best_epoch = run.history.epochs
            self._waited = 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            run.stop("early stopping")

    def save_state(self) -> dict[str, Any]:
        """The best weights so far, their figure, and how long ago they were."""
        best = {} if self._best_theta is None else {"theta": self._best_theta, "best": self._best}
        return {"waited": self._waited, **best}

    def load_state(self, run: Run, state: dict[str, Any]) -> None:
        """Go on from what `save_state` gave.

        Raises
        ------
        ValueError
            It is not a state of early stopping, or is one of another network.
        """
        waited, best, theta = state["waited"], state.get("best"), state.get("theta")
        if isinstance(waited, bool) or not isinstance(waited, int) or waited < 0:
            raise InputError(f"waited is {waited!r}; expected an integer, 0 or more")
        if theta is None:
            self._waited = waited
            return
        own = run.network.theta
        if not isinstance(best, float) or theta.shape != tuple(own.shape):
            raise InputError(f"best is {best!r} with weights of shape {theta.shape}")
        xp, device = placement(theta=own)
        self._best, self._waited = best, waited
        self._best_theta = to_device(theta, xp, device, own.dtype)

    def on_train_end(self, run: Run) -> None:
        """Restore the best weights."""
        if self.restore and self._best_theta is not None:
            run.network.theta = self._best_theta
            run.weights_epoch = run.history.best_epoch or run.weights_epoch
        self._best_theta = None


def as_early_stopping(given: EarlyStopping | int | bool | None) -> EarlyStopping | None:
    """Make early stopping of True (the defaults) or a patience; pass on what is there."""
    if given is None or isinstance(given, EarlyStopping):
        return given
    if isinstance(given, bool):
        return EarlyStopping() if given else None
    return EarlyStopping(given)
