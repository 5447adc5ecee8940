"""Clients on an event loop: the loop goes on, tasks keep to themselves, pools stay good."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest

from bench.outbound.hostile import Hostile, names
from bench.outbound.optional import aiohttp, httpx2
from resilient_wsgi import deadline
from resilient_wsgi.errors import DeadlineExceeded
from resilient_wsgi.outbound import install, timeouts, uninstall
from resilient_wsgi.settings.options import Outbound

TOTAL = 0.3  # conftest.py

MODULES = [module for module in (httpx, httpx2) if module is not None]
each_httpx = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)


def raised(done):
    """Return what a task has raised, of `gather(return_exceptions=True)`."""
    assert isinstance(done, Exception), done
    return done


def raised_or_body(done):
    return done if isinstance(done, Exception) else done.content


async def each(*calls):
    return await asyncio.gather(*calls, return_exceptions=True)


@each_httpx
def test_the_loop_goes_on_while_calls_wait(server, module):
    longest = 0.0

    async def tick(over):
        nonlocal longest
        last = time.monotonic()
        while not over.is_set():
            await asyncio.sleep(0.01)
            now = time.monotonic()
            longest, last = max(longest, now - last), now

    async def main():
        over = asyncio.Event()
        ticking = asyncio.ensure_future(tick(over))
        async with module.AsyncClient(timeout=None) as client:
            paths = ("silent", "drip_headers", "drip_body", "silent", "drip_chunks")
            done = await each(*(client.get(f"{server.url}/{path}") for path in paths))
        over.set()
        await ticking
        return done

    assert all(isinstance(error, module.ReadTimeout) for error in asyncio.run(main()))
    assert longest < 0.25


@each_httpx
def test_calls_of_one_loop_have_their_own_limits(server, module):
    async def call(client, seconds):
        began = time.monotonic()
        with timeouts(total=seconds), pytest.raises(module.ReadTimeout, match=f"limit {seconds} s"):
            await client.get(f"{server.url}/drip_body")
        return time.monotonic() - began

    async def main():
        async with module.AsyncClient(timeout=None) as client:
            return await asyncio.gather(*(call(client, seconds) for seconds in (0.1, 0.2, 0.6)))

    for seconds, took in zip((0.1, 0.2, 0.6), asyncio.run(main())):
        assert seconds <= took < seconds + 0.3


@each_httpx
def test_a_task_that_a_hook_begins_has_nothing_of_the_call_that_is_under_way(server, module):
    tasks = []

    async def main():
        async with module.AsyncClient(timeout=None) as other:

            async def hook(_request):
                tasks.append(asyncio.ensure_future(later(other)))

            async with module.AsyncClient(timeout=None, event_hooks={"request": [hook]}) as client:
                with timeouts(total=0.1):
                    (error,) = await each(client.get(f"{server.url}/silent"))
            (answer,) = await each(*tasks)
        return error, answer

    async def later(other):
        await asyncio.sleep(0.2)  # the call that it was begun in is over by now
        return await other.get(f"{server.url}/ok")

    error, answer = asyncio.run(main())
    assert isinstance(raised(error), DeadlineExceeded)
    assert answer.content == b"ok"


@each_httpx
def test_what_a_hook_calls_is_part_of_the_call_that_is_under_way(server, module):
    async def main():
        async with module.AsyncClient(timeout=None) as other:

            async def hook(_request):
                await other.get(f"{server.url}/silent")

            async with module.AsyncClient(timeout=None, event_hooks={"request": [hook]}) as client:
                return await each(client.get(f"{server.url}/ok"))

    began = time.monotonic()
    (error,) = asyncio.run(main())
    assert isinstance(raised(error), module.ReadTimeout)
    assert time.monotonic() - began < TOTAL + 2


@each_httpx
def test_a_pool_is_as_good_as_new_after_calls_that_have_ended_at_the_same_time(server, module):
    async def main():
        limits = module.Limits(max_connections=1)
        async with module.AsyncClient(timeout=None, limits=limits) as client:
            for _ in range(15):  # a connection may come to a call at the moment that its time is up
                with timeouts(total=0.03):
                    done = await each(*(client.get(f"{server.url}/silent") for _ in range(4)))
                assert all(isinstance(error, module.TimeoutException) for error in done)
            with timeouts(total=5):
                return await each(*(client.get(f"{server.url}/ok") for _ in range(5)))

    assert [raised_or_body(answer) for answer in asyncio.run(main())] == [b"ok"] * 5


@each_httpx
def test_a_pool_is_as_good_as_new_after_threads_that_have_ended_at_the_same_time(server, module):
    with module.Client(timeout=None, limits=module.Limits(max_connections=1)) as client:

        def call():
            with timeouts(total=0.03), pytest.raises(module.TimeoutException):
                client.get(f"{server.url}/silent")

        for _ in range(15):
            threads = [threading.Thread(target=call) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(5)
        with timeouts(total=5):
            assert client.get(f"{server.url}/ok").content == b"ok"


@each_httpx
def test_a_call_that_the_app_cancels_is_cancelled_and_the_pool_good(server, module):
    async def main():
        limits = module.Limits(max_connections=1)
        async with module.AsyncClient(timeout=None, limits=limits) as client:
            with pytest.raises(asyncio.TimeoutError) as caught:
                await asyncio.wait_for(client.get(f"{server.url}/silent"), 0.1)
            assert not isinstance(caught.value, DeadlineExceeded)
            return await client.get(f"{server.url}/ok")

    assert asyncio.run(main()).content == b"ok"


@each_httpx
def test_what_a_number_of_the_callers_ends_in_is_what_the_client_raises_without_us(
    server, module, seen
):
    async def main():
        async with module.AsyncClient(timeout=0.1) as client:
            await client.get(f"{server.url}/silent")

    with pytest.raises(module.ReadTimeout) as caught:
        asyncio.run(main())
    assert type(caught.value) is module.ReadTimeout
    assert not seen


@each_httpx
def test_a_stream_is_limited_up_to_its_headers_then_by_silence(module):
    install(Outbound(total_timeout=0.3, read_timeout=5))

    async def main(server):
        async with module.AsyncClient(timeout=None) as client:
            async with client.stream("GET", f"{server.url}/drip_body") as response:
                return [chunk async for chunk in response.aiter_bytes()]

    with Hostile(seconds=0.8) as server:
        assert b"".join(asyncio.run(main(server))) == b"x" * 30


@each_httpx
def test_a_stream_that_falls_silent_is_given_up_on(server, module):
    async def main():
        async with module.AsyncClient(timeout=None) as client:
            async with client.stream("GET", f"{server.url}/late_body") as response:
                await response.aread()

    with pytest.raises(module.ReadTimeout, match=r"phase body .*READ_TIMEOUT"):
        asyncio.run(main())


@each_httpx
def test_no_call_outlives_the_deadline_that_is_in_force_where_it_is_awaited(server, module):
    async def main():
        async with module.AsyncClient(timeout=60) as client:
            with deadline.limit(0.1):
                await client.get(f"{server.url}/drip_body")

    with pytest.raises(module.ReadTimeout, match=r"limit 0\.1 s \(deadline\.limit\)"):
        asyncio.run(main())


@each_httpx
def test_the_watchdog_of_requests_can_end_a_wait_from_its_own_thread(server, module):
    install(Outbound(total_timeout=None, read_timeout=None))

    async def main(mine):
        async with module.AsyncClient(timeout=None) as client:
            asyncio.get_running_loop().call_later(0.2, begin, mine)
            return await each(client.get(f"{server.url}/silent"))

    def begin(mine):
        thread = threading.Thread(target=lambda: [wait.interrupt() for wait in list(mine.waits)])
        thread.start()
        thread.join(5)

    began = time.monotonic()
    with deadline.limit(30) as mine:
        (error,) = asyncio.run(main(mine))
    assert isinstance(raised(error), module.ReadTimeout)
    assert "ended from outside" in str(error)
    assert time.monotonic() - began < 2


async def by_httpx(url):
    async with httpx.AsyncClient(timeout=None) as client:
        await client.get(url)


async def by_aiohttp(url):
    async with aiohttp.ClientSession() as session:
        await session.get(url)


@pytest.mark.parametrize("call", [by_httpx, *([by_aiohttp] if aiohttp else [])])
def test_the_end_of_the_loop_does_not_wait_for_a_lookup_that_was_given_up_on(call):
    began = time.monotonic()
    with names({}, 3), pytest.raises(Exception, match=r"gave up on") as caught:
        asyncio.run(call(f"http://{call.__name__}.stalled.test/"))
    assert isinstance(caught.value, DeadlineExceeded)
    assert time.monotonic() - began < TOTAL + 1


@pytest.mark.parametrize("call", [by_httpx, *([by_aiohttp] if aiohttp else [])])
def test_names_are_looked_up_and_what_is_unknown_is_so_as_without_limits(server, call):
    def outcome(url):
        try:
            asyncio.run(call(url))
        except Exception as error:
            return type(error), error.args

    port = server.port
    with names({"known.test": ["127.0.0.1"]}, 0):
        assert outcome(f"http://known.test:{port}/ok") is None
        found = outcome("http://unknown.stalled.test/")
        uninstall()
        assert found[0] is outcome("http://unknown.stalled.test/")[0]


def test_in_report_mode_nothing_is_enforced_and_the_line_is_counted(seen):
    install(Outbound(mode="report", total_timeout=0.1, read_timeout=60))

    async def main(server):
        async with httpx.AsyncClient(timeout=None) as client:
            return await client.get(f"{server.url}/drip_body")

    with Hostile(seconds=0.5) as server:
        assert asyncio.run(main(server)).content == b"x" * 30
    assert [(event.problem, event.caller.partition(":")[0]) for event in seen] == [
        ("beyond_limit", __file__)
    ]
