"""Events of waits: for others, for the reader of the log, in the listen queue."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from .base import Event


@dataclass(frozen=True)
class OutboundTimedOut(Event):
    """An outbound exchange was ended by a limit of ours."""

    component: ClassVar[str] = "outbound"
    host: str
    phase: str
    elapsed: float
    limit: float
    source: str
    port: int = 0  # 0: not known
    method: str = ""
    path: str = ""  # without the query, and without what looks like a secret
    caller: str = ""  # file:line
    function: str = ""
    request: str = ""  # method and path of the request that it was called in
    fix: str = ""
    count: int = 1  # how many there were at this line of the app since the last one that was logged

    def __str__(self) -> str:
        words = self.words()
        host, port = words["host"], f":{self.port}" if self.port else ""
        target = (
            "{method} ".format(**words).lstrip()
            + (f"[{host}]" if ":" in host else host)
            + port
            + words["path"]
        )
        where = "; caller {caller} in {function}".format(**words) if self.caller else ""
        request = "; request {request}".format(**words) if self.request else ""
        times = f"; {self.count} times since last logged" if self.count > 1 else ""
        details = "phase {phase}, limit {limit:g} s: {source}".format(**words)
        fix = " Fix: {fix}".format(**words) if self.fix else ""
        return f"gave up on {target} after {self.elapsed:.1f} s ({details}{where}{request}{times}).{fix}"


@dataclass(frozen=True)
class OutboundUnbounded(Event):
    """Report mode: an outbound call ran without a timeout, or longer than the limit that would have
    held.
    """

    component: ClassVar[str] = "outbound"
    text: ClassVar[str] = (
        "{site}: call to {host} {problem} (took {elapsed:.2f} s); dry run, the call was not limited"
    )
    host: str
    site: str
    problem: str
    elapsed: float


@dataclass(frozen=True)
class DescriptorTakenOver(Event):
    """A descriptor was made non-blocking for this process and its children, or would have been (a
    dry run).
    """

    component: ClassVar[str] = "stderr"
    level: ClassVar[int] = logging.INFO
    text: ClassVar[str] = "descriptor {fd} ({kind}) cannot block any more: {means}"
    fd: int
    kind: str
    means: str
    dry_run: bool = False

    def __str__(self) -> str:
        if self.dry_run:
            text = "dry run: descriptor {fd} ({kind}) was left as it is, and can block; {means}"
            return text.format(**self.words())
        return super().__str__()


@dataclass(frozen=True)
class LinesDropped(Event):
    """Lines that found no room on a descriptor, said when there is room again."""

    component: ClassVar[str] = "stderr"
    text: ClassVar[str] = (
        "{lines} lines ({size_bytes} bytes) dropped in {seconds:.1f} s on descriptor {fd}"
    )
    fd: int
    lines: int
    size_bytes: int
    seconds: float


@dataclass(frozen=True)
class BacklogSmall(Event):
    """A listen queue is shorter than it was asked to be, or than is wise."""

    component: ClassVar[str] = "backlog"
    text: ClassVar[str] = (
        "listen queue of {socket}: asked {asked}, effective {effective} (net.core.somaxconn here: {allowed}). {remedy}"
    )
    socket: str
    asked: int
    effective: int
    allowed: int
    remedy: str
