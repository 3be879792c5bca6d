"""What `xpnn train` is asked for, and its words read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Order:
    """What is asked for, beside the table; the options of the command say what each is."""

    out: Path
    target: str | None = None
    task: str = "auto"
    kinds: tuple[str, ...] = ()
    hidden: str = "100"
    activation: str = "relu"
    epochs: int = 200
    batch_size: int | None = None
    rate: float = 0.001
    alpha: float = 0.0001
    validation: str = "0.1"
    early_stop: bool = False
    backend: str = "auto"
    device: str | None = None
    seed: int = 0
    resume: bool = False
    checkpoint_every: int | None = None
    plot: bool = False
    compute_dtype: str | None = None
    precision: str = "highest"

    @property
    def checkpoint(self) -> Path:
        """Where the training is written down on its way."""
        return self.out.with_name(f"{self.out.stem}.checkpoint.safetensors")

    @property
    def picture(self) -> Path | None:
        """Where the curves are drawn; None where they are not."""
        return self.out.with_suffix(".png") if self.plot else None

    def options(self) -> dict[str, Any]:
        """Parameters of the estimator."""
        from xpnn import select
        from xpnn.backends import PRECISIONS
        from xpnn.functional import ACTIVATIONS
        from xpnn.training.precision import COMPUTE_DTYPES

        chosen = select(self.backend, self.device)
        if self.activation not in ACTIVATIONS and self.activation != "logistic":
            raise ValueError(
                f"--activation is {self.activation!r}; expected one of {', '.join(ACTIVATIONS)}"
            )
        if self.compute_dtype is not None and self.compute_dtype not in COMPUTE_DTYPES:
            raise ValueError(
                f"--compute-dtype is {self.compute_dtype!r}; expected one of "
                f"{', '.join(COMPUTE_DTYPES)}"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"--precision is {self.precision!r}; expected one of {', '.join(PRECISIONS)}"
            )
        options: dict[str, Any] = {
            "hidden_layer_sizes": widths(self.hidden),
            "activation": self.activation,
            "max_iter": self.epochs,
            "batch_size": "auto" if self.batch_size is None else self.batch_size,
            "learning_rate_init": self.rate,
            "alpha": self.alpha,
            "early_stopping": self.early_stop,
            # Of a few rows the score moves in steps; their loss says sooner what happens.
            "monitor": "loss" if self.early_stop else "score",
        }
        if chosen.name != "numpy":
            from xpnn.backends import device_name

            own = None if self.device is None else device_name(chosen.device)
            options |= {"backend": chosen.name, "device": own}
        if self.compute_dtype is not None:
            options["compute_dtype"] = self.compute_dtype
        if self.precision != "highest":
            options["precision"] = self.precision
        return options


def widths(text: str) -> tuple[int, ...]:
    """Read widths of hidden layers, such as ``100,50``; ``none`` is a network without any."""
    if text.strip().lower() in ("none", "0", ""):
        return ()
    try:
        found = tuple(int(word) for word in text.split(","))
    except ValueError:
        found = (0,)
    if min(found) < 1:
        raise ValueError(f"--hidden is {text!r}; expected widths such as 100 or 100,50, or none")
    return found


def read_kinds(words: tuple[str, ...]) -> dict[str, str]:
    """Read what columns are, such as ``zip=category``."""
    found = {}
    for word in words:
        name, mark, kind = word.rpartition("=")
        if not mark or not name:
            raise ValueError(f"--as is {word!r}; expected COLUMN=KIND, such as zip=category")
        found[name] = kind
    return found
