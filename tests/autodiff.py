"""Gradients that JAX and PyTorch derive by themselves: witnesses for xpnn's own."""

from __future__ import annotations

import numpy as np


def torch_gradient(function, *arrays):
    """Gradients of a scalar function of arrays, by torch.autograd."""
    import torch

    leaves = [torch.from_numpy(np.array(a)).requires_grad_() for a in arrays]
    tied = sum(0.0 * leaf.sum() for leaf in leaves)  # also where nothing depends on them
    return torch.autograd.grad(function(*leaves) + tied, leaves)


def jax_gradient(function, *arrays):
    """Gradients of a scalar function of arrays, by jax.grad."""
    import jax

    return jax.grad(function, argnums=tuple(range(len(arrays))))(*map(jax.numpy.asarray, arrays))


DERIVE = {"torch": torch_gradient, "jax": jax_gradient}
