"""What an exchange is to fair share: a call that waits for an upstream, that may be refused, and
that the watchdog may end.
"""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, Any, Optional, Tuple

from .. import deadline
from ..upstream import IDEMPOTENT, LONG, Call, meeting

if TYPE_CHECKING:
    from ..deadline import Deadline, Interruptible
    from ..events.upstreams import Phase


class Waiting:
    """What `Exchange` adds to its limits."""

    call: Optional[Call] = None  # None if it does not count
    _handshake: Optional[Interruptible] = None
    _twin: Optional[socket.socket] = None

    if TYPE_CHECKING:
        phase: Phase
        start: float
        method: str
        task: Any
        dry_run: Any
        why: Any
        _request: Optional[Deadline]
        _deadline: Optional[Deadline]

        def give_up(self, why: Any, saying: str = "") -> socket.timeout: ...
        def called(self) -> Tuple[str, str, Optional[int], str]: ...
        def end_early(self) -> None: ...

    @property
    def can_be_interrupted(self) -> bool:
        """Tell whether the watchdog of requests may end its waits."""
        return self._deadline is not None or (self.call is not None and self.call.marked)

    @property
    def limited(self) -> str:
        """Return why fair share has refused or ended it, "" if it has not."""
        return "" if self.call is None else self.call.limited

    @property
    def away(self) -> bool:
        """Tell whether its thread does something else for now, and nobody counts it."""
        return self.call is not None and self.call.away

    def enter(self, target: Any) -> None:
        """Begin to wait for an upstream. Raises `TimedOut` if it is limited.

        What threads wait for is shared; a task that waits holds none.
        """
        gate = meeting.gate
        if gate is None or self._request is None or self.task:
            return
        if self.dry_run is not None and not gate.report:
            return
        self.call = call = gate.enter(target)
        if call is not None and call.limited:
            self.end_early()
            raise self.give_up(self.why)

    def move(self, target: Any) -> None:
        """Go on with another upstream. Raises `TimedOut` if it is limited."""
        self.leave(None)
        self.enter(target)

    def leave(self, error: Optional[BaseException]) -> None:
        """Wait for the upstream no more."""
        call = self.call
        if call is not None:
            call.gate.leave(call, error)

    def touch(self) -> None:
        """Note that bytes of the body have come."""
        call = self.call
        if call is not None and call.marked:
            call.gate.touch(call)

    def answer(self) -> None:
        """Note that the headers of an answer are there."""
        self.phase = "body"
        call = self.call
        if call is not None and call.marked:
            call.gate.answer(call)

    def sent(self) -> None:
        """Note that the request was sent, and that its answer is waited for."""
        self.phase = "headers"
        call = self.call
        if call is not None and call.marked and self.method not in IDEMPOTENT:
            method = (self.method or self.called()[0]).upper()
            if method not in IDEMPOTENT:
                call.gate.sent(call)

    def may_retry(self) -> bool:
        """Return whether fair share lets it be tried again, and note that it is."""
        return self.call is None or self.call.gate.retry(self.call)

    def allow(self, own: float) -> None:
        """Note a number of the caller's for a wait."""
        if own > LONG and self.call is not None:
            self.call.gate.allow(self.call, own)

    def guard_handshake(self, sock: socket.socket) -> None:
        """Have the watchdog of requests be able to end a TLS handshake, until `end_connect`."""
        if self.can_be_interrupted:
            try:  # TLS takes the socket apart to make its own of it, and may close it
                self._twin = twin = sock.dup()
            except (OSError, AttributeError):  # no descriptor left; not a socket, but like it
                return
            cut = functools.partial(twin.shutdown, socket.SHUT_RDWR)
            self._handshake = deadline.interruptible(cut, self).arm()

    def handshake_was_interrupted(self) -> bool:
        """Return whether it was ended from outside."""
        return self._handshake is not None and self._handshake.interrupted
