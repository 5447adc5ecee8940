"""botocore, of boto3: no attempt begins after the deadline, nor a pause that would last until it.

Its connections are urllib3's, which OUTBOUND limits.
"""

from __future__ import annotations

from typing import Any, Optional

from ...core.composed import compose, joined
from ...errors import DeadlineExceeded
from . import To, need

SERVICE = "botocore"


def patch(module: Any, to: To) -> None:
    """Wrap what decides on another attempt, and on the pause before it."""
    from botocore.exceptions import BotoCoreError

    need(module, "first_non_none_response")
    need(module.Endpoint, "_needs_retry", "_send_request")
    to.wrap(module.Endpoint, "_send_request", lambda original: _send(original, BotoCoreError))
    to.wrap(module.Endpoint, "_needs_retry", lambda original: _needs_retry(original, to))
    to.wrap(module, "first_non_none_response", lambda original: _pause(original, to))


def _send(original: Any, kind: Any) -> Any:
    """Have botocore's exception be `DeadlineExceeded`, too, if that of its HTTP client is."""

    def send_request(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except kind as error:
            ours = _beneath(error)
            if ours is None:
                raise
            message = joined(str(error), str(ours))
            error.__class__ = compose(type(error))  # type: ignore[arg-type]
            error.__dict__.update(message=message)
            found = error
        raise found

    return send_request


def _beneath(error: Any) -> Optional[DeadlineExceeded]:
    kwargs = getattr(error, "kwargs", {})
    for found in (kwargs.get("error"), error.__cause__, error.__context__):
        if isinstance(found, DeadlineExceeded):
            return found
    return None


def _needs_retry(original: Any, to: To) -> Any:
    def needs_retry(endpoint: Any, *args: Any, **kwargs: Any) -> Any:
        return not to.limits.is_over(SERVICE) and original(endpoint, *args, **kwargs)

    return needs_retry


def _pause(original: Any, to: To) -> Any:
    """Take back the number of seconds that an event handler has answered, if they are too many."""

    def first_non_none_response(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        is_pause = isinstance(found, (int, float)) and not isinstance(found, bool)
        return None if is_pause and to.limits.is_over(SERVICE, found) else found

    return first_non_none_response
