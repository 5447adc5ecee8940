"""The shop's upstream: a small HTTP service that misbehaves on request.

    python upstream.py PORT CONTROL_PORT

POST http://127.0.0.1:CONTROL_PORT/<mode> sets the mode: answer, hang (accept, read, never answer),
drip (a byte now and then), refuse (close the listening socket). A request is treated by the mode in
force when it came.
"""

from __future__ import annotations

import asyncio
import sys

BODY = b'{"offers": [{"product": 1, "price": "9.90"}]}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
DRIP_SECONDS = 0.5


class Upstream:
    def __init__(self, port: int) -> None:
        self.port = port
        self.mode = "answer"
        self.server: asyncio.base_events.Server | None = None

    async def set_mode(self, mode: str) -> None:
        self.mode = mode
        if mode == "refuse" and self.server:
            self.server.close()
            self.server = None
        elif mode != "refuse" and not self.server:
            self.server = await asyncio.start_server(
                self.serve, "127.0.0.1", self.port, backlog=1024
            )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mode = self.mode
        await reader.readuntil(b"\r\n\r\n")
        if mode == "hang":
            await reader.read()  # until the caller gives up
            return
        writer.write(HEAD % len(BODY))
        step = 1 if mode == "drip" else len(BODY)
        for at in range(0, len(BODY), step):
            writer.write(BODY[at : at + step])
            await writer.drain()
            await asyncio.sleep(DRIP_SECONDS if mode == "drip" else 0)

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readuntil(b"\r\n\r\n")
        await self.set_mode(line.split()[1].decode().strip("/"))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


async def main(port: int, control_port: int) -> None:
    upstream = Upstream(port)
    await upstream.set_mode("answer")
    control = await asyncio.start_server(upstream.control, "127.0.0.1", control_port)
    async with control:
        await control.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
