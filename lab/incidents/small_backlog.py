"""The listen queue is smaller than the operator believes, and over UNIX sockets uWSGI does not even
say that it is full.

In a network namespace with somaxconn = 128 (without root: with the host's value). First 2048 is
asked for; then a burst meets the default of 100, once over TCP and once over a UNIX socket.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, List

from lab import shop
from lab.measuring import load, network
from lab.measuring.listen_queue import tcp_depth, unix_depth
from lab.measuring.sampler import Sampler
from lab.processes import ProcessError, Server, wait_until
from lab.rendering.result import Result, excerpt

if TYPE_CHECKING:
    from lab.processes.uwsgi import Option

INCIDENT = "small-backlog"
SOMAXCONN = 128
ASKED = 2048
DEFAULT_LISTEN = 100
BURST = 140
PATIENCE_SECONDS = 4.0
WORK_SECONDS = 1.0
TOLERANCE = 4
WARNING_LINE = r"listen queue of .*somaxconn"
OVERFLOW_LINE = r"\*\*\* uWSGI listen queue of socket .* full !!!.*"


def run(protected: bool) -> Result:
    """Ask for 2048, then fill the default queue over TCP and over a UNIX socket."""
    result = Result(INCIDENT, protected)
    with network.namespace(SOMAXCONN) as own:
        result.figures["somaxconn"] = (
            f"{network.somaxconn()} ({'own namespace' if own else 'the host'})"
        )
        _ask_for_much(result)
        _overflow(result)
    _say(result)
    return result


def _ask_for_much(result: Result) -> None:
    asked = max(ASKED, 2 * network.somaxconn())
    words = ""
    try:
        with (
            shop.environment() as env,
            Server(shop.options(protected=result.protected, listen=asked), env=env),
        ):
            pass
    except ProcessError as error:
        words = str(error)
    said = excerpt(words, "Listen queue size is greater")
    result.figures[f"listen = {asked}"] = said[0] if said else "started"
    result.excerpts += said
    if not result.protected:
        result.check(f"listen = {asked} is refused at start, with the limit in the log", bool(said))


class _Burst:
    """One server with the default queue, and a burst that overflows it."""

    def __init__(self, kind: str, server: Server) -> None:
        self.kind = kind
        self.server = server
        self.address: load.Address = server.port if kind == "TCP" else server.socket_path
        self.answers: List[load.Answer] = []
        self.deepest = 0
        self.status = ""
        self.status_is_true = False

    def depth(self) -> int:
        return (
            tcp_depth(self.server.port)
            if self.kind == "TCP"
            else unix_depth(self.server.socket_path).waiting
        )

    def run(self, *, with_status: bool) -> None:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(load.burst, self.address, "/slow", BURST, PATIENCE_SECONDS)
            wait_until(lambda: self.depth() > DEFAULT_LISTEN - 5, PATIENCE_SECONDS)
            self.deepest = self.depth()
            if with_status:
                self._ask_for_status()
            self.answers = future.result()

    def _ask_for_status(self) -> None:
        """Compare what the library's command says with the kernel's own figure, before and after:
        it drains meanwhile.
        """
        before = self.depth()
        command = [sys.executable, "-m", "resilient_wsgi", "status", str(self.server.pid)]
        self.status = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False
        ).stdout
        after = self.depth()
        # which has numbers of its own
        without_address = self.said_of_socket().replace(self.server.address, "")
        shown = re.search(r"\d+", without_address)
        # clients whose connection was dropped come again meanwhile, and workers take some away
        low, high = min(before, after) - TOLERANCE, max(before, after) + TOLERANCE
        self.status_is_true = shown is not None and low <= int(shown.group()) <= high

    def said_of_socket(self) -> str:
        """Return the lines in which the command speaks of this socket."""
        return "\n".join(line for line in self.status.splitlines() if self.server.address in line)


def _overflow(result: Result) -> None:
    options: dict[str, Option] = shop.options(protected=result.protected, processes=2)
    bursts: List[_Burst] = []
    with shop.environment(SHOP_SLOW_SECONDS=str(WORK_SECONDS)) as env:
        with Sampler(lambda: bursts[-1].depth() if bursts else 0, lambda: 0) as sampler:
            for kind, listen_on in (("TCP", "http"), ("UNIX", "http-unix")):
                with Server(options, listen_on=listen_on, env=env) as server:
                    burst = _Burst(kind, server)
                    bursts.append(burst)
                    time.sleep(0.5)
                    sampler.mark(f"burst, {kind}")
                    burst.run(with_status=result.protected)
                    sampler.add_answers(burst.answers)
                    _judge(result, burst, server.log())
        result.series = sampler.series


def _judge(result: Result, burst: _Burst, log: str) -> None:
    lines = re.findall(OVERFLOW_LINE, log)
    kind = burst.kind
    result.figures[f"{kind}: deepest queue"] = burst.deepest
    result.figures[f"{kind}: 'listen queue full' lines"] = len(lines)
    result.figures[f"{kind}: {BURST} at once"] = load.summary(burst.answers)
    result.excerpts += lines[:1]
    good = sum(answer.good for answer in burst.answers)
    if not result.protected:
        result.check(
            f"{kind}: the queue is full at the default of {DEFAULT_LISTEN}",
            burst.deepest >= DEFAULT_LISTEN,
        )
        result.check(f"{kind}: most of the burst is not answered", good < BURST / 2)
        silent = kind == "UNIX"
        words = "uWSGI says nothing of it" if silent else "uWSGI says 'listen queue … full'"
        result.check(f"{kind}: {words}", bool(lines) != silent)
        return
    warnings = [line for line in log.splitlines() if re.search(WARNING_LINE, line)]
    result.excerpts += [line[:300] for line in warnings[:1]] + [burst.said_of_socket()]
    numbers = set(re.findall(r"\d+", " ".join(warnings)))
    wanted = {str(DEFAULT_LISTEN), str(network.somaxconn())}
    result.figures[f"{kind}: status says"] = burst.said_of_socket() or "nothing of this socket"
    result.check(
        f"{kind}: said at start, in words and with the numbers (queue, somaxconn)",
        wanted <= numbers,
    )
    result.check(f"{kind}: said once", len(warnings) == 1)
    result.check(
        f"{kind}: `resilient-wsgi status` shows the true depth from outside", burst.status_is_true
    )


def _say(result: Result) -> None:
    figures = result.figures
    shown = [f"{kind}: {figures[f'{kind}: deepest queue']} waiting" for kind in ("TCP", "UNIX")]
    if result.protected:
        result.seen = "reported at startup; `status` while full: " + ", ".join(shown)
        return
    lines = [
        f"{figures[name]} lines"
        for name in ("TCP: 'listen queue full' lines", "UNIX: 'listen queue full' lines")
    ]
    result.seen = "2048 is refused at start; full at 100: " + ", ".join(
        f"{depth}, {count} in the log" for depth, count in zip(shown, lines)
    )
