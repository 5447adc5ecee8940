"""What is wrong with an instance while it runs: queues, workers, requests."""

from __future__ import annotations

from typing import Iterator, Optional

from ..live.instance import Live
from ..model import Evidence, Location, Severity, at, rule
from ..subject import Subject

HERE = Location("")
MINUTE = 60.0
_THREE_WORKERS = "master = 70\nworker = 71\nworker = 72\nworker = 73\n"


def running(subject: Subject) -> Iterator[Live]:
    """Yield the instance that is looked at, if there is one."""
    if subject.live is not None:
        yield subject.live


def harakiri(subject: Subject) -> Optional[int]:
    """Return the harakiri of the instance, None if it has none or it is not certain."""
    found = [config.number("harakiri", 0) for config in subject.uwsgi]
    return found[0] or None if len(found) == 1 else None


def threads_of_a_worker(subject: Subject, live: Live) -> int:
    """Return how many requests a worker can work on at once, 1 if that is not known."""
    command = live.runner.running("gunicorn") if live.runner else None
    given = (command.value("--threads") or "") if command else ""
    if given.isdigit():
        return int(given)
    configs = subject.gunicorn if command else subject.uwsgi
    number: Optional[int] = configs[0].number("threads", 1) if len(configs) == 1 else 1
    return max(number or 1, 1)


def threads(subject: Subject, live: Live) -> int:
    """Return how many requests can be worked on at once."""
    return len(live.workers) * threads_of_a_worker(subject, live)


@rule(
    "P01",
    Severity.ERROR,
    "a listen queue is full",
    why=(
        "Connections that find the queue full are refused (UNIX sockets: nginx answers 502 at "
        "once), or their SYN is dropped and tried again after 1, 3, 7 s (TCP). Either the queue is "
        "short, or nobody takes requests out of it: look at what the workers wait for (`resilient-"
        "wsgi stacks PID`)."
    ),
    bad={"live": "master = 70\nqueue = 127.0.0.1:3031 depth=129/128\n"},
    good={"live": "master = 70\nqueue = 127.0.0.1:3031 depth=3/1024\n"},
    fix="Find out what the workers wait for; raise listen and net.core.somaxconn for bursts.",
    sources=("incident 1 (hung upstream)", "incident 4 (small backlog)"),
)
def queue_is_full(subject: Subject) -> Iterator[Evidence]:
    """Find listen queues at their limit."""
    for live in running(subject):
        for queue in live.queues:
            if queue.depth >= queue.limit:
                yield at(HERE, f"{live.name}: {queue.name} holds {queue.depth} of {queue.limit}")


@rule(
    "P02",
    Severity.ERROR,
    "threads are stuck in writing their log",
    why=(
        "Nobody reads the pipe or socket that is the log. It is full, and every thread that writes "
        "a line sleeps in write(2) from then on, for ever: incident 5. There is no error anywhere."
    ),
    bad={"live": "master = 70\nstuck = pipe 4711 threads=8 reader=cat\n"},
    good={"live": "master = 70\n"},
    fix="`resilient-wsgi unstick PID --drain FILE` frees them; then see to the reader of the log.",
    sources=("incident 5 (stalled stderr)",),
)
def stuck_in_writes(subject: Subject) -> Iterator[Evidence]:
    """Find threads that stand in a write to a full pipe or log socket."""
    for live in running(subject):
        for each in live.stuck:
            reader = f"; {each.reader} should read it" if each.reader else "; nobody has it open"
            message = f"{live.name}: {each.threads} threads stand in a write to {each.log}{reader}"
            yield at(HERE, message)


@rule(
    "P03",
    Severity.WARNING,
    "clients have hung up, and the connections are still open",
    why=(
        "A connection in CLOSE_WAIT was closed by its client; this side has not noticed, because "
        "the thread that has it stands still. More of them than threads means that nobody works on "
        "them: incident 5."
    ),
    bad={"live": "master = 70\nworker = 71\nworker = 72\nclose_wait = 40\n"},
    good={"live": "master = 70\nworker = 71\nworker = 72\nclose_wait = 1\n"},
    fix="Look at what the threads do: `resilient-wsgi stacks PID`.",
    sources=("incident 5 (stalled stderr)",),
)
def many_in_close_wait(subject: Subject) -> Iterator[Evidence]:
    """Compare the sockets in CLOSE_WAIT with the threads."""
    for live in running(subject):
        count, most = live.number("close_wait"), threads(subject, live)
        if count is not None and count > most:
            yield at(HERE, f"{live.name}: {count} clients in CLOSE_WAIT, {most} threads")


