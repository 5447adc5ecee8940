"""PostgreSQL, MariaDB, Redis, memcached and OpenLDAP of our own, each in a temporary folder, on a
TCP port.
"""

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


@contextlib.contextmanager
def memcached() -> Iterator[int]:
    port = free_port()
    command = [find("memcached"), "-l", HOST, "-p", str(port), "-I", "64m", "-m", "256"]
    how = {**QUIET, **run_as("nobody")}
    with running(command, port, how, signal.SIGTERM):
        yield port


SLAPD = """
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
database mdb
suffix dc=example
rootdn cn=admin,dc=example
rootpw secret
directory {folder}
"""


@contextlib.contextmanager
def openldap() -> Iterator[int]:
    port = free_port()
    with folder_for(run_as("openldap"), "rw-waits-") as (folder, how):
        with open(f"{folder}/slapd.conf", "w") as file:
            file.write(SLAPD.format(folder=folder))
        command = [find("slapd"), "-d", "0", "-f", f"{folder}/slapd.conf"]
        with running([*command, "-h", f"ldap://{HOST}:{port}"], port, how, signal.SIGTERM):
            yield port


@contextlib.contextmanager
def nginx_stream(upstream: int) -> Iterator[int]:
    """Run nginx in front of an upstream, which a client cannot tell from it."""
    port = free_port()
    load = glob.glob("/usr/lib/nginx/modules/ngx_stream_module.so")
    with tempfile.TemporaryDirectory(prefix="rw-waits-") as folder:
        with open(f"{folder}/nginx.conf", "w") as file:
            file.write("".join(f"load_module {each};" for each in load))
            file.write(f"daemon off; pid {folder}/pid; error_log {folder}/log; events {{}}\n")
            file.write(f"stream {{ server {{ listen {HOST}:{port};")
            file.write(f"proxy_pass {HOST}:{upstream}; proxy_connect_timeout 60s; }} }}\n")
        command = [find("nginx"), "-p", folder, "-c", f"{folder}/nginx.conf"]
        with running(command, port, {**QUIET, "cwd": folder}, signal.SIGTERM):
            yield port
