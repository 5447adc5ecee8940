"""The cells' clients on asyncio: each call has an event loop of its own, as under `async_to_sync`."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Dict

import aiohttp
import httpx

BLOCK_BYTES = 64 * 1024


class ByHttpxOnAsyncio:
    error = httpx.TimeoutException
    lacks = ("retry-after", "pool")

    def __init__(self, call: Any) -> None:
        self.call = call

    def run(self) -> Any:
        return asyncio.run(self._run())

    async def _run(self) -> bytes:
        options: Dict[str, Any] = {"proxy": self.call.proxy} if self.call.proxy else {}
        async with httpx.AsyncClient(
            timeout=self.call.timeout, verify=self.call.context or False, trust_env=False,
            follow_redirects=True, max_redirects=99, **options,
        ) as client:  # fmt: skip
            response = await client.request(
                "POST" if self.call.body else "GET",
                self.call.url,
                content=in_blocks(self.call.body),
            )
            content: bytes = response.content
            return content

    def close(self) -> None:
        pass


class ByAiohttp:
    error = asyncio.TimeoutError
    # bytes it encrypts in one go, however many there are
    lacks = ("retry-after", "pool", "upload of bytes")

    def __init__(self, call: Any) -> None:
        self.call = call

    def run(self) -> Any:
        return asyncio.run(self._run())

    async def _run(self) -> bytes:
        options: Dict[str, Any] = {"proxy": self.call.proxy} if self.call.proxy else {}
        if self.call.timeout is not None:
            options["timeout"] = aiohttp.ClientTimeout(total=self.call.timeout)
        async with aiohttp.ClientSession() as session, session.request(
            "POST" if self.call.body else "GET", self.call.url, data=in_blocks(self.call.body),
            ssl=self.call.context or False, max_redirects=99, **options,
        ) as response:  # fmt: skip
            content: bytes = await response.read()
            return content

    def close(self) -> None:
        pass


def in_blocks(body: Any) -> Any:
    """Return a body as asynchronous clients take it: neither files nor generators of the other kind."""
    return body if body is None or isinstance(body, bytes) else _blocks(body)


async def _blocks(body: Any) -> AsyncIterator[bytes]:
    read = getattr(body, "read", None)
    blocks = iter(lambda: read(BLOCK_BYTES), b"") if read else body
    for block in blocks:
        yield block
