"""The matrix: each client against each misbehaviour of the other side, plain and TLS, on real
sockets.

All cells are measured in a few processes at once; the tests look at one each.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.outbound.cells import TOTAL, cells

ROOT = Path(__file__).parents[2]
PROCESSES = 6
# what the other side does goes on for so long: a client that is not ended in time takes all of it
SECONDS = 8


PHASES = {
    "silent in TLS handshake": "tls", "black hole": "connect", "dead addresses": "connect",
    "DNS stall": "dns",
    "silent": "headers", "dripping headers": "headers", "dripping body": "body",
    "dripping chunks": "body",
    "dripping gzip": "body", "redirects": "(headers|redirect)", "retry-after": "retry-sleep",
    "upload of bytes": "send",
    # to httpx, the tunnel is a request of its own
    "upload of a file": "send", "upload of a generator": "send", "pool": "pool",
    "proxy hangs in CONNECT": "(connect|headers)",
}  # fmt: skip
# on asyncio DNS is part of connecting; to aiohttp, so is TLS, and an upload part of the wait for
# the answer
ON_ASYNCIO = {"DNS stall": "connect"}
AIOHTTP = {**ON_ASYNCIO, "silent in TLS handshake": "connect"}
AIOHTTP.update(dict.fromkeys(("upload of a file", "upload of a generator"), "headers"))
OTHER_PHASES = {"httpx on asyncio": ON_ASYNCIO, "aiohttp": AIOHTTP}


@pytest.fixture(scope="module")
def results():
    command = [sys.executable, "-m", "bench.outbound.cells", "with"]
    running = [
        subprocess.Popen(
            [*command, str(i), str(PROCESSES), str(SECONDS)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(PROCESSES)
    ]
    try:
        lines = [
            line for process in running for line in process.communicate(timeout=110)[0].splitlines()
        ]
    finally:
        for process in running:
            process.kill()
            process.wait()
            process.stdout.close()
    measured = [json.loads(line) for line in lines]
    return {(result["client"], result["scenario"], result["tls"]): result for result in measured}


@pytest.mark.parametrize(
    "cell", cells(), ids=lambda c: f"{c.client}-{c.scenario}-{'tls' if c.tls else 'plain'}"
)
def test_a_call_ends_within_its_total_in_the_clients_own_exception(results, cell):
    result = results[cell]
    # a pause that is too long is not begun; all else is given up on when the time is up, and not
    # before
    earliest = 0 if cell.scenario == "retry-after" else TOTAL - 0.01
    assert earliest <= result["seconds"] < TOTAL * 2, result
    assert result["own"], result
    assert result["ours"], result
    if cell.scenario == "retry-after":
        assert "longer than what is left" in result["message"]
    phase = OTHER_PHASES.get(cell.client, {}).get(cell.scenario, PHASES[cell.scenario])
    assert re.search(f"in phase {phase} ", result["message"])
    assert "limit 1 s (OUTBOUND.TOTAL_TIMEOUT)" in result["message"]
