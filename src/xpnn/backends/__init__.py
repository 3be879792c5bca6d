"""Backends: which array library, device and dtype, and how arrays get there.

The only part of xpnn that imports an array library other than NumPy, or knows their
differences. `host` is NumPy in its role as the host's library. What needs a GPU is imported
where one is met: `cuda`, `cublas` and `cuda_health`.
"""

import numpy as host

from xpnn.backends.errors import (
    BackendUnavailableError,
    DeviceLostError,
    DeviceMemoryError,
    InputError,
    MissingExtraError,
    MixedArraysError,
    device_errors,
    is_refusal,
)
from xpnn.backends.libraries import (
    DTYPES,
    HOST_NAMESPACE,
    LIBRARIES,
    Array,
    ArrayLike,
    Device,
    DType,
    HostGenerator,
    Namespace,
    as_floating,
    default_float,
    device_name,
    device_of,
    dtype_name,
    epoch_scan,
    is_array,
    is_floating,
    is_half,
    is_storage_only,
    jit,
    largest_of,
    library_name,
    named_dtype,
    namespace,
    on_device,
    placement,
)
from xpnn.backends.pinned import Feeder, Part, feeder_for
from xpnn.backends.products import PRECISIONS, check_precision, matmul, matmul_precision
from xpnn.backends.random import generator, generator_state, restore_generator, uniform_noise
from xpnn.backends.select import available, select, status
from xpnn.backends.settings import deterministic_mode, limit_threads, rounding, threads_for
from xpnn.backends.special import erf, host_erf
from xpnn.backends.transfer import (
    Backend,
    as_array,
    backend_of,
    from_dlpack,
    host_view,
    scalar,
    to_device,
    to_float,
    to_host,
)

__all__ = [
    "DTYPES", "HOST_NAMESPACE", "LIBRARIES", "PRECISIONS", "Array", "ArrayLike", "Backend",
    "BackendUnavailableError", "DType", "Device", "DeviceLostError", "DeviceMemoryError",
    "Feeder", "HostGenerator", "InputError", "MissingExtraError", "MixedArraysError", "Namespace",
    "Part", "as_array", "as_floating", "available", "backend_of", "check_precision",
    "default_float", "deterministic_mode", "device_errors", "device_name", "device_of",
    "dtype_name", "epoch_scan", "erf", "feeder_for", "from_dlpack", "generator",
    "generator_state", "host", "host_erf", "host_view", "is_array", "is_floating", "is_half",
    "is_refusal", "is_storage_only", "jit", "largest_of", "library_name", "limit_threads",
    "matmul", "matmul_precision", "named_dtype", "namespace", "on_device", "placement",
    "restore_generator", "rounding", "scalar", "select", "status", "threads_for", "to_device",
    "to_float", "to_host", "uniform_noise",
]  # fmt: skip
