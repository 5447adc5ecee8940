"""Only type-checked, never run: the public types as a user meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterable, List, Optional, Tuple

import resilient_wsgi
from resilient_wsgi import deadline, errors, events, testing
from resilient_wsgi.installation import ComponentStatus

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer as an annotated app does."""
    del environ
    start_response("200 OK", [])
    return [b""]


application: WSGIApplication = resilient_wsgi.wrap(app)
installation: resilient_wsgi.Installation = resilient_wsgi.install(
    {"OUTBOUND": {"TOTAL_TIMEOUT": 20}, "STDERR": "off"}
)
status: Tuple[ComponentStatus, ...] = installation.status()


@deadline.limit(5)
def work(number: int) -> str:
    """Keep its own signature under the decorator."""
    return str(number)


text: str = work(3)
left: Optional[float] = deadline.remaining()
within: bool = deadline.in_request()

with deadline.limit(1.5) as held:
    seconds: float = held.remaining()

with testing.captured_events() as happened:
    listed: List[events.Event] = happened

with resilient_wsgi.off():
    pass

timeout: errors.ResilientError = errors.DeadlineExceeded("late")
mistakes: Tuple[str, ...] = errors.ConfigurationError(["one"]).mistakes
