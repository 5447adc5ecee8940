"""The cells of the matrix: each client against each misbehaviour of the other side, on real
sockets.

    python -m bench.outbound.cells with|without SHARE SHARES SECONDS

prints one JSON line for each of its share of them: what it took, and what was raised. `with` has
a total of 1 s and callers that give no timeout at all; `without` has callers that give `timeout=1`,
which is what can be done without the library.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import itertools
import json
import ssl
import sys
import tempfile
import threading
import time
import urllib.request
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import httpx
import requests
import requests.adapters
import urllib3

from bench.outbound import hostile, optional

TOTAL = 1.0
STILL_WAITING = 5
"""A call that goes on for so many times what the other side does is left behind: one sleeps for hours."""
UPLOAD_BYTES = 32 * 1024 * 1024
NOT_GIVEN: Any = object()


class Cell(NamedTuple):
    """One call: who makes it, against what."""

    client: str
    scenario: str
    tls: bool


class Call(NamedTuple):
    """What a client is to do."""

    url: str
    body: Any = None
    proxy: str = ""
    retries: bool = False
    pool_of_one: bool = False
    timeout: Optional[float] = None
    context: Any = None


class ByHttpClient:
    error = TimeoutError
    lacks = ("redirects", "retry-after", "pool")

    def __init__(self, call: Call) -> None:
        scheme, _, rest = call.url.partition("://")
        host, _, self.path = rest.partition("/")
        target = call.proxy.partition("://")[2] or host
        options: Dict[str, Any] = {} if call.timeout is None else {"timeout": call.timeout}
        if scheme == "https":
            self.conn: Any = http.client.HTTPSConnection(target, context=call.context, **options)
        else:
            self.conn = http.client.HTTPConnection(target, **options)
        if call.proxy:
            self.conn.set_tunnel(host.split(":")[0], int(host.split(":")[1]))
        self.call = call

    def run(self) -> Any:
        body = self.call.body
        headers = {"Content-Length": str(UPLOAD_BYTES)} if body else {}
        self.conn.request("POST" if body else "GET", "/" + self.path, body=body, headers=headers)
        return self.conn.getresponse().read()

    def close(self) -> None:
        self.conn.close()


class ByUrllibRequest:
    error = OSError  # URLError until the answer comes, TimeoutError after
    lacks = ("retry-after", "pool")

    def __init__(self, call: Call) -> None:
        handlers: List[Any] = [
            urllib.request.ProxyHandler({"https": call.proxy} if call.proxy else {})
        ]
        if call.context:
            handlers.append(urllib.request.HTTPSHandler(context=call.context))
        self.opener = urllib.request.build_opener(*handlers)
        self.call = call

    def run(self) -> Any:
        options: Dict[str, Any] = (
            {} if self.call.timeout is None else {"timeout": self.call.timeout}
        )
        headers = {"Content-Length": str(UPLOAD_BYTES)} if self.call.body else {}
        request = urllib.request.Request(self.call.url, data=self.call.body, headers=headers)
        with self.opener.open(request, **options) as response:
            return response.read()

    def close(self) -> None:
        pass


class ByUrllib3:
    error = urllib3.exceptions.TimeoutError
    lacks = ()

    def __init__(self, call: Call) -> None:
        options: Dict[str, Any] = {} if call.timeout is None else {"timeout": call.timeout}
        options.update(ssl_context=call.context) if call.context else None
        options.update(block=True, maxsize=1) if call.pool_of_one else None
        self.manager = (
            urllib3.ProxyManager(call.proxy, **options)
            if call.proxy
            else urllib3.PoolManager(**options)
        )
        self.call = call

    def run(self) -> Any:
        options = {"headers": {"Content-Length": str(UPLOAD_BYTES)}} if self.call.body else {}
        return self.manager.request(
            "POST" if self.call.body else "GET", self.call.url, body=self.call.body, **options
        ).data

    def hold(self, url: str) -> Any:
        return self.manager.request("GET", url, preload_content=False)

    def close(self) -> None:
        self.manager.clear()


class ByRequests:
    error = requests.exceptions.Timeout
    lacks = ()

    def __init__(self, call: Call) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        retries = urllib3.Retry(3, status_forcelist=[503]) if call.retries else 0
        context = call.context

        class Adapter(requests.adapters.HTTPAdapter):
            def init_poolmanager(self, *args, **kwargs):  # type: ignore[no-untyped-def]
                super().init_poolmanager(*args, ssl_context=context, **kwargs)

            def proxy_manager_for(self, *args, **kwargs):  # type: ignore[no-untyped-def]
                return super().proxy_manager_for(*args, ssl_context=context, **kwargs)

        size = 1 if call.pool_of_one else 10
        for prefix in ("http://", "https://"):
            self.session.mount(
                prefix, Adapter(max_retries=retries, pool_maxsize=size, pool_block=call.pool_of_one)
            )
        self.session.verify = context is None
        self.session.proxies = {"https": call.proxy, "http": call.proxy} if call.proxy else {}
        self.call = call

    def run(self) -> Any:
        options: Dict[str, Any] = (
            {} if self.call.timeout is None else {"timeout": self.call.timeout}
        )
        with_body: Dict[str, Any] = {"data": self.call.body} if self.call.body else {}
        return self.session.request(
            "POST" if self.call.body else "GET", self.call.url, **options, **with_body
        ).content

    def hold(self, url: str) -> Any:
        return self.session.get(url, stream=True)

    def close(self) -> None:
        self.session.close()


class ByHttpx:
    module = httpx
    error = httpx.TimeoutException
    lacks: Tuple[str, ...] = ("retry-after",)

    def __init__(self, call: Call) -> None:
        limits = self.module.Limits(max_connections=1 if call.pool_of_one else 10)
        options = {"proxy": call.proxy} if call.proxy else {}
        # httpx has a timeout of its own, 5 s of silence; None is "no timeout"
        self.client = self.module.Client(
            timeout=call.timeout, verify=call.context or False, trust_env=False,
            follow_redirects=True, max_redirects=99,
            limits=limits, **options,
        )  # fmt: skip
        self.call = call

    def run(self) -> Any:
        options = {"headers": {"Content-Length": str(UPLOAD_BYTES)}} if self.call.body else {}
        return self.client.request(
            "POST" if self.call.body else "GET", self.call.url, content=self.call.body, **options
        ).content

    def hold(self, url: str) -> Any:
        stream = self.client.stream("GET", url)
        stream.__enter__()
        return stream

    def close(self) -> None:
        self.client.close()


CLIENTS: Dict[str, Any] = {
    "http.client": ByHttpClient,
    "urllib.request": ByUrllibRequest,
    f"urllib3 {urllib3.__version__.split('.')[0]}": ByUrllib3,
    "requests": ByRequests,
    "httpx": ByHttpx,
}
if optional.httpx2 is not None:

    class ByHttpx2(ByHttpx):
        module = optional.httpx2
        error = optional.httpx2.TimeoutException

    CLIENTS["httpx2"] = ByHttpx2
if optional.aiohttp is not None:
    from bench.outbound.async_clients import ByAiohttp, ByHttpxOnAsyncio

    CLIENTS.update({"httpx on asyncio": ByHttpxOnAsyncio, "aiohttp": ByAiohttp})
if urllib3.__version__.startswith("1."):
    CLIENTS = {f"urllib3 {'.'.join(urllib3.__version__.split('.')[:2])}": ByUrllib3}


def as_file() -> Any:
    return io.BytesIO(bytes(UPLOAD_BYTES))


def as_generator() -> Iterator[bytes]:
    block = bytes(64 * 1024)
    for _ in range(UPLOAD_BYTES // len(block)):
        yield block


class Lab:
    """The other side: servers, black holes, names."""

    def __init__(self, seconds: float, folder: str) -> None:
        certificate = hostile.certificate(folder)
        self.context = ssl.create_default_context(cafile=certificate)
        self.context.check_hostname = False
        self.plain = hostile.Hostile(seconds=seconds)
        self.tls = hostile.Hostile(hostile.server_context(certificate), seconds=seconds)
        self.seconds = seconds
        self.stack = contextlib.ExitStack()
        self.numbers = itertools.count()
        addresses, self.hole_port = self.stack.enter_context(hostile.black_holes(3))
        table = {"dead.test": addresses, "one-dead.test": addresses[:1]}
        self.stack.enter_context(hostile.names(table, seconds))

    def close(self) -> None:
        self.stack.close()
        self.plain.close()
        self.tls.close()

    def url(self, tls: bool, path: str) -> str:
        return f"{(self.tls if tls else self.plain).url}/{path}"

    def call(self, scenario: str, tls: bool, timeout: Optional[float]) -> Call:
        """Return the call that meets a scenario."""
        scheme = "https" if tls else "http"
        far = {
            "black hole": f"{scheme}://one-dead.test:{self.hole_port}/",
            "dead addresses": f"{scheme}://dead.test:{self.hole_port}/",
            "DNS stall": f"{scheme}://{next(self.numbers)}.stalled.test/",
            "silent in TLS handshake": f"https://127.0.0.1:{self.plain.port}/",
        }
        path = {
            "silent": "silent", "dripping headers": "drip_headers", "dripping body": "drip_body",
            "dripping chunks": "drip_chunks", "dripping gzip": "drip_gzip",
            "redirects": "redirect/3",
            "retry-after": "retry_after", "pool": "ok", "proxy hangs in CONNECT": "ok",
        }.get(scenario, "upload")  # fmt: skip
        body: Any = {"upload of bytes": bytes(UPLOAD_BYTES), "upload of a file": as_file(), "upload of a generator": as_generator()}.get(scenario)  # fmt: skip
        return Call(
            far.get(scenario) or self.url(tls, path), body,
            self.plain.url if "proxy" in scenario else "",
            scenario == "retry-after", scenario == "pool", timeout,
            self.context if scheme == "https" or "TLS" in scenario else None,
        )  # fmt: skip


NAMES = (
    "silent", "silent in TLS handshake", "black hole", "dead addresses", "DNS stall",
    "dripping headers", "dripping body",
    "dripping chunks", "dripping gzip", "redirects", "retry-after", "upload of bytes",
    "upload of a file",
    "upload of a generator", "pool", "proxy hangs in CONNECT",
)  # fmt: skip


def cells() -> List[Cell]:
    """Return every cell that there is: not each client has redirects, retries, a pool."""
    return [
        Cell(name, scenario, tls)
        for name, client in CLIENTS.items()
        for scenario in NAMES
        if scenario not in client.lacks
        for tls in (False, True)
        if not (scenario in ("silent in TLS handshake", "proxy hangs in CONNECT") and not tls)
    ]


def measure(lab: Lab, cell: Cell, timeout: Optional[float]) -> Dict[str, Any]:
    """Make the call, and return how long it took and what came of it."""
    call = lab.call(cell.scenario, cell.tls, timeout)
    client = CLIENTS[cell.client](call)
    held: Any = client.hold(lab.url(cell.tls, "drip_body")) if call.pool_of_one else None
    # else nothing would ever end the wait for it
    release = threading.Timer(lab.seconds, lambda: _close(held))
    release.start()
    began = time.monotonic()
    outcome: List[Any] = []

    def run_client() -> None:
        try:
            outcome.append(client.run())
        except Exception as error:
            outcome.append(error)

    caller = threading.Thread(target=run_client, daemon=True)
    caller.start()
    caller.join(STILL_WAITING * lab.seconds)
    raised = outcome[0] if outcome and isinstance(outcome[0], Exception) else None
    took = time.monotonic() - began
    release.cancel()
    _close(held)
    with contextlib.suppress(Exception):
        client.close()
    return {
        **cell._asdict(),
        "seconds": took,
        "over": bool(outcome),
        "error": type(raised).__name__ if raised else "",
        "own": isinstance(raised, CLIENTS[cell.client].error),
        "ours": "DeadlineExceeded" in [kind.__name__ for kind in type(raised).__mro__],
        "message": str(raised or ""),
    }


def _close(held: Any) -> None:
    with contextlib.suppress(Exception):
        held.release_conn() if hasattr(held, "release_conn") else held.__exit__(None, None, None)


def run(
    mode: str, share: int = 0, shares: int = 1, seconds: float = hostile.LONG
) -> Iterator[Dict[str, Any]]:
    """Measure a share of the cells, one after the other: several processes do it at once, so that
    no GIL delays them.
    """
    if mode == "with":
        from resilient_wsgi import outbound
        from resilient_wsgi.settings.options import Outbound

        outbound.install(Outbound(connect_timeout=5, read_timeout=5, total_timeout=TOTAL))
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(seconds, folder)
        try:
            for cell in cells()[share::shares]:
                yield measure(lab, cell, None if mode == "with" else TOTAL)
        finally:
            lab.close()


if __name__ == "__main__":
    import logging
    import warnings

    warnings.simplefilter("ignore")  # of urllib3, that the certificate is not checked
    logging.disable(logging.CRITICAL)
    for result in run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])):
        print(json.dumps(result), flush=True)
