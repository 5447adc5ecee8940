"""aiohttp: its own timeouts do the work, so its sessions and the loop are left as it leaves them."""

from __future__ import annotations

import asyncio
import time

import pytest

from bench.outbound.hostile import Hostile, black_holes, names
from resilient_wsgi import deadline
from resilient_wsgi.errors import DeadlineExceeded
from resilient_wsgi.outbound import install, timeouts, uninstall
from resilient_wsgi.outbound.policy import IN_REQUEST
from resilient_wsgi.settings.options import Outbound

aiohttp = pytest.importorskip("aiohttp")
ClientTimeout = aiohttp.ClientTimeout

TOTAL = 0.3  # conftest.py


def run(call, **session):
    """Run `call(session)`, and return what it returns."""

    async def main():
        async with aiohttp.ClientSession(**session) as made:
            return await call(made)

    return asyncio.run(main())


def body_of(url, **options):
    async def call(session):
        async with session.get(url, **options) as response:
            return await response.read()

    return call


@pytest.fixture
def brief():
    """No limits but the one of silence, which is short."""
    install(Outbound(connect_timeout=None, read_timeout=TOTAL, total_timeout=None))


@pytest.mark.parametrize(
    ("timeout", "path", "kind"),
    [
        (ClientTimeout(total=0.1), "silent", asyncio.TimeoutError),
        (ClientTimeout(total=0.1), "drip_body", asyncio.TimeoutError),
        (ClientTimeout(sock_read=0.1), "silent", aiohttp.ServerTimeoutError),
        (ClientTimeout(sock_read=0.1), "late_body", aiohttp.ServerTimeoutError),
    ],
)
def test_what_a_number_of_the_callers_ends_in_is_what_aiohttp_raises_without_us(
    server, seen, timeout, path, kind
):
    def ended():
        with pytest.raises(kind) as caught:
            run(body_of(f"{server.url}/{path}", timeout=timeout))
        return type(caught.value), caught.value.args

    install(Outbound(connect_timeout=5, read_timeout=5, total_timeout=5))
    found = ended()
    uninstall()
    assert found == ended()
    assert not seen


def test_the_limit_of_connecting_is_one_of_all_addresses_and_of_dns():
    install(Outbound(connect_timeout=0.3, read_timeout=60, total_timeout=60))
    with black_holes(3) as (addresses, port), names({"dead.test": addresses}, 1):
        for url in (f"http://dead.test:{port}/", "http://one.stalled.test/"):
            began = time.monotonic()
            with pytest.raises(aiohttp.ServerTimeoutError, match=r"phase connect .*limit 0\.3 s"):
                run(body_of(url))
            assert time.monotonic() - began < 2  # asyncio waits for the thread of a lookup


def test_a_proxy_that_hangs_in_connect_is_given_up_on_with_the_limit_of_connecting(server):
    install(Outbound(connect_timeout=0.3, read_timeout=60, total_timeout=60))
    with pytest.raises(aiohttp.ServerTimeoutError, match=r"phase connect .*limit 0\.3 s"):
        run(body_of("https://upstream.invalid/", proxy=server.url))


def test_a_handshake_that_hangs_is_part_of_connecting(server):
    install(Outbound(connect_timeout=0.3, read_timeout=60, total_timeout=60))
    with pytest.raises(aiohttp.ServerTimeoutError, match=r"phase connect .*limit 0\.3 s"):
        run(body_of(server.url.replace("http", "https") + "/ok"))


def test_the_timeout_of_the_session_is_a_number_of_the_callers(server):
    with pytest.raises(asyncio.TimeoutError) as caught:
        run(body_of(f"{server.url}/silent"), timeout=ClientTimeout(total=0.1))
    assert not isinstance(caught.value, DeadlineExceeded)


def test_no_default_shortens_a_number_of_the_callers(monkeypatch):
    short = IN_REQUEST._replace(
        connect=IN_REQUEST.connect._replace(seconds=0.2),
        read=IN_REQUEST.read._replace(seconds=0.2),
        total=IN_REQUEST.total._replace(seconds=0.2),
    )
    monkeypatch.setattr("resilient_wsgi.outbound.policy.installed.policy.elsewhere", short)
    with Hostile(seconds=0.6) as server:
        for timeout in (ClientTimeout(total=5), ClientTimeout(sock_read=5)):
            assert run(body_of(f"{server.url}/late_body", timeout=timeout)) == b"ok"
        with pytest.raises(asyncio.TimeoutError):
            run(body_of(f"{server.url}/late_body"))


