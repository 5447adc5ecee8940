"""The upstreams that a process knows: by what is called, and by their numbers."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Tuple
from urllib.parse import urlsplit

from ..core.hosts import patterns
from ..shm.layout import NAME_BYTES, UPSTREAMS, read_name, upstream_at
from ..shm.scoreboard import Scoreboard
from .state import History, Limit, Upstream

MOST_TARGETS = 1024
AGAIN = 60.0
_PORTS = {"http": 80, "https": 443}
Set = Mapping[str, Mapping[str, Any]]  # BULKHEAD.HOSTS


class Upstreams:
    """Finds the upstream of a call, in a fraction of a microsecond if it was called before."""

    def __init__(self, board: Scoreboard, hosts: Set, *, alone: bool) -> None:
        self.known: Dict[int, Upstream] = {}
        self._board = board
        self._hosts = hosts
        self._alone = alone  # limits hold for this process alone; what is usual, for all
        self._by_target: Dict[Any, Optional[Upstream]] = {}
        self._unnamed = False
        self._forget_at = 0.0

    def __repr__(self) -> str:
        return f"<Upstreams {len(self.known)}>"

    def of(self, target: Any) -> Optional[Upstream]:
        """Return the upstream of a URL, of host and port, or of a URL of httpx's; None if there is
        no place for it.
        """
        if type(target) is str:
            end = target.find("/", 8)
            key: Any = target if end < 0 else target[:end]
        elif type(target) is tuple:
            key = target
        else:
            key = (target.host, target.port or _PORTS.get(target.scheme))
        try:
            return self._by_target[key]
        except KeyError:
            return self._find(key)

    def _find(self, key: Any) -> Optional[Upstream]:
        host, port = _address(key)
        if not host:
            return None
        text = f"[{host}]" if ":" in host else host
        number = self._board.name(f"{text}:{port}")
        upstream = self._made(number) if 1 < number < UPSTREAMS else None
        if len(self._by_target) >= MOST_TARGETS:
            self._by_target.clear()
        if "?" not in str(key):
            self._by_target[key] = upstream
        self._unnamed = self._unnamed or upstream is None
        return upstream

    def follow(self, now: float) -> None:
        """Know those that other processes have called, too; ask once more for those that got no
        number, because the table was locked for long.
        """
        if self._unnamed and now > self._forget_at:
            self._forget_at, self._unnamed = now + AGAIN, False
            for key in [key for key, found in list(self._by_target.items()) if found is None]:
                self._by_target.pop(key, None)
        for number in range(len(self.known) + 2, min(self._board.header.names_used, UPSTREAMS)):
            self._made(number)

    def _made(self, number: int) -> Upstream:
        found = self.known.get(number)
        if found is None:
            name = read_name(
                self._board.memory, self._board.geometry.names_at + number * NAME_BYTES
            )
            base = upstream_at(number)
            limit = Limit([0.0] * Limit.SIZE) if self._alone else Limit(self._board.pool, base)
            share, exempt = self._set_for(name)
            found = Upstream(
                number,
                name,
                History(self._board.pool, base + Limit.SIZE),
                limit,
                share,
                exempt=exempt,
            )
            found = self.known.setdefault(number, found)
        return found

    def _set_for(self, name: str) -> Tuple[Optional[float], bool]:
        host, _, port = name.rpartition(":")
        share, exempt = None, False
        if self._hosts:
            number = int(port) if port.isdigit() else None
            for pattern in reversed(patterns(host.strip("[]"), number)):
                found = self._hosts.get(pattern, {})
                share, exempt = found.get("share", share), found.get("exempt", exempt)
        return share, exempt


def _address(key: Any) -> Tuple[str, Optional[int]]:
    if isinstance(key, tuple):
        host, port = key
        return (host or "").lower().strip("[]"), port
    try:
        parts = urlsplit(key)
        return parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return "", None
