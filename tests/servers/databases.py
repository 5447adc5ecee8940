"""Real database servers, each of its own in a temporary folder, on a UNIX socket alone."""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile

import pytest

from lab.processes import wait_until
from lab.processes.account import QUIET, folder_for, run_as
from lab.processes.base import ToolMissing, find_tool
from tests.servers.requests_common import ROOT


def tools(*names):
    """Their paths. Without one of them the test is skipped."""
    versions = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    try:
        return [find_tool(name, "/usr/sbin", *versions) for name in names]
    except ToolMissing as missing:
        pytest.skip(str(missing))


def driver(*modules):
    if not any(importlib.util.find_spec(module) for module in modules):
        pytest.skip(f"{modules[0]} not found")


def folder_of(user):
    """A temporary folder, and how to start what works in it: as `user`, if this is root, as whom no
    database runs.
    """
    try:
        return folder_for(run_as(user), "rw-db-")
    except ToolMissing as missing:
        pytest.skip(str(missing))


@contextlib.contextmanager
def serving(command, socket_path, how, end):
    server = subprocess.Popen(command, **how)
    try:
        assert wait_until(lambda: os.path.exists(socket_path) or server.poll() is not None, 30)
        assert server.poll() is None, f"{command[0]} ended with {server.returncode}"
        yield
    finally:
        server.send_signal(end)
        server.wait(30)


@contextlib.contextmanager
def postgresql():
    """The settings of a database on a PostgreSQL of its own."""
    initdb, postgres = tools("initdb", "postgres")
    driver("psycopg", "psycopg2")
    with folder_of("postgres") as (folder, how):
        subprocess.run(
            [initdb, "-D", f"{folder}/data", "-U", "app", "-A", "trust", "-N"],
            check=True,
            timeout=60,
            **how,
        )
        options = ["-F", "-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}"]
        with serving(
            [postgres, "-D", f"{folder}/data", *options],
            f"{folder}/.s.PGSQL.5432",
            how,
            signal.SIGINT,
        ):
            yield {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": "postgres",
                "USER": "app",
                "HOST": folder,
            }


@contextlib.contextmanager
def mariadb():
    """The settings of a database on a MariaDB of its own."""
    mariadbd, install = tools("mariadbd", "mariadb-install-db")
    driver("pymysql", "MySQLdb")
    with folder_of("mysql") as (folder, how):
        data = [f"--datadir={folder}/data", f"--tmpdir={folder}"]
        subprocess.run(
            [install, "--no-defaults", *data, "--auth-root-authentication-method=normal",
            "--skip-name-resolve"],
            check=True, timeout=60, **how,
        )  # fmt: skip
        path = f"{folder}/mariadb.sock"
        options = [
            "--no-defaults",
            *data,
            f"--socket={path}",
            "--skip-networking",
            f"--pid-file={folder}/pid",
        ]
        small = ["--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0"]
        with serving([mariadbd, *options, *small], path, how, signal.SIGTERM):
            yield {
                "ENGINE": "django.db.backends.mysql",
                "NAME": "test",
                "USER": "root",
                "HOST": path,
            }


@contextlib.contextmanager
def mysql():
    """The settings of a database on a MySQL of its own: the system's, or that which `make
    databases` unpacks.
    """
    mysqld = shutil.which("mysqld", path=str(ROOT / ".mysql")) or tools("mysqld")[0]
    if (
        "MariaDB"
        in subprocess.run([mysqld, "--version"], capture_output=True, text=True, check=True).stdout
    ):
        pytest.skip("mysqld not found: what is here under this name is MariaDB (make databases)")
    driver("pymysql", "MySQLdb")
    with tempfile.TemporaryDirectory(prefix="rw-db-") as folder:
        how = {**QUIET, "cwd": folder}
        with open(f"{folder}/begin.sql", "w") as file:
            file.write("CREATE DATABASE test;\n")
        user = pwd.getpwuid(os.geteuid()).pw_name
        data = [f"--datadir={folder}/data", f"--tmpdir={folder}", f"--user={user}"]
        subprocess.run(
            [mysqld, *data, "--initialize-insecure", f"--init-file={folder}/begin.sql"],
            check=True,
            timeout=60,
            **how,
        )
        path = f"{folder}/mysql.sock"
        options = [
            f"--socket={path}",
            "--skip-networking",
            "--mysqlx=OFF",
            "--secure-file-priv=",
            f"--pid-file={folder}/pid",
        ]
        with serving([mysqld, *data, *options], path, how, signal.SIGTERM):
            yield {
                "ENGINE": "django.db.backends.mysql",
                "NAME": "test",
                "USER": "root",
                "HOST": path,
            }
