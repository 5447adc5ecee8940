"""The tables of the scoreboard in which names have numbers, the same in all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Optional

from .fields import fit
from .layout import read_name

if TYPE_CHECKING:
    from .scoreboard import Scoreboard


class Table:
    """Names, each at the place of its number: appended under the lock, never changed.

    The header's field `used` says how many there are. Numbers begin at `first`; a name that finds
    no room before `most` has the number `overflow`.
    """

    def __init__(
        self,
        board: Scoreboard,
        at: int,
        entry_bytes: int,
        used: str,
        first: int,
        most: int,
        overflow: int,
    ) -> None:
        self._board = board
        self._at = at
        self._entry_bytes = entry_bytes
        self._used = used
        self._first = first
        self._most = most
        self._overflow = overflow
        self._known: Dict[str, int] = {}

    def number(self, name: str) -> int:
        """Return the number of a name; it gets one if it has none."""
        found = self._known.get(name)
        if found is None:
            data = fit(name, self._entry_bytes)
            # most names are there already, from another worker: no lock for those
            found = self._find(data)
            if found is None:
                found = self._append(data)
            if found is None:
                return self._overflow
            self._known[name] = found
        return found

    def _used_now(self) -> int:
        used: int = getattr(self._board.header, self._used)
        return max(self._first, min(used, self._most))

    def _find(self, data: bytes) -> Optional[int]:
        memory, size, name = self._board.memory, self._entry_bytes, data.decode()
        for n in range(self._first, self._used_now()):
            if read_name(memory, self._at + n * size, size) == name:
                return n
        return None

    def _append(self, data: bytes) -> Optional[int]:
        with self._board.lock() as locked:
            found, used = self._find(data), self._used_now()
            if found is not None or not locked or used >= self._most:
                return found
            at = self._at + used * self._entry_bytes
            self._board.memory[at : at + len(data)] = data
            setattr(self._board.header, self._used, used + 1)
            return used
