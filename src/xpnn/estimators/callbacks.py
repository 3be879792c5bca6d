"""scikit-learn's callbacks, such as `sklearn.callback.ProgressBar`, told of our epochs."""

from __future__ import annotations

from typing import Any

from xpnn.training import Callback, Run


class ScikitLearnCallbacks(Callback):
    """Tells the callbacks of `set_callbacks` of a fit, and of each epoch as one of its tasks.

    A callback of scikit-learn ends a training by what its `on_fit_task_end` returns.
    """

    def __init__(self, model: Any, data: Any) -> None:
        self.model, self.data = model, data
        weight = data.sample_weight
        self._metadata = None if weight is None else {"sample_weight": weight}
        self._epoch: Any = None

    def _told(self) -> dict[str, Any]:
        return {
            "estimator": self.model,
            "X": self.data.X,
            "y": self.data.y,
            "metadata": self._metadata,
            "reconstruction_attributes": self._fitted,
        }

    def _fitted(self) -> dict[str, Any]:
        """What an estimator needs to predict as if the training had ended here."""
        model = self.model
        found = {
            name: value
            for name, value in vars(model).items()
            if (name.endswith("_") and not name.startswith("_")) or name in _NEEDED
        }
        return {**found, "network_": model.network_.copy()}

    def _begin_epoch(self) -> None:
        self._epoch = self._fit.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._told())

    def on_train_begin(self, run: Run) -> None:
        """Begin the task of the fit, and that of the first epoch."""
        self._fit = self.model._init_callback_context(max_subtasks=run.epochs)
        self._fit.call_on_fit_task_begin(estimator=self.model, X=self.data.X, y=self.data.y)
        self._begin_epoch()

    def on_epoch_end(self, run: Run) -> None:
        """End the epoch's task, and begin the next one's."""
        epoch, self._epoch = self._epoch, None
        if epoch.call_on_fit_task_end(**self._told()):
            run.stop("a callback")
        if not run.history.stopped and run.history.epochs < run.epochs:
            self._begin_epoch()

    def on_train_end(self, run: Run) -> None:
        """End the task of the fit."""
        if self._epoch is not None:
            self._epoch.call_on_fit_task_end(estimator=self.model)
        self._fit.call_on_fit_task_end(**self._told())


_NEEDED = frozenset({"_loss", "_label_binarizer", "_requested"})
