"""Put readiness in place in this process: from `shared-import` in uWSGI's master."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional, Sequence

from .. import servers
from ..errors import Unavailable
from ..settings.options import Readiness
from .checks import status
from .unwatched import Mark

if TYPE_CHECKING:
    from .uwsgi_worker import Worker

_worker: Optional[Worker] = None
_mark = Mark()


def install(options: Optional[Readiness] = None) -> Sequence[str]:
    """Have workers without an app leave, or reconfigure that; return by which means.

    Raises `Unavailable` where workers cannot be watched from their start.
    """
    global _worker
    status.options = options = options or Readiness()
    server = servers.detect()
    if _worker is not None:
        _worker.options = options
    elif server.name != "uwsgi":
        msg = f"only uWSGI needs it (this is {server.name}); load() works everywhere"
        raise Unavailable(msg)
    elif server.identity().worker:
        msg = "this worker was started without it: it takes `shared-import = resilient_wsgi.uwsgi` in uWSGI's configuration"
        raise Unavailable(msg)
    else:
        _worker = _put(server, options)
    return _means(server)


def tell_probes(why_not: str) -> None:
    """Tell exec probes why readiness is not on in this instance, `""` if it is: they ask its
    master.
    """
    server = servers.detect()
    if server.name == "uwsgi" and not server.identity().worker:
        _mark.put(why_not)


def uninstall() -> None:
    """Leave workers alone."""
    global _worker
    if _worker is not None:
        _worker.uninstall()
        _worker = status.board = None


def _put(server: servers.Server, options: Readiness) -> Worker:
    # ctypes, mmap: only where they are used
    from . import history
    from .board import Board
    from .uwsgi_worker import Worker

    status.board = Board(server.workers())
    worker = Worker(server, status.board, options, past=history.read(reloaded=server.reloaded()))
    worker.install()
    return worker


def _means(server: servers.Server) -> List[str]:
    return ["a worker without an app leaves before it accepts", *server.readiness_means()]
