"""Names for what the standard leaves to the libraries.

The array API standard defines behaviour, not classes, so these are `Any` for a type
checker; the names say to a reader what is meant.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

Array: TypeAlias = Any
"""An array of any library that follows the array API standard."""

ArrayLike: TypeAlias = Any
"""An `Array`, or nested lists of numbers, which become a NumPy array."""

Namespace: TypeAlias = Any
"""The functions of one array library, called `xp` throughout."""

Device: TypeAlias = Any
"""A device as its library spells it; None where the library has only one."""

DType: TypeAlias = Any
"""A data type object of one array library."""

HostGenerator: TypeAlias = Any
"""A `numpy.random.Generator` (or the legacy `RandomState`)."""

Copy: TypeAlias = Literal[True] | None
"""Whether to copy: always, or only where that is needed (None), as in the standard."""
