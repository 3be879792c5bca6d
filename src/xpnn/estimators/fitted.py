"""What a fitted estimator is: parameters in one vector, scores, pickles, moving."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from xpnn.backends import (
    HOST_NAMESPACE,
    Array,
    Device,
    Namespace,
    device_errors,
    device_of,
    library_name,
    namespace,
    on_device,
    select,
    to_host,
)
from xpnn.data.streams import Source
from xpnn.engine import HostRows, Predictor
from xpnn.estimators.inputs import (
    bring,
    bring_rows,
    check_namespace,
    check_rows,
    is_foreign,
    plain_rows,
    sender,
)
from xpnn.estimators.rows import chunks
from xpnn.estimators.streamed import check_stream, in_pieces
from xpnn.estimators.structure import Structure, make_structure
from xpnn.layers import Chain, unflatten, walk


@dataclass
class _Model:
    """Parameters as one vector, the arrays that were cut from it, and what predicts with it."""

    theta: Array
    parts: list[Array]
    predictor: Predictor | None = None


class FittedMLP(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Base of `BaseMLP`: everything that needs no training data."""

    # Fitted attributes that are made anew after unpickling.
    _CACHES: ClassVar[tuple[str, ...]] = ("_model", "_structure_made")

    hidden_layer_sizes: Any
    activation: Any
    solver: str
    alpha: float
    batch_size: Any
    learning_rate: Any
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: Any
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dropout: Any
    optimizer: Any
    weight_decay: float
    clip_norm: Any
    monitor: Any
    dtype: Any
    backend: Any
    device: Any
    engine: str
    progress: bool
    loss: Any
    n_features_in_: int
    n_outputs_: int
    n_layers_: int
    n_iter_: int
    t_: int
    loss_: float
    out_activation_: str
    coefs_: list[Any]
    intercepts_: list[Any]
    loss_curve_: list[float]
    validation_loss_curve_: list[float]
    validation_scores_: Any
    best_validation_score_: Any
    best_loss_: Any
    stopped_: bool
    _no_improvement_count: int
    _hidden: list[int]
    _library: str
    _device_name: str
    _dtype_name: str
    _objective: Any
    _random_state: Any
    _best_theta: Any
    _kept: Any
    _model: _Model
    _structure_made: Any
    _activation: Any
    _made_width: int
    _asked: tuple[Any, Any, Any]
    _dropout: Any
    _METRIC: ClassVar[Any]
    _TARGETS: ClassVar[dict[str, Any]]

    @property
    def _structure(self) -> Structure:
        made = vars(self).get("_structure_made")
        if made is None:
            made = make_structure(
                self.n_features_in_, self._hidden, self.n_outputs_, self._activation, self._dropout
            )
            self._structure_made = made
        return made

    def _place(self) -> tuple[Namespace, Device]:
        if self._library == "numpy":
            return HOST_NAMESPACE, "cpu"
        chosen = select(self._library, self._device_name, self._dtype_name)
        return chosen.xp, chosen.device

    @property
    def _follows(self) -> bool:
        """Whether the model lives where its data does."""
        return self.backend is None and self.device is None

    @property
    def _searches(self) -> bool:
        """Whether the solver searches along lines, and takes no steps."""
        return self.solver == "lbfgs" and self.optimizer is None

    def _numbers(self, xp: Namespace) -> Any:
        """Dtype of targets and weights: in half precision they would lose digits, or overflow."""
        return xp.float32 if self._dtype_name == "float16" else getattr(xp, self._dtype_name)

    def _set_theta(self, theta: Array) -> None:
        """Take new parameters: `coefs_` and `intercepts_` are parts of them."""
        with on_device(device_of(theta)):
            xp = namespace(theta=theta)
            self.coefs_, self.intercepts_ = self._structure.cut(theta, xp)
        # Filled in place later on, as predicting must not change what an estimator holds.
        self._model = _Model(theta, [*self.coefs_, *self.intercepts_])

    def _theta(self) -> Array:
        """Parameters as one vector: packed anew where the user assigned other arrays."""
        parts = [*self.coefs_, *self.intercepts_]
        made = vars(self).get("_model")
        if made is not None and list(map(id, parts)) == list(map(id, made.parts)):
            return made.theta
        xp, device = self._place()
        pairs = [a for pair in zip(self.coefs_, self.intercepts_, strict=True) for a in pair]
        for i, (array, wanted) in enumerate(zip(pairs, walk(self._structure.tree), strict=True)):
            if tuple(array.shape) != wanted.shape:
                name = f"{'intercepts_' if i % 2 else 'coefs_'}[{i // 2}]"
                raise ValueError(f"{name} has shape {tuple(array.shape)}; expected {wanted.shape}")
        with on_device(device):
            dtype = getattr(xp, self._dtype_name)
            flat = [
                bring(xp.reshape(bring(a, xp, device), (-1,)), xp, device, dtype) for a in pairs
            ]
            self._set_theta(xp.concat(flat))
        return self._model.theta

    def _predictor(self) -> Predictor:
        theta = self._theta()
        if self._model.predictor is None:
            xp, _ = self._place()
            self._model.predictor = Predictor(
                self._make_forward, theta, xp, max(self._structure.widths[1:])
            )
        return self._model.predictor

    def _make_forward(self, xp: Namespace) -> Callable[[Array, Array], Any]:
        """Make ``(theta, x) -> (scores, sum of the first layer's)``.

        An infinity or a NaN in a row makes all of the first weighted sums infinite or NaN,
        whatever the weights are; the layers behind may hide it.
        """
        tree, layers = self._structure.tree, self._structure.layers.layers

        def forward(theta: Array, x: Array) -> tuple[Array, Array]:
            params = unflatten(tree, theta, xp=xp)
            scores = layers[0].forward(params[0], x, None, xp=xp)[0]
            witness = xp.sum(scores)
            for layer, own in zip(layers[1:], params[1:], strict=True):
                scores = layer.forward(own, scores, None, xp=xp)[0]
            return scores, witness

        return forward

    def _scores_of(self, x: Any) -> Array:
        """Outputs before their activation, for checked rows beside the parameters."""
        predictor = self._predictor()
        if isinstance(x, HostRows | Source):
            return self._in_chunks(predictor, x)
        if predictor.plannable:
            with np.errstate(over="ignore", invalid="ignore"):
                return predictor(x)
        with on_device(device_of(x)), device_errors("hand in fewer rows at a time"):
            return predictor(x)

    def _in_chunks(self, function: Callable[[Array], Array], x: Any) -> Array:
        """Apply a function to rows that stay on the host, part by part."""
        xp, device = self._place()
        if isinstance(x, Source):
            return in_pieces(self, x, function, xp, device)
        with on_device(device):
            send = sender(xp, device, self._dtype_name)
            return xp.concat([function(send(x[part])) for part in chunks(x)])

    def _scores(self, X: Any, method: str) -> tuple[Array, Callable[[Array], Array]]:
        """Outputs before their activation, and what brings results to where `X` is."""
        x = plain_rows(self, X)
        if x is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                scores, witnesses = self._predictor().witnessed(x)
                fine = all(np.isfinite(w) for w in witnesses)
            if fine:
                return scores, stay
        x, give = self._rows(X, method)
        return self._scores_of(x), give

    def _rows(self, X: Any, method: str) -> tuple[Any, Callable[[Array], Array]]:
        """Rows beside the parameters, and what brings results to where `X` is."""
        if isinstance(X, Source):
            check_stream(self, X)
            there = self._library == "numpy"
            return X, stay if there else lambda result: to_host(result)
        x = check_rows(self, X, method)
        plain = type(x) is np.ndarray is type(X) and x.dtype == self._dtype_name
        if plain and self._library == "numpy":
            return x, stay
        if self._follows:
            check_namespace(self, x, method)
        xp, device = self._place()
        on_host = isinstance(x, HostRows)
        home = (HOST_NAMESPACE, "cpu") if on_host else (namespace(X=x), device_of(x))
        x = bring_rows(x, xp, device, self._dtype_name)
        if home == (xp, device) or (home[0] is xp and library_name(xp) == "numpy"):
            return x, stay
        return x, lambda result: bring(result, *home)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state = {k: v for k, v in state.items() if k not in self._CACHES}
        if vars(self).get("_library", "numpy") != "numpy":
            state = {k: _to_host_tree(v) for k, v in state.items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if vars(self).get("_library", "numpy") != "numpy" and hasattr(self, "coefs_"):
            from xpnn.estimators.moving import land

            land(self)

    def to(self, backend: str, device: str | None = None) -> FittedMLP:
        """Move a fitted model to another library or device, in place.

        Parameters
        ----------
        backend : str
            'numpy', 'cupy', 'torch', 'jax', ...
        device : str, optional
            'cpu', 'cuda:0', ...; default, the library's own.

        Returns
        -------
        estimator
            The model itself. It then takes and gives arrays of that library.
        """
        check_is_fitted(self)
        from xpnn.estimators.moving import move

        return move(self, backend, device)

    @property
    def _n_features_out(self) -> int:
        return self._hidden[-1] if self._hidden else self.n_outputs_

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Name the columns of `transform`.

        Parameters
        ----------
        input_features : ignored
            As in scikit-learn's transformers.

        Returns
        -------
        numpy.ndarray of str objects, shape (units of the last hidden layer,)
        """
        names = super().get_feature_names_out(input_features)
        # `set_output` asks for the names of what was just made, whatever the layer.
        width = self.__dict__.pop("_made_width", len(names))
        prefix = type(self).__name__.lower()
        return np.asarray([f"{prefix}{i}" for i in range(width)], dtype=object)

    def transform(self, X: Any, layer: int = -1) -> Array:
        """Activations of a hidden layer.

        Parameters
        ----------
        X : array_like, sparse matrix, frame or Source, shape (n, features)
            Rows.
        layer : int, default -1
            Which hidden layer; -1 is the last one.

        Returns
        -------
        array, shape (n, units)
        """
        x, give = self._rows(X, "transform")
        structure = self._structure
        ends: Sequence[int] = structure.hidden
        if not ends or not -len(ends) <= layer < len(ends):
            raise ValueError(f"layer is {layer!r}; the model has {len(ends)} hidden layers")
        xp, device = self._place()
        count = ends[layer]
        part = Chain(structure.layers.layers[:count])
        with on_device(device):
            params = unflatten(structure.tree, self._theta(), xp=xp)[:count]

            def activations(rows: Array) -> Array:
                return part.forward(params, rows, None, xp=xp)[0]

            on_host = isinstance(x, HostRows | Source)
            found = self._in_chunks(activations, x) if on_host else activations(x)
        if _get_output_config("transform", self)["dense"] != "default":
            self._made_width = int(found.shape[1])
        return give(found)


def stay(result: Array) -> Array:
    """Leave a result where it is."""
    return result


def _to_host_tree(value: Any) -> Any:
    if is_foreign(value):
        return to_host(value)
    if isinstance(value, list):
        return [_to_host_tree(v) for v in value]
    if isinstance(value, tuple):
        return tuple(_to_host_tree(v) for v in value)
    return value
