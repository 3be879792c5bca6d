"""Threads whose scopes overlap in any order."""

from __future__ import annotations

import threading

import pytest


class Failure(Exception):
    """Ends a scope that a test wants to see ended by an error."""


class Holder(threading.Thread):
    """A thread that enters a scope when told to, and leaves it when told to."""

    def __init__(self, scope):
        super().__init__(daemon=True)
        self.scope, self.error, self.fails = scope, None, False
        self.entered, self.leave = threading.Event(), threading.Event()

    def run(self):
        try:
            with self.scope:
                self.entered.set()
                self.leave.wait()
                if self.fails:
                    raise Failure
        except Failure:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.entered.set()

    def enter(self):
        self.start()
        self.entered.wait()
        assert self.error is None

    def end(self, fails=False):
        self.fails = fails
        self.leave.set()
        self.join()
        assert self.error is None


ORDERS = pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first out", "last out"])
FAILS = pytest.mark.parametrize("fails", [False, True], ids=["in peace", "by an error"])


def overlap(scopes, order, look, fails=False):
    """What a setting is before, with each scope more, with each scope less."""
    holders, seen = [Holder(scope) for scope in scopes], [look()]
    for holder in holders:
        holder.enter()
        seen.append(look())
    for number in order:
        holders[number].end(fails)
        seen.append(look())
    return seen
