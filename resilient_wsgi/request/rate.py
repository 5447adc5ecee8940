"""How many workers of the whole instance were replaced in the last minute: stamps in the memory
that they share.
"""

from __future__ import annotations

import struct
import time

from .shared import Shared

# the points in time of the latest ones, on the monotonic clock, which all processes of a machine
# share
_STAMPS = struct.Struct("=64d")
_AT = 64
PERIOD = 60.0


def take(shared: Shared, per_minute: int) -> bool:
    """Return whether one more may be, and count it.

    Without this, all workers would be replaced at once in an incident.
    """
    now = time.monotonic()
    with shared.lock():
        stamps = sorted(_STAMPS.unpack_from(shared.memory, _AT))
        recent = sum(1 for stamp in stamps if stamp and now - PERIOD < stamp <= now)
        if recent >= min(per_minute, len(stamps)):
            return False
        _STAMPS.pack_into(shared.memory, _AT, now, *stamps[1:])
        return True
