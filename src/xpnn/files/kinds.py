"""How a kind of model is written, read and placed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpnn.backends import Backend, Device

Values = dict[str, Any]
Place = Callable[[Any, Backend | str | None, Device | str | None, str | None], Any]


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Parameters
    ----------
    classes : tuple of type
        Models of these very classes are of this kind.
    to_content : callable
        ``to_content(model, for_inference) -> (content, arrays)``: plain values for the header,
        and arrays of the host.
    from_content : callable
        ``from_content(header, arrays) -> model``, on the host. It raises `ModelFileError`.
    place : callable
        ``place(model, backend, device, dtype) -> model``: brings it to where it shall be.
    """

    classes: tuple[type, ...]
    to_content: Callable[[Any, bool], tuple[Values, Values]]
    from_content: Callable[[Values, Values], Any]
    place: Place
