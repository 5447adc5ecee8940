"""What stands in the scoreboard about the queue, as `status` shows it."""

from __future__ import annotations

from array import array

import pytest

from resilient_wsgi.overload import state as cells
from resilient_wsgi.overload.queue import Queue
from resilient_wsgi.overload.seen import Seen
from resilient_wsgi.overload.state import State, bytes_for

NOW = 1000.0


class Snapshot:
    """A scoreboard with two rows, in which requests are picked up."""

    def __init__(self):
        self.memory = memoryview(array("d", bytes(bytes_for(2))))
        self.rows = [None, None]
        self.waiting = 0
        state = State(self.memory, 2, 1)
        self.line = Queue(state, lambda: self.waiting, lambda: self.waiting > 0)

    def queue(self):
        return memoryview(self.memory.tobytes()).cast("d")

    def counters(self):
        return {"RequestShed": 7}


@pytest.fixture
def snapshot():
    return Snapshot()


def test_of_an_instance_that_has_picked_up_nothing_nothing_is_known(snapshot):
    seen = Seen.of(snapshot, 0, NOW)
    assert seen == Seen()
    assert seen.lines() == []


def test_without_an_overload(snapshot):
    snapshot.line.picked_up(NOW)
    seen = Seen.of(snapshot, 0, NOW + 1)
    assert (seen.picked_up, seen.tolerated, seen.limit, seen.oldest) == (1, None, None, 0.0)
    text = "\n".join(seen.lines())
    assert "tolerate a wait of  not known yet" in text
    assert "shed now                    nothing" in text


def test_in_an_overload(snapshot):
    for n in range(10):
        snapshot.waiting = 10 * n
        snapshot.line.picked_up(NOW + n / 5)
    memory = snapshot.memory
    memory[cells.TOLERATED], memory[cells.LIMIT], memory[cells.SHED] = 1.75, 0.58, 5
    seen = Seen.of(snapshot, 90, NOW + 2)
    assert (seen.picked_up, seen.tolerated, seen.limit) == (10, 1.75, 0.58)
    assert (seen.shed, seen.shed_ever) == (5, 7)
    # the eleventh came when there were ten
    assert seen.oldest == pytest.approx(2 - 0.2, abs=0.2)
    text = "\n".join(seen.lines())
    assert "1.75 s, after which they hang up" in text
    assert "requests that waited over 0.58 s, 5 in this overload" in text
    assert "has waited 1.8 s" in text
    assert "10 picked up, 7 shed" in text


def test_of_a_queue_that_only_the_kernel_knows_the_oldest_came_after_the_last_sample(snapshot):
    snapshot.line.picked_up(NOW)
    assert Seen.of(snapshot, 3, NOW + 4).oldest == pytest.approx(2.0)
