"""RabbitMQ of our own, in a temporary folder, with an epmd of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Any, Dict, Iterator

from lab.processes import free_port
from lab.processes.account import folder_for, run_as
from lab.processes.base import find_tool

from .servers import HOST, find, running

CONFIG = """
listeners.tcp.default = {host}:{port}
loopback_users = none
vm_memory_high_watermark.absolute = {memory}
disk_free_limit.absolute = 1MB
log.console = false
log.file = false
"""
PLENTY = 1_000_000_000
SHORT_OF_MEMORY = 1_000_000  # of which it always has more in use: then it blocks who publishes


@contextlib.contextmanager
def rabbitmq(memory: int = PLENTY) -> Iterator[int]:
    """Run it; with little memory it stops reading from connections that publish."""
    find("epmd")
    program = find_tool("rabbitmq-server", "/usr/lib/rabbitmq/lib/rabbitmq_server-3.10.8/sbin",
                        "/usr/lib/rabbitmq/bin")  # fmt: skip
    port = free_port()
    with folder_for(run_as("rabbitmq"), "rw-rabbit-") as (folder, how):
        with open(f"{folder}/rabbitmq.conf", "w") as file:
            file.write(CONFIG.format(host=HOST, port=port, memory=memory))
        for kind in ("log", "mnesia"):
            os.mkdir(f"{folder}/{kind}", 0o777)
            os.chmod(f"{folder}/{kind}", 0o777)
        how["env"] = environ(folder, port)
        try:
            with running([program], port, how, signal.SIGTERM):
                try:
                    time.sleep(1)  # until it has noticed how much memory it has
                    yield port
                finally:
                    end(f"{folder}/pid")  # the program is a shell script, which would leave it
        finally:
            subprocess.run([find("epmd"), "-kill"], check=False, timeout=10, **how)


def end(pid_file: str) -> None:
    """End the machine that Erlang runs in."""
    with open(pid_file) as file:
        pid = int(file.read())
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
        time.sleep(0.05)


def environ(folder: str, port: int) -> Dict[str, Any]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": folder,
        "ERL_EPMD_PORT": str(free_port()),
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_NODENAME": f"rw{port}@localhost",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
        "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
        "RABBITMQ_LOG_BASE": f"{folder}/log",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
        "RABBITMQ_PID_FILE": f"{folder}/pid",
        "LANG": "C.UTF-8",
    }
