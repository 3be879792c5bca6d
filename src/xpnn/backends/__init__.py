"""Backends: which array library, device and dtype, and how arrays get there.

The only part of xpnn that imports an array library other than NumPy, or knows their
differences. `host` is NumPy in its role as the host's library.
"""

import numpy as host

from xpnn.backends.cublas import gemm
from xpnn.backends.cuda import CupyDevice, NcclRing
from xpnn.backends.determinism import deterministic_mode
from xpnn.backends.device_errors import device_errors, is_refusal
from xpnn.backends.dispatch import (
    HOST_NAMESPACE,
    as_floating,
    default_float,
    device_of,
    dtype_name,
    is_array,
    is_floating,
    is_half,
    is_storage_only,
    largest_of,
    named_dtype,
    namespace,
    placement,
)
from xpnn.backends.dlpack import from_dlpack
from xpnn.backends.errors import (
    BackendUnavailableError,
    DeviceLostError,
    DeviceMemoryError,
    InputError,
    MissingExtraError,
    MixedArraysError,
)
from xpnn.backends.libraries import LIBRARIES, device_name, epoch_scan, jit, library_name, on_device
from xpnn.backends.matmul_precision import PRECISIONS, check_precision, matmul_precision
from xpnn.backends.pinned import Feeder, Part, device_share, feeder_for
from xpnn.backends.products import matmul
from xpnn.backends.random import (
    generator,
    generator_state,
    restore_generator,
    uniform_noise,
)
from xpnn.backends.select import (
    DTYPES,
    Backend,
    LibraryStatus,
    available,
    backend_of,
    select,
    status,
)
from xpnn.backends.special import erf, host_erf
from xpnn.backends.threads import limit_threads, threads_for
from xpnn.backends.transfer import (
    as_array,
    host_view,
    scalar,
    to_device,
    to_float,
    to_host,
)
from xpnn.backends.types import Array, ArrayLike, Device, DType, HostGenerator, Namespace

__all__ = [
    "DTYPES",
    "HOST_NAMESPACE",
    "LIBRARIES",
    "PRECISIONS",
    "Array",
    "ArrayLike",
    "Backend",
    "BackendUnavailableError",
    "CupyDevice",
    "DType",
    "Device",
    "DeviceLostError",
    "DeviceMemoryError",
    "Feeder",
    "HostGenerator",
    "InputError",
    "LibraryStatus",
    "MissingExtraError",
    "MixedArraysError",
    "Namespace",
    "NcclRing",
    "Part",
    "as_array",
    "as_floating",
    "available",
    "backend_of",
    "check_precision",
    "default_float",
    "deterministic_mode",
    "device_errors",
    "device_name",
    "device_of",
    "device_share",
    "dtype_name",
    "epoch_scan",
    "erf",
    "feeder_for",
    "from_dlpack",
    "gemm",
    "generator",
    "generator_state",
    "host",
    "host_erf",
    "host_view",
    "is_array",
    "is_floating",
    "is_half",
    "is_refusal",
    "is_storage_only",
    "jit",
    "largest_of",
    "library_name",
    "limit_threads",
    "matmul",
    "matmul_precision",
    "named_dtype",
    "namespace",
    "on_device",
    "placement",
    "restore_generator",
    "scalar",
    "select",
    "status",
    "threads_for",
    "to_device",
    "to_float",
    "to_host",
    "uniform_noise",
]
