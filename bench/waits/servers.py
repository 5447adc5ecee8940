"""PostgreSQL, MariaDB and Redis of our own, each in a temporary folder, on a TCP port."""

from __future__ import annotations

import contextlib
import glob
import signal
import socket
import subprocess
import tempfile
import time
from typing import Any, Dict, Iterator, List

from lab.processes import free_port
from lab.processes.account import QUIET, folder_for, run_as
from lab.processes.base import find_tool

HOST = "127.0.0.1"


def find(name: str) -> str:
    """Return the path of a program of a distribution's server; raises `ToolMissing`."""
    newest = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    return find_tool(name, "/usr/sbin", "/usr/bin", *newest)


@contextlib.contextmanager
def running(command: List[str], port: int, how: Dict[str, Any], end: int) -> Iterator[int]:
    server = subprocess.Popen(command, **how)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((HOST, port), 1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.05)
        yield port
    finally:
        server.send_signal(end)
        server.wait(30)


@contextlib.contextmanager
def postgres() -> Iterator[int]:
    initdb, program = find("initdb"), find("postgres")
    with folder_for(run_as("postgres"), "rw-waits-") as (folder, how):
        make = [initdb, "-D", f"{folder}/data", "-U", "app", "-A", "trust", "-N"]
        subprocess.run(make, check=True, timeout=120, **how)
        port = free_port()
        options = ["-F", "-p", str(port), "-c", f"unix_socket_directories={folder}"]
        options += ["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=500"]
        options += ["-c", "client_connection_check_interval=100ms"]
        command = [program, "-D", f"{folder}/data", *options]
        with running(command, port, how, signal.SIGINT):
            ready = [find("pg_isready"), "-h", HOST, "-p", str(port), "-t", "5"]
            while subprocess.run(ready, check=False, **how).returncode:
                time.sleep(0.05)
            yield port


@contextlib.contextmanager
def mariadb() -> Iterator[int]:
    program, install = find("mariadbd"), find("mariadb-install-db")
    with folder_for(run_as("mysql"), "rw-waits-") as (folder, how):
        data = [f"--datadir={folder}/data", f"--tmpdir={folder}"]
        make = [install, "--no-defaults", *data, "--auth-root-authentication-method=normal"]
        subprocess.run([*make, "--skip-name-resolve"], check=True, timeout=120, **how)
        options = [f"--socket={folder}/s", f"--pid-file={folder}/pid", "--bind-address=127.0.0.1"]
        options += ["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0"]
        options += [*certificate(folder, how), "--max-allowed-packet=1G"]
        port = free_port()
        command = [program, "--no-defaults", *data, *options, f"--port={port}"]
        with running(command, port, how, signal.SIGTERM):
            yield port


def certificate(folder: str, how: Dict[str, Any]) -> List[str]:
    key, cert = f"{folder}/key.pem", f"{folder}/cert.pem"
    request = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(
        [find("openssl"), "req", *request, "-keyout", key, "-out", cert], check=True, **how
    )
    return [f"--ssl-key={key}", f"--ssl-cert={cert}"]


@contextlib.contextmanager
def redis() -> Iterator[int]:
    with tempfile.TemporaryDirectory(prefix="rw-waits-") as folder:
        port = free_port()
        command = [find("redis-server"), "--port", str(port), "--bind", HOST, "--save", ""]
        with running(command, port, {**QUIET, "cwd": folder}, signal.SIGTERM):
            yield port
