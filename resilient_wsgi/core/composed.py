"""Exceptions that are a client's own and one of ours, too: `DeadlineExceeded`, `UpstreamLimited`.

Existing `except` clauses of apps catch them as what they always were; the class is a direct
subclass, with the same name, because error trackers group by it.
"""

from __future__ import annotations

import functools
from typing import Any, Dict, Optional, Tuple, Type

from ..errors import DeadlineExceeded, ResilientError, UpstreamLimited

OURS = (DeadlineExceeded, UpstreamLimited)


@functools.lru_cache(maxsize=64)
def compose(kind: Type[BaseException], ours: Type[ResilientError] = DeadlineExceeded) -> Type[Any]:
    """Return the direct subclass of a client's class that is also `DeadlineExceeded`, or another of
    ours.

    It has the name of the client's: error trackers group by it.
    """
    if issubclass(kind, OURS):
        return kind
    namespace = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    methods = {"__str__": _str, "__reduce__": _reduce, "__copy__": _copy}
    return type(kind.__name__, (kind, ours), {**namespace, **methods})


def make(
    kind: Type[BaseException],
    message: str,
    attributes: Optional[Dict[str, Any]] = None,
    ours: Type[ResilientError] = DeadlineExceeded,
) -> Any:
    """Return a new exception that is of this kind and ours.

    Its constructor is not called: each client's wants something else, and some rewrite the message.
    """
    composed: Any = compose(kind, ours)  # type: ignore[arg-type]  # typeshed: classes are not Hashable
    error = composed.__new__(composed, message)
    error.args = (message,)
    error.__dict__.update(attributes or {}, message=message)
    return error


def joined(theirs: str, ours: str) -> str:
    """Return the message of an exception of both: what has happened, then the client's words."""
    return ours if not theirs or ours in theirs else f"{ours} [{theirs}]"


def _str(self: Any) -> str:
    # a client may make another one of this class, from one that it has caught
    return str(self.message) if "message" in self.__dict__ else BaseException.__str__(self)


def _reduce(self: Any) -> Tuple[Any, ...]:
    # a pool, a request or a response cannot be pickled; who pickles wants the kind and the message
    attributes = {
        name: value if isinstance(value, (str, int, float)) else None
        for name, value in self.__dict__.items()
    }
    kind, ours = type(self).__bases__
    return make, (kind, str(self), attributes, ours)


def _copy(self: Any) -> Any:
    copied = type(self).__new__(type(self), *self.args)
    copied.args = self.args
    copied.__dict__.update(self.__dict__)
    return copied
