"""Fitted models on the move: to other libraries and devices, and out of pickles."""

from __future__ import annotations

import warnings
from typing import Any

from xpnn.backends import (
    BackendUnavailableError,
    device_name,
    is_array,
    on_device,
    select,
    to_device,
    to_host,
)


def _carried(value: Any, chosen: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_carried(v, chosen) for v in value)
    return to_device(to_host(value), chosen.xp, chosen.device) if is_array(value) else value


def move(model: Any, backend: str, device: str | None) -> Any:
    """Move the parameters, and what `partial_fit` goes on with; see `BaseMLP.to`."""
    theta = to_host(model._theta())
    chosen = select(backend, device, model._dtype_name)
    model._library, model._device_name = chosen.name, device_name(chosen.device)
    with on_device(chosen.device):
        model._set_theta(to_device(theta, chosen.xp, chosen.device, chosen.dtype))
        best = vars(model).get("_best_theta")
        if best is not None:
            model._best_theta = _carried(best, chosen)
        kept = vars(model).get("_kept")
        if kept is not None:
            kept.state, kept.learner = _carried(kept.carry(), chosen), None
    return model


def land(model: Any) -> None:
    """Put an unpickled model where it lived, or on NumPy where that is not possible here."""
    wanted, where = model._library, model._device_name
    model._library, model._device_name = "numpy", "cpu"
    try:
        move(model, wanted, where)
    except BackendUnavailableError as error:
        warnings.warn(
            f"the model was on {wanted} ({where}), which cannot be used here; it is on NumPy now: "
            f"{error}",
            stacklevel=2,
        )
