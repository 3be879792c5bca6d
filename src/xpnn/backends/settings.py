"""Settings that hold for the whole process, changed for a while by several threads at once.

Code that saves such a setting, changes it and restores it goes wrong where two threads do so in
the order "A enters, B enters, A leaves, B leaves": B saved what A had set, and restores that for
good. Every such setting of xpnn therefore goes through `ProcessSetting`. (NumPy's `errstate` and
JAX's precision belong to one thread each, and need none of this.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

Request = TypeVar("Request")


class ProcessSetting(Generic[Request]):
    """A process-wide setting that any number of overlapping scopes may ask to change.

    While there is a scope, the setting is what `combine` makes of all requests; when the last
    scope ends, in whatever order and whether by an error or not, it is again what it was
    before the first one. Where other code has changed it in the meantime, that change stays.

    Parameters
    ----------
    read : callable
        ``read()`` returns the setting as it is: values by name.
    write : callable
        ``write(state)`` changes it.
    combine : callable
        ``combine(before, requests)`` returns the state for all requests together; `before` is
        the state that is restored in the end. It has to satisfy each of the requests: where
        they differ, the strictest.
    """

    def __init__(
        self,
        read: Callable[[], dict[str, Any]],
        write: Callable[[dict[str, Any]], None],
        combine: Callable[[dict[str, Any], Sequence[Request]], dict[str, Any]],
    ) -> None:
        self._read, self._write, self._combine = read, write, combine
        # Reentrant: the garbage collector may end a scope while this thread enters another.
        self._lock = threading.RLock()
        self._requests: dict[object, Request] = {}  # by scope
        self._before: dict[str, Any] = {}
        self._written: dict[str, Any] = {}

    @contextmanager
    def hold(self, request: Request) -> Iterator[None]:
        """Keep to a request until the end of the scope, at least."""
        scope = object()
        try:
            with self._lock:
                if not self._requests:
                    self._before = self._read()
                self._requests[scope] = request
                self._apply()
            yield
        finally:
            with self._lock:
                if scope in self._requests:
                    self._leave(scope)

    def _leave(self, scope: object) -> None:
        now = self._read()
        changed_by_others = any(now.get(name) != value for name, value in self._written.items())
        del self._requests[scope]
        if self._requests or not changed_by_others:
            self._apply()

    def _apply(self) -> None:
        state = self._before
        if self._requests:
            state = self._combine(state, list(self._requests.values()))
        self._written = {}  # what an error leaves half written is nobody's change
        self._write(state)
        now = self._read()
        self._written = {name: now.get(name) for name in state}
