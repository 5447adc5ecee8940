"""urllib.request: one exchange over all redirects of `urlopen`.

The rest is http.client's; the total covers the body.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from ...core.patching import Patches
from .. import call, exceptions
from ..exceptions import TimedOut
from ..exchange import Exchange, as_number


def patch(module: Any, patches: Patches) -> None:
    """Wrap the opener."""
    patches.wrap(module.OpenerDirector, "open", _open)


def _open(original: Callable[..., Any]) -> Callable[..., Any]:
    def opens(opener: Any, *args: Any, **kwargs: Any) -> Any:
        asked = args[0] if args else kwargs.get("fullurl", "")
        url = asked if isinstance(asked, str) else getattr(asked, "full_url", "")
        if not url.lower().startswith("http"):  # a file, ftp, data: none of ours
            return original(opener, *args, **kwargs)
        timeout = args[2] if len(args) > 2 else kwargs.get("timeout", 0)
        return call.around(
            original,
            (opener, *args),
            kwargs,
            url,
            _translate,
            none_given=timeout is None,
            timeout_given=(as_number(timeout) or 0) > 0,
            has_stream_flag=False,
            method=_method(asked, args, kwargs),
        )

    return opens


def _method(asked: Any, args: Any, kwargs: Any) -> str:
    if not isinstance(asked, str):
        return str(asked.get_method())
    return "GET" if (args[1] if len(args) > 1 else kwargs.get("data")) is None else "POST"


def _translate(error: Exception, failure: TimedOut, _exchange: Exchange) -> Optional[Exception]:
    """Return what comes before the answer as the URLError that it is; a timeout while waiting for
    it is none.
    """
    if error is not failure:
        exceptions.become(error, type(error), failure)
    elif isinstance(failure, exceptions.Limited) and failure.phase == "connect":
        from urllib.error import URLError

        return exceptions.instead(URLError, failure, error, reason=failure)
    return None
