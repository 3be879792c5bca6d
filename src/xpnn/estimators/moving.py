"""Fitted models on the move: to other libraries and devices, and out of pickles."""

from __future__ import annotations

import warnings
from typing import Any

from xpnn.backends import (
    BackendUnavailableError,
    device_name,
    on_device,
    select,
    to_device,
    to_host,
)
from xpnn.engine.trees import map_tree


def move(model: Any, backend: str, device: str | None) -> Any:
    """Move the parameters, and what `partial_fit` goes on with; see `BaseMLP.to`."""
    chosen = select(backend, device, model._dtype_name)

    def carried(value: Any) -> Any:
        return to_device(to_host(value), chosen.xp, chosen.device)

    kept, best = vars(model).get("_kept"), vars(model).get("_best_theta")
    with on_device(chosen.device):
        # All of it first: if there is no room, the model stays where it is.
        theta = to_device(to_host(model._theta()), chosen.xp, chosen.device, chosen.dtype)
        best = map_tree(carried, best)
        state = map_tree(carried, kept.carry()) if kept is not None else None
        model._library, model._device_name = chosen.name, device_name(chosen.device)
        model._set_theta(theta)
        if best is not None:
            model._best_theta = best
        if kept is not None:
            kept.state, kept.learner = state, None
    return model


def land(model: Any) -> None:
    """Put an unpickled model where it lived, or on NumPy where that is not possible here."""
    wanted, where = model._library, model._device_name
    model._library, model._device_name = "numpy", "cpu"
    try:
        select(wanted, where, model._dtype_name)
    except (BackendUnavailableError, ValueError) as error:  # no such library, or device
        warnings.warn(
            f"the model was on {wanted} ({where}), which cannot be used here; it is on NumPy now: "
            f"{error}",
            stacklevel=2,
        )
    else:
        model.to(wanted, where)
