"""Tracers that patch the same clients: each in both orders, on gunicorn and uWSGI, with seven
clients, without and with the library.

    python -m bench.peers.tracers [ddtrace newrelic opentelemetry elastic-apm sentry-sdk]

Each has a venv of its own, in a temporary folder unless TRACERS_FOLDER names one to keep. No tracer
reaches its collector: nothing leaves this machine.
"""

from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import venv
from typing import Dict, List, NamedTuple, Tuple

from bench import ROOT

STARTS_SECONDS = 40.0
SILENT_SECONDS = 3.0
NEEDS = (
    "wheel",
    "setuptools<81",
    "wrapt",
    "requests",
    "urllib3",
    "httpx",
    "aiohttp",
    "boto3",
    "gunicorn",
    "uwsgi",
)
CLIENTS = ("requests", "urllib3", "httpx", "http_client", "urllib_request", "boto3", "aiohttp")
NOT_LIMITED = ("aiohttp", "boto3")  # asynchronous; a timeout of its own, 60 s


class Tracer(NamedTuple):
    """What to install, and the command that starts a program with it, if there is one."""

    packages: Tuple[str, ...]
    command: Tuple[str, ...] = ()


TRACERS: Dict[str, Tracer] = {
    "ddtrace": Tracer(("ddtrace",), ("ddtrace-run",)),
    "newrelic": Tracer(("newrelic",), ("newrelic-admin", "run-program")),
    "opentelemetry": Tracer(
        ("opentelemetry-distro",
        *(f"opentelemetry-instrumentation-{each}" for each in ("requests", "urllib3", "httpx",
        "urllib"))),
        ("opentelemetry-instrument", "--traces_exporter", "none", "--metrics_exporter", "none",
        "--logs_exporter", "none"),
    ),
    "elastic-apm": Tracer(("elastic-apm",)),
    "sentry-sdk": Tracer(("sentry-sdk",)),
}  # fmt: skip
QUIET = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
    "NEW_RELIC_DEVELOPER_MODE": "true", "NEW_RELIC_LICENSE_KEY": "0" * 40,
    "NEW_RELIC_APP_NAME": "tracers", "NEW_RELIC_LOG": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "*",
}  # fmt: skip
SERVERS = {
    "gunicorn": ("gunicorn", "-w", "1", "--threads", "2", "-b", "127.0.0.1:{port}",
    "bench.peers.tracers_app:application"),
    "uwsgi": (
        "uwsgi", "--master", "--http-socket", "127.0.0.1:{port}", "--module",
        "bench.peers.tracers_app", "--enable-threads", "--lazy-apps",
        "--die-on-term", "--need-app", "--home", "{home}", "--workers", "1", "--threads", "2",
        "--skip-atexit",
    ),
}  # fmt: skip


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers at once; says nothing for a while to those that ask for /silent."""

    def do_GET(self) -> None:
        if self.path.startswith("/silent"):
            time.sleep(SILENT_SECONDS)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"ok")

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def main(names: List[str]) -> int:
    kept = os.environ.get("TRACERS_FOLDER")
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    upstream.handle_error = lambda *_: None  # type: ignore[method-assign]
    upstream.daemon_threads = True
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{upstream.server_address[1]}"
    if kept:
        return compare(names, os.path.abspath(kept), address)
    with tempfile.TemporaryDirectory(prefix="tracers-") as folder:
        return compare(names, folder, address)


def compare(names: List[str], folder: str, upstream: str) -> int:
    """Print a row for each tracer, server and order; return 1 if a view fares worse with the
    library.
    """
    worse = 0
    print(
        "| tracer | server | order | views that answer, without | with | calls that end in the "
        "limit, in the client's class |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name in names or list(TRACERS):
        home, version = prepare(folder, name)
        for server in SERVERS:
            for order in ("tracer first", "library first"):
                without = answers(home, name, server, order, "off", upstream)
                with_ = answers(home, name, server, order, "on", upstream)
                fine = {
                    on: sum(each.get(f"{c}/ok", "").startswith("200") for c in CLIENTS)
                    for on, each in (("off", without), ("on", with_))
                }
                limited = [c for c in CLIENTS if c not in NOT_LIMITED]
                ended = [c for c in limited if with_.get(f"{c}/silent", "").startswith("504")]
                print(
                    f"| {name} {version} | {server} | {order} | {fine['off']} of {len(CLIENTS)} | "
                    f"{fine['on']} of {len(CLIENTS)} |"
                    f" {len(ended)} of {len(limited)} |", flush=True,
                )  # fmt: skip
                for each in (without, with_):
                    if "start" in each:
                        print(f"  does not start: {each['start']}")
                for case in sorted({*without, *with_}):
                    if case.endswith("/ok") and without.get(case) != with_.get(case):
                        print(f"  {case}: {without.get(case)} -> {with_.get(case)}")
                worse += fine["on"] < fine["off"] or len(ended) < len(limited)
                for client in set(limited) - set(ended):
                    print(f"  {client}/silent: {with_.get(f'{client}/silent')}")
    return 1 if worse else 0


def prepare(folder: str, name: str) -> Tuple[str, str]:
    """Return the venv that has the tracer and the clients, and the tracer's version."""
    home = f"{folder}/{name}"
    if not os.path.exists(f"{home}/.complete"):
        venv.create(home, with_pip=True)
        pip = (f"{home}/bin/python", "-m", "pip", "install", "-q")
        subprocess.run([*pip, "wheel", "setuptools<81"], check=True)
        subprocess.run([*pip, *NEEDS, *TRACERS[name].packages], check=True)
        with open(f"{home}/.complete", "w"):
            pass
    command = (
        f"from importlib.metadata import version; print(version({TRACERS[name].packages[0]!r}))"
    )
    return home, subprocess.run(
        [f"{home}/bin/python", "-c", command], capture_output=True, text=True, check=True
    ).stdout.strip()


def answers(
    home: str, name: str, server: str, order: str, library: str, upstream: str
) -> Dict[str, str]:
    """Return what each client's view answers for an upstream that answers, and for one that does
    not.
    """
    port = free_port()
    command = [part.format(port=port, home=home) for part in SERVERS[server]]
    command[0] = f"{home}/bin/{command[0]}"
    if order == "tracer first" and TRACERS[name].command:
        starter, *options = TRACERS[name].command
        command = [f"{home}/bin/{starter}", *options, *command]
    environ = {
        **os.environ, **QUIET, "PYTHONPATH": str(ROOT), "PATH": f"{home}/bin:{os.environ['PATH']}",
        "TRACERS_TRACER": name,
        "TRACERS_ORDER": order, "TRACERS_UPSTREAM": upstream, "TRACERS_LIBRARY": library,
    }  # fmt: skip
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, env=environ, stdout=log, stderr=log, start_new_session=True
        )
        try:
            return ask(port)
        except OSError as error:
            log.seek(0)
            return {"start": f"{error}: {log.read()[-600:]}"}
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def ask(port: int) -> Dict[str, str]:
    wait_for(port)
    found = {f"{client}/ok": get(port, f"{client}/ok") for client in CLIENTS}
    for client in CLIENTS:
        if client not in NOT_LIMITED:
            found[f"{client}/silent"] = get(port, f"{client}/silent")
    return found


def wait_for(port: int) -> None:
    end = time.monotonic() + STARTS_SECONDS
    while time.monotonic() < end:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    msg = f"nothing listens within {STARTS_SECONDS:g} s"
    raise OSError(msg)


def get(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as response:
            return f"{response.status} {response.read(300).decode()}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read(300).decode()}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
