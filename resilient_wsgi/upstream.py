"""Where outbound calls, fair share and the watchdog of requests meet: none of the three knows the
others.

`outbound` asks the gate before a call, and tells it what comes of it; the watchdog calls `look`
with each of its looks; the table of running requests knows the place of each thread in the
scoreboard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, List, Optional, Protocol, Tuple

if TYPE_CHECKING:
    from .deadline import Deadline

IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))
LONG = 15.0  # a caller that allows a wait to be longer than this means it


class Call(Protocol):
    """An outbound call, as the gate sees it: an `outbound.exchange.Exchange`."""

    start: float
    marked: bool  # whether it stands in the scoreboard now
    place: int  # of its thread there
    upstream: Any  # which the gate knows it by
    began: float  # with this upstream
    patient: bool  # whether it may take longer than others do
    heard: bool  # whether the headers of its answer have come
    limited: str  # why it was refused or ended, "" if it was not


class Gate(Protocol):
    """Decides whether a call may begin, and keeps in the scoreboard who waits for what."""

    def enter(self, call: Call, target: Any) -> str:
        """Mark a call, or return why it may not begin."""

    def resume(self, call: Call) -> None:
        """Mark a call again, whose thread goes on to wait for it."""

    def pause(self, call: Call) -> None:
        """Take away the mark of a call: its thread does something else."""

    def touch(self, call: Call) -> None:
        """Note that bytes have come."""

    def answer(self, call: Call) -> None:
        """Note that the headers of an answer have come."""

    def leave(self, call: Call, error: Optional[BaseException]) -> None:
        """Note the end of a call."""

    def allow(self, call: Call, seconds: float) -> None:
        """Note how long its caller lets it wait, if that is long."""

    def sent(self, call: Call) -> None:
        """Note that it was sent in full, and must not be repeated lightly."""


def _nowhere(_thread: int) -> Optional[int]:
    return None


class Meeting:
    """What is there in this process, None for what is not."""

    def __init__(self) -> None:
        self.gate: Optional[Gate] = None
        self.look: Optional[Callable[[float, List[Tuple[int, Deadline]]], None]] = None
        self.place_of: Callable[[int], Optional[int]] = _nowhere


meeting = Meeting()
