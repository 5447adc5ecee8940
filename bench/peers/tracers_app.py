"""An app that calls an upstream with each client.

TRACER says which tracer, ORDER who patches first.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, Callable, Dict, Iterable, List

TRACER, ORDER, UPSTREAM = (
    os.environ[f"TRACERS_{name}"] for name in ("TRACER", "ORDER", "UPSTREAM")
)
LIMIT = 0.5


def install() -> None:
    if os.environ["TRACERS_LIBRARY"] == "on":
        import resilient_wsgi

        resilient_wsgi.install({"OUTBOUND": {"READ_TIMEOUT": LIMIT}})


def trace() -> None:
    """Start the tracer as its documentation says where it is not started by a command."""
    if TRACER == "sentry-sdk":
        sdk = importlib.import_module("sentry_sdk")
        sdk.init(dsn="http://key@127.0.0.1:9/1", traces_sample_rate=1.0)
    elif TRACER == "elastic-apm":
        apm = importlib.import_module("elasticapm")
        apm.Client(
            service_name="tracers",
            server_url="http://127.0.0.1:9",
            disable_send=True,
            cloud_provider="none",
        )
        apm.instrument()
    elif ORDER == "library first":
        _by_hand()


def _by_hand() -> None:
    if TRACER == "ddtrace":
        importlib.import_module("ddtrace.auto")
    elif TRACER == "newrelic":
        agent = importlib.import_module("newrelic.agent")
        agent.initialize()
    elif TRACER == "opentelemetry":
        for name in ("Requests", "URLLib3", "HTTPXClient", "URLLib"):
            module = {"HTTPXClient": "httpx"}.get(name, name.lower())
            instrumentor = getattr(
                importlib.import_module(f"opentelemetry.instrumentation.{module}"),
                f"{name}Instrumentor",
            )
            instrumentor().instrument()


for step in (trace, install) if ORDER == "tracer first" else (install, trace):
    step()

import http.client  # noqa: E402 - after both, as in an app that is started by the tracer's command
import urllib.request  # noqa: E402

import aiohttp  # noqa: E402
import boto3  # noqa: E402
import httpx  # noqa: E402
import requests  # noqa: E402
import urllib3  # noqa: E402

Environ = Dict[str, Any]


def by_requests(path: str) -> bytes:
    with requests.Session() as session:
        return bytes(session.get(UPSTREAM + path).content)


def by_urllib3(path: str) -> bytes:
    with urllib3.PoolManager(retries=False) as manager:
        return bytes(manager.request("GET", UPSTREAM + path).data)


def by_httpx(path: str) -> bytes:
    with httpx.Client(timeout=None) as client:
        return bytes(client.get(UPSTREAM + path).content)


def by_http_client(path: str) -> bytes:
    connection = http.client.HTTPConnection(UPSTREAM.partition("//")[2])
    connection.request("GET", path)
    return connection.getresponse().read()


def by_urllib_request(path: str) -> bytes:
    with urllib.request.urlopen(UPSTREAM + path) as response:
        return bytes(response.read())


def by_boto3(path: str) -> bytes:
    config = boto3.session.Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"})
    client = boto3.client(
        "s3",
        region_name="eu-central-1",
        endpoint_url=UPSTREAM,
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=config,
    )
    return str(
        client.head_bucket(Bucket=path.strip("/"))["ResponseMetadata"]["HTTPStatusCode"]
    ).encode()


def by_aiohttp(path: str) -> bytes:
    import asyncio

    async def get() -> bytes:
        async with aiohttp.ClientSession() as session, session.get(UPSTREAM + path) as response:
            return bytes(await response.read())

    return asyncio.run(get())


CLIENTS: Dict[str, Callable[[str], bytes]] = {
    name[3:]: function for name, function in list(globals().items()) if name.startswith("by_")
}


def application(
    environ: Environ, start_response: Callable[[str, List[Any]], Any]
) -> Iterable[bytes]:
    """Answer /CLIENT/PATH with what the client gets, or with the classes of what it raises."""
    name, _, path = environ["PATH_INFO"].strip("/").partition("/")
    try:
        answer, status = CLIENTS[name](f"/{path}"), "200 OK"
    except Exception as error:
        kind, *others = type(error).__mro__
        limited = any(each.__name__ == "DeadlineExceeded" for each in others)
        status = "504 Gateway Timeout" if limited else "500 Internal Server Error"
        answer = f"{kind.__module__}.{kind.__name__}: {error}".encode()
    start_response(status, [("Content-Type", "text/plain")])
    return [answer]
