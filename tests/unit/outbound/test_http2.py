"""HTTP/2: calls share a connection, and the limit of one is none of the others."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest

from bench.outbound.hostile import certificate
from bench.outbound.optional import httpx2, trio
from resilient_wsgi.outbound import install, timeouts
from resilient_wsgi.settings.options import Outbound
from tests.unit.outbound.http2 import Http2

pytest.importorskip("h2")

MODULES = [module for module in (httpx, httpx2) if module is not None]
LATER = 0.1  # the second call begins, while the first one reads for both


def in_threads(module, url):
    """Make the calls of the test, and return what came of them: ended, slow, next."""
    answers = {}

    def call(name, path, seconds):
        with timeouts(total=seconds):
            try:
                answers[name] = client.get(f"{url}/{path}")
            except module.HTTPError as error:
                answers[name] = error

    with module.Client(http2=True, timeout=None, verify=False) as client:
        client.get(f"{url}/0")  # how many calls it takes at once is known from here on
        reader = threading.Thread(target=call, args=("ended", "silent", 0.4))
        reader.start()
        time.sleep(LATER)
        call("slow", "0.8", 5)
        reader.join(5)
        call("next", "0", 5)
    return answers


async def in_tasks(module, url, sleep, both):
    answers = {}

    async def call(client, name, path, seconds):
        with timeouts(total=seconds):
            try:
                answers[name] = await client.get(f"{url}/{path}")
            except module.HTTPError as error:
                answers[name] = error

    async def slow(client):
        await sleep(LATER)
        await call(client, "slow", "0.8", 5)

    async with module.AsyncClient(http2=True, timeout=None, verify=False) as client:
        await client.get(f"{url}/0")
        await both((call, client, "ended", "silent", 0.4), (slow, client))
        await call(client, "next", "0", 5)
    return answers


def on_asyncio(module, url):
    async def both(*calls):
        await asyncio.gather(*(function(*args) for function, *args in calls))

    return asyncio.run(in_tasks(module, url, asyncio.sleep, both))


def on_trio(module, url):
    if trio is None:
        pytest.skip("no trio")

    async def both(*calls):
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(*call)

    return trio.run(in_tasks, module, url, trio.sleep, both)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
@pytest.mark.parametrize("run", [in_threads, on_asyncio, on_trio], ids=lambda run: run.__name__)
def test_a_limit_of_one_call_leaves_the_others_on_its_connection_alone(tmp_path, module, run):
    install(Outbound(connect_timeout=5, read_timeout=60, total_timeout=60))
    with Http2(certificate(str(tmp_path))) as upstream:
        answers = run(module, upstream.url)
    assert isinstance(answers["ended"], module.ReadTimeout)
    assert "limit 0.4 s" in str(answers["ended"])
    assert getattr(answers["slow"], "content", answers["slow"]) == b"ok"
    assert answers["next"].content == b"ok"
    assert upstream.connections == 2  # the one that was shared takes no new calls
