"""The errors that the choice and the mixing of array libraries can end in."""

from __future__ import annotations


class BackendUnavailableError(RuntimeError):
    """An array library, or a device of it, cannot be used on this machine."""


class MixedArraysError(ValueError):
    """Two arguments of one call belong to different array libraries or devices."""


class DeviceMemoryError(MemoryError):
    """A device has no room for what was asked of it."""


class DeviceLostError(RuntimeError):
    """A device can be used no more by this process."""
