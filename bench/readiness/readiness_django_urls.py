"""The URLconf of readiness_django_app.

Django imports it in the first request; readiness does so before.
"""

# mypy: ignore-errors

import readiness_app  # noqa: F401 - may fail
import uwsgi
from django.http import HttpResponse
from django.urls import path

urlpatterns = [
    path("", lambda _request: HttpResponse("hello", headers={"X-Worker": str(uwsgi.worker_id())}))
]
