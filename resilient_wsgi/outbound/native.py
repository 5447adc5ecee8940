"""Exceptions that are both the HTTP client's own and ours, so that the `except` clauses of the app catch them."""

from __future__ import annotations

import functools
import socket
from typing import Any, Dict, Optional, Tuple, Type

from ..errors import DeadlineExceeded


class TimedOut(DeadlineExceeded, socket.timeout):
    """What http.client and sockets raise when a limit of ours ends a wait.

    `phase` says in which part of the exchange: dns, connect, tls, pool, send, headers, body, redirect, retry-sleep.
    """

    # on CPython 3.9 socket.timeout is a class of its own, later it is TimeoutError
    phase = ""
    by_caller = False
    """Whether the limit was the caller's own."""


def instead_of(
    error: Exception, failure: TimedOut, kinds: Tuple[Type[BaseException], ...], attributes: Dict[str, Any]
) -> Any:
    """Return an exception of all these kinds, to be raised instead of a client's own, for a limit that has caused it.

    Its message is ours; after the client's where the limit was the caller's, who may know that one.
    """
    text, ours = str(error), str(failure)
    if not failure.by_caller or not text or error is failure:
        return make(kinds, ours, attributes)
    if ours not in text:
        return make(kinds, f"{text}: {ours}", attributes)
    made = make(kinds, text, attributes)  # of another client beneath, which this one has wrapped
    made.args = error.args
    return made


@functools.lru_cache(maxsize=64)
def compose(*kinds: Type[BaseException]) -> Type[Any]:
    """Return the class that is all of these and `DeadlineExceeded`. It has the first one's name: error trackers group by it."""
    bases = [k for k in dict.fromkeys(kinds) if not any(other is not k and issubclass(other, k) for other in kinds)]
    if not any(issubclass(k, DeadlineExceeded) for k in bases):
        bases.append(DeadlineExceeded)
    namespace = {"__module__": kinds[0].__module__, "__reduce__": _reduce, "kinds": kinds}
    return type(kinds[0].__name__, tuple(bases), namespace)


def make(kinds: Tuple[Type[BaseException], ...], message: str, attributes: Optional[Dict[str, Any]] = None) -> Any:
    """Return an exception of all these kinds.

    Their constructors are not called: each client's wants something else, and some rewrite the message.
    """
    kind: Any = compose(*kinds)  # type: ignore[arg-type]  # typeshed: classes are not Hashable
    error = kind.__new__(kind, message)
    error.args = (message,)
    error.__dict__.update(attributes or {})
    return error


def _reduce(self: Any) -> Tuple[Any, ...]:
    # a pool, a request or a response cannot be pickled; who pickles an exception wants its kind and its message
    return make, (self.kinds, str(self), dict.fromkeys(self.__dict__))
