"""The rule of overload: the wait of each request, the wait that is tolerated, the limit."""

from __future__ import annotations

import math
import random
from array import array

import pytest

from bench.overload.sim import SCENARIOS, Learned, Sim
from resilient_wsgi import installation
from resilient_wsgi.overload import state as cells
from resilient_wsgi.overload.arrivals import LONGEST_GAP, TICK, Arrivals
from resilient_wsgi.overload.queue import Queue
from resilient_wsgi.overload.state import EDGES, State, bytes_for
from resilient_wsgi.overload.tolerance import ENOUGH, FORGET_SECONDS, Tolerance, surely
from resilient_wsgi.shm import layout

NOW = 1000.0


def memory(rows=1):
    return memoryview(array("d", bytes(bytes_for(rows))))


class Line:
    """A listen queue, first come, first served, and the queue as the library sees it."""

    def __init__(self, state=None, room=math.inf):
        self.waits = []
        self.asked = 0
        self.state = state or State(memory(), 1)
        self.queue = Queue(self.state, self.depth, lambda: bool(self.waits), room)

    def depth(self):
        self.asked += 1
        return len(self.waits)

    def arrive(self, now, count=1):
        self.waits += [now] * count

    def pick(self, now):
        """Return how long the next one has waited: really, and as far as is known, else 0."""
        arrived = self.waits.pop(0)
        return now - arrived, self.queue.picked_up(now) or 0.0


def test_the_layout_is_that_of_the_scoreboard():
    assert cells.ROWS_AT * cells.CELL_BYTES == layout.QUEUE_BYTES
    assert cells.ROW_CELLS * cells.CELL_BYTES == layout.QUEUE_ROW_BYTES
    assert cells.ARRIVED_AT + cells.SAMPLES <= cells.ROWS_AT
    geometry = layout.Geometry(3, 8, 2)
    assert geometry.names_at - geometry.queue_at == bytes_for(11)
    assert geometry.queue_at % 64 == geometry.names_at % 64 == 0