def test_a_total_of_none_asks_for_a_stream_whose_total_ends_with_its_headers():
    install(Outbound(connect_timeout=5, read_timeout=5, total_timeout=TOTAL))
    stream = ClientTimeout(total=None)
    with Hostile(seconds=0.8) as server:
        assert run(body_of(f"{server.url}/drip_body", timeout=stream)) == b"x" * 30
        with pytest.raises(asyncio.TimeoutError, match=r"phase headers .*TOTAL_TIMEOUT"):
            run(body_of(f"{server.url}/drip_headers", timeout=stream))


def test_a_stream_that_falls_silent_is_given_up_on(server, brief):
    with pytest.raises(aiohttp.ServerTimeoutError, match=r"phase body .*READ_TIMEOUT"):
        run(body_of(f"{server.url}/late_body"))


def test_a_stream_does_not_outlive_the_deadline(server, brief):
    async def call(session):
        with deadline.limit(0.2):
            async with session.get(f"{server.url}/drip_body", timeout=ClientTimeout()) as response:
                return await response.read()

    with pytest.raises(asyncio.TimeoutError, match=r"phase body .*deadline\.limit"):
        run(call)


def test_a_silence_that_nobody_waits_for_ends_nothing(brief):
    async def call(session):
        async with session.get(f"{server.url}/late_body") as response:
            await asyncio.sleep(TOTAL * 2)
            return await response.read()

    with Hostile(seconds=TOTAL * 2 + 0.1) as server:
        assert run(call) == b"ok"


def test_a_connection_that_was_upgraded_keeps_nothing_of_ours(brief):
    async def call(session):
        async with session.get(f"{server.url}/upgrade") as response:
            await asyncio.sleep(TOTAL * 2)
            return response.status, response.connection.transport.is_closing()

    with Hostile(seconds=5) as server:
        assert run(call) == (101, False)


def test_tasks_of_one_session_have_their_own_limits_and_leave_it_good(server):
    async def call(session, seconds):
        began = time.monotonic()
        with timeouts(total=seconds), pytest.raises(asyncio.TimeoutError, match=f"{seconds} s"):
            await body_of(f"{server.url}/drip_body")(session)
        return time.monotonic() - began

    async def main(session):
        took = await asyncio.gather(*(call(session, seconds) for seconds in (0.1, 0.2, 0.6)))
        return took, [await body_of(f"{server.url}/ok")(session) for _ in range(5)]

    took, healthy = run(main, connector=None)
    assert all(s <= t < s + 0.3 for s, t in zip((0.1, 0.2, 0.6), took))
    assert healthy == [b"ok"] * 5


def test_the_wait_for_a_connection_of_the_pool_is_part_of_the_call(server):
    async def main(session):
        calls = (body_of(f"{server.url}/silent")(session) for _ in range(3))
        done = await asyncio.gather(*calls, return_exceptions=True)
        return done, await body_of(f"{server.url}/ok")(session)

    async def with_one_connection():
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            return await main(session)

    began = time.monotonic()
    done, healthy = asyncio.run(with_one_connection())
    assert all(isinstance(error, DeadlineExceeded) for error in done)
    assert all(isinstance(error, asyncio.TimeoutError) for error in done)
    assert healthy == b"ok"
    assert time.monotonic() - began < TOTAL + 0.5


def test_a_call_that_the_app_cancels_is_cancelled(server):
    async def call(session):
        with pytest.raises(asyncio.TimeoutError) as caught:
            await asyncio.wait_for(body_of(f"{server.url}/silent")(session), 0.1)
        assert not isinstance(caught.value, DeadlineExceeded)
        return await body_of(f"{server.url}/ok")(session)

    assert run(call) == b"ok"


def test_a_version_that_mixes_up_connections_is_left_alone(monkeypatch):
    from resilient_wsgi.outbound import status_lines

    uninstall()
    monkeypatch.setattr(aiohttp, "__version__", "3.9.0")
    install(Outbound())
    assert not hasattr(aiohttp.ClientSession._request, "__wrapped__")
    assert any(line.startswith("not limited: aiohttp 3.9.0") for line in status_lines())


def test_in_report_mode_nothing_is_enforced_and_each_line_is_counted(seen):
    install(Outbound(mode="report", total_timeout=0.1, read_timeout=60))
    with Hostile(seconds=0.5) as server:
        assert run(body_of(f"{server.url}/drip_body")) == b"x" * 30
        assert run(body_of(f"{server.url}/ok")) == b"ok"
    assert [(event.problem, event.caller.partition(":")[0]) for event in seen] == [
        ("no_timeout", __file__),
        ("beyond_limit", __file__),
    ]
