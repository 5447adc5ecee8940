"""What a server reports about its configuration, its connections and its harakiri, and the answers
of a server that reports nothing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Callable, Mapping, Optional, Tuple

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

HarakiriOf = Callable[["WSGIEnvironment"], Optional[float]]


class Configuration:
    """What the server is configured to be."""

    def options(self) -> Mapping[str, str]:
        """Return the options that the server was started with; those of uWSGI alone are known."""
        return {}

    def versions(self) -> Mapping[str, str]:
        """Return the versions of this Python and, if it is known, of the server, by name."""
        return {"python": ".".join(map(str, sys.version_info[:3]))}

    def threads(self) -> int:
        """Return how many requests one worker works on at a time."""
        return 1

    def concurrency(self) -> int:
        """Return how many requests may share what the server knows of a worker."""
        return self.threads()

    def workers(self) -> int:
        """Return how many workers there are at most, 0 if that is unknown."""
        return 0

    def loads_in_worker(self) -> bool:
        """Return whether each worker loads the app for itself, after the fork."""
        return False

    def worker_uid(self) -> Optional[int]:
        """Return the user that workers will be if this is a master that is root and it is known."""
        return None

    def has_place(self, _kind: str, _name: str) -> Optional[bool]:
        """Return whether there is a `worker` or `mule` of this number, or a `farm` of this name;
        None if that is unknown.
        """
        return None

    def in_farm(self, _name: str) -> bool:
        """Return whether this process is one of the mules that uWSGI's option `farm` puts under
        this name.
        """
        return False

    def asked_backlog(self) -> Optional[int]:
        """Return the configured length of the listen queue, None if it is unknown."""
        return None

    def uses_signal(self, _number: int) -> str:
        """Return what the server is configured to use a signal for, "" if nothing."""
        return ""

    def ignore_sigpipe(self) -> bool:
        """Have a write to a log without a reader fail, not raise SIGPIPE; return whether this
        changed anything.
        """
        return False


class Connections:
    """The listening sockets, and the connections of clients."""

    def listening(self) -> Tuple[int, ...]:
        """Return the listening descriptors of this server."""
        return ()

    def queued(self) -> Callable[[], bool]:
        """Return a function that tells, in about a microsecond, whether requests wait for a thread
        of this process, and is for one thread; True where that cannot be known.
        """
        listening = self.listening()
        if not listening:
            return lambda: True
        from ..host import sockets

        return sockets.waiting(listening)

    def client_fd(self, _environ: WSGIEnvironment) -> Optional[int]:
        """Return the descriptor of the connection that a request came on, None if it is unknown."""
        return None

    def client_may_half_close(self, _environ: WSGIEnvironment) -> bool:
        """Return whether a client that has ended its side may still wait for the answer (raw HTTP
        over TCP).
        """
        return True

    def all_clients_may_half_close(self) -> bool:
        """Return True if `client_may_half_close` is sure to be True for each request of this
        process.
        """
        return False

    def close_promptly(self, _environ: WSGIEnvironment) -> None:
        """Have the server close the connection of a request right after its answer, where it would
        wait for the client to close it first.
        """

    def hides_hang_ups(self) -> bool:
        """Return whether, in this worker, surely no client can be seen to hang up."""
        return self.all_clients_may_half_close()


class Harakiri:
    """The time after which the server kills a worker for one request."""

    def seconds(self) -> Optional[float]:
        """Return that time as configured, None if there is none."""
        return None

    def kills_after(self) -> Optional[float]:
        """Return the seconds after which the server kills a worker that one request keeps busy, if
        it has no harakiri; None if it does not.
        """
        return None

    def by_request(self) -> Optional[HarakiriOf]:
        """Return a function that returns the seconds until harakiri for a request that begins:
        infinity if there is none, None if that is unknown. None if all requests have the same.
        """
        return None

    def left(self) -> Optional[float]:
        """Return the seconds until harakiri at this moment, infinity if there is none.

        None if that is unknown, or does not belong to one request alone.
        """
        return None

    def on_set(self, _callback: Optional[Callable[[], object]]) -> None:
        """Call `callback` in a thread whose app has set another harakiri; with None, no longer."""

    def remedy(self) -> str:
        """Return which settings give requests a deadline here."""
        return "REQUEST.TIMEOUT"
