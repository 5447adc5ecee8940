"""When uWSGI's master will kill this worker: read from the memory in which uWSGI keeps it.

The option `harakiri` is not the whole story: a route or the app may set another one for a request,
and `post-buffering` extends it for each piece of a body that it reads. Both times are fields of a
struct whose head is the same in all of 2.0 (uwsgi.h, `struct uwsgi_worker`), in a mapping of its
own (core/init.c, `uwsgi_calloc_shared`). The struct is found by what `uwsgi.workers()` reports, and
then tried out; if anything does not fit, nothing is read.
"""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Optional, Tuple

from ...core.system import SYSTEM, PerProcess, System
from ...host import procfs
from .. import facts
from ..base import Callback
from ..facts import HarakiriOf

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# offsets in struct uwsgi_worker: int id, pid_t pid; u64 status; time_t last_spawn; u64
# respawn_count, requests, delta_requests, failed_requests; time_t harakiri, user_harakiri
_HEAD_BYTES = 72
_HARAKIRI, _USER_HARAKIRI = 56, 64
_WORKER_BYTES_AT_MOST = 8192
_TRIAL_SECONDS = 86400 * 30

Area = Tuple[int, int]
SetUser = Callable[[int], object]


class Harakiri(facts.Harakiri):
    """Harakiri as it is in force in this process.

    `module` is uWSGI's own, `number` returns the number that an option is set to.
    """

    def __init__(self, module: Any, number: Callable[[str], int], system: System = SYSTEM) -> None:
        self._uwsgi = module
        self._number = number
        self._system = system
        self._fields = PerProcess(self._find)
        self._notifier: Optional[_Notifier] = None

    def seconds(self) -> Optional[float]:
        """Return the option `harakiri`, None if it is not set or not always in force."""
        return None if self._depends() else float(self._number("harakiri")) or None

    def by_request(self) -> Optional[HarakiriOf]:
        """Return a function if routes may set it, or bodies that are buffered add to it."""
        if self._depends():
            return None
        option = self.seconds()
        routed = any("route" in name for name in self._uwsgi.opt)
        if not routed and not (self._number("post-buffering") and option):
            return None

        def of(environ: WSGIEnvironment) -> Optional[float]:
            if not routed and environ.get("CONTENT_LENGTH", "") in ("", "0"):
                return option
            left = self._left()
            # the end of another thread's request clears it (core/utils.c, uwsgi_close_request)
            return option if option and left == math.inf and self._uwsgi.cores > 1 else left

        return of

    def left(self) -> Optional[float]:
        """Return the seconds until the master ends this worker, if it works on one request."""
        return self._left() if self._uwsgi.cores == 1 and not self._depends() else None

    def remedy(self) -> str:
        """Return which settings give requests a deadline here."""
        if self._depends():
            return "REQUEST.TIMEOUT (harakiri depends on harakiri-queue-threshold)"
        return "REQUEST.TIMEOUT or harakiri"

    def _depends(self) -> bool:
        """Return whether harakiri depends on the listen queue (core/master_checks.c)."""
        return self._number("harakiri-queue-threshold") > 0

    def _left(self) -> Optional[float]:
        fields = self._fields.get()
        return None if fields is None else fields.left()

    def on_set(self, callback: Optional[Callback]) -> None:
        """Call `callback` after each `uwsgi.set_user_harakiri()`; with None, no longer."""
        module, notifier = self._uwsgi, self._notifier
        if callback is not None:
            original = module.set_user_harakiri if notifier is None else notifier.original
            module.set_user_harakiri = self._notifier = _Notifier(original, callback)
        elif notifier is not None:
            notifier.callback = _nothing
            if module.set_user_harakiri is notifier:
                module.set_user_harakiri, self._notifier = notifier.original, None

    def _find(self) -> Optional[WorkerHarakiri]:
        module = self._uwsgi
        # without a master it is an alarm of the worker's own, and the fields say less
        if (
            not module.worker_id()
            or not module.masterpid()
            or not module.version.startswith(b"2.0.")
        ):
            return None
        set_user = module.set_user_harakiri if self._notifier is None else self._notifier.original
        worker = module.workers()[module.worker_id() - 1]
        return find(worker, module.masterpid(), set_user, self._system)


