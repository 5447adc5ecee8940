"""Call something where apps call it: in a Django view, below the middleware that `startproject`
puts there.
"""

from __future__ import annotations

import traceback
from typing import Any, Callable, Dict, List, Tuple, TypeVar

T = TypeVar("T")
MIDDLEWARE = (
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
)
urlpatterns: List[Any] = []


def in_a_view(call: Callable[[], T]) -> Tuple[int, T]:
    """Return how many frames deep a view is, and what a call returns that it makes."""
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpRequest, HttpResponse
    from django.test import RequestFactory
    from django.urls import path

    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            MIDDLEWARE=list(MIDDLEWARE),
            ROOT_URLCONF=__name__,
            SECRET_KEY="bench",
            INSTALLED_APPS=[
                f"django.contrib.{app}" for app in ("contenttypes", "auth", "sessions", "messages")
            ],
        )
        import django

        django.setup()
    found: Dict[str, Tuple[int, T]] = {}
    name = f"view{len(urlpatterns)}"

    def view(request: HttpRequest) -> HttpResponse:
        del request
        found["it"] = sum(1 for _ in traceback.walk_stack(None)), call()
        return HttpResponse()

    urlpatterns.append(path(name, view))
    from django.urls import clear_url_caches

    clear_url_caches()
    WSGIHandler()(RequestFactory().get(f"/{name}").environ, lambda *_: None)
    return found["it"]
