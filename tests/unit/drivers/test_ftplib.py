"""ftplib: commands and transfers end at the deadline, and no part of a file passes for the whole."""

from __future__ import annotations

import contextlib
import ftplib
import socket
import threading
import time
import urllib.request

import pytest

from resilient_wsgi import deadline
from resilient_wsgi.errors import DeadlineExceeded

LIMIT = 0.3
REPLIES = {
    "USER": "331 password?", "PASS": "230 ok", "TYPE": "200 ok", "CWD": "250 ok", "PWD": '257 "/"',
    "QUIT": "221 bye", "NOOP": "200 ok",
}  # fmt: skip


class Partner:
    """An FTP server that falls silent at one command, or in the middle of a file."""

    def __init__(self, silent_at="", whole=False):
        self.silent_at, self.whole = silent_at, whole
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.data = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            sock = self.listener.accept()[0]
            with sock, sock.makefile("r") as lines:
                self.say(sock, "greeting", "220 hello")
                for line in lines:
                    self.answer(sock, line.split()[0].upper())

    def say(self, sock, command, reply):
        if command == self.silent_at:
            self.over.wait(10)
        sock.sendall(f"{reply}\r\n".encode())

    def answer(self, sock, command):
        if command in ("EPSV", "PASV"):
            port = self.data.getsockname()[1]
            reply = f"229 ok (|||{port}|)"
            if command == "PASV":
                reply = f"227 ok (127,0,0,1,{port // 256},{port % 256})"
            self.say(sock, "PASV", reply)
        elif command == "RETR":
            self.say(sock, command, "150 here it comes")
            with self.data.accept()[0] as data:
                data.sendall(b"half")
                if not self.whole:
                    self.over.wait(10)
            self.say(sock, "END", "226 done")
        else:
            self.say(sock, command, REPLIES.get(command, "200 ok"))

    def close(self):
        self.over.set()
        for listener in (self.listener, self.data):
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.thread.join(5)


@pytest.fixture
def partner():
    made = []

    def start(*args, **kwargs):
        made.append(Partner(*args, **kwargs))
        return made[-1]

    yield start
    for each in made:
        each.close()


def fetched(port, timeout=None):
    ftp = ftplib.FTP()
    parts = []
    try:
        ftp.connect("127.0.0.1", port, *([] if timeout is None else [timeout]))
        ftp.login()
        ftp.retrbinary("RETR file", parts.append)
    finally:
        ftp.close()
    return b"".join(parts)


@pytest.mark.parametrize("at", ["greeting", "USER", "PASV", "RETR", "END", ""])
def test_it_ends_at_the_deadline_wherever_the_server_falls_silent(partner, at):
    server = partner(at)
    began = time.monotonic()
    with pytest.raises(OSError) as caught, deadline.limit(LIMIT):
        fetched(server.port)
    assert isinstance(caught.value, DeadlineExceeded)
    assert LIMIT <= time.monotonic() - began < LIMIT + 0.4


def test_half_a_file_of_urlopen_does_not_pass_for_the_whole(partner):
    server = partner()
    began = time.monotonic()
    with pytest.raises(OSError) as caught, deadline.limit(LIMIT):
        with urllib.request.urlopen(f"ftp://127.0.0.1:{server.port}/file") as response:
            response.read()
    assert isinstance(caught.value, DeadlineExceeded)
    assert time.monotonic() - began < LIMIT + 0.4


def test_a_file_comes_through(partner):
    with deadline.limit(5):
        assert fetched(partner(whole=True).port) == b"half"
    assert fetched(partner(whole=True).port) == b"half"


def test_a_number_of_the_callers_is_kept_and_raises_what_it_did(partner):
    with pytest.raises(socket.timeout) as caught, deadline.limit(5):
        fetched(partner("USER").port, 0.1)
    assert not isinstance(caught.value, DeadlineExceeded)


def test_the_timeout_of_the_client_is_its_own_again(partner):
    ftp = ftplib.FTP()
    with deadline.limit(5):
        ftp.connect("127.0.0.1", partner().port)
    with contextlib.closing(ftp):
        assert ftp.sock.gettimeout() is None
        assert ftp.timeout is socket._GLOBAL_DEFAULT_TIMEOUT


def test_a_connection_that_is_never_made_ends_where_nothing_else_limits_it(blackhole, monkeypatch):
    monkeypatch.setattr("resilient_wsgi.drivers.limits.CONNECT_ELSEWHERE", LIMIT)
    began = time.monotonic()
    with pytest.raises(OSError) as caught:
        fetched(blackhole)
    assert isinstance(caught.value, DeadlineExceeded)
    assert time.monotonic() - began < LIMIT + 0.4
