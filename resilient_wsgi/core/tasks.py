"""The running task of asyncio or trio, neither of which is imported."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, List


def current_task() -> Any:
    """Return the running task of asyncio or trio, None outside of both."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop of asyncio's runs in this thread
            task = None
        if task is not None:
            return task
    trio = sys.modules.get("trio")
    try:
        return None if trio is None else trio.lowlevel.current_task()
    except RuntimeError:
        return None


def awaiting_frames() -> List[FrameType]:
    """Return the frames of the running task's coroutines, as far as they are known, the innermost
    first.

    Where an exception is thrown into the innermost one (a timeout, as asyncio makes it), the stack
    lacks some of the others, on CPython 3.9 all.
    """
    task = current_task()
    coroutine: Any = task.get_coro() if hasattr(task, "get_coro") else getattr(task, "coro", None)
    frames: List[FrameType] = []
    while getattr(coroutine, "cr_frame", None) is not None:
        frames.insert(0, coroutine.cr_frame)
        coroutine = coroutine.cr_await
    return frames
