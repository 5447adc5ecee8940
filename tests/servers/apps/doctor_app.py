"""An app for errors of the doctor: it says which worker loaded it, and can hang."""

import os
import time
from pathlib import Path

import uwsgi

LOADED_BY = uwsgi.worker_id()
TEXT = os.environ.get("DOCTOR_TEXT_FILE")
VERSION = Path(TEXT).read_text() if TEXT else ""


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/stop":
        uwsgi.stop()
    elif path.startswith("/sleep/"):
        time.sleep(float(path[len("/sleep/") :]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{LOADED_BY} {uwsgi.worker_id()} {os.getpid()} {VERSION}".encode()]
