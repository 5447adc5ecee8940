"""An app that writes a line of 200 bytes for each request, each time to another of the places that
are there.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from typing import TYPE_CHECKING, List

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

from_before = sys.stderr.write
numbers = itertools.count()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> List[bytes]:
    """Write the line; for `/hang`, take a minute."""
    number = next(numbers)
    line = f"line {os.getpid()} {number:09} ".ljust(199, ".")
    write = (sys.stderr.write, environ["wsgi.errors"].write, sys.stdout.write, from_before)[
        number % 4
    ]
    write(line + "\n")
    answer = f"{os.getpid()} {number}".encode()
    if environ["PATH_INFO"] == "/hang":
        time.sleep(60)
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


def installed(environ: WSGIEnvironment, start_response: StartResponse) -> List[bytes]:
    """Do the same, with the library put in place by the first request of a worker."""
    import resilient_wsgi.stderr

    resilient_wsgi.stderr.install()
    return application(environ, start_response)
