"""Code that a training calls on its way: early stopping and whatever a user adds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpnn.backends import Array, placement, to_device
from xpnn.training.history import History

if TYPE_CHECKING:
    from xpnn.training.network import Network


@dataclass
class Run:
    """A training under way, as callbacks see it.

    Parameters
    ----------
    network : Network
        The network, with the parameters as they stand after the epoch.
    history : History
        What happened so far.
    epochs : int
        Epochs that were asked for.
    """

    network: Network
    history: History
    epochs: int


class Callback:
    """Base of callbacks; override what is needed."""

    def on_start(self, run: Run) -> None:
        """Before the first epoch."""

    def on_epoch(self, run: Run) -> str | None:
        """After each epoch; a text ends the training and becomes `History.stopped`."""

    def on_end(self, run: Run) -> None:
        """After the last epoch, also when the training was interrupted."""

    def save_state(self) -> dict[str, Any]:
        """What a checkpoint shall keep of this callback: plain values and arrays by name."""
        return {}

    def load_state(self, run: Run, state: dict[str, Any]) -> None:
        """Go on from what `save_state` gave, its arrays on the host; after `on_start`."""


class OnEpoch(Callback):
    """Call a function after each epoch.

    Parameters
    ----------
    function : callable
        ``function(run)``; a text that it returns ends the training.
    """

    def __init__(self, function: Callable[[Run], str | None]) -> None:
        self.function = function

    def on_epoch(self, run: Run) -> str | None:
        """Call the function."""
        return self.function(run)


_HOOKS = ("on_start", "on_epoch", "on_end", "on_batch")


class _Hooks(Callback):
    """What somebody's object has of a callback's methods."""

    def __init__(self, given: object) -> None:
        for name in _HOOKS:
            if callable(getattr(given, name, None)):
                setattr(self, name, getattr(given, name))


def as_callback(given: Callback | Callable[[Run], str | None] | object) -> Callback:
    """Make a callback of a function, or of an object that has some of a callback's methods.

    Raises
    ------
    TypeError
        It is neither.
    """
    if isinstance(given, Callback):
        return given
    if any(hasattr(given, name) for name in _HOOKS):
        return _Hooks(given)
    if callable(given):
        return OnEpoch(given)
    raise TypeError(
        f"a callback is {given!r}; expected a Callback, a function of a run, or an object with "
        f"one of {', '.join(_HOOKS)}"
    )


class EarlyStopping(Callback):
    """Stop when the watched figure no longer gets better, and restore the best weights.

    Parameters
    ----------
    patience : int, default 10
        Epochs without an improvement before stopping.
    min_delta : float, default 0
        An improvement counts when it is larger than this.
    monitor : {'validation_loss', 'validation_accuracy', 'loss'}, default 'validation_loss'
        What is watched.
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
        if patience < 1:
            raise ValueError(f"patience is {patience!r}; expected 1 or more")
        if min_delta < 0:
            raise ValueError(f"min_delta is {min_delta!r}; expected 0 or more")
        if monitor not in ("validation_loss", "validation_accuracy", "loss"):
            raise ValueError(
                f"monitor={monitor!r} is not known; expected 'validation_loss', "
                "'validation_accuracy' or 'loss'"
            )
        self.patience = patience
        self.min_delta = min_delta
        self.monitor = monitor
        self.restore = restore

    def on_start(self, run: Run) -> None:
        """Forget what an earlier training left."""
        self._best = -math.inf
        self._best_theta: Array | None = None
        self._waited = 0

    def on_epoch(self, run: Run) -> str | None:
        """Keep the weights when they are the best so far; stop when patience is out."""
        figures = getattr(run.history, self.monitor)
        if not figures:
            raise ValueError(
                f"early stopping watches {self.monitor}, but there is none: give "
                "validation=(x, t) or a share, or another monitor"
            )
        sign = 1.0 if self.monitor == "validation_accuracy" else -1.0
        if sign * figures[-1] > self._best + self.min_delta:
            self._best = sign * figures[-1]
            self._best_theta = run.network.copy_theta()
            run.history.best_epoch = run.history.epochs
            self._waited = 0
            return None
        self._waited += 1
        return "early stopping" if self._waited >= self.patience else None

    def save_state(self) -> dict[str, Any]:
        """The best weights so far, their figure, and for how long there were no better ones."""
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
            raise ValueError(f"waited is {waited!r}; expected an integer, 0 or more")
        if theta is None:
            self._waited = waited
            return
        own = run.network.theta
        if not isinstance(best, float) or theta.shape != tuple(own.shape):
            raise ValueError(f"best is {best!r} with weights of shape {theta.shape}")
        xp, device = placement(theta=own)
        self._best, self._waited = best, waited
        self._best_theta = to_device(theta, xp, device, own.dtype)

    def on_end(self, run: Run) -> None:
        """Restore the best weights."""
        if self.restore and self._best_theta is not None:
            run.network.theta = self._best_theta
