"""End waits for sockets in any code, Python or C, and count them for each request.

Which waits may be ended is in waits_refusals.py, how it is done without a race in waits_chain.py.
"""

from __future__ import annotations

import errno
import os
from typing import Dict, Hashable, List, NamedTuple, Optional, Tuple

from . import waits_chain, waits_refusals
from .waits import SOCKET, Wait
from .waits_chain import ENDED, FAILED, OVER, Chain, Still
from .waits_refusals import Frames, Survey
from .waits_sockets import Inherited

REFUSED = "refused"
MOST_ENDS = 32  # of one request's waits; at four ticks a second, eight seconds of reconnects
AGAIN = 3  # from this many ends on, the client is one that reconnects by itself


class Outcome(NamedTuple):
    """What became of an attempt to end a wait.

    `state` is `ENDED`, `OVER` (it was over before), `REFUSED` (`reason` says why), `FAILED` (the
    kernel refused). `how` is `reset` or `shutdown`. `ends` is how many waits of the request have
    been ended by now.
    """

    state: str
    wait: Wait
    how: str = ""
    reason: str = ""
    ends: int = 0

    @property
    def ended(self) -> bool:
        """Whether the wait was ended."""
        return self.state == ENDED

    @property
    def reconnects(self) -> bool:
        """Whether the client goes on by itself each time its connection is ended."""
        return self.ends >= AGAIN

    def __str__(self) -> str:
        if self.state == ENDED:
            return (
                f"ended the wait for {self.wait} ({self.how}, number {self.ends} of this request)"
            )
        if self.state == OVER:
            return f"the wait for {self.wait} was over"
        return f"the wait for {self.wait} was not ended: {self.reason}"


class Ends:
    """Ends waits of this process's threads, and counts them for each request.

    For one caller, the watchdog; make one in each process.
    """

    def __init__(self, inherited: Inherited, most: int = MOST_ENDS) -> None:
        self._inherited = inherited
        self._most = most
        self._counts: Dict[int, Tuple[Hashable, int]] = {}
        self._last: Dict[int, Tuple[bytes, int]] = {}  # what was ended last, by thread
        self._chain: Optional[Chain] = None
        self._survey: Optional[Survey] = None

    def __repr__(self) -> str:
        return f"<Ends {self.why_not() or 'sockets'}>"

    def why_not(self) -> str:
        """Return why no wait of this process may be ended, with the remedy; "" if they may."""
        return waits_refusals.of_process() or waits_chain.why_not()

    def count(self, thread: int, request: Hashable) -> int:
        """Return how many waits of a request in a thread have been ended."""
        known, count = self._counts.get(thread, (None, 0))
        return count if known == request else 0

    def refusal(self, wait: Wait, frames: Frames, *, late: bool = False) -> str:
        """Return why a wait may not be ended, "" if it may: the same checks as of `end()`."""
        reason = self.why_not()
        if reason or wait.kind != SOCKET:
            return reason or waits_refusals.not_single(wait)
        survey = self._survey
        if survey is None or not survey.is_fresh:
            survey = self._survey = Survey()
        return (
            waits_refusals.of_wait(wait, self._inherited, survey)
            or waits_refusals.of_frames(list(frames()), late=late)
            or waits_refusals.of_sharing(wait, survey)
        )

    def end(
        self, wait: Wait, request: Hashable, still: Still, frames: Frames, *, late: bool = False
    ) -> Outcome:
        """End a wait if it may be ended, and is still the same.

        `request` is the number of the request, for the count. `still` proves that the thread still
        serves it. `frames` returns module and function of the frames of that thread. `late` allows
        to end the wait for a commit's answer, too. Raises nothing the kernel could be the cause of.
        """
        count = self.count(wait.thread, request)
        if count >= self._most:
            reason = f"{count} waits of this request were ended: its client reconnects each time"
            return Outcome(REFUSED, wait, reason=reason, ends=count)
        if self._last.get(wait.thread) == (wait.call.line, wait.inode):
            # what it waits for is not what its descriptor is by now, and may be another thread's
            reason = (
                "it was ended before and did not wake: its descriptor was closed and used again"
            )
            return Outcome(REFUSED, wait, reason=reason, ends=count)
        try:
            reason = self.refusal(wait, frames, late=late)
            if reason:
                return Outcome(REFUSED, wait, reason=reason, ends=count)
            state, how = self._the_chain().end(wait, still)
        except OSError as error:
            gone = error.errno in (errno.ENOENT, errno.ESRCH, errno.EBADF)  # the thread, the socket
            reason = os.strerror(error.errno or 0)  # else: no descriptors left
            return Outcome(OVER if gone else FAILED, wait, reason=reason, ends=count)
        if state == FAILED:
            return Outcome(FAILED, wait, reason=how, ends=count)
        if state == ENDED:
            count += 1
            self._counts[wait.thread] = (request, count)
            self._last[wait.thread] = (wait.call.line, wait.inode)
        return Outcome(state, wait, how, ends=count)

    def forget(self, threads: List[int]) -> None:
        """Forget all but these threads."""
        self._counts = {tid: each for tid, each in self._counts.items() if tid in threads}
        self._last = {tid: each for tid, each in self._last.items() if tid in threads}

    def _the_chain(self) -> Chain:
        if self._chain is None:
            self._chain = Chain()
        return self._chain
