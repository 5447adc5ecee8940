"""Who holds the lock that a thread waits for, as far as that can be known.

Only re-entrant locks and those of imports know who holds them. Which one a thread waits for is not
to be seen either: of those that its innermost function has at hand, exactly one thread must hold
any.
"""

from __future__ import annotations

import os
import re
import threading
from types import FrameType
from typing import Dict, Iterator, Optional, Set

from ..core import app_lines, frames

MOST = 200  # objects that are looked at
_OWNER = re.compile(r"<locked _thread\.RLock object owner=(\d+) ")
_RLOCK = type(threading.RLock())


def named(thread: int) -> str:
    """Return the lock that a thread waits for, in words; where frames may be looked at, with the
    thread that holds it, or else the line that waits.
    """
    stacks = frames.frames()
    frame = stacks.get(thread)
    if frame is None:
        return "a lock"
    holder = _holder(frame, thread)
    if holder and holder in stacks:
        return f"a lock held by thread {_name(holder)!r} in {_place(stacks[holder])}"
    return f"a lock in {_place(frame)}"


def _holder(frame: FrameType, thread: int) -> int:
    """Return the thread that holds a lock which a frame has at hand; 0 for none, or several."""
    holders: Set[int] = {_owner(each) for each in _at_hand(frame)}
    holders -= {0, thread}
    return holders.pop() if len(holders) == 1 else 0


def _at_hand(frame: FrameType) -> Iterator[object]:
    """Yield what a frame's code may have asked for: its variables, what it names of the module, and
    what its `self` has.
    """
    variables = dict(frame.f_locals)
    yield from list(variables.values())[:MOST]
    names = frame.f_code.co_names[:MOST]
    yield from [frame.f_globals.get(name) for name in names]
    attributes: Dict[str, object] = getattr(variables.get("self"), "__dict__", {})
    yield from [attributes.get(name) for name in names]


def _owner(lock: object) -> int:
    kind = type(lock)
    if kind is _RLOCK:
        found = _OWNER.match(repr(lock))
        return int(found.group(1)) if found else 0
    if kind is threading.Condition:
        return _owner(lock._lock)  # type: ignore[attr-defined]  # noqa: SLF001
    if kind.__name__ == "_ModuleLock":
        owner = getattr(lock, "owner", None)
        return owner if isinstance(owner, int) else 0
    return 0


def _name(thread: int) -> str:
    known = threading._active.get(thread)  # type: ignore[attr-defined]  # noqa: SLF001
    return known.name if known is not None else "?"


def _place(frame: Optional[FrameType]) -> str:
    """Return the app's line on a stack, in short: `f (a.py:12)`."""
    line, function = app_lines.caller_on(frame)
    return f"{function} ({os.path.basename(line)})"
