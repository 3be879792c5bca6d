"""A network: layers with their parameters, that can predict and be trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from xpnn.backends import (
    Array,
    ArrayLike,
    Backend,
    HostGenerator,
    Namespace,
    as_array,
    backend_of,
    device_errors,
    device_of,
    host,
    is_floating,
    on_device,
    placement,
    to_host,
)
from xpnn.data.streams import Source
from xpnn.engine import Predictor
from xpnn.layers import Chain, LayerSpec, Tree, size, unflatten, walk
from xpnn.training.history import History
from xpnn.training.loop import fit
from xpnn.training.objective import Loss, as_loss
from xpnn.training.placed import PlacedLayers
from xpnn.training.step import loss_and_gradient
from xpnn.training.streaming import CHUNK, Stream, over
from xpnn.units.html import html_table


class Network(PlacedLayers):
    """Layers and one vector of parameters.

    Parameters
    ----------
    inputs : int
        Number of features of a row.
    layers : sequence of Layer, int or str, or Chain
        The layers, the last one giving scores. An integer is a `Dense` of that width, a
        string an `Activation` of that name: ``[100, "relu", 10]``. Softmax and sigmoid
        outputs belong to the loss; leave them out.
    loss : str or Loss, default 'softmax_cross_entropy'
        What training makes small, and what the scores mean; a name in
        `xpnn.functional.LOSSES`.
    seed : int or generator, optional
        For the initial weights, row orders and dropout noise; the same on every library.
    backend : Backend or str, optional
        Where the parameters live. Default: they follow the first arrays that come in.
    dtype : str, optional
        Dtype of the parameters. Default: that of the first arrays, integers counting as
        the library's default float.

    Attributes
    ----------
    theta : array, shape (parameters,)
        All parameters as one vector.

    Raises
    ------
    ValueError
        A width is not positive, or a name is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from xpnn import Network
    >>> net = Network(2, [8, "tanh", 2], seed=0)
    >>> x = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> history = net.fit(x, [0, 1, 1, 0], epochs=300, rate=0.05)
    >>> net.predict(x)
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        inputs: int,
        layers: Sequence[LayerSpec] | Chain,
        *,
        loss: str | Loss = "softmax_cross_entropy",
        seed: int | HostGenerator | None = None,
        backend: Backend | str | None = None,
        dtype: str | None = None,
    ) -> None:
        self.loss = as_loss(loss)
        super().__init__(inputs, layers, seed=seed, backend=backend, dtype=dtype)
        self._predictor: Predictor | None = None

    # For a person

    def __getstate__(self) -> dict[str, Any]:
        # Plans are bound to memory; a copy makes its own.
        return {**vars(self), "_predictor": None}

    def __repr__(self) -> str:
        layers = ", ".join(repr(layer) for layer in self.layers.layers)
        return f"Network({self.inputs}, [{layers}], loss={self.loss.name!r})"

    def summary(self) -> str:
        """Describe the layers as a table: output width and number of parameters."""
        rows = [("layer", "output", "parameters"), *self._rows()]
        first = max(len(row[0]) for row in rows)
        second = max(len(row[1]) for row in rows)
        lines = [f"{a:<{first}}  {b:<{second}}  {c:>12}" for a, b, c in rows]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:], rule, self._total()])

    def _rows(self) -> list[tuple[str, str, str]]:
        widths = self.layers.widths(self.inputs)[1:]
        return [
            (repr(layer), f"(n, {width})", f"{size(branch):,}")
            for layer, width, branch in zip(self.layers.layers, widths, self.tree, strict=True)
        ]

    def _total(self) -> str:
        where = backend_of(self.theta).describe() if self._placed else "not placed yet"
        return f"{self.size:,} parameters, loss {self.loss.name}, {where}"

    def _repr_html_(self) -> str:
        """The summary for a notebook."""
        heads = ("layer", "output", "parameters")
        return html_table(heads, self._rows(), f"{self.inputs:,} inputs; {self._total()}", words=1)

    # Mathematics

    def forward(self, x: ArrayLike, noise: Tree = None) -> tuple[Array, Tree]:
        """Run the layers.

        Parameters
        ----------
        x : array_like, shape (n, inputs)
            One row for each example.
        noise : nested tuples of array, optional
            For dropout; None means predicting.

        Returns
        -------
        scores : array, shape (n, outputs)
        saved : nested tuples of array
            For `backward`.
        """
        x, xp, _ = self.prepare(x)
        with on_device(device_of(x)):
            params = unflatten(self.tree, self._theta, xp=xp)
            return self.layers.forward(params, x, noise, xp=xp)

    def backward(self, saved: Tree, dscores: Array) -> tuple[Array, dict[str, Array]]:
        """Go back through the layers.

        Parameters
        ----------
        saved : nested tuples of array
            From `forward`.
        dscores : array, shape (n, outputs)
            Gradient of some quantity in the scores.

        Returns
        -------
        dx : array, shape (n, inputs)
            Gradient in the input.
        gradients : dict of str to array
            Gradient in each array of `parameters`.
        """
        xp, device = placement(dscores=dscores, theta=self._theta)
        with on_device(device):
            params = unflatten(self.tree, self._theta, xp=xp)
            dx, gradients = self.layers.backward(params, saved, dscores, xp=xp)
        return dx, {p.name: g for p, g in zip(walk(self.tree), walk(gradients), strict=True)}

    def loss_and_gradient(
        self, x: ArrayLike, t: ArrayLike, sample_weight: ArrayLike | None = None, l2: float = 0.0
    ) -> tuple[Array, Array]:
        """Loss of data, and its gradient in `theta`.

        Parameters
        ----------
        x : array_like, shape (n, inputs)
            One row for each example.
        t : array_like, shape (n,) or (n, outputs)
            Targets.
        sample_weight : array_like, shape (n,), optional
            Weight of each row; default 1.
        l2 : float, default 0
            Strength of the L2 penalty.

        Returns
        -------
        loss : array, 0-d
        gradient : array, shape (parameters,)
        """
        x, xp, _ = self.prepare(x)
        t, weight = self.prepare_targets(x, t, sample_weight)
        function = loss_and_gradient(self.layers, self.tree, self.loss, l2, xp=xp)
        with on_device(device_of(x)):
            return function(self._theta, x, t, weight, None)

    def prepare_targets(
        self, x: Array, t: ArrayLike | None, sample_weight: ArrayLike | None
    ) -> tuple[Array, Array | None]:
        """Check targets and weights against prepared data.

        Raises
        ------
        ValueError
            A shape or a label does not fit, or a weight is missing a row.
        MixedArraysError
            They live elsewhere than the data.
        """
        if t is None:
            raise ValueError("t is None; expected targets, one for each row of x")
        t = as_array("t", t, x)
        weight = None if sample_weight is None else as_array("sample_weight", sample_weight, x)
        xp, device = placement(x=x, t=t, sample_weight=weight)
        if weight is not None and tuple(weight.shape) != (x.shape[0],):
            raise ValueError(
                f"sample_weight has shape {tuple(weight.shape)}; expected ({x.shape[0]},)"
            )
        with on_device(device):
            t = self.loss.check_targets(t, x.shape[0], self.outputs, xp=xp)
            if is_floating(t, xp) or self.loss.kind != "multiclass":
                t = xp.astype(t, x.dtype, copy=False)
            if weight is not None:
                weight = xp.astype(weight, x.dtype, copy=False)
        return t, weight

    # Use

    def scores(self, x: ArrayLike | Source) -> Array:
        """Compute the raw outputs (logits for a cross-entropy).

        Parameters
        ----------
        x : array_like, shape (n, inputs) or (inputs,), or Source
            One row for each example, or a single row.

        Returns
        -------
        array, shape (n, outputs) or (outputs,)
            On the library and device of `x`; of a source on the host.
        """
        if isinstance(x, Source):
            return over(self, x, self.scores)
        x, xp, single = self.prepare(x)
        scores = self._scores(x, xp)
        return scores[0, :] if single else scores

    def _scores(self, x: Array, xp: Namespace) -> Array:
        if self._predictor is None or self._predictor.theta is not self._theta:
            self._predictor = Predictor(
                self._make_forward, self._theta, xp, max(self.layers.widths(self.inputs)[1:])
            )
        if self._predictor.plannable:
            return self._predictor(x)
        with on_device(device_of(x)), device_errors("hand in fewer rows at a time"):
            return self._predictor(x)

    def _make_forward(self, xp: Namespace) -> Callable[[Array, Array], Array]:
        """Make the pure function ``(theta, x) -> scores``."""
        layers, tree = self.layers, self.tree

        def forward(theta: Array, x: Array) -> Array:
            return layers.forward(unflatten(tree, theta, xp=xp), x, None, xp=xp)[0]

        return forward

    def predict(self, x: ArrayLike | Source) -> Array:
        """Predict labels, yes-or-no answers or values, as the loss says.

        Parameters
        ----------
        x : array_like, shape (n, inputs) or (inputs,), or Source
            One row for each example, or a single row.

        Returns
        -------
        array
            Labels of shape (n,) for softmax cross-entropy; 0 and 1 for binary
            cross-entropy and hinge, values for the others, of shape (n, outputs), or (n,)
            where there is one output. Without the first axis for a single row.
        """
        if isinstance(x, Source):
            return over(self, x, self.predict)
        x, xp, single = self.prepare(x)
        with on_device(device_of(x)):
            predicted = self.loss.predict(self._scores(x, xp), xp=xp)
        return predicted[0, ...] if single else predicted

    def predict_proba(self, x: ArrayLike | Source) -> Array:
        """Predict probabilities: softmax or sigmoid of the scores, as the loss says.

        Parameters
        ----------
        x : array_like, shape (n, inputs) or (inputs,), or Source
            One row for each example, or a single row.

        Returns
        -------
        array, shape (n, outputs) or (outputs,)

        Raises
        ------
        ValueError
            The network's loss does not speak of probabilities.
        """
        if self.loss.kind == "regression":
            raise ValueError(
                f"the loss {self.loss.name!r} has no probabilities; use predict or scores"
            )
        if isinstance(x, Source):
            return over(self, x, self.predict_proba)
        x, xp, single = self.prepare(x)
        with on_device(device_of(x)):
            probabilities = self.loss.mean(self._scores(x, xp), xp=xp)
        return probabilities[0, :] if single else probabilities

    def evaluate(
        self, x: ArrayLike | Source, t: ArrayLike | None = None
    ) -> tuple[Array, Array | None]:
        """Loss and accuracy on data, as 0-d arrays; no accuracy where labels are not the point.

        Parameters
        ----------
        x : array_like, shape (n, inputs), or Source
            One row for each example.
        t : array_like, shape (n,) or (n, outputs)
            Targets; a source brings its own.

        Returns
        -------
        loss : array, 0-d
        accuracy : array, 0-d, or None
        """
        if isinstance(x, Source):
            loss, right = Stream(self, x, CHUNK).evaluate()
            return host.asarray(loss), None if right is None else host.asarray(right)
        x, xp, _ = self.prepare(x)
        t, _ = self.prepare_targets(x, t, None)
        with on_device(device_of(x)):
            scores = self._scores(x, xp)
            loss, _ = self.loss.forward(scores, t, None, xp=xp)
            return loss, self.loss.accuracy(scores, t, xp=xp)

    def accuracy(self, x: ArrayLike | Source, t: ArrayLike | None = None) -> float:
        """Share of rows read right.

        Raises
        ------
        ValueError
            The network's loss is not about labels.
        """
        right = self.evaluate(x, t)[1]
        if right is None:
            raise ValueError(f"the loss {self.loss.name!r} is about values; there is no accuracy")
        return float(to_host(right))

    def fit(self, x: ArrayLike | Source, t: ArrayLike | None = None, **options: Any) -> History:
        """Train the network; the options are those of `xpnn.training.fit`.

        Parameters
        ----------
        x : array_like, shape (n, inputs), or Source
            One row for each example; `xpnn.data.stream` makes a source.
        t : array_like, shape (n,) or (n, outputs)
            Targets; a source brings its own.
        **options
            `epochs`, `batch_size`, `optimizer`, `rate`, `l2`, `validation`, ...

        Returns
        -------
        History
        """
        return fit(self, x, t, **options)

    def copy(self) -> Network:
        """Make an independent network with the same structure and parameters."""
        other = Network(self.inputs, self.layers, loss=replace(self.loss))
        other._theta, other._placed, other._dtype = self.copy_theta(), self._placed, self._dtype
        return other
