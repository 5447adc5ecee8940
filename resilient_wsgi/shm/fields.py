"""Fields in shared memory: numbers and texts at fixed places, for the views that `layout` is made
of.

Exec probes import this: `struct`, no more.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CUT = "[...]"


class View:
    """A piece of memory, mapped or read, with fields at fixed places."""

    __slots__ = ("at", "memory")

    def __init__(self, memory: Any, at: int = 0) -> None:
        self.memory = memory
        self.at = at


class Integer:
    """An integer field: one store, one load."""

    __slots__ = ("_codec", "offset")

    def __init__(self, offset: int, code: str) -> None:
        self.offset = offset
        self._codec = struct.Struct(f"={code}")

    def __get__(self, view: View, _owner: object = None) -> int:
        value: int = self._codec.unpack_from(view.memory, view.at + self.offset)[0]
        return value

    def __set__(self, view: View, value: int) -> None:
        self._codec.pack_into(view.memory, view.at + self.offset, value)


class Float:
    """A field for a point in time, or a duration."""

    __slots__ = ("offset",)
    CODEC = struct.Struct("=d")

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def __get__(self, view: View, _owner: object = None) -> float:
        value: float = self.CODEC.unpack_from(view.memory, view.at + self.offset)[0]
        return value

    def __set__(self, view: View, value: float) -> None:
        self.CODEC.pack_into(view.memory, view.at + self.offset, value)


class Text:
    """A field for a text, between two stamps that are equal unless it is being written."""

    __slots__ = ("offset", "size")
    HEAD = struct.Struct("=HH")  # stamp, length
    STAMP = struct.Struct("=H")
    EXTRA_BYTES = HEAD.size + STAMP.size

    def __init__(self, offset: int, size: int) -> None:
        self.offset = offset
        self.size = size

    def __get__(self, view: View, _owner: object = None) -> str:
        at = view.at + self.offset
        _, length = self.HEAD.unpack_from(view.memory, at)
        start = at + self.HEAD.size
        return bytes(view.memory[start : start + min(length, self.size)]).decode(errors="replace")

    def __set__(self, view: View, text: str) -> None:
        at = view.at + self.offset
        data = fit(text, self.size)
        stamp = (self.HEAD.unpack_from(view.memory, at)[0] + 1) & 0xFFFF
        self.HEAD.pack_into(view.memory, at, stamp, len(data))
        start = at + self.HEAD.size
        view.memory[start : start + len(data)] = data
        self.STAMP.pack_into(view.memory, start + self.size, stamp)

    def settled(self, view: View) -> bool:
        """Return whether it was not being written when this was read."""
        at = view.at + self.offset
        (end,) = self.STAMP.unpack_from(view.memory, at + self.HEAD.size + self.size)
        return bool(self.HEAD.unpack_from(view.memory, at)[0] == end)


def fit(text: str, size: int) -> bytes:
    """Return a text as at most `size` bytes, cut between two characters."""
    data = text.encode(errors="replace")
    return data if len(data) <= size else data[:size].decode(errors="ignore").encode()


def cut(data: bytes, limit: int) -> bytes:
    """Return at most `limit` bytes of a text, whole lines; the last one says if there were more."""
    if len(data) <= limit:
        return data
    mark = f"\n{CUT}".encode()
    return data[: limit - len(mark)].rpartition(b"\n")[0] + mark
