"""urllib.request: one exchange over all redirects of `urlopen`. The rest is http.client's; the total covers the body."""

from __future__ import annotations

from typing import Any, Callable, Optional

from .. import call, native
from ..exchange import as_number
from ..native import TimedOut
from ..patching import Patches

MODULE = "urllib.request"


def patch(module: Any, patches: Patches) -> None:
    """Wrap the opener."""
    from urllib.error import URLError

    def translate(error: Exception, failure: TimedOut) -> Optional[Exception]:
        # what comes before the answer is a URLError with the reason in it, a timeout while waiting for it is not
        if error is failure or not isinstance(error, URLError):
            return None
        return native.make((type(error), TimedOut), str(failure), {"reason": failure, "phase": failure.phase})  # type: ignore[no-any-return]

    def opens(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        asked = args[0] if args else kwargs.get("fullurl", "")
        url = asked if isinstance(asked, str) else getattr(asked, "full_url", "")
        timeout = args[2] if len(args) > 2 else kwargs.get("timeout", 0)
        given = "timeout" in kwargs and as_number(timeout) is not None
        return call.around(
            lambda: wrapped(*args, **kwargs),
            url,
            translate,
            none_given=timeout is None,
            flagged=False,
            timeout_given=given,
        )

    patches.wrap(module.OpenerDirector, "open", opens)
