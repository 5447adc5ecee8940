"""Which waits must not be ended, each with the reason in words.

Whatever is not certainly a connection that this one thread holds alone is only named: a socket that
the server, another process or another thread uses would be broken for them, too.
"""

from __future__ import annotations

import itertools
import os
import socket
import sys
import time
from typing import Callable, Dict, FrozenSet, Iterable, Iterator, List, Optional, Tuple

from . import procfs, waits, waits_sockets
from .waits import Wait
from .waits_sockets import Endpoint, Inherited

Frame = Tuple[str, str]  # module and function of a frame
Frames = Callable[[], Iterable[Frame]]

# one connection that carries the calls of several threads, any of which may be the one that reads
MULTIPLEXERS = (
    *("h2", "hyper", "jh2", "qh3", "grpc", "urllib3.http2", "urllib3.backend.hface"),
    *("httpcore._sync.http2", "httpcore2._sync.http2"),
    *("pymongo.monitor", "pymongo.synchronous.monitor", "cassandra.io", "kafka", "zmq"),
    *("paramiko.transport", "kazoo", "nats"),
)
# one thread that waits for everything: the wait is the loop's, not the request's
LOOPS = (
    *("asyncio", "uvloop", "gevent", "eventlet", "trio", "curio", "anyio._backends"),
    *("tornado.ioloop", "tornado.platform", "twisted.internet", "kombu.asynchronous"),
)
# where the answer says whether a transaction was committed
COMMITS = ("commit", "_commit", "do_commit", "_do_commit", "_commit_impl", "do_commit_twophase")
MOST_CHILDREN = 64
SURVEY_SECONDS = 0.2  # less than the watchdog's tick


class Survey:
    """What this process has open, and what its children have, at one moment.

    Looking costs milliseconds where there are hundreds of descriptors, so that all waits which are
    to be ended at the same time are judged by the same survey.
    """

    def __init__(self) -> None:
        """Look. Raises `OSError` without /proc."""
        self.until = time.monotonic() + SURVEY_SECONDS
        links = procfs.links()
        self.listening: FrozenSet[str] = waits_sockets.listening_addresses(
            waits_sockets.own_sockets(links)
        )
        self.epolls = waits_sockets.epolls(links)
        self.standard = frozenset(map(waits_sockets.inode_of, (0, 1, 2)))
        self.children = _of_descendants(os.getpid())

    @property
    def is_fresh(self) -> bool:
        """Whether it may still be used."""
        return time.monotonic() < self.until


def of_process() -> str:
    """Return why no wait of this process may be ended, with the remedy; "" if they may."""
    if "t" in sys.abiflags:
        return "this is a free-threaded build of Python: a thread could go on between check and end"
    return of_greenlets() or waits.why_not()


def of_greenlets() -> str:
    """Return who has made one thread wait for all requests, "" if none."""
    for name in ("gevent", "eventlet"):
        if _is_patched(name):
            return f"{name} has replaced the sockets: its loop waits for all requests at once"
    return ""


def of_wait(wait: Wait, inherited: Inherited, survey: Survey) -> str:
    """Return why a wait may not be ended, "" if nothing about the wait itself forbids it."""
    endpoint = wait.endpoint
    if endpoint is None:
        return not_single(wait)
    return _of_endpoint(wait, endpoint) or _of_owner(wait, endpoint, inherited, survey)


def not_single(wait: Wait) -> str:
    """Return the reason not to end what is no wait for one socket."""
    return f"it is no wait for a single socket, but for {wait}"


def of_sharing(wait: Wait, survey: Survey) -> str:
    """Return who else uses the socket of a wait, as far as the kernel knows; "" if none."""
    others = waits.other_waits(wait.thread, wait.inode)
    if others:
        return f"another thread of this process waits for the same socket (thread {others[0]})"
    own = wait.call.arguments[0] if wait.call.info else -1
    for fd, inodes in survey.epolls.items():
        # the survey may be of a moment ago, and the epoll one that the thread itself had then
        if fd != own and wait.inode in inodes and wait.inode in waits_sockets.watched_by(fd):
            return f"another epoll (descriptor {fd}) watches the same socket"
    return _of_children(wait.inode, survey)


def of_frames(frames: List[Frame], *, late: bool) -> str:
    """Return why the code that waits must not be interrupted, "" if nothing is known against it."""
    for module, function in frames:
        for name in MULTIPLEXERS:
            if _within(module, name):
                return f"{name} shares one connection among several calls"
        for name in LOOPS:
            if _within(module, name):
                return f"an event loop ({name}) runs in this thread"
        if function in COMMITS and not late:
            return f"it waits for the answer to a commit ({module}.{function})"
    return ""


def _of_endpoint(wait: Wait, endpoint: Endpoint) -> str:
    if endpoint.listens:
        return "the socket listens"
    if wait.call.info and "uvloop" in sys.modules:
        return "uvloop is loaded: its loop cannot be distinguished from a client's epoll"
    if endpoint.is_tcp:
        return ""
    if not endpoint.is_unix_stream:
        return f"it is no stream socket of TCP or UNIX ({_family(endpoint)})"
    if wait.call.name == "connect":
        return "a connect to a UNIX socket with a full backlog cannot be ended from outside"
    if not endpoint.peer:
        return "the other end is unnamed: a socketpair, or an accepted connection"
    if waits_sockets.is_log(endpoint.peer):
        return f"it is a log ({endpoint.peer})"
    return ""


def _of_owner(wait: Wait, endpoint: Endpoint, inherited: Inherited, survey: Survey) -> str:
    if wait.fd in (0, 1, 2) or wait.inode in survey.standard:
        return "it is one of the standard streams"
    if wait.inode in inherited.inodes:
        return "it was open before this worker began: other processes may share it"
    # the app may have begun to listen since
    listening = inherited.listening | survey.listening
    if endpoint.local and waits_sockets.is_accepted(endpoint.local, listening):
        return f"it is the connection of a client ({endpoint.local} is where this server listens)"
    return ""


def _of_children(inode: int, survey: Survey) -> str:
    if len(survey.children) > MOST_CHILDREN:
        return f"this process has more than {MOST_CHILDREN} children, one of which may share it"
    for child, inodes in survey.children.items():
        if inodes is None:
            return f"a child process ({child}) may share the socket, and cannot be looked at"
        if inode in inodes:
            return f"a child process ({child}) shares the socket"
    return ""


def _of_descendants(pid: int) -> Dict[int, Optional[FrozenSet[int]]]:
    """Return the sockets of a process's children and theirs; None where they cannot be seen."""
    children = itertools.islice(_descendants(pid), MOST_CHILDREN + 1)
    return {child: _sockets_of(child) for child in children}


def _sockets_of(pid: int) -> Optional[FrozenSet[int]]:
    try:
        return frozenset(procfs.socket_inodes(pid))
    except ProcessLookupError:
        return frozenset()
    except OSError:
        return None


def _descendants(pid: int) -> Iterator[int]:
    for child in procfs.children(pid):
        yield child
        yield from _descendants(child)


def _is_patched(name: str) -> bool:
    if name == "gevent":
        monkey = sys.modules.get("gevent.monkey")
        return monkey is not None and bool(monkey.is_module_patched("socket"))
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("socket"))


def _family(endpoint: Endpoint) -> str:
    families: Dict[int, str] = {each.value: each.name for each in socket.AddressFamily}
    kinds = {each.value: each.name for each in socket.SocketKind}
    return (
        f"{families.get(endpoint.family, endpoint.family)} {kinds.get(endpoint.kind, '')}".strip()
    )


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