@pytest.mark.parametrize("rate", [20, 200])
def test_the_wait_of_each_request_is_known_within_a_tick(rate):
    """Twice the capacity, and from the 5th second on almost all of them answered at once, as where
    requests are shed.
    """
    chance, line, now, errors = random.Random(rate), Line(), NOW, []
    arrival = pick = NOW
    while now < NOW + 12:
        now = min(arrival, pick)
        if now == arrival:
            line.arrive(now)
            arrival += chance.expovariate(2 * rate)
        else:
            if line.waits:
                real, known = line.pick(now)
                errors.append(known - real)
            pick += 1 / rate if now < NOW + 5 else 0.0005
    assert max(map(abs, errors)) < 2.5 * TICK + 2 / rate
    assert sorted(map(abs, errors))[len(errors) // 2] < TICK / 2 + 1 / rate


def test_after_an_idle_hour_nobody_seems_to_have_waited_for_it():
    line = Line()
    line.arrive(NOW)
    line.pick(NOW)
    line.arrive(NOW + 3600, 50)
    assert [line.pick(NOW + 3600.001)[1] for _ in range(3)] == pytest.approx([0, 0, 0], abs=0.11)
    for n in range(47):  # the last one empties the queue, and that is seen
        line.pick(NOW + 3600.01 + n / 1000)
    line.arrive(NOW + 7200, 50)
    assert line.pick(NOW + 7200.001)[1] <= TICK


def test_a_time_in_which_all_were_busy_is_one_in_which_requests_arrived_evenly():
    line = Line()
    line.arrive(NOW, 5)
    line.pick(NOW)
    line.arrive(NOW + 2, 40)  # in truth all at once
    for _ in range(4):
        line.pick(NOW + 3.0)
    assert line.pick(NOW + 3.0)[1] == pytest.approx(3.0, abs=0.1)
    line = Line()
    line.arrive(NOW, 5)
    line.pick(NOW)
    line.arrive(NOW + 1, 40)
    for _ in range(5):
        line.pick(NOW + LONGEST_GAP + 1)
    assert line.pick(NOW + LONGEST_GAP + 1)[1] <= TICK + 1e-9


def test_after_a_stop_of_all_workers_that_began_with_an_empty_queue_it_is_not_known_who_has_waited():
    line = Line()
    line.arrive(NOW)
    line.pick(NOW)
    for n in range(40):
        line.arrive(NOW + 1 + n / 20)
    for _ in range(40):
        line.waits.pop()
        assert line.queue.picked_up(NOW + 3) is None
    line.arrive(NOW + 3.01)
    assert line.queue.picked_up(NOW + 3.02) == pytest.approx(0, abs=TICK)


def test_of_a_few_that_an_idle_worker_finds_it_is_known_that_they_just_came():
    line = Line()
    line.arrive(NOW)
    line.pick(NOW)
    line.arrive(NOW + 3, 8)
    line.waits.pop()
    assert line.queue.picked_up(NOW + 3.01) == pytest.approx(0, abs=TICK)


def test_after_a_stop_of_all_workers_it_is_known_who_has_waited_for_it():
    """Too many wait to have been picked up without being counted, as static files are."""
    line = Line()
    line.arrive(NOW)
    line.pick(NOW)
    for n in range(1, 10):
        line.arrive(NOW + n / 10, 20)
        line.pick(NOW + n / 10)
    later = NOW + 10 * LONGEST_GAP
    for n in range(100):
        real, known = line.pick(later + n / 1000)
        assert known == pytest.approx(real, abs=2 * TICK)


def test_requests_that_were_picked_up_without_being_counted_do_not_make_others_look_old():
    line = Line()
    line.arrive(NOW, 40)
    line.pick(NOW)
    del line.waits[:]
    line.arrive(NOW + LONGEST_GAP + 1, 30)
    assert line.pick(NOW + LONGEST_GAP + 1)[1] <= TICK + 1e-9


def test_while_nobody_waits_the_kernel_is_not_asked_how_many():
    line = Line()
    for n in range(1000):
        line.arrive(NOW + n / 100)
        assert line.pick(NOW + n / 100) == (0.0, 0.0)
    assert line.asked == 0


def test_a_clock_that_was_set_back_makes_nobody_wait():
    line = Line()
    for now in (NOW, NOW + 0.05, NOW - 500, NOW - 499):
        line.arrive(now, 2)
        line.pick(now)
        assert 0 <= line.pick(now)[1] < 1


def test_a_successor_goes_on_counting_where_a_killed_worker_stopped():
    shared = memory(3)
    shared[State(shared, 3, 1).place] = 41
    successor = State(shared, 3, 1)
    assert next(successor.counts) == 42
    assert successor.picked() == 41


def test_whatever_stands_in_the_memory_no_request_fails_and_all_is_well_again():
    """A worker may be killed at any byte, and another version may have left anything."""
    chance = random.Random(5)
    for _ in range(200):
        shared = memory()
        for _ in range(50):
            shared[chance.randrange(cells.ARRIVED_AT + cells.SAMPLES)] = chance.choice(
                [0.0, 1.0, 1e3, NOW, chance.random() * 1e4]
            )
        line = Line(State(shared, 1))
        for n in range(300):
            now = NOW + 2000 + n / 20
            line.arrive(now, 2 if n < 100 else 1)
            waited = line.pick(now)[1]
            assert waited >= 0
            line.queue.tolerance.picked(waited, dead=False)
            line.queue.tolerance.answered(waited, 0.05, vain=False)


@pytest.fixture
def learning():
    state = State(memory(), 1)
    arrivals = Arrivals(state, lambda: 1, lambda: True)
    tolerance = Tolerance(state, arrivals)
    state.cells[cells.DEPTH] = 1
    state.cells[state.place] = 1
    tolerance.look(NOW)

    def learn(after=0.6):
        tolerance.look(NOW + after)
        return state.cells[cells.TOLERATED]

    return state, tolerance, learn


def test_nothing_is_learned_where_no_client_gives_up(learning):
    _, tolerance, learn = learning
    for wait in (0.1, 1.0, 10.0, 100.0, 1000.0):
        for _ in range(1000):
            tolerance.picked(wait, dead=False)
            tolerance.answered(wait, 1.0, vain=False)
    assert learn() == 0


@pytest.mark.parametrize("how", ["dead", "vain", "work"])
def test_the_wait_from_which_on_requests_are_in_vain_is_learned(learning, how):
    _, tolerance, learn = learning
    for wait in (0.2, 0.4, 0.8, 1.5, 3.0, 6.0):
        for n in range(100):
            late = wait > 2
            tolerance.picked(wait, dead=how == "dead" and late)
            slow = how == "work" and n < 12
            took = 10.0 if slow else 0.01
            tolerance.answered(wait, took, vain=late and (how == "vain" or slow))
    assert 2.0 <= learn() <= 3.0
    assert learn() in EDGES


@pytest.mark.parametrize("bad", [0.05, 0.15])
def test_a_few_impatient_clients_teach_nothing(learning, bad):
    _, tolerance, learn = learning
    chance = random.Random(1)
    for wait in (0.2, 1.0, 2.0, 4.0):
        for _ in range(200):
            tolerance.picked(wait, dead=wait > 0.5 and chance.random() < bad)
    assert learn() == 0


def test_who_hangs_up_after_any_wait_teaches_nothing(learning):
    _, tolerance, learn = learning
    chance = random.Random(1)
    for wait in (0.0, 0.2, 1.0, 2.0, 4.0):
        for _ in range(300):
            tolerance.picked(wait, dead=chance.random() < 0.4)
    assert learn() == 0


def test_waits_below_half_a_second_teach_nothing_and_two_requests_do_not_either(learning):
    _, tolerance, learn = learning
    for _ in range(1000):
        tolerance.picked(0.49, dead=True)
    for _ in range(int(ENOUGH) - 1):
        tolerance.picked(5.0, dead=True)
    assert learn() == 0


def test_what_is_tolerated_is_forgotten(learning):
    state, tolerance, _ = learning
    state.cells[cells.TOLERATED] = 2.0
    state.cells[cells.DEPTH] = 0
    tolerance.look(NOW + 1)
    tolerance.look(NOW + 1 + FORGET_SECONDS)
    assert state.cells[cells.TOLERATED] == pytest.approx(4.0, rel=0.01)
    tolerance.look(NOW + 1 + 10 * FORGET_SECONDS)
    assert state.cells[cells.TOLERATED] == 0


def test_the_lower_end_of_the_interval():
    assert surely(8, 8) > 0.5
    assert surely(8, 22) < 0.2
    assert surely(0, 100) < 0.01
    assert surely(500, 1000) == pytest.approx(0.47, abs=0.01)


def result(name, seed=0):
    good, vain, shed, *_ = Sim(Learned, SCENARIOS[name], seed).run().results()
    return good, vain, shed


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("2 x, patience 2 s", 97),
        ("10 x, patience 2 s", 97),
        ("1.2 x, patience 1 s", 95),
        ("2 x, 2 s, 10 ms or 1 s", 85),
        ("2 x, half 1 s, half 10 s", 95),
        ("2 x, 2 s, retry now", 97),
    ],
)
def test_in_an_overload_the_capacity_is_used(name, least):
    good, vain, _ = result(name)
    assert good >= least
    assert vain <= 5


