"""The exceptions of this library: a small tree."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence, Tuple, Type


class ResilientError(Exception):
    """Base of every exception that this library makes."""


class ConfigurationError(ResilientError, ValueError):
    """Settings that cannot be used. Lists every mistake at once, each with what would be right.

    `mistakes` holds one sentence for each.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = f"{len(self.mistakes)} mistakes" if len(self.mistakes) > 1 else "1 mistake"
        listed = "\n".join(f"  - {mistake}" for mistake in self.mistakes)
        super().__init__(f"{count} in the settings of resilient_wsgi:\n{listed}")

    def __reduce__(self) -> Tuple[Type[ConfigurationError], Tuple[Tuple[str, ...]]]:
        """Pickle the mistakes, which the constructor takes, not the message made of them."""
        return type(self), (self.mistakes,)


class DeadlineExceeded(ResilientError):
    """A wait was ended because its time was up.

    What is raised out of a client is always that client's own timeout, too, so that `except`
    clauses that are there already catch it. It is no builtin `TimeoutError` of its own accord: that
    is also `concurrent.futures.TimeoutError` and `asyncio.TimeoutError`, which say that a result is
    not there *yet*. The message says what was waited for, how long, which limit it was, and who set
    it.
    """


class UpstreamLimited(ResilientError):
    """A call was not made, or ended early, so that its upstream does not hold every worker.

    What is raised out of a client is always that client's own exception, too.
    """


class RequestTimedOut(DeadlineExceeded):
    """Raised in the app at its request's deadline, if `REQUEST.SOFT_TIMEOUT` is on."""


class Unavailable(ResilientError):
    """Raised by a component's `install` where it can do nothing, with the reason for `status()`."""
