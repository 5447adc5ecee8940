"""What each worker does, in shared memory, so that the next one can say what a killed one was
doing.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import Any, Iterator, List, Tuple, Union

from ..host import procfs
from .shared import HEAD_BYTES, REGION_BYTES, REGIONS, Shared, View

# pid, number of the worker, when the process was started (clock ticks), when its watchdog last
# looked (monotonic)
_OWNER = struct.Struct("=iiQd")
_SEEN = struct.Struct("=d")
SEEN_AT = 16
# busy, when it began (monotonic), method, path; of what it waits for the first byte, which empties
# that
_REQUEST = struct.Struct("=B7xd16s103ss")
_DOING = struct.Struct("=80s")
DOING_AT = _REQUEST.size - 1
RECORD_BYTES = 256
FIRST_RECORD = 64
RECORDS = 16
DUMP_AT = FIRST_RECORD + RECORDS * RECORD_BYTES
# when it was taken (monotonic), its length
_DUMP = struct.Struct("=dH")
DUMP_BYTES = REGION_BYTES - DUMP_AT - _DUMP.size
CUT = "[...]"


class Record:
    """The place for what one thread does.

    `begin(now, method, path, b"")` notes a request, `clear()` that it is over.
    """

    __slots__ = ("_at", "_memory", "begin", "clear")

    def __init__(self, memory: Any, at: int) -> None:
        self._memory = memory
        self._at = at
        # no methods of ours: these are in the way of every request
        self.begin = functools.partial(_REQUEST.pack_into, memory, at, 1)
        self.clear = functools.partial(memory.__setitem__, at, 0)

    def write_doing(self, what: str) -> None:
        """Note what it waits for."""
        _DOING.pack_into(self._memory, self._at + DOING_AT, what.encode(errors="replace"))


@dataclass(frozen=True)
class Found:
    """A request that stands in a region: what, since when (monotonic), what it waits for."""

    what: str
    begun: float
    doing: str


@dataclass(frozen=True)
class Dump:
    """Stacks that a worker has noted, and when it took them (monotonic): of what ran then, not of
    what came later.
    """

    text: str
    taken: float


class Region:
    """The place of one worker."""

    def __init__(self, shared: Union[Shared, View], number: int) -> None:
        self._memory: Any = shared.memory
        self.number = number
        self._at = HEAD_BYTES + number * REGION_BYTES

    def records(self) -> List[Record]:
        """Return the places for its threads; the first stands last, to be popped."""
        first = self._at + FIRST_RECORD
        return [Record(self._memory, first + n * RECORD_BYTES) for n in reversed(range(RECORDS))]

    def take(self, pid: int, worker: int) -> None:
        """Make it that of a worker, with nothing in it."""
        self._memory[self._at : self._at + REGION_BYTES] = bytes(REGION_BYTES)
        _OWNER.pack_into(self._memory, self._at, pid, worker, procfs.start(pid), 0.0)

    def give_back(self) -> None:
        """Note that its worker has ended in an orderly way."""
        _OWNER.pack_into(self._memory, self._at, 0, 0, 0, 0.0)

    def seen(self, now: float) -> None:
        """Note that the watchdog has looked."""
        _SEEN.pack_into(self._memory, self._at + SEEN_AT, now)

    def write_dump(self, text: str, now: float) -> None:
        """Keep the last stacks, as many lines of them as there is room for."""
        data = cut(text.encode(errors="replace"), DUMP_BYTES)
        at = self._at + DUMP_AT
        _DUMP.pack_into(self._memory, at, now, 0)  # a worker that is killed meanwhile has none
        self._memory[at + _DUMP.size : at + _DUMP.size + len(data)] = data
        _DUMP.pack_into(self._memory, at, now, len(data))

    @property
    def owner(self) -> Tuple[int, int]:
        """Pid and number of its worker; the pid is 0 if nobody has it."""
        pid, worker, _, _ = _OWNER.unpack_from(self._memory, self._at)
        return pid, worker

    @property
    def last_seen(self) -> float:
        """When the watchdog last looked; 0 if it never did."""
        seen: float = _SEEN.unpack_from(self._memory, self._at + SEEN_AT)[0]
        return seen

    def orphaned(self) -> bool:
        """Return whether its worker was killed: it has not given it back, and is no more."""
        pid, _, when, _ = _OWNER.unpack_from(self._memory, self._at)
        return bool(pid) and procfs.start(pid) != when

    def requests(self) -> Iterator[Found]:
        """Return what stands in it."""
        for n in range(RECORDS):
            at = self._at + FIRST_RECORD + n * RECORD_BYTES
            busy, begun, method, path, _ = _REQUEST.unpack_from(self._memory, at)
            if busy:
                (doing,) = _DOING.unpack_from(self._memory, at + DOING_AT)
                yield Found(f"{_text(method)} {_text(path)}", begun, _text(doing))

    def dump(self) -> Dump:
        """Return the last stacks."""
        at = self._at + DUMP_AT
        taken, length = _DUMP.unpack_from(self._memory, at)
        data = bytes(self._memory[at + _DUMP.size : at + _DUMP.size + min(length, DUMP_BYTES)])
        return Dump(data.decode(errors="replace"), taken)


def regions(shared: Union[Shared, View]) -> List[Region]:
    """Return all of them."""
    return [Region(shared, number) for number in range(REGIONS)]


def cut(data: bytes, limit: int) -> bytes:
    """Return at most `limit` bytes of a text, whole lines; the last one says if there were more."""
    if len(data) <= limit:
        return data
    mark = f"\n{CUT}".encode()
    return data[: limit - len(mark)].rpartition(b"\n")[0] + mark


def _text(data: bytes) -> str:
    text, end, _ = data.partition(b"\0")
    # without an end it fills its place: as good as always, because there was more
    return text.decode(errors="replace") if end else text.decode(errors="ignore") + CUT