@pytest.mark.parametrize(
    "name",
    [
        "bursts of 10 x for 0.3 s out of nothing",
        "30 % hang up after 0 s at 0.9",
        "30 % hang up after 0.1 s at 0.9",
        "40 % typeahead after 0.2 s at 0.5",
        "60 s clients at 0.95, exponential",
    ],
)
def test_nobody_is_shed_who_need_not_be(name):
    assert result(name)[2] <= 0.1


def test_in_an_overload_a_listen_queue_is_not_allowed_to_be_full():
    line = Line(room=100)
    line.state.cells[cells.TOLERATED] = 4.0
    now = NOW
    while len(line.waits) < 100:  # they come twice as fast as they are picked up
        now += 0.1
        line.arrive(now, 2)
        line.pick(now)
    assert line.queue.limit == pytest.approx(12.5 * 0.1, abs=0.3)  # the latest 25


def test_the_queue_of_a_process_without_a_limit_sheds_nobody():
    assert Line().queue.limit == math.inf


def test_requests_that_another_gate_answers_are_counted_too():
    """Those of clients that are gone, and probes: the queue's gate is the first that there is."""
    layers = [path.rpartition(":")[2] for path in installation.COMPONENTS]
    assert layers.index("Overload") < min(layers.index("Readiness"), layers.index("Request"))
