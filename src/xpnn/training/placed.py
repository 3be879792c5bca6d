"""Layers with their parameters, and the one place where those live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from xpnn.backends import (
    DTYPES,
    HOST_NAMESPACE,
    Array,
    ArrayLike,
    Backend,
    DType,
    HostGenerator,
    MixedArraysError,
    Namespace,
    as_array,
    as_floating,
    backend_of,
    default_float,
    device_name,
    dtype_name,
    generator,
    host,
    is_floating,
    library_name,
    on_device,
    placement,
    select,
    to_device,
    to_host,
)
from xpnn.layers import Chain, LayerSpec, Tree, chain, draw, place, size, unflatten, walk


class PlacedLayers:
    """Layers, one vector of parameters, and the library, device and dtype of both.

    Parameters
    ----------
    inputs, layers, seed, backend, dtype
        As in `Network`.
    """

    def __init__(
        self,
        inputs: int,
        layers: Sequence[LayerSpec] | Chain,
        *,
        seed: int | HostGenerator | None = None,
        backend: Backend | str | None = None,
        dtype: str | None = None,
    ) -> None:
        if isinstance(inputs, bool) or not isinstance(inputs, int) or inputs < 1:
            raise ValueError(f"inputs is {inputs!r}; expected a positive integer")
        self.inputs = inputs
        self.layers = chain(layers)
        self.generator = generator(seed)
        self.tree: Tree = place(self.layers.parameters(inputs))
        if dtype is not None and dtype not in DTYPES:
            raise ValueError(f"dtype={dtype!r} is not known; expected one of {', '.join(DTYPES)}")
        self._dtype = dtype
        self._placed = False
        self._theta: Array = draw(self.tree, self.generator)
        if isinstance(backend, str):
            backend = select(backend, dtype=dtype)
        if backend is not None:
            self.to(backend if dtype is None else select(backend.name, backend.device, dtype))

    @property
    def outputs(self) -> int:
        """Width of the last layer's output."""
        return self.layers.outputs(self.inputs)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return size(self.tree)

    @property
    def dtype(self) -> str | None:
        """Name of the parameters' dtype; before any data, the one asked for, or None."""
        return dtype_name(self._theta.dtype) if self._placed else self._dtype

    @property
    def theta(self) -> Array:
        """All parameters as one vector, where they live."""
        return self._theta

    @theta.setter
    def theta(self, values: Array) -> None:
        if tuple(values.shape) != (self.size,):
            raise ValueError(f"theta has shape {tuple(values.shape)}; expected ({self.size},)")
        self._theta = values
        self._placed = True

    def copy_theta(self) -> Array:
        """Copy all parameters as one vector, on the same device."""
        xp, device = placement(theta=self._theta)
        with on_device(device):
            return xp.asarray(self._theta, copy=True)

    def parameters(self) -> dict[str, Array]:
        """Every array of parameters under its name, such as ``'0.weights'``."""
        xp = backend_of(self._theta).xp
        arrays = walk(unflatten(self.tree, self._theta, xp=xp))
        return {p.name: a for p, a in zip(walk(self.tree), arrays, strict=True)}

    def assign(self, **arrays: ArrayLike) -> Self:
        """Set arrays of parameters by name.

        Parameters
        ----------
        **arrays : array_like
            Values under the names that `parameters` gives; as the names hold a dot, pass
            a dictionary: ``network.assign(**{"0.weights": w})``.

        Returns
        -------
        Network
            The network itself.

        Raises
        ------
        ValueError
            A name is not known, or a shape does not fit.
        """
        known = {p.name: p for p in walk(self.tree)}
        values = to_host(self._theta).copy()
        for name, given in arrays.items():
            if name not in known:
                raise ValueError(f"{name!r} is not a parameter; expected one of {', '.join(known)}")
            p, new = known[name], to_host(as_array(name, given))
            if new.shape != p.shape:
                raise ValueError(f"{name} has shape {new.shape}; expected {p.shape}")
            values[p.offset : p.offset + p.size] = new.reshape(-1)
        theta = self._theta
        xp, device = placement(theta=theta)
        self._theta = to_device(values, xp, device, theta.dtype) if self._placed else values
        return self

    def to(self, backend: Backend | str, device: Any = None, dtype: str | None = None) -> Self:
        """Move the parameters to another library, device or dtype.

        Parameters
        ----------
        backend : Backend or str
            The library, or all three in one.
        device, dtype : optional
            For a library given by name; see `xpnn.backends.select`.

        Returns
        -------
        Network
            The network itself.
        """
        if isinstance(backend, str):
            backend = select(backend, device, dtype or self.dtype)
        self._theta = to_device(self._theta, backend.xp, backend.device, backend.dtype)
        self._placed = True
        return self

    def _bind(self, x: Array, xp: Namespace, device: Any) -> None:
        """Place the parameters beside the first data, or check that they are there."""
        if self._placed:
            own, home = placement(theta=self._theta)
            if own is not xp or (device is not None and home != device):
                raise MixedArraysError(
                    f"x is an array of {library_name(xp)} on {device_name(device)} and the "
                    f"network's parameters are of {library_name(own)} on {device_name(home)}; "
                    "move the network with network.to(...), or the data with "
                    "xpnn.backends.select(...).asarray(x)"
                )
            return
        dtype: DType = x.dtype if is_floating(x, xp) else default_float(xp, device)
        if self._dtype is not None:
            dtype = select(library_name(xp), device, self._dtype).dtype
        self._theta = to_device(self._theta, xp, device, dtype)
        self._placed = True

    def prepare(self, x: ArrayLike) -> tuple[Array, Namespace, bool]:
        """Check data, and bring it into the form that the layers take.

        Parameters
        ----------
        x : array_like, shape (n, inputs) or (inputs,)
            One row for each example, or a single row; see `xpnn.backends.exchange` for what
            shares its memory.

        Returns
        -------
        x : array, shape (n, inputs)
            In the dtype of the parameters.
        xp : module
            Its namespace.
        single : bool
            Whether it was a single row.

        Raises
        ------
        ValueError
            The shape does not fit, or there is no row.
        MixedArraysError
            The data lives elsewhere than the parameters.
        """
        theta = self._theta
        if (  # the usual case, in a fraction of the time that looking everything up takes
            type(x) is host.ndarray
            and self._placed
            and type(theta) is host.ndarray
            and x.dtype == theta.dtype
            and x.ndim in (1, 2)
            and x.shape[-1] == self.inputs
            and x.shape[0] > 0
        ):
            single = x.ndim == 1
            return x[None, :] if single else x, HOST_NAMESPACE, single
        x = as_array("x", x, theta) if self._placed else as_array("x", x)
        xp, device = placement(x=x)
        shape = tuple(x.shape)
        single = shape == (self.inputs,)
        if not single and (len(shape) != 2 or shape[1] != self.inputs):
            raise ValueError(
                f"x has shape {shape}; expected (n, {self.inputs}), one row for each example"
            )
        if shape[0] == 0:
            raise ValueError(f"x has shape {shape}; expected at least one row")
        self._bind(x, xp, device)
        if single:
            x = x[None, :]
        with on_device(device):
            x = as_floating(x, xp, self._theta.dtype)
            return xp.astype(x, self._theta.dtype, copy=False), xp, single
