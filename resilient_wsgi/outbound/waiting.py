"""What an exchange is to fair share: a call that waits for an upstream, that may be refused, and
that the watchdog may end.
"""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, Any, Optional, Tuple

from .. import deadline
from ..upstream import IDEMPOTENT, LONG, Gate, meeting

if TYPE_CHECKING:
    from ..deadline import Deadline, Interruptible
    from ..events.traffic import Phase


class Waiting:
    """Implements `upstream.Call`, for `Exchange`."""

    gate: Optional[Gate] = None
    upstream: Any = None
    marked = False
    heard = False
    patient = False
    place = -1
    began = 0.0
    limited = ""
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
        def end_early(self, why: str) -> None: ...

    @property
    def can_be_interrupted(self) -> bool:
        """Tell whether the watchdog of requests may end its waits."""
        return self._deadline is not None or self.marked

    def enter(self, target: Any) -> None:
        """Begin to wait for an upstream. Raises `TimedOut` if it is limited.

        What threads wait for is shared; a task that waits holds none.
        """
        gate = meeting.gate
        if gate is None or self._request is None or self.dry_run is not None or self.task:
            return
        self.gate = gate
        limited = gate.enter(self, target)
        if limited:
            self.end_early(limited)
            raise self.give_up(self.why)

    def move(self, target: Any) -> None:
        """Go on with another upstream. Raises `TimedOut` if it is limited."""
        if self.gate is not None:
            self.leave(None)
        self.enter(target)

    def leave(self, error: Optional[BaseException]) -> None:
        """Wait for the upstream no more."""
        if self.gate is not None:
            self.gate.leave(self, error)

    def answer(self) -> None:
        """Note that the headers of an answer are there."""
        self.phase = "body"
        if self.marked and self.gate is not None:
            self.gate.answer(self)

    def sent(self) -> None:
        """Note that the request was sent, and that its answer is waited for."""
        self.phase = "headers"
        if self.marked and self.method not in IDEMPOTENT and self.gate is not None:
            method = (self.method or self.called()[0]).upper()
            if method not in IDEMPOTENT:
                self.gate.sent(self)

    def allow(self, own: float) -> None:
        """Note a number of the caller's for a wait."""
        if own > LONG and self.gate is not None:
            self.gate.allow(self, own)

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
