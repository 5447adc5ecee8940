"""Which limits hold for a call: the defaults, those of the host, those of a block around it.

The caller's own numbers and the request's deadline are not known here; `exchange` puts them
together.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    FrozenSet,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
    Type,
)

from ..core.guard import Guard
from ..core.hosts import patterns
from ..errors import ConfigurationError
from ..settings.options import AUTO, OFF, REPORT, Outbound
from ..settings.types import Seconds

if TYPE_CHECKING:
    from ..events.base import LimitedBy

_CACHED_HOSTS = 1024

guard = Guard("outbound")


DEFAULTS: FrozenSet[LimitedBy] = frozenset(("default", "default_in_request", "nothing"))


class Limit(NamedTuple):
    """A number of seconds, the name of the setting that it comes from, and who set it."""

    seconds: float
    setting: str
    by: LimitedBy

    @property
    def source(self) -> str:
        """Return who set it, in words for a message."""
        from ..events.base import limit_source

        return limit_source(self.by, self.setting)

    @property
    def by_default(self) -> bool:
        """Return whether it is a default: what the caller asks for comes before it."""
        return self.by in DEFAULTS


class Limits(NamedTuple):
    """The three limits of a call."""

    connect: Limit
    read: Limit
    total: Limit


NAMES = Limits._fields

# in a request a client waits for the answer; a management command, a job or a thread of the app may
# take its time, and what it calls may be slow by nature
IN_REQUEST = Limits(
    Limit(5.0, "CONNECT_TIMEOUT", "default_in_request"),
    Limit(15.0, "READ_TIMEOUT", "default_in_request"),
    Limit(30.0, "TOTAL_TIMEOUT", "default_in_request"),
)
ELSEWHERE = Limits(
    Limit(10.0, "CONNECT_TIMEOUT", "default"),
    Limit(120.0, "READ_TIMEOUT", "default"),
    Limit(math.inf, "TOTAL_TIMEOUT", "nothing"),
)


class Block(NamedTuple):
    """What `timeouts()` and `unlimited()` say for the block that they are around: only what was
    given.
    """

    limits: Mapping[str, Limit]
    reason: str = ""


def unlimited_by(setting: str, by: LimitedBy) -> Limits:
    """Return limits that limit nothing."""
    none = Limit(math.inf, setting, by)
    return Limits(none, none, none)


class Policy:
    """The settings of the section, made ready to be asked in each call."""

    def __init__(self, options: Outbound) -> None:
        self.options = options
        self.on = options.mode != OFF
        self.report = options.mode == REPORT
        self.pass_deadline = options.pass_deadline
        # whether `report` is to list what the caller said about timeouts
        self.notes_calls = self.report or options.explicit_none == REPORT
        self.explicit_none = options.explicit_none
        self._hosts = {pattern.lower(): limits for pattern, limits in options.hosts.items()}
        self.by_host = bool(options.hosts)  # whether the host must be known
        self.in_request = _set_by_hand(IN_REQUEST, options)
        self.elsewhere = _set_by_hand(ELSEWHERE, options)
        self._cache: Dict[Tuple[str, Optional[int], bool], Limits] = {}

    def limits(self, host: str, port: Optional[int], in_request: bool = False) -> Limits:
        """Return the limits of calls to a host: the settings and, over them, the block that is
        being executed.
        """
        found = self._for_host(host, port, in_request)
        block = _block.get()
        return found if block is None else found._replace(**block.limits)

    def _for_host(self, host: str, port: Optional[int], in_request: bool) -> Limits:
        if not self._hosts:
            return self.in_request if in_request else self.elsewhere
        key = (host, port, in_request)
        if key not in self._cache:
            if len(self._cache) >= _CACHED_HOSTS:  # a crawler's
                self._cache.clear()
            self._cache[key] = self._look_up(host.lower().strip("[]"), port, in_request)
        return self._cache[key]

    def _look_up(self, host: str, port: Optional[int], in_request: bool) -> Limits:
        limits = self.in_request if in_request else self.elsewhere
        for pattern in reversed(patterns(host, port)):
            for name, seconds in self._hosts.get(pattern, {}).items():
                short = name.partition("_")[0]
                limits = limits._replace(
                    **{short: Limit(seconds, f"HOSTS[{pattern!r}] {name.upper()}", "hosts")}
                )
        return limits


def _set_by_hand(defaults: Limits, options: Outbound) -> Limits:
    """Return the limits of a scope, those that the operator has set among them."""
    given = {name: getattr(options, f"{name}_timeout") for name in NAMES}
    ours = {
        name: Limit(
            math.inf if seconds is None else seconds,
            f"OUTBOUND.{name.upper()}_TIMEOUT",
            "setting",
        )
        for name, seconds in given.items()
        if seconds != AUTO
    }
    return defaults._replace(**ours)


class Installed:
    """Holds the policy that is in force; its `on` is False where nothing is installed."""

    def __init__(self) -> None:
        self.policy = Policy(Outbound(mode=OFF))


installed = Installed()


def current() -> Policy:
    """Return the policy that is in force."""
    return installed.policy


def replace(new: Policy) -> None:
    """Put another policy in force, for calls that begin from now on."""
    installed.policy = new


_block: ContextVar[Optional[Block]] = ContextVar("resilient_wsgi.outbound.block", default=None)


# the innermost `timeouts()` or `unlimited()` that is being executed, None outside of all
block = _block.get


class _Around:
    """A context manager that has `_limits` hold in its block.

    One object may be used again, also within itself.
    """

    def __init__(self, limits: Dict[str, Limit], reason: str = "") -> None:
        self._limits = limits
        self._reason = reason
        self._outer: List[Optional[Block]] = []

    def __enter__(self) -> None:
        outer = _block.get()
        self._outer.append(outer)
        inherited = outer.limits if outer else {}
        _block.set(Block({**inherited, **self._limits}, self._reason))

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        _block.set(self._outer.pop())


class timeouts(_Around):  # noqa: N801 - reads as a function: `with timeouts(total=5):`
    """Have these limits, in seconds, for the outbound HTTP calls of a block: `with
    timeouts(total=5):`.

    They hold for each call on its own, over the settings and `HOSTS`; what is not given stays as it
    was around the block. They hold in this thread (context) only. A number that a caller within
    gives as its client's `timeout` is kept as connect and read limit; `total` holds over it. No
    call outlives the deadline of the request. Raises `ConfigurationError` (a `ValueError`) for what
    is not a positive finite number.
    """

    def __init__(
        self,
        connect: Optional[float] = None,
        read: Optional[float] = None,
        total: Optional[float] = None,
    ) -> None:
        given = {"connect": connect, "read": read, "total": total}
        mistakes = [
            m for name, value in given.items() if value is not None for m in _mistakes(name, value)
        ]
        if mistakes:
            raise ConfigurationError(mistakes)
        super().__init__(
            {
                name: Limit(float(s), f"outbound.timeouts({name}=)", "block")
                for name, s in given.items()
                if s is not None
            }
        )


class unlimited(_Around):  # noqa: N801 - reads as a function
    """Lift the three limits for the outbound HTTP calls of a block: `with unlimited("nightly
    export"):`.

    The reason documents the code and the events. The request's deadline still applies: a worker
    that outlives it is killed. Raises `ConfigurationError` if no reason is
    given.
    """

    def __init__(self, reason: str) -> None:
        if not isinstance(reason, str) or not reason.strip():
            msg = f"outbound.unlimited({reason!r}): it takes the reason, in words"
            raise ConfigurationError([msg])
        super().__init__(unlimited_by(f"outbound.unlimited({reason!r})", "block")._asdict(), reason)


def _mistakes(name: str, value: Any) -> List[str]:
    kind = Seconds(above=0)
    try:
        if isinstance(value, str):
            raise ValueError(value)  # noqa: TRY301 - code has numbers; only the environment has nothing but strings
        kind.read(value)
    except ValueError:
        return [f"outbound.timeouts({name}={value!r}): it takes {kind.accepts}"]
    return []
