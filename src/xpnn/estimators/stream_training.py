"""The stochastic solvers on rows from a source."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np

from xpnn.backends import Array, on_device, to_float
from xpnn.engine import show
from xpnn.estimators.learner import steps_in
from xpnn.estimators.stochastic import Training
from xpnn.estimators.streamed import StreamData

_LARGEST = 2**31 - 1


class StreamTraining(Training):
    """`Training` that goes from window to window; the order of the rows is a seed."""

    data: StreamData  # type: ignore[assignment]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        if self.group is not None and self._hooks() is not None:
            raise ValueError(
                "callbacks with on_batch do not go with a source on several processes; use on_epoch"
            )
        if not self.data.rows and self.kept.rates.schedule is not None:
            name = self.data.source.name
            raise ValueError(
                f"a schedule needs to know the number of rows; say it: stream({name}, rows=...)"
            )
        self.windows = self.data.windows(self.batch, self.group)

    def _in_order(self) -> Any:
        return None

    def _shuffled(self, order: Any) -> Any:
        own = self.data.source.shuffle.seed
        if own is not None:
            return own, len(self.model.loss_curve_)
        return int(self.model._random_state.randint(_LARGEST))

    def _steps(self, order: Any, rates: Sequence[float]) -> tuple[float, str | None]:
        hooks = self._hooks()
        total, taken, seen = 0.0, 0, 0
        sums: tuple[Array, ...] | None = None
        with closing(self.windows.go(order)) as windows:
            for window in windows:
                show(self.learner.runner, self.data.bring(window))
                rows = np.arange(window.rows) if window.order is None else window.order
                steps = steps_in(window.whole, self.batch)
                # Where nobody knew the number of steps, all have the one rate there is.
                part = list(rates[taken : taken + steps]) or [rates[-1]] * steps
                part += [rates[-1]] * (steps - len(part))
                taken, seen = taken + steps, seen + window.whole
                if hooks is None:
                    sums = self.learner.run(
                        rows, self.batch, part, self.model._random_state, sums, window.total
                    )
                    continue
                loss, end = self._batches(rows, part, hooks)
                total += loss * window.rows
                if end:
                    return total / seen, end
        self.data.rows = self.history.rows = seen
        if sums is not None:
            with on_device(self.data.device):
                total = to_float(sums[0])
        return total / seen, None
