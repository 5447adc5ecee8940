"""Cut what is to be written into pieces: whole lines, as many as a pipe takes whole or not at all,
or one longer line.
"""

from __future__ import annotations

from typing import Iterator

from ..host.linux import PIPE_BUF

GOES_ON = b" [...]\n"
CONTINUED = b"[...] "


def cut(data: bytes, limit: int = PIPE_BUF, *, split: bool = False) -> Iterator[bytes]:
    r"""Yield `data` in pieces of at most `limit` bytes, of whole lines; a longer line is a piece of
    its own.

    With `split` that line is cut between two characters of UTF-8: for a socket that keeps messages
    apart, and cuts what is longer than its reader's buffer. One part ends with ` [...]\n` and the
    next begins with `[...] `, so that each is a line of its own.
    """
    begin, before = 0, b""
    while len(before) + len(data) - begin > limit:
        last = begin + limit - len(before)
        end = data.rfind(b"\n", begin, last) + 1
        if not end and not split:
            end = data.find(b"\n", last) + 1 or len(data)
        if end:
            yield before + data[begin:end]
            before = b""
        else:
            end = boundary(data, last - len(GOES_ON))
            yield before + data[begin:end] + GOES_ON
            before = CONTINUED
        begin = end
    if begin < len(data):
        yield before + data[begin:]


def boundary(data: bytes, end: int) -> int:
    """Return the last place up to `end` that is between two characters.

    What is not UTF-8 is cut at `end`.
    """
    for place in range(end, max(end - 4, 0), -1):
        if data[place] & 0xC0 != 0x80:
            return place
    return end
