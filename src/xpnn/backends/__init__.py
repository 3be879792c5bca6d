"""Backends: which array library, device and dtype, and how arrays get there.

The only part of xpnn that imports an array library other than NumPy, or knows their
differences. `host` is NumPy in its role as the host's library.
"""

import numpy as host

from xpnn.backends.cublas import gemm
from xpnn.backends.cuda import CupyDevice, NcclRing
from xpnn.backends.cuda_health import cuda_trouble
from xpnn.backends.determinism import same_bits
from xpnn.backends.device_errors import device_errors, is_refusal
from xpnn.backends.dispatch import (
    HOST_NAMESPACE,
    as_array,
    as_floating,
    default_float,
    device_of,
    dtype_name,
    is_array,
    is_floating,
    is_half,
    largest_of,
    named_dtype,
    namespace,
    placement,
)
from xpnn.backends.errors import (
    BackendUnavailableError,
    DeviceLostError,
    DeviceMemoryError,
    MixedArraysError,
)
from xpnn.backends.exchange import adopt
from xpnn.backends.libraries import LIBRARIES, device_name, epoch_scan, jit, library_name, on_device
from xpnn.backends.matmul_precision import PRECISIONS, check_precision, matmul_precision
from xpnn.backends.pinned import Feeder, Part, device_share, feeder_for
from xpnn.backends.products import product
from xpnn.backends.random import generator, uniform_noise
from xpnn.backends.random_state import generator_state, restore_generator
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
    PinnedPair,
    as_array_like,
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
    "LibraryStatus",
    "MixedArraysError",
    "Namespace",
    "NcclRing",
    "Part",
    "PinnedPair",
    "adopt",
    "as_array",
    "as_array_like",
    "as_floating",
    "available",
    "backend_of",
    "check_precision",
    "cuda_trouble",
    "default_float",
    "device_errors",
    "device_name",
    "device_of",
    "device_share",
    "dtype_name",
    "epoch_scan",
    "erf",
    "feeder_for",
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
    "jit",
    "largest_of",
    "library_name",
    "limit_threads",
    "matmul_precision",
    "named_dtype",
    "namespace",
    "on_device",
    "placement",
    "product",
    "restore_generator",
    "same_bits",
    "scalar",
    "select",
    "status",
    "threads_for",
    "to_device",
    "to_float",
    "to_host",
    "uniform_noise",
]
