"""Run the test suites of requests, urllib3 and httpx with the limits on and off, and list the differences.

    python -m bench.outbound_peers [requests urllib3 httpx]

The sdists come from the package index; each suite has a venv of its own, in a temporary folder unless
RESILIENT_WSGI_PEERS names one to keep.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import xml.etree.ElementTree as ET
from typing import Dict, List, NamedTuple, Tuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Peer(NamedTuple):
    """A project, what its tests need, and where they are."""

    version: str
    needs: Tuple[str, ...]
    tests: str
    options: Tuple[str, ...] = ()


PEERS: Dict[str, Peer] = {
    "requests": Peer(
        "2.34.2", ("pytest>=8,<9", "pytest-mock", "pytest-httpbin==2.1.0", "httpbin~=0.10.0", "trustme", "PySocks", "chardet"),
        "tests",
    ),
    "urllib3": Peer(
        "2.8.0",
        ("pytest>=8,<9", "pytest-timeout", "pytest-socket", "trustme", "hypercorn", "quart", "quart-trio", "trio", "h2",
         "httpx", "cryptography", "idna", "PySocks", "brotli", "tornado"),
        # left out: it supposes that each of three threads gets one of three calls, and hangs if one gets two
        "test", ("-p", "no:randomly", "-k", "not test_http2_probe_blocked_per_thread"),
    ),
    "httpx": Peer(
        "0.28.1",
        ("pytest>=8,<9", "trustme", "trio", "uvicorn", "chardet", "cryptography", "brotli", "h2", "socksio", "zstandard",
         "click", "rich", "pygments"),
        "tests", ("-W", "default"),
    ),
}  # fmt: skip


def main(names: List[str]) -> int:
    kept = os.environ.get("RESILIENT_WSGI_PEERS")
    if kept:
        return compare(names, kept)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        return compare(names, folder)


def compare(names: List[str], folder: str) -> int:
    """Run the suites in that folder; return 1 if a test passes only without the limits."""
    worse = 0
    for name in names or list(PEERS):
        peer = PEERS[name]
        source, python = prepare(folder, name, peer)
        off, on = (outcomes(source, python, peer, limits, f"{folder}/{name}-{limits}.xml") for limits in ("off", "on"))
        differ = {
            test: (off.get(test, "-"), on.get(test, "-")) for test in {*off, *on} if off.get(test) != on.get(test)
        }
        print(f"{name} {peer.version}: {tally(off)} without; {tally(on)} with; {len(differ)} differ")
        for test, (before, after) in sorted(differ.items()):
            print(f"  {test}: {before} -> {after}")
            worse += before == "passed"
    return 1 if worse else 0


def prepare(folder: str, name: str, peer: Peer) -> Tuple[str, str]:
    """Return the folder of the sources and the Python that has what the tests need."""
    source, python = f"{folder}/{name}-{peer.version}", f"{folder}/venv-{name}/bin/python"
    if not os.path.exists(source):
        run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", name, "-d", folder, f"{name}=={peer.version}")  # fmt: skip
        with tarfile.open(f"{source}.tar.gz") as archive:
            archive.extractall(folder)
    if not os.path.exists(python):
        venv.create(f"{folder}/venv-{name}", with_pip=True)
        run(python, "-m", "pip", "install", "-q", f"{name}=={peer.version}", "wrapt", *peer.needs)
    return source, python


def outcomes(source: str, python: str, peer: Peer, limits: str, report: str) -> Dict[str, str]:
    """Run the suite and return what became of each test."""
    command = [python, "-m", "pytest", "-q", "--no-header", "-p", "bench.outbound_peers_plugin"]
    # nothing is reached but this machine: what needs the network fails with the limits on and off
    environ = {**os.environ, "PYTHONPATH": ROOT, "OUTBOUND_LIMITS": limits, "NO_PROXY": "*"}
    environ.pop("COVERAGE_PROCESS_START", None)
    with open(f"{report}.log", "w") as log:
        subprocess.run(
            [*command, f"--junitxml={report}", *peer.options, peer.tests],
            cwd=source, env=environ, stdout=log, stderr=log, timeout=900, check=False,
        )  # fmt: skip
    return {f"{case.get('classname')}::{case.get('name')}": outcome(case) for case in ET.parse(report).iter("testcase")}


def outcome(case: ET.Element) -> str:
    kinds = {child.tag for child in case}
    return next((kind for kind in ("failure", "error", "skipped") if kind in kinds), "passed")


def tally(results: Dict[str, str]) -> str:
    kinds = sorted(set(results.values()))
    return ", ".join(f"{list(results.values()).count(kind)} {kind}" for kind in kinds)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
