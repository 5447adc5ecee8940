"""What the limits cost a healthy call on asyncio: CPU time of the client, in rounds that alternate
between off and on.

    python -m bench.outbound.async_costs [rounds]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from typing import Any, Awaitable, Callable, Dict, List

import aiohttp
import httpx

from bench.outbound.costs import server
from bench.report import machine
from resilient_wsgi import deadline, outbound

CALLS = 100
Call = Callable[[], Awaitable[Any]]


async def timed(call: Call) -> float:
    """Return the microseconds of CPU time that a call takes, of many."""
    await call()
    began = time.thread_time()
    for _ in range(CALLS):
        await call()
    return (time.thread_time() - began) / CALLS * 1e6


async def measure(url: str, rounds: int) -> Dict[str, List[List[float]]]:
    client = httpx.AsyncClient(trust_env=False, verify=False)
    session = aiohttp.ClientSession()

    async def by_httpx() -> None:
        await client.get(url)

    async def by_aiohttp() -> None:
        async with session.get(url) as response:
            await response.read()

    def in_request(call: Call) -> Call:
        async def limited() -> None:
            with deadline.limit(20):
                await call()

        return limited

    ways = {"httpx": by_httpx, "httpx, with a deadline": in_request(by_httpx), "aiohttp": by_aiohttp, "aiohttp, with a deadline": in_request(by_aiohttp)}  # fmt: skip
    taken: Dict[str, List[List[float]]] = {way: [[], []] for way in ways}
    for number in range(rounds * 2):
        on = number % 2
        (outbound.install if on else outbound.uninstall)()
        for way, call in ways.items():
            taken[way][on].append(await timed(call))
    outbound.uninstall()
    await client.aclose()
    await session.close()
    return taken


def main(rounds: int = 20) -> None:
    with server() as url:
        taken = asyncio.run(measure(f"{url}/ok", rounds))
    print(f"Measured on {machine('httpx', 'aiohttp')}; {rounds} rounds of {CALLS} calls each.\n")
    print("| a call, keep-alive, loopback | without | with | quickest rounds |")
    print("|---|---|---|---|")
    for way, (off, on) in taken.items():
        without, limited = statistics.median(off), statistics.median(on)
        print(
            f"| {way} | {without:.1f} µs | {limited:.1f} µs | {min(off):.1f} to {min(on):.1f} µs |"
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
