"""The tables of the scoreboard in which names have numbers, the same in all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Optional

from .layout import fit, read_name

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
            with self._board.lock() as locked:
                found = self._find_or_append(fit(name, self._entry_bytes), locked=locked)
            if found is None:
                return self._overflow
            self._known[name] = found
        return found

    def _find_or_append(self, data: bytes, *, locked: bool) -> Optional[int]:
        memory, size = self._board.memory, self._entry_bytes
        used: int = max(self._first, min(getattr(self._board.header, self._used), self._most))
        name = data.decode()
        for n in range(self._first, used):
            if read_name(memory, self._at + n * size, size) == name:
                return n
        if not locked or used >= self._most:
            return None
        memory[self._at + used * size : self._at + used * size + len(data)] = data
        setattr(self._board.header, self._used, used + 1)
        return used
