"""What every event is."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Event:
    """Base of all events. `str(event)` is the line that is logged."""

    component: ClassVar[str] = "library"
    level: ClassVar[int] = logging.WARNING
    text: ClassVar[str] = ""

    def __str__(self) -> str:
        return self.text.format(**vars(self))
