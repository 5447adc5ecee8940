"""A request in a thread, a watchdog that ends its wait, and what came of it."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from resilient_wsgi.host import waits, waits_sockets
from resilient_wsgi.host.waits_chain import Still
from resilient_wsgi.host.waits_end import Ends, Outcome

TICK = 0.05
SETTLED = 0.4  # a wait that has lasted this long is the one that hangs
PATIENCE = 15.0


class Slot:
    """What a thread works on, as in the request component."""

    __slots__ = ("request",)

    def __init__(self) -> None:
        self.request: Optional[object] = None


class Result(NamedTuple):
    """What became of a call whose wait was ended."""

    call: str
    peer: str
    outcomes: List[Outcome]
    got: str
    error: Optional[BaseException]
    woke: float  # seconds from the first end to the end of the call

    @property
    def ends(self) -> int:
        return sum(each.ended for each in self.outcomes)

    @property
    def ended(self) -> bool:
        return self.woke < PATIENCE


def fresh() -> Ends:
    return Ends(waits_sockets.snapshot())


def attempt(ends: Ends, call: Callable[[], Any], tick: float = TICK) -> Result:
    """Run a call in a thread, wait until it hangs, and end its waits at each tick."""
    slot = Slot()
    box: List[Tuple[str, Optional[BaseException]]] = []
    native: List[int] = []
    slot.request = request = object()

    def run() -> None:
        native.append(threading.get_native_id())
        try:
            box.append((repr(call())[:60], None))
        except BaseException as error:
            box.append(("", error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait = _settled(native, thread)
    outcomes: List[Outcome] = []
    began = time.monotonic()
    while thread.is_alive() and time.monotonic() - began < PATIENCE:
        found = waits.wait_of(native[0])
        if found is not None:
            still = Still.attribute(slot, "request", request)
            outcomes.append(ends.end(found, request, still, lambda: frames_of(thread.ident or 0)))
        thread.join(tick)
    woke = time.monotonic() - began
    got, error = box[0] if box else ("still waits", None)
    called, peer = ("", "") if wait is None else (wait.call.name, str(wait))
    return Result(called, peer, outcomes, got, error, woke)


def _settled(native: List[int], thread: threading.Thread) -> Optional[waits.Wait]:
    """Return the wait in which a thread has been for a while."""
    last, since = b"", time.monotonic()
    until = since + 10
    while thread.is_alive() and time.monotonic() < until:
        found = waits.wait_of(native[0]) if native else None
        line = b"" if found is None else found.call.line
        if line != last or not line:
            last, since = line, time.monotonic()
        elif time.monotonic() - since > SETTLED:
            return found
        time.sleep(0.02)
    return None


def frames_of(ident: int) -> List[Tuple[str, str]]:
    """Return module and function of the frames of a thread."""
    frame = sys._current_frames().get(ident)  # noqa: SLF001
    found = []
    while frame is not None:
        found.append((str(frame.f_globals.get("__name__")), frame.f_code.co_name))
        frame = frame.f_back
    return found


def name_of(error: Optional[BaseException]) -> str:
    if error is None:
        return ""
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"
