"""What the rule remembers, as numbers in memory that all processes of an instance share.

Each number is one aligned store and one load. There are no locks, and nothing that a killed process
could leave behind: limits follow from points in time, and what is in flight is counted from the
rows of the threads. Two processes that write a statistic at the same moment lose one of the two.
"""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Iterator,
    List,
    MutableSequence,
    NamedTuple,
    Optional,
    Union,
)  # fmt: skip

from ..shm.layout import UPSTREAMS, upstream_at

if TYPE_CHECKING:
    from ..shm.snapshot import Snapshot

Numbers = Union["memoryview[float]", MutableSequence[float]]  # the first is of doubles
# Places that are known outside of the classes below: `RESTRAINED` of a pool, the others of a limit
RESTRAINED = 7
LIMITED_AT, ORDERED_AT = 0, 7


class Number:
    """A field of a `State`: the number at a fixed place."""

    __slots__ = ("at",)

    def __init__(self, at: int) -> None:
        self.at = at

    def __get__(self, state: State, _owner: Any = None) -> float:
        return state.numbers[state.base + self.at]

    def __set__(self, state: State, value: float) -> None:
        state.numbers[state.base + self.at] = value


class State:
    """Some of the numbers, from `base` on. Times are of the monotonic clock; 0 is never."""

    __slots__ = ("base", "numbers")

    def __init__(self, numbers: Numbers, base: int = 0) -> None:
        self.numbers = numbers
        self.base = base


class Pool(State):
    """How short of threads the pool is."""

    __slots__ = ()

    SIZE = 8
    level = Number(0)  # how many times the number of stuck calls that is tolerated was halved
    stepped_at = Number(1)
    pressure = Number(2)  # from 0 to 1: for what part of the last second requests waited
    sampled_at = Number(3)
    hungry_at = Number(4)
    calm_at = Number(5)
    idle_at = Number(6)  # when a thread was last seen idle
    restrained = Number(RESTRAINED)  # whether calls to any upstream have to be looked at closely


class Limit(State):
    """Whether calls to an upstream are limited, and what shows how far."""

    __slots__ = ()

    SIZE = 16
    limited_at = Number(LIMITED_AT)
    fast_at = Number(1)  # the last answer in time
    alive_until = Number(2)  # after a slow answer: until when it counts as slow, not dead
    probe_at = Number(3)
    refused_at = Number(4)
    bulk_until = Number(5)
    slow_since = Number(6)
    ordered_at = Number(ORDERED_AT)  # by an operator
    streak = Number(8)  # of fast answers
    bad = Number(9)  # the recent share of calls that were not answered in time
    censored = Number(10)  # calls that were ended since the last answer
    recent = Number(11)  # the recent duration
    refused = Number(12)  # counted, while the instance lives
    ended = Number(13)
    refused_before = Number(14)  # the two counts when it was limited
    ended_before = Number(15)


class History(State):
    """What is usual for an upstream: the time that calls took, in windows of up to a minute."""

    __slots__ = ()

    BUCKETS = 20  # by powers of two of milliseconds
    WINDOWS = 32
    SIZE = 8 + BUCKETS + WINDOWS
    usual = Number(0)  # seconds, 0 while it is unknown
    closes = Number(1)  # the window
    length = Number(2)  # seconds, of the window
    count = Number(3)  # of answers in it
    skip = Number(4)
    windows = Number(5)  # how many there have been

    def add(self, bucket: int, seconds: float, calls: int = 1) -> None:
        """Add the time of answered calls to the window."""
        self.numbers[self.base + 8 + bucket] += seconds
        self.count += calls

    def close(self, now: float, *, counts: bool) -> None:
        """Begin the next window; what was usual in this one counts from now on if `counts`."""
        first = self.base + 8
        times: List[float] = list(self.numbers[first : first + self.BUCKETS])
        for n in range(self.BUCKETS):
            self.numbers[first + n] = 0.0
        self.count = 0
        self.length = min(60.0, 2 * (self.length or 0.5))
        self.closes = now + self.length
        if counts and any(times):
            self._remember(_median(times))

    def teach(self, seconds: float) -> None:
        """Have it know, as after half an hour, that calls take so long. For tests."""
        for _ in range(self.WINDOWS):
            self._remember(bucket_of(seconds))
        self.length = 60.0

    def _remember(self, bucket: int) -> None:
        first, place = self.base + 8 + self.BUCKETS, int(self.windows) % self.WINDOWS
        self.numbers[first + place] = bucket
        self.windows += 1
        known = min(int(self.windows), self.WINDOWS)
        middle = sorted(self.numbers[first : first + known])[known // 2]
        self.usual = 2 ** int(middle) / 1000  # the bucket's upper edge


class LimitedUpstream(NamedTuple):
    """An upstream that is limited, as it is seen from outside."""

    name: str
    since: float
    refused: int
    ended: int
    by_operator: bool


def limited_in(seen: Snapshot) -> Iterator[LimitedUpstream]:
    """Yield the upstreams that are limited in an instance."""
    numbers = list(seen.pool())
    for number, name in enumerate(seen.names[:UPSTREAMS]):
        limit = Limit(numbers, upstream_at(number))
        since = limit.ordered_at or limit.limited_at
        if since:
            refused = int(limit.refused - limit.refused_before)
            ended = int(limit.ended - limit.ended_before)
            yield LimitedUpstream(name, since, refused, ended, bool(limit.ordered_at))


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration."""
    return min(History.BUCKETS - 1, int(seconds * 1000).bit_length())


def _median(times: List[float]) -> int:
    """Return the bucket in which half of the time of all threads was spent.

    Not half of the calls: if one call in fifty takes 6 s, threads are filled by those.
    """
    half, up_to = sum(times) / 2, 0.0
    for bucket, spent in enumerate(times):
        up_to += spent
        if up_to >= half:
            return bucket
    return History.BUCKETS - 1


class Learned:
    """What this process has seen of an upstream since its watchdog looked last."""

    __slots__ = ("answers", "fast_at", "fast_below", "times")

    def __init__(self) -> None:
        self.times: List[float] = [0.0] * History.BUCKETS
        self.answers = 0
        self.fast_at = 0.0
        self.fast_below = 0.0  # seconds; what is slower is looked at closely


class Upstream:
    """One upstream, by its number in the table of names, as a process sees it."""

    __slots__ = ("exempt", "history", "learned", "limit", "name", "number", "share")

    SIZE = Limit.SIZE + History.SIZE

    def __init__(
        self,
        number: int,
        name: str,
        history: History,
        limit: Limit,
        share: Optional[float] = None,
        *,
        exempt: bool = False,
    ) -> None:
        self.number = number
        self.name = name
        self.history = history
        self.limit = limit
        self.learned = Learned()
        self.share = share  # set for it by the operator: then it is a bound that always holds
        self.exempt = exempt

    @classmethod
    def alone(cls, number: int, name: str = "") -> Upstream:
        """Return one in memory of its own."""
        numbers = [0.0] * cls.SIZE
        return cls(number, name, History(numbers, Limit.SIZE), Limit(numbers))

    def __repr__(self) -> str:
        state = "limited" if self.limit.limited_at else "not limited"
        return f"<Upstream {self.name or self.number} {state}, usual {self.history.usual:g} s>"
