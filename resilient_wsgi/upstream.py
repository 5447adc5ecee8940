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


class Call:
    """An outbound call of a thread that runs a request, to one upstream.

    It is one object with slots: as attributes of the exchange, these would be too many for
    CPython's compact dictionaries of instances.
    """

    __slots__ = ("began", "gate", "heard", "limited", "marked", "patient", "place", "upstream")

    began: float
    gate: Gate
    heard: bool  # whether the headers of its answer have come
    limited: str  # why it was refused or ended, "" if it was not
    marked: bool  # whether it stands in the scoreboard now
    patient: bool  # whether it may take longer than others do
    place: int  # of its thread there
    upstream: Any  # which the gate knows it by; None once its end was noted

    @property
    def away(self) -> bool:
        """Tell whether its thread does something else for now."""
        return not self.marked and self.upstream is not None


class Gate(Protocol):
    """Decides whether a call may begin, and keeps in the scoreboard who waits for what."""

    report: bool  # whether it refuses and ends nothing

    def enter(self, target: Any) -> Optional[Call]:
        """Return a call, marked, or `limited` if it may not begin; None if it does not count."""

    def resume(self, call: Call) -> None:
        """Mark a call again, whose thread goes on to wait for it."""

    def pause(self, call: Call) -> None:
        """Take away the mark of a call: its thread does something else."""

    def touch(self, call: Call) -> None:
        """Note that bytes have come."""

    def answer(self, call: Call) -> None:
        """Note that the headers of an answer have come."""

    def retry(self, call: Call) -> bool:
        """Return whether a call may be tried again, and note that it is."""

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
