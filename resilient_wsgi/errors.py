"""The exceptions of this library: a small tree."""

from __future__ import annotations

from typing import Sequence


class ResilientError(Exception):
    """Base of every exception that this library makes."""


class ConfigurationError(ResilientError, ValueError):
    """Settings that cannot be used. Lists every mistake at once, each with what would be right.

    `mistakes` holds one sentence for each.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = f"{len(self.mistakes)} mistakes" if len(self.mistakes) > 1 else "1 mistake"
        super().__init__(f"{count} in the settings of resilient_wsgi:\n" + "\n".join(f"  - {m}" for m in self.mistakes))


class DeadlineExceeded(ResilientError, TimeoutError):
    """A wait was ended because its time was up.

    What is raised out of an HTTP client is always also that client's own timeout class, so that `except` clauses that
    are there already catch it. The message says what was waited for, how long, which limit it was, and who set it.
    """


class RequestTimedOut(DeadlineExceeded):
    """Raised in the app at the deadline of its request, where `REQUEST.SOFT_TIMEOUT` asks for that."""


class Unavailable(ResilientError):
    """Raised by a component's `install` where it can do nothing, with the reason for `status()`."""
