"""What aiohttp's waits are made in: the limits of one call, and the waits for its body."""

from __future__ import annotations

import asyncio
import math
from typing import Any, NamedTuple, Optional

from .. import call, exceptions
from ..call import Translate
from ..exceptions import TimedOut
from ..exchange import Exchange
from ..policy import guard


class Own(NamedTuple):
    """What the caller has asked for, in seconds; None where it gave no number."""

    total: Optional[float] = None
    read: Optional[float] = None
    connect: Optional[float] = None
    streams: bool = False  # it said that there is no total

    @property
    def silence(self) -> Optional[float]:
        """Return its limit of silence: a total is one, too."""
        return self.total if self.read is None else self.read

    @property
    def largest(self) -> Optional[float]:
        """Return the largest of its numbers, which none of our defaults may shorten."""
        return max((seconds for seconds in (self.total, self.read) if seconds), default=None)


class Call:
    """A call of aiohttp's: its exchange, and which of its timeouts are limits of ours."""

    protocol: Any = None
    silence_is_over = False
    """Whether the silence has become too long while the app was busy with something else."""

    def __init__(self, exchange: Exchange, own: Own) -> None:
        self.exchange = exchange
        self.own = own
        self.total_is_ours = False
        self.silence_is_ours = own.silence is None and exchange.limits.read.seconds != math.inf

    def limit_of(self, error: BaseException) -> Optional[TimedOut]:
        """Return the limit of ours that a timeout of aiohttp's is about; None if there is none."""
        known = exceptions.failure(error)
        if known is not None:
            return known
        exchange = self.exchange
        if type(error) is asyncio.TimeoutError:  # of the total
            ours = self.total_is_ours and exchange.expired()
            found = exchange.give_up(exchange.why) if ours else None
        elif self.silence_is_ours and exchange.phase in ("headers", "body"):
            exchange.shortened = False
            found = exchange.silent(None)
        else:
            found = None
        return found if isinstance(found, TimedOut) else None


def watch_body(response: Any, waits: Any) -> None:
    """Have the waits for the body go through `waits`, if there will be any."""
    with guard:
        body, connection = response.content, response.connection
        # responses without a body share one object
        if connection is not None and hasattr(body, "_timer") and not body.is_eof():
            waits.timer, body._timer = body._timer, waits
            connection.add_callback(waits.over)


class Waits:
    """What the waits for a body are made in, around what aiohttp makes them in."""

    timer: Any

    def __enter__(self) -> Any:
        self.timer.__enter__()
        return self

    def __exit__(self, *raised: object) -> Any:
        return self.timer.__exit__(*raised)

    def assert_timeout(self) -> None:
        """Raise if the time was up while nothing was waited for."""
        self.timer.assert_timeout()

    def over(self) -> None:
        """Take note that the connection was given back, or is closed."""


class BoundedWaits(Waits):
    """Has the timeouts that end them be ours, too, if a limit of ours has."""

    def __init__(self, this: Call, translate: Translate) -> None:
        self._this = this
        self._translate = translate

    def __enter__(self) -> Any:
        if self._this.silence_is_over:  # then it begins when something is waited for
            self._this.silence_is_over = False
            self._this.protocol.start_timeout()
        try:
            return super().__enter__()
        except asyncio.TimeoutError as error:
            self._raise(error)
            raise

    def __exit__(self, *raised: object) -> Any:
        try:
            swallowed = super().__exit__(*raised)
        except asyncio.TimeoutError as error:
            self._raise(error)
            raise
        if isinstance(raised[1], asyncio.TimeoutError):
            self._raise(raised[1])
        return swallowed

    def assert_timeout(self) -> None:
        """Raise if the time was up while nothing was waited for, our kind if the limit was."""
        try:
            super().assert_timeout()
        except asyncio.TimeoutError as error:
            self._raise(error)
            raise

    def _raise(self, error: Any) -> None:
        found: Optional[TimedOut] = None
        with guard:
            found = self._this.limit_of(error)
        if found is not None:
            ours = self._translate(error, found, self._this.exchange)
            raise (ours or error) from None


class MeasuredWaits(Waits):
    """Measures them, in report mode."""

    def __init__(self, exchange: Exchange, own: Own) -> None:
        self._exchange = exchange
        self._own = own
        self._wait: Any = None

    def __enter__(self) -> Any:
        dry_run: Any = self._exchange.dry_run
        self._wait = dry_run.wait(self._exchange.limits.read, self._own.largest)
        self._wait.__enter__()
        return super().__enter__()

    def __exit__(self, *raised: object) -> Any:
        try:
            return super().__exit__(*raised)
        finally:
            self._wait.__exit__(None, None, None)

    def over(self) -> None:
        """Note how long it took."""
        call.observe_body(self._exchange)