class _Notifier:
    """`uwsgi.set_user_harakiri`, and what is to be done after it."""

    __slots__ = ("callback", "original")

    def __init__(self, original: SetUser, callback: Callback) -> None:
        self.original = original
        self.callback = callback

    def __call__(self, seconds: int) -> object:
        result = self.original(seconds)
        self.callback()
        return result


def _nothing() -> None:
    pass


class WorkerHarakiri:
    """The times at which the master kills this worker, in seconds of the wall clock; 0: never."""

    __slots__ = ("_option", "_system", "_user")

    def __init__(self, address: int, system: System = SYSTEM) -> None:
        self._option = ctypes.c_int64.from_address(address + _HARAKIRI)
        self._user = ctypes.c_int64.from_address(address + _USER_HARAKIRI)
        self._system = system

    def left(self) -> float:
        """Return the seconds until the earlier of both, infinity if neither is set."""
        option, user = self._option.value, self._user.value
        if not option and not user:
            return math.inf
        return min(option or math.inf, user or math.inf) - self._system.wall_time()

    def _plausible(self) -> bool:
        now = self._system.wall_time()
        return all(
            not at or abs(at - now) < 366 * 86400 for at in (self._option.value, self._user.value)
        )

    def _obeys(self, set_user: SetUser) -> bool:
        """Return whether the field follows `set_user_harakiri`. One that is set is left alone."""
        if self._user.value:
            return True
        set_user(_TRIAL_SECONDS)
        moved = abs(self._user.value - self._system.wall_time() - _TRIAL_SECONDS) < 5
        set_user(0)
        return moved and self._user.value == 0


def find(
    worker: Mapping[str, Any],
    master_pid: int,
    set_user: SetUser,
    system: System = SYSTEM,
) -> Optional[WorkerHarakiri]:
    """Return the fields of a worker that `uwsgi.workers()` describes, None if they are not found.

    `set_user` is `uwsgi.set_user_harakiri`.
    """
    if ctypes.sizeof(ctypes.c_void_p) != 8 or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    for start, length in _shared_areas(procfs.read("/proc/self/maps")):
        address = _worker_in(start, length, worker, master_pid)
        if address:
            found = WorkerHarakiri(address, system)
            fits = found._plausible() and found._obeys(set_user)  # noqa: SLF001
            return found if fits else None
    return None


def _shared_areas(maps: str) -> Iterator[Area]:
    """Yield start and length of each anonymous shared mapping that this process may write to."""
    for line in maps.splitlines():
        fields = line.split()
        if fields[1] == "rw-s" and fields[5:6] == ["/dev/zero"]:
            start, end = (int(number, 16) for number in fields[0].split("-"))
            yield start, end - start


def _worker_in(start: int, length: int, worker: Mapping[str, Any], master_pid: int) -> int:
    """Return the address of a worker's struct, 0 if this is not the array of them.

    The first element is the master's, with number 0; the size of an element depends on the build.
    """
    number = int(worker["id"])
    if _int(start) != 0 or _int(start + 4) != master_pid:
        return 0
    size = 8
    while size <= _WORKER_BYTES_AT_MOST and number * size + _HEAD_BYTES <= length:
        if _is(start + number * size, worker):
            return start + number * size
        size += 8
    return 0


def _is(address: int, worker: Mapping[str, Any]) -> bool:
    # respawn_count is that of uwsgi.workers() and 1 (uwsgi_pymodule.c, py_uwsgi_workers)
    return bool(
        _int(address) == worker["id"]
        and _int(address + 4) == worker["pid"]
        and _long(address + 16) == worker["last_spawn"]
        and _long(address + 24) == worker["respawn_count"] + 1
        and _long(address + 32) >= worker["requests"]
        and _long(address + 40) >= worker["delta_requests"]
    )


def _int(address: int) -> int:
    return ctypes.c_int32.from_address(address).value


def _long(address: int) -> int:
    return ctypes.c_int64.from_address(address).value
