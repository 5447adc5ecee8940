"""An upstream in a process of its own, as most are: what this process listens on itself is never ended.

`echo` answers each line "DELAY TOKEN" with its token after so many seconds, `silent` never answers,
`ftp` sends half of a file and waits.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import Iterator, Tuple

SERVER = """
import socket, sys, threading, time

def echo(sock):
    file = sock.makefile("rb")
    for line in file:
        delay, token = line.split()
        time.sleep(float(delay))
        sock.sendall(token + b"\\n")

def silent(sock):
    time.sleep(3600)

def ftp(sock):
    sock.sendall(b"220 ready\\r\\n")
    data = socket.create_server(("127.0.0.1", 0))
    port = data.getsockname()[1]
    answers = {b"USER": b"331 go on", b"PASS": b"230 in"}
    answers[b"PASV"] = f"227 Passive (127,0,0,1,{port >> 8},{port & 255}).".encode()
    for line in sock.makefile("rb"):
        if line.startswith(b"RETR"):
            sock.sendall(b"150 here\\r\\n")
            transfer = data.accept()[0]
            transfer.sendall(b"half of the file")
            # a control connection that says "done" whatever became of the transfer
            said = lambda: (transfer.recv(1), sock.sendall(b"226 done\\r\\n"))
            threading.Thread(target=said).start()
            continue
        sock.sendall(answers.get(line[:4], b"200 ok") + b"\\r\\n")

def run(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        globals()[sys.argv[1]](sock)
    except OSError:
        pass

listener = socket.create_server(("127.0.0.1", 0), backlog=512)
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=run, args=(listener.accept()[0],), daemon=True).start()
"""


@contextlib.contextmanager
def serving(kind: str) -> Iterator[Tuple[str, int]]:
    """Run it; yield host and port."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, kind], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert server.stdout is not None
    try:
        yield "127.0.0.1", int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
