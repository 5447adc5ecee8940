"""What every event is."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar, Dict, Tuple

from ..core.text import printable, printable_lines, redacted

TEXT_LIMIT = 500
LINE_LIMIT = 2000


@dataclass(frozen=True)
class Event:
    """Base of all events. `str(event)` is the line that is logged; the fields are data as it came.

    In that line what is text from outside is escaped and cut, so that it can neither begin a line
    of its own nor drive a terminal, and what looks like a secret is left out. Whoever writes fields
    somewhere else has to do so himself.
    """

    component: ClassVar[str] = "library"
    level: ClassVar[int] = logging.WARNING
    text: ClassVar[str] = ""
    blocks: ClassVar[Tuple[str, ...]] = ()  # fields of several lines, which end the message

    def __str__(self) -> str:
        return self.text.format(**self.words())

    def words(self) -> Dict[str, Any]:
        """Return the fields, fit to be read."""
        return {
            name: self._word(name, value) if isinstance(value, str) else value
            for name, value in vars(self).items()
        }

    def _word(self, name: str, value: str) -> str:
        value = redacted(value)
        return (
            printable_lines(value, LINE_LIMIT)
            if name in self.blocks
            else printable(value, TEXT_LIMIT)
        )
