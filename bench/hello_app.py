"""The app of the benchmark: as little as there can be. `guarded` is the same with the library's middleware."""

from __future__ import annotations


def application(environ, start_response):  # noqa: ARG001
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
