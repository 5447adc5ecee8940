"""What uWSGI's options say, and its connections."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Mapping, Optional, Tuple

import uwsgi

from ...host import sockets
from .. import facts
from . import apps, native

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

DEFAULT_LISTEN = 100  # core/init.c
LOADS_IN_WORKER = ("lazy-apps", "lazy")
RAW_HTTP = ("http-socket", "https-socket", "http11-socket")
GRACEFUL_SIGNAL = "harakiri-graceful-signal"


class Configuration(facts.Configuration):
    """The options of this instance."""

    def options(self) -> Mapping[str, str]:
        """Return the options of `uwsgi.opt`: one that repeats has its last value only."""
        return {
            name: value.decode(errors="replace") if isinstance(value, bytes) else "true"
            for name, value in uwsgi.opt.items()
        }

    def versions(self) -> Mapping[str, str]:
        """Return the versions of Python and uWSGI."""
        return {**super().versions(), "uwsgi": uwsgi.version.decode()}

    def number(self, option: str) -> int:
        """Return the number that an option is set to, 0 if it is not set to one."""
        value = uwsgi.opt.get(option, b"")
        digits = value.strip() if isinstance(value, bytes) else b""
        return int(digits) if digits.isdigit() else 0

    def is_set(self, option: str) -> bool:
        """Return whether uWSGI takes the value of an option for true."""
        return apps.is_true(uwsgi.opt.get(option))

    def threads(self) -> int:
        """Return the option `threads`."""
        return self.number("threads") or 1

    def concurrency(self) -> int:
        """Return the cores of a worker: threads, or requests of an asynchronous loop."""
        return int(uwsgi.cores)

    def workers(self) -> int:
        """Return the option `processes`."""
        return int(uwsgi.numproc)

    def loads_in_worker(self) -> bool:
        """Return whether one of the options `lazy-apps` and `lazy` is set."""
        return any(map(self.is_set, LOADS_IN_WORKER))

    def worker_uid(self) -> Optional[int]:
        """Return the option `uid`: with `master-as-root` the workers take it after the fork."""
        import pwd

        value = uwsgi.opt.get("uid", b"")
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        if text.isdigit():
            return int(text)
        try:
            return pwd.getpwnam(text).pw_uid
        except KeyError:
            return None

    def has_place(self, kind: str, name: str) -> Optional[bool]:
        """Return whether there is a `worker` or `mule` of this number, or a `farm` of this name."""
        if kind == "farm":
            return native.has_farm(name)
        return native.has_mule(int(name)) if kind == "mule" else int(name) <= self.workers()

    def in_farm(self, name: str) -> bool:
        """Return whether this mule is in a farm."""
        return bool(uwsgi.mule_id() and uwsgi.in_farm(name))

    def asked_backlog(self) -> Optional[int]:
        """Return the option `listen`, or uWSGI's default."""
        return self.number("listen") or DEFAULT_LISTEN

    def uses_signal(self, number: int) -> str:
        """Return the option that names this signal."""
        return GRACEFUL_SIGNAL if self.number(GRACEFUL_SIGNAL) == number else ""

    def ignore_sigpipe(self) -> bool:
        """Set `ignore-sigpipe`, before workers install a handler that writes to that log
        (unbit/uwsgi #1786).
        """
        return not self.is_set("ignore-sigpipe") and native.set_option("ignore-sigpipe", "true")


class Connections(facts.Connections):
    """The sockets of this instance, and the connection of the request that a thread works on."""

    def __init__(self) -> None:
        self._raw_http: Optional[bool] = None

    def listening(self) -> Tuple[int, ...]:
        """Return the listening descriptors."""
        return tuple(uwsgi.sockets)

    def client_fd(self, _environ: WSGIEnvironment) -> Optional[int]:
        """Return the descriptor of the client's connection."""
        fd: int = uwsgi.connection_fd()
        return fd if fd >= 0 else None

    def client_may_half_close(self, environ: WSGIEnvironment) -> bool:
        """Return True for raw HTTP over TCP, and behind uWSGI's own HTTP router, whose habits were
        not measured.
        """
        if self._raw_http is None:
            http = any(option.startswith(RAW_HTTP) for option in uwsgi.opt)
            self._raw_http = http and sockets.families(self.listening()) != {socket.AF_UNIX}
        return self._raw_http or "UWSGI_ROUTER" in environ

    def hides_hang_ups(self) -> bool:
        """Return True for raw HTTP over TCP."""
        return self.client_may_half_close({})
