"""A progress bar in the terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from xpnn.training.callbacks import Callback, Run


class _LossyConsole(Console):
    """A console that falls silent, and does not end the process, when nobody reads it."""

    def on_broken_pipe(self) -> None:
        """Print nothing any more."""
        self.quiet = True


class ProgressBar(Callback):
    """Show epoch, loss, validation accuracy and rows per second while training."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _LossyConsole(file=sys.stderr)

    def on_train_begin(self, run: Run) -> None:
        """Draw the empty bar."""
        self._bar = Progress(
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            console=self.console,
        )
        self._task = self._bar.add_task("", total=run.epochs)
        self._bar.start()

    def on_epoch_end(self, run: Run) -> None:
        """Move the bar and show the epoch's figures."""
        history = run.history
        shown = [f"loss {history.loss[-1]:.4f}"]
        if history.validation_accuracy:
            shown.append(f"validation accuracy {history.validation_accuracy[-1]:.4f}")
        elif history.validation_loss:
            shown.append(f"validation loss {history.validation_loss[-1]:.4f}")
        shown.append(f"{history.rows / max(history.seconds[-1], 1e-9):,.0f} rows/s")
        self._bar.update(self._task, completed=history.epochs, description="  ".join(shown))

    def on_train_end(self, run: Run) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()
