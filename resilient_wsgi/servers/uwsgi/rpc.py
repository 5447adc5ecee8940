"""Register an RPC function with uWSGI in an instance that has several interpreters.

Several mounts have an interpreter each, and each imports the library for itself. uWSGI keeps one
function for each name, the last that was registered, and always calls it in the first interpreter:
a function of another one then runs in the wrong interpreter, and on 3.13 its objects are taken for
those of other classes. So only the first interpreter registers.
"""

from __future__ import annotations

from typing import Callable

import uwsgi

from ...core import frames

REGISTERED = b"resilient_wsgi.rpc"


def register(name: str, function: Callable[[], bytes]) -> bool:
    """Register a function, unless the library's copy in the first interpreter has; return whether
    it was registered here.

    A worker that loads its app itself finds the functions of its predecessor still in the list
    (core/rpc.c), at addresses of a process that is gone: there it is always registered again.
    """
    try:
        states = frames.state.thread_states()
    except Exception:  # then nothing distinguishes one interpreter from another
        return _register_once(name, function)
    if states.is_main_interpreter():
        states.note(REGISTERED)
    elif states.noted(REGISTERED):
        return False
    uwsgi.register_rpc(name, function)
    return True


def _register_once(name: str, function: Callable[[], bytes]) -> bool:
    listed = (each.decode() if isinstance(each, bytes) else each for each in uwsgi.rpc_list())
    if not uwsgi.worker_id() and name in listed:
        return False
    uwsgi.register_rpc(name, function)
    return True
