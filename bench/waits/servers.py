"""PostgreSQL, MariaDB and Redis of our own, each in a temporary folder, on a TCP port."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import Any, Dict, Iterator, List, Tuple

QUIET: Dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
HOST = "127.0.0.1"


class Missing(Exception):
    """A server is not installed here."""


def find(name: str) -> str:
    paths = ["/usr/sbin", "/usr/bin", *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]
    found = shutil.which(name, path=os.pathsep.join(paths))
    if found is None:
        msg = f"{name} is not installed"
        raise Missing(msg)
    return found


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def folder_of(user: str) -> Iterator[Tuple[str, Dict[str, Any]]]:
    become: Dict[str, Any] = {}
    if os.geteuid() == 0:
        try:
            account = pwd.getpwnam(user)
        except KeyError:
            msg = f"there is no user {user}"
            raise Missing(msg) from None
        become = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    folder = tempfile.mkdtemp(prefix="rw-waits-")
    try:
        if become:
            os.chown(folder, become["user"], become["group"])
        yield folder, {**QUIET, "cwd": folder, **become}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
    with folder_of("postgres") as (folder, how):
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
    with folder_of("mysql") as (folder, how):
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
