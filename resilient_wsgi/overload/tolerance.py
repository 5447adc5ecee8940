"""How long requests may wait, learned from clients that hang up, and the wait from which they are
shed.

What is learned is not when clients give up, but the wait at pick-up from which on requests are in
vain: the time that they take is in it already. Three shares tell, by wait, and each of them alone
may: of clients that are gone at pick-up; of clients that are gone when their answer is ready; of
work that was done in vain. Only the excess over requests that waited less than half as long counts,
because clients that hang up on purpose, or with each letter typed, do so after any wait. And it
counts less two standard errors, so that neither chance nor a few impatient clients teach anything.
Where requests are too few for a bin to tell, as slow ones often are that make up most of the work,
an octave does.

Where no client has ever given up, nothing is known, and nothing is shed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import List, Tuple

from .arrivals import Arrivals
from .state import (
    BEGAN,
    BINS,
    BUSY,
    CONTROLLED,
    DEAD,
    DEPTH,
    EDGES,
    KINDS,
    LEARNED,
    LEARNED_OF,
    LIMIT,
    PICKED,
    RECENT_AT,
    SERVED,
    SQUARES,
    TOLERATED,
    USUAL_AT,
    VAIN,
    WORK,
    WORK_VAIN,
    State,
)

# how often shares are looked at; in an overload, and while no client waits
LEARN_EVERY = 0.5
LEARN_EVERY_CALM = 10.0
# the shortest wait that may teach; so nothing is ever shed below a third of it
FLOOR = 0.5
FIRST_BIN = EDGES.index(FLOOR) + 1
HALF = 4  # an octave of bins
# the excess of requests in vain from which on a wait is not tolerated. With less, an attacker who
# hangs up on purpose would need fewer connections
SHARE = 0.2
# requests in vain, at least: 2 of 2 happen by chance
ENOUGH = 8.0
# half-life of what teaches, but never in less than so many pick-ups; and of what is compared with
RECENT_SECONDS, RECENT_PICKED = 2.0, 40.0
USUAL_SECONDS = 60.0
# of what is tolerated, allowed in an overload; at its beginning all of it is
KEEP = 1 / 3
# Of the room in the listen queue, used at most in an overload. Where it is full, TCP drops parts of
# connections: clients wait for repetitions, of up to seconds, and workers for requests that were
# dropped (uWSGI's socket-timeout, 4 s). So there has to be room for a stop of all workers, too
USED = 1 / 4
# what is thought to be tolerated doubles in this time: while requests are shed, which is how a new,
# longer patience is found; and else
PROBE_SECONDS = 120.0
FORGET_SECONDS = 600.0
LONGEST = 2 * EDGES[-1]  # more is as good as unknown
# the overload is over after so many seconds with a short queue
QUIET = 1.0

# all, those in vain
SHARES = ((PICKED, DEAD), (SERVED, VAIN), (WORK, WORK_VAIN))


class Tolerance:
    """Learns, and sets the limit of the instance.

    `room` is for how many there is room in the listen queue.
    """

    def __init__(self, state: State, arrivals: Arrivals, room: float = math.inf) -> None:
        self._state = state
        self._cells = state.cells
        self._arrivals = arrivals
        self._room = room

    def picked(self, waited: float, *, dead: bool) -> None:
        """Note a request that was picked up, and whether its client was gone by then."""
        for at in self._bins(waited):
            self._cells[at + PICKED] += 1
            if dead:
                self._cells[at + DEAD] += 1

    def answered(self, waited: float, took: float, *, vain: bool) -> None:
        """Note a request whose answer is ready, and whether its client is gone by now."""
        cells = self._cells
        for at in self._bins(waited):
            cells[at + SERVED] += 1
            cells[at + WORK] += took
            cells[at + SQUARES] += took * took
            if vain:
                cells[at + VAIN] += 1
                cells[at + WORK_VAIN] += took

    @staticmethod
    def _bins(waited: float) -> Tuple[int, ...]:
        at = bisect_left(EDGES, waited) * KINDS
        # what is too short to teach is only compared with
        return (USUAL_AT + at,) if waited <= FLOOR else (RECENT_AT + at, USUAL_AT + at)

    def look(self, now: float) -> None:
        """Learn if it is time to, and set the limit; after a sample of the queue."""
        cells = self._cells
        since = now - cells[LEARNED]
        if since >= LEARN_EVERY_CALM or (since >= LEARN_EVERY and cells[DEPTH]) or since < 0:
            cells[LEARNED] = now
            if cells[LEARNED_OF] and since > 0:
                self._learn(since)
            cells[LEARNED_OF] = self._state.picked()
        if cells[TOLERATED]:
            self._control(now)

    def _control(self, now: float) -> None:
        cells = self._cells
        passed, cells[CONTROLLED] = now - (cells[CONTROLLED] or now), now
        tolerated, limit = cells[TOLERATED], cells[LIMIT]
        next_one = self._state.picked() + 1
        head = self._arrivals.waited(next_one, now) if cells[DEPTH] else 0.0
        if not limit and head > tolerated:
            cells[BEGAN], limit = now, tolerated
        if head > KEEP / 2 * tolerated or cells[DEPTH] > USED / 2 * self._room:
            cells[BUSY] = now
        tolerated *= 2 ** (max(0.0, passed) / (PROBE_SECONDS if limit else FORGET_SECONDS))
        if limit:
            # from all of it to what is kept, in the time that is tolerated
            share = max(KEEP, 1 - (1 - KEEP) * (now - cells[BEGAN]) / tolerated)
            limit = min(tolerated * share, self._fits(now)) if now - cells[BUSY] < QUIET else 0.0
        if tolerated > LONGEST:
            tolerated = limit = 0.0
        cells[TOLERATED], cells[LIMIT] = tolerated, limit

    def _fits(self, now: float) -> float:
        """Return the wait from which on requests have to go, so that the rest fits into the part of
        the room that may be used.
        """
        more = self._cells[DEPTH] - USED * self._room
        if more <= 0:
            return math.inf
        return max(KEEP * FLOOR, self._arrivals.waited(self._state.picked() + more, now))

    def _learn(self, passed: float) -> None:
        cells = self._cells
        found = self._not_tolerated()
        if found:
            cells[TOLERATED] = min(cells[TOLERATED] or found, found)
        fade = 0.5 ** min(
            passed / RECENT_SECONDS,
            max(0.0, self._state.picked() - cells[LEARNED_OF]) / RECENT_PICKED,
        )
        self._fade(RECENT_AT, 0.0 if found else fade)
        self._fade(USUAL_AT, 0.5 ** (passed / USUAL_SECONDS))

    def _fade(self, at: int, factor: float) -> None:
        cells = self._cells
        for place in range(at, at + BINS * KINDS):
            if cells[place]:
                cells[place] *= factor

    def _not_tolerated(self) -> float:
        """Return the shortest wait of which too many requests were in vain, 0 for none."""
        recent = list(self._cells[RECENT_AT:USUAL_AT])
        bins = [recent[at : at + KINDS] for at in range(0, BINS * KINDS, KINDS)]
        shorter: List[float] = [0.0] * KINDS
        counted = 0
        for row in range(FIRST_BIN, BINS):
            octave = bins[row : row + HALF]
            if not any(each[DEAD] or each[VAIN] for each in octave):
                continue
            for before in range(counted, row - HALF):
                at = USUAL_AT + before * KINDS
                shorter = [a + b for a, b in zip(shorter, self._cells[at : at + KINDS])]
            counted = row - HALF
            if any(_in_vain(share, octave[:1], shorter) for share in SHARES):
                return EDGES[row - 1]
            if any(_in_vain(share, octave, shorter) for share in SHARES if _rare(share, octave)):
                return EDGES[min(row - 1 + HALF // 2, len(EDGES) - 1)]
        return 0.0


def _in_vain(share: Tuple[int, int], bins: List[List[float]], shorter: List[float]) -> bool:
    """Return whether surely more of these requests were in vain than of those that waited less
    than half as long.
    """
    all_, bad = share
    in_vain = sum(each[bad] for each in bins)
    number, of = sum(_number(all_, each) for each in bins), sum(each[all_] for each in bins)
    if not in_vain or not of:
        return False
    amount = number * min(1.0, in_vain / of)
    base = min(1.0, shorter[bad] / shorter[all_]) if shorter[all_] else 0.0
    return amount >= ENOUGH and surely(amount, number) - base > SHARE * (1 - base)


def _rare(share: Tuple[int, int], bins: List[List[float]]) -> bool:
    """Return whether no bin alone could teach, because there are too few."""
    return all(_number(share[0], each) < ENOUGH for each in bins)


def _number(all_: int, of: List[float]) -> float:
    # of work: how many requests of the same length it amounts to (Kish)
    return of[WORK] ** 2 / (of[SQUARES] or 1.0) if all_ == WORK else of[all_]


def surely(bad: float, of: float) -> float:
    """Return the share of bad ones less two standard errors (the lower end of Wilson's
    interval).
    """
    return (bad + 2 - 2 * math.sqrt(max(0.0, bad * (of - bad) / of) + 1)) / (of + 4)
