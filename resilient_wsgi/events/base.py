"""What every event is, and the words for values that are data in the fields.

A constant template for each class, filled in from the fields: log records carry the template and
the values apart, so that Sentry and JSON formatters group by class.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar, Dict, Literal, Mapping, Optional, Tuple

from ..core.record import Record
from ..core.text import printable, printable_lines, redacted

TEXT_LIMIT = 500
LINE_LIMIT = 2000

Words = Mapping[str, Any]
LimitedBy = Literal[
    "default", "default_in_request", "nothing", "setting", "hosts", "block", "caller",
    "caller_total", "caller_none", "deadline", "request_deadline",
]  # fmt: skip
"""Who set a limit of an outbound call."""

_SOURCES = {
    "default": "default %s",
    "default_in_request": "default %s in a request",
    "nothing": "no %s",
    "caller": "the caller's timeout",
    "caller_total": "the caller's timeout, in a request the total too",
    "caller_none": "the caller's timeout=None",
    "request_deadline": "request deadline of %s",
}


class Event(Record):
    """Base of all events. `str(event)` is the message that is logged.

    In the message, and in what else goes into the log record, text from outside is escaped and cut,
    so that it can neither begin a line of its own nor drive a terminal, and what looks like a
    secret is removed. Do the same before you write the fields of an event anywhere else.
    """

    component = "library"
    code = ""
    """What the line that is logged begins with: `resilient-wsgi explain CODE` explains it."""
    level = logging.WARNING
    template = ""
    """The message, a constant for each class, with `%(name)s` for fields and phrases."""
    blocks: ClassVar[Tuple[str, ...]] = ()
    """Fields of several lines, which end the message."""
    label_fields: ClassVar[Tuple[str, ...]] = ()
    """Fields of few possible values, fit to be the labels of a metric."""

    def __str__(self) -> str:
        return self.template % self.arguments()

    def labels(self) -> Dict[str, str]:
        """Return the fields that take few values, as text: the labels of a metric."""
        return {name: _label(getattr(self, name)) for name in self.label_fields}

    def fields(self) -> Dict[str, Any]:
        """Return all fields by name, fit for logs: JSON-serialisable, text escaped and redacted."""
        return {name: self._shown(name, value) for name, value in vars(self).items()}

    def arguments(self) -> Dict[str, Any]:
        """Return what fills in the template: the fields and, over them, the phrases."""
        return {**self.fields(), **self._phrases()}

    def _phrases(self) -> Words:
        # the parts of the message that depend on a field's value
        return {}

    def _shown(self, name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return [self._shown(name, each) for each in value]
        if not isinstance(value, str):
            return value
        value = redacted(value)
        if name in self.blocks:
            return printable_lines(value, LINE_LIMIT)
        return printable(value, TEXT_LIMIT)


def limit_source(by: LimitedBy, name: str) -> str:
    """Return who set a limit, in words; `name` is that of the setting, or of the request."""
    return _SOURCES.get(by, "%s").replace("%s", name)


def limit_fix(by: LimitedBy, host: str, setting: str) -> str:
    """Return how to give a call more time, `""` where the app has set the limit itself."""
    if by in ("default", "default_in_request"):
        entry = f"OUTBOUND.HOSTS[{host!r}][{setting!r}]"
        return f" Fix: if this upstream is slow by nature, set {entry}."
    if by in ("setting", "hosts"):
        return " Fix: if this upstream may take longer, raise that setting."
    if by == "request_deadline":
        how = "make the call in a background job, or give this request more time"
        return f" Fix: {how} (REQUEST.PATHS, harakiri)."
    if by == "caller_total":
        entry = f"OUTBOUND.HOSTS[{host!r}]['TOTAL_TIMEOUT']"
        return f" Fix: to let it take longer in all, set {entry}."
    return ""


def backlog_fix(effective: int, wanted: int, allowed: int) -> str:
    """Return what a small listen queue does, and what to set so that it holds `wanted` connections;
    `allowed` is net.core.somaxconn, 0 if not known.
    """
    return (
        f"Bursts above {effective} connections are refused or delayed by SYN retransmission. "
        f"Fix: {backlog_steps(wanted, allowed)}."
    )


def backlog_steps(wanted: int, allowed: int) -> str:
    """Return what to set so that a listen queue holds `wanted` connections."""
    steps = [f"set listen = {wanted} in the uWSGI configuration"]
    if allowed and allowed < wanted:
        steps.insert(
            0,
            f"set net.core.somaxconn = {wanted} on the host or in the container (sysctl; each "
            "network namespace has its own: with a larger listen uWSGI refuses to start)",
        )
    return ", then ".join(steps)


def waits_ended(count: int) -> str:
    """Return how many waits were ended, `""` for none."""
    return f"{count} wait{'s' if count > 1 else ''} ended" if count else ""


def doing(shown: Words) -> Words:
    """Return the phrases `waits_for` and `stacks_below`, which end a message."""
    waits_for, stacks = shown["waiting_for"], shown["stacks"]
    return {
        "waits_for": f", waiting for {waits_for}" if waits_for else "",
        "stacks_below": f"\n{stacks}" if stacks else "",
    }


def seconds_of(limit: Optional[float]) -> str:
    """Return a limit in words."""
    return "none" if limit is None else f"{limit:g} s"


def _label(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
