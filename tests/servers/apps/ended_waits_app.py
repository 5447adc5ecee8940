"""Views that wait for somebody who does not answer, each by another client."""

from __future__ import annotations

import contextlib
import logging
import os
import smtplib
import socket
import ssl
import sys
import threading
import time

import resilient_wsgi
from tests.servers.apps.run_as import run_as

logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")
SILENT = "127.0.0.1", int(os.environ.get("SILENT_PORT", "0"))
FULL = "127.0.0.1", int(os.environ.get("FULL_PORT", "0"))
ECHO = "127.0.0.1", int(os.environ.get("ECHO_PORT", "0"))
"localhost".encode("idna")  # what sockets import, which another user may not be able to read
lock = threading.RLock()
free = threading.Event()


def raw():
    with socket.create_connection(SILENT) as sock:
        sock.recv(1)


def timeout():
    with socket.create_connection(SILENT, 60) as sock:
        sock.recv(1)


def connect():
    socket.create_connection(FULL)


def tls():
    context = ssl.create_default_context()
    with socket.create_connection(SILENT) as sock:
        context.wrap_socket(sock, server_hostname="localhost")


def smtp():
    smtplib.SMTP(*SILENT)


def psycopg2():
    import psycopg2

    psycopg2.connect(host=SILENT[0], port=SILENT[1], sslmode="disable")


def psycopg():
    import psycopg

    psycopg.connect(f"host={SILENT[0]} port={SILENT[1]} sslmode=disable")


def pymysql():
    import pymysql

    pymysql.connect(host=SILENT[0], port=SILENT[1], connect_timeout=60)


def retries():
    """A client that connects again by itself."""
    for _ in range(3):
        with contextlib.suppress(ConnectionError), socket.create_connection(SILENT) as sock:
            sock.recv(1)
    raise ConnectionError


def sleep(seconds="3"):
    time.sleep(float(seconds))


def locked():
    with lock:
        pass


def hold():
    """Hold the lock that others wait for."""
    with lock:
        free.wait(30)


def let_go():
    free.set()


def echo(seconds):
    """Wait for an answer that comes after so many seconds."""
    with socket.create_connection(ECHO) as sock:
        sock.sendall(f"{seconds}\n".encode())
        if sock.recv(100) != b"whole\n":
            raise ConnectionError


def pid():
    pass


def app(environ, start_response):
    name, _, argument = environ["PATH_INFO"].strip("/").partition("/")
    view = globals()[name.replace("-", "_")]
    try:
        text = view(argument) if argument else view()
        said = b"done" if text is None else text
    except Exception as error:
        said = f"ended {type(error).__name__}".encode()
    start_response("200 OK", [("X-Worker", str(os.getpid()))])
    return [said]


def status():
    return "\n".join({each.name: each.means for each in installation.status()}["request"]).encode()


run_as()

installation = resilient_wsgi.install()
application = resilient_wsgi.wrap(app)
