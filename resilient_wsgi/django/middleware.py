"""Deadlines of views, as an attribute: `resilient_wsgi.django.middleware.ViewDeadlineMiddleware` in
MIDDLEWARE.
"""

from __future__ import annotations

from typing import Any, Callable

from .. import deadline
from ..core.app_entries import calls_the_app
from ..core.guard import Guard

ATTRIBUTE = "resilient_wsgi_deadline"

_guard = Guard("request")


class ViewDeadlineMiddleware:
    """Have at most as many seconds for a view as its attribute `resilient_wsgi_deadline` says.

    A function has it set, a class-based view has it in its class:

        class Report(View):
            resilient_wsgi_deadline = 5

    It can only shorten the deadline of the request, from the moment at which the view is found
    until the response comes back to here: the rendering of a template included, a streamed body
    not. (`@deadline.limit(5)` on a view holds for its call.)
    """

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response

    @calls_the_app
    def __call__(self, request: Any) -> Any:
        """Pass the request on."""
        before = deadline.CURRENT.get()
        try:
            return self._get_response(request)
        finally:
            mine = deadline.replace(before)
            if mine is not None and mine is not before:
                mine.finished = True

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> None:
        """Shorten the deadline if the view asks for it."""
        del request, args, kwargs
        seconds = getattr(view, ATTRIBUTE, None)
        seconds = seconds or getattr(getattr(view, "view_class", None), ATTRIBUTE, None)
        if seconds is None:
            return
        with _guard:
            limit = deadline.limit(seconds, f"{ATTRIBUTE} of {getattr(view, '__qualname__', view)}")
            limit.__enter__()  # it ends in `__call__`, whatever happens in between
