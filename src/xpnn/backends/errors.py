"""The errors that the choice and the mixing of array libraries can end in."""

from __future__ import annotations


class InputError(ValueError):
    """What the user handed in cannot be used; the message says what came and what is expected.

    Base of the library's errors about input: files, tables, names of backends. The command
    line prints such an error in one line and ends with exit code 2; any other exception is a
    defect, and shows where it happened.
    """


class MissingExtraError(ImportError):
    """A package that is not installed; the message says which extra of xpnn installs it."""


class BackendUnavailableError(RuntimeError):
    """An array library, or a device of it, cannot be used on this machine."""


class MixedArraysError(ValueError):
    """Two arguments of one call belong to different array libraries or devices."""


class DeviceMemoryError(MemoryError):
    """A device is out of memory."""


class DeviceLostError(RuntimeError):
    """A device can be used no more by this process."""
