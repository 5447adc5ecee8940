"""The configurations of the five incidents: the doctor names what brings each of them about."""

from __future__ import annotations

import pytest

from resilient_wsgi.doctor.collect import from_texts
from resilient_wsgi.doctor.examine import examine
from resilient_wsgi.doctor.model import Severity

COMMON = "[uwsgi]\nmaster = true\nmodule = wsgi\nstrict = true\n"
WSGI = """\
import threading
import time


def work():
    while True:
        time.sleep(10)


threading.Thread(target=work).start()


def application(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
"""
NGINX = """\
events {}
http {
  server {
    listen 80;
    location / {
      include uwsgi_params;
      uwsgi_pass 127.0.0.1:6000;
    }
  }
}
"""
COMPOSE = """\
services:
  web:
    command: uwsgi --ini uwsgi.ini
    logging:
      driver: fluentd
"""

# what is written, and what is found in it: code, severity, a part of the message
INCIDENTS = {
    "hung upstream, before": (
        {
            "uwsgi.ini": COMMON + "socket = 127.0.0.1:6000\nprocesses = 8\nharakiri = 30\n"
            "listen = 1024\n",
            "nginx.conf": NGINX,
        },
        [("N01", Severity.HINT, "uwsgi_read_timeout = 60 s, harakiri = 30 s")],
    ),
    "hung upstream, harakiri far above the timeout": (
        {
            "uwsgi.ini": COMMON + "socket = 127.0.0.1:6000\nprocesses = 8\nharakiri = 300\n"
            "listen = 1024\n",
            "nginx.conf": NGINX,
        },
        [("N02", Severity.WARNING, "nginx gives up after 60 s, harakiri = 300 s")],
    ),
    "hung upstream, while it lasts": (
        {
            "live": "master = 1\n"
            + "".join(f"worker = {pid}\n" for pid in range(2, 10))
            + "queue = :6000 depth=1025/1024\nwait = 203.0.113.5:443 threads=8\n"
        },
        [
            ("P01", Severity.ERROR, ":6000 holds 1025 of 1024"),
            ("P06", Severity.ERROR, "8 of 8 threads wait for 203.0.113.5:443"),
        ],
    ),
    "failed load": (
        {"uwsgi.ini": COMMON + "http-socket = :8000\nprocesses = 8\nlazy-apps = true\n"},
        [("U08", Severity.WARNING, "a worker that cannot import the app answers 500")],
    ),
    "failed load, while it lasts": (
        {"live": "master = 1\nworker = 2\nworker = 3 app=failed_to_load\n"},
        [("P04", Severity.ERROR, "worker 3 of master 1: failed to load")],
    ),
    "reload with threads": (
        {
            "uwsgi.ini": COMMON + "http-socket = :8000\nenable-threads = true\nprocesses = 5\n"
            "threads = 2\nlazy-apps = true\n",
            "wsgi.py": WSGI,
        },
        [("U93", Severity.WARNING, "a reload waits 60 s for it")],
    ),
    "small backlog, asked for": (
        {
            "uwsgi.ini": COMMON + "http-socket = :6000\nlisten = 2048\n",
            "machine": "net.core.somaxconn = 128\n",
        },
        [("U45", Severity.ERROR, "listen = 2048, net.core.somaxconn in this namespace = 128")],
    ),
    "small backlog, not asked for": (
        {"uwsgi.ini": COMMON + "http-socket = :6000\n"},
        [("U44", Severity.WARNING, "100")],
    ),
    "small backlog, in a container": (
        {
            "uwsgi.ini": COMMON + "http-socket = :6000\nlisten = 2048\n",
            "compose.yml": "services:\n  web:\n    command: uwsgi --ini uwsgi.ini\n"
            "    sysctls: {net.core.somaxconn: 128}\n",
        },
        [("S01", Severity.ERROR, "net.core.somaxconn = 128, listen = 2048")],
    ),
    "stalled stderr": (
        {"uwsgi.ini": COMMON + "http-socket = :6000\n", "compose.yml": COMPOSE},
        [("S17", Severity.WARNING, "driver fluentd in blocking mode")],
    ),
    "stalled stderr, while it lasts": (
        {
            "live": "master = 1\nworker = 2\nworker = 3\nclose_wait = 2100\n"
            "stuck = pipe 4711 threads=2 reader=ssh\n"
        },
        [
            ("P02", Severity.ERROR, "2 threads stand in a write to pipe 4711"),
            ("P03", Severity.WARNING, "2100 clients in CLOSE_WAIT"),
        ],
    ),
}


@pytest.mark.parametrize("name", INCIDENTS)
def test_what_brings_an_incident_about_is_found(name):
    files, expected = INCIDENTS[name]
    found = {each.code: each for each in examine(from_texts(files))}
    for code, severity, part in expected:
        assert found[code].severity is severity
        assert part in found[code].message
        assert found[code].fix
