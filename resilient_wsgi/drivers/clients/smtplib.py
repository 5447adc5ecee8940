"""smtplib: connecting, commands and messages end at the deadline.

Django's EMAIL_TIMEOUT is None.
"""

from __future__ import annotations

from typing import Any

from ..exceptions import translating
from ..sockets import own_timeout
from . import To, need

SERVICE = "smtplib"


def patch(module: Any, to: To) -> None:
    """Wrap connecting, sending and reading of replies."""
    need(module.SMTP, "_get_socket", "send", "getreply", "connect")
    raised = translating(module.SMTPException)
    to.wrap(module.SMTP, "_get_socket", lambda original: _get_socket(original, to))
    to.wrap(module.SMTP, "send", raised)
    to.wrap(module.SMTP, "getreply", raised)
    to.wrap(module.SMTP, "connect", raised)


def _get_socket(original: Any, to: To) -> Any:
    def get_socket(client: Any, host: Any, port: Any, timeout: Any) -> Any:
        own = own_timeout(timeout)
        if own == 0:  # an error, which smtplib raises itself
            return original(client, host, port, timeout)
        with to.limits.connecting(SERVICE, own, lambda: f"{host}:{port}") as connecting:
            given = timeout if connecting.seconds == own else connecting.seconds
            sock = original(client, host, port, given)
        if given is not timeout:
            sock.settimeout(own)
        to.sockets.adopt(sock, SERVICE)
        return sock

    return get_socket
