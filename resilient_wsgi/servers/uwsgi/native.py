"""What uWSGI's Python module does not offer, called in the program itself through ctypes.

All of it is optional: if a symbol is missing (pyuwsgi loads uWSGI as a module, whose symbols are
not global; musl has no working `__cxa_finalize`) the functions return False or None, and `status()`
reports what is unavailable.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable, List, Optional

_program = ctypes.CDLL(None)
_kept: List[Any] = []  # uWSGI keeps pointers to what it was given
CAN_TRAP_EXIT = hasattr(_program, "gnu_get_libc_version")


def set_option(name: str, value: str) -> bool:
    """Set an option of uWSGI in this process as its configuration would; return whether it worked.

    In the master, before the first fork, it holds for the whole instance (core/config.c,
    `uwsgi_manage_opt`).
    """
    manage = getattr(_program, "uwsgi_manage_opt", None)
    if manage is None:
        return False
    # writable buffers: hooks cut their value into pieces while they run (core/hooks.c,
    # uwsgi_hooks_run)
    key, text = (
        ctypes.create_string_buffer(name.encode()),
        ctypes.create_string_buffer(value.encode()),
    )
    _kept.extend((key, text))
    return bool(manage(key, text))


class _Value(ctypes.Structure):
    """struct uwsgi_string_list (uwsgi.h), the same in all of 2.0."""


_Value._fields_ = (
    ("value", ctypes.c_void_p),
    ("size", ctypes.c_size_t),
    ("custom", ctypes.c_uint64 * 2),
    ("custom_pointer", ctypes.c_void_p),
    ("next", ctypes.POINTER(_Value)),
)


class _Option(ctypes.Structure):
    """struct uwsgi_option, of which the data of an option that may be given several times is the
    first in its list.
    """

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("shortcut", ctypes.c_int),
        ("help", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("data", ctypes.POINTER(ctypes.POINTER(_Value))),
    )


def values(name: str) -> Optional[List[str]]:
    """Return all values of an option that may be given several times, None if they are unknown.

    `uwsgi.opt` has only the last one. Only for options that uWSGI keeps in a list, like `mount` and
    `hook-accepting`.
    """
    get = getattr(_program, "uwsgi_opt_get", None)
    if get is None:
        return None
    get.restype = ctypes.POINTER(_Option)
    option = get(name.encode())
    found, each = [], option.contents.data.contents if option else None
    while each:
        text = ctypes.string_at(each.contents.value, each.contents.size)
        # one that is being mounted is cut in two
        found.append(text.replace(b"\0", b"=").decode(errors="replace"))
        each = each.contents.next
    return found


def has_mule(number: int) -> Optional[bool]:
    """Return whether there is a mule of this number, None if that is unknown."""
    get = getattr(_program, "get_mule_by_id", None)
    if get is None:
        return None
    get.restype = ctypes.c_void_p
    return get(number) is not None


def has_farm(name: str) -> Optional[bool]:
    """Return whether there is a farm of mules of this name, None if that is unknown."""
    get = getattr(_program, "get_farm_by_name", None)
    if get is None:
        return None
    get.restype = ctypes.c_void_p
    return get(name.encode()) is not None


def exit_again(code: int) -> None:
    """Give an exit that is under way another code.

    glibc continues with the remaining exit functions; other C libraries need not.
    """
    _program.exit(code)


class ExitTrap:
    """Calls a function when this process calls libc's `exit()`, until the trap is removed.

    uWSGI ends a worker whose load failed by `exit(22)` (with `need-app`, and always for a mounted
    file), and with lazy-apps its mules, without running any Python: nothing else gets there first.
    It must be removed before the interpreter is finalized.
    """

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Optional[Callable[[], object]] = callback
        self._function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._called)
        self._handle = ctypes.c_int()  # its address distinguishes this registration from all others

    def set(self) -> bool:
        """Set the trap; return whether it worked."""
        return (
            CAN_TRAP_EXIT
            and _program["__cxa_atexit"](self._function, None, ctypes.byref(self._handle)) == 0
        )

    def remove(self) -> None:
        """Remove it. libc offers no other way than to call it."""
        if self._callback is not None:
            self._callback = None
            _program["__cxa_finalize"](ctypes.byref(self._handle))

    def _called(self, _argument: object) -> None:
        if self._callback is not None:
            self._callback()