@rule(
    "P04",
    Severity.ERROR,
    "a worker has no app",
    why=(
        "Its load of the app failed. Without this library such a worker answers 500 at once, and "
        "so draws traffic: incident 2. With it the worker exits and is started again, with a pause "
        "that grows; the others carry the traffic meanwhile."
    ),
    bad={"live": "master = 70\nworker = 71\nworker = 72 app=failed_to_load\n"},
    good={"live": "master = 70\nworker = 71\nworker = 72\n"},
    fix="See the traceback in the log, or `resilient-wsgi ready PID`.",
    sources=("incident 2 (failed load)",),
)
def worker_without_app(subject: Subject) -> Iterator[Evidence]:
    """Find workers whose scoreboard row says that the load failed."""
    for live in running(subject):
        for each in live.workers:
            if each.app:
                yield at(HERE, f"worker {each.pid} of {live.name}: {each.app}")


@rule(
    "P05",
    Severity.ERROR,
    "a request is older than harakiri",
    why=(
        "uWSGI has one harakiri a worker: with threads, any request that ends disarms that of the "
        "others. So a request can run for ever, and its thread is lost."
    ),
    bad={
        "live": "master = 70\nworker = 71\nrequest = 71 seconds=400 what=/slow\n",
        "uwsgi.ini": "[uwsgi]\nmaster = true\nharakiri = 30\nthreads = 2\n",
    },
    good={
        "live": "master = 70\nworker = 71\nrequest = 71 seconds=4 what=/slow\n",
        "uwsgi.ini": "[uwsgi]\nmaster = true\nharakiri = 30\n",
    },
    fix="See where it stands: `resilient-wsgi stacks PID`. The watchdog ends it: REQUEST.TIMEOUT.",
    sources=("unbit/uwsgi#2706",),
)
def older_than_harakiri(subject: Subject) -> Iterator[Evidence]:
    """Compare the age of requests with harakiri."""
    for live in running(subject):
        most = harakiri(subject)
        for each in live.requests:
            # it comes up to a second late, and takes a moment
            if most is not None and each.seconds > most + 3:
                message = f"worker {each.pid}: {each.what} runs for {each.seconds:.0f} s, "
                yield at(HERE, f"{message}harakiri = {most} s")


@rule(
    "P06",
    Severity.ERROR,
    "most threads wait for one destination",
    why=(
        "More than half of the threads have waited for the same address for a second. When that "
        "does not answer, the rest follows, and the whole service is gone: incident 1."
    ),
    bad={"live": _THREE_WORKERS + "wait = 10.0.0.5:443 threads=2\n"},
    good={"live": _THREE_WORKERS + "wait = 10.0.0.5:443 threads=1\n"},
    fix="Give the calls a timeout, and let no upstream hold more than its share of the threads.",
    sources=("incident 1 (hung upstream)", "benoitc/gunicorn#3432"),
)
def one_destination(subject: Subject) -> Iterator[Evidence]:
    """Compare the threads that wait for each destination with all threads."""
    for live in running(subject):
        most = threads(subject, live)
        for destination, wait in live.waits.items():
            # another thread of a worker that has one for requests is the app's own
            count = wait.threads if most > len(live.workers) else wait.main
            if count > 1 and 2 * count > most:
                yield at(HERE, f"{live.name}: {count} of {most} threads wait for {destination}")


@rule(
    "P08",
    Severity.WARNING,
    "workers are started again and again",
    why=(
        "Several workers are younger than a minute, though the instance is not: they die, or are "
        "killed, and each start costs the load of the app. The log says why: harakiri, memory, a "
        "crash, max-requests that is too low."
    ),
    bad={
        "live": "master = 70 age=9000\n"
        + "".join(f"worker = {pid} age={pid - 70}\n" for pid in range(71, 76))
    },
    good={"live": "master = 70 age=9000\nworker = 71 age=9000\nworker = 72 age=20\n"},
    fix="See the log of the last minutes for why they died.",
    sources=("uWSGI: Respawned uWSGI worker",),
)
def respawned(subject: Subject) -> Iterator[Evidence]:
    """Count the workers that are younger than a minute, of an instance that is not."""
    for live in running(subject):
        young = [each for each in live.workers if 0 < each.age < MINUTE]
        old = live.master.age > 5 * MINUTE
        # all of them at once is a reload
        if old and len(young) > 3 and _apart([each.age for each in young]):
            message = f"{live.name}: {len(young)} of {len(live.workers)} workers are younger than"
            yield at(HERE, f"{message} a minute, the master is {live.master.age:.0f} s old")


def _apart(ages: list[float]) -> bool:
    """Return whether workers were started one after the other, and not by a reload."""
    return max(ages) - min(ages) > 3
