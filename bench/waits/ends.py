"""Ends under load on pooled connections, each with a token: python -m bench.waits.ends [ENDS]
[SQLALCHEMY'S DRIVER].

Threads serve requests with connections of a psycopg2 pool, a SQLAlchemy pool and a redis pool. Some
requests are healthy, some hang beyond their deadline, some are over at about their deadline. A
watchdog ends the waits of those that are late. An error in a request whose wait was not ended, or
an answer with the token of another connection, is a wrong end.
"""

from __future__ import annotations

import collections
import itertools
import os
import random
import sys
import threading
import time
from functools import partial
from typing import Any, Counter, Dict, List, Tuple

from bench.report import machine
from resilient_wsgi.host import procfs, waits
from resilient_wsgi.host.waits_chain import Still
from resilient_wsgi.host.waits_end import Ends

from . import servers
from .rig import Slot, frames_of, fresh, name_of

THREADS = 12
DEADLINE = 0.02
HANGS = 0.6
TICK = 0.002
_tokens = itertools.count(1)


class Request:
    """A request with a deadline, and how often its waits were ended."""

    __slots__ = ("at", "ends", "healthy")

    def __init__(self, seconds: float, *, healthy: bool) -> None:
        self.at = time.monotonic() + seconds
        self.ends = 0
        self.healthy = healthy


class Psycopg2:
    """`psycopg2.pool.ThreadedConnectionPool`; the token is a setting of the session."""

    def __init__(self, port: int) -> None:
        import psycopg2
        from psycopg2 import pool
        from psycopg2.extensions import connection

        class Connection(connection):
            token = ""

        self.pool = pool.ThreadedConnectionPool(
            *(THREADS, 4 * THREADS),
            f"host=127.0.0.1 port={port} user=app dbname=postgres sslmode=disable",
            connection_factory=Connection,
        )
        self.errors = (psycopg2.Error,)

    def use(self, seconds: float) -> Tuple[str, str]:
        connection = self.pool.getconn()
        try:
            with connection.cursor() as cursor:
                if not connection.token:
                    connection.token = f"psycopg2-{next(_tokens)}"
                    cursor.execute("select set_config('app.token', %s, false)", [connection.token])
                    connection.commit()
                cursor.execute("select current_setting('app.token'), pg_sleep(%s)", [seconds])
                return connection.token, cursor.fetchone()[0]
        finally:
            self.pool.putconn(connection)

    def close(self) -> None:
        self.pool.closeall()


class SQLAlchemy:
    """SQLAlchemy's `QueuePool`, without `pool_pre_ping`; the token is a setting of the session."""

    url = "postgresql+{driver}://app@127.0.0.1:{port}/postgres?sslmode=disable"
    keep = "select set_config('app.token', :token, false)"
    wait = "select current_setting('app.token'), pg_sleep(:seconds)"

    def __init__(self, port: int, driver: str) -> None:
        import sqlalchemy

        self.text = sqlalchemy.text
        url = self.url.format(driver=driver, port=port)
        self.engine = sqlalchemy.create_engine(url, pool_size=THREADS, max_overflow=THREADS)
        self.errors = (sqlalchemy.exc.SQLAlchemyError,)

    def use(self, seconds: float) -> Tuple[str, str]:
        with self.engine.connect() as connection:
            info = connection.connection.info
            if "token" not in info:
                token = f"sqlalchemy-{next(_tokens)}"
                connection.execute(self.text(self.keep), {"token": token})
                connection.commit()
                info["token"] = token
            waited = connection.execute(self.text(self.wait), {"seconds": seconds})
            return info["token"], waited.one()[0]

    def close(self) -> None:
        self.engine.dispose()


class Redis:
    """redis-py's pool; the token is the client's name on the server."""

    def __init__(self, port: int) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self.pool = redis.BlockingConnectionPool(
            max_connections=THREADS, port=port, retry=Retry(NoBackoff(), 0), socket_timeout=None
        )
        self.errors = (redis.RedisError,)
        self.tokens: Dict[Any, Tuple[object, str]] = {}

    def use(self, seconds: float) -> Tuple[str, str]:
        connection = self.pool.get_connection()
        try:
            known, token = self.tokens.get(connection, (None, ""))
            if known is not connection._sock:  # noqa: SLF001
                token = f"redis-{next(_tokens)}"
                self.ask(connection, "CLIENT", "SETNAME", token)
                self.tokens[connection] = (connection._sock, token)  # noqa: SLF001
            self.ask(connection, "BLPOP", "nothing", max(seconds, 0.001))
            return token, self.ask(connection, "CLIENT", "GETNAME").decode()
        finally:
            self.pool.release(connection)

    def ask(self, connection: Any, *words: Any) -> Any:
        connection.send_command(*words)
        return connection.read_response()

    def close(self) -> None:
        self.pool.disconnect()


class Load:
    """Threads that serve, and the watchdog."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.pools: List[Any] = []
        self.served: List[Tuple[Request, str, str]] = []
        self.slots: List[Tuple[int, int, Slot]] = []
        self.ends: Ends = fresh()
        self.counts: Counter[str] = collections.Counter()
        self.errors: Counter[str] = collections.Counter()
        self.wrong: List[str] = []
        self.lock = threading.Lock()
        self.stop = threading.Event()

    def serve(self, seed: int) -> None:
        slot, choice = Slot(), random.Random(seed)
        self.slots.append((threading.get_native_id(), threading.get_ident(), slot))
        while not self.stop.is_set():
            kind = choice.choice(("healthy", "late", "late", "close"))
            seconds = {"healthy": 0.0, "late": HANGS}.get(kind)
            if seconds is None:
                seconds = DEADLINE + choice.uniform(-0.01, 0.01)
            pool = choice.choice(self.pools)
            request = Request(60 if kind == "healthy" else DEADLINE, healthy=kind == "healthy")
            slot.request = request
            error = ""
            try:
                told, found = pool.use(seconds)
                if told != found:
                    self.mistake(f"token {told} met {found}")
            except pool.errors as raised:
                error = f"{name_of(raised)} {str(raised)[:200]}"
            slot.request = None
            self.served.append((request, f"{type(pool).__name__}: {kind}", error))

    def judge(self) -> None:
        """Count, once the watchdog has noted all that it ended."""
        for request, name, error in self.served:
            ended = "ended" if request.ends else "not ended"
            self.counts[f"{name}: {'error' if error else 'answered'}, {ended}"] += 1
            if error:
                self.errors[error.partition(" ")[0]] += 1
            if error and not request.ends:
                self.mistake(f"{name}: {error}")

    def mistake(self, text: str) -> None:
        with self.lock:
            self.wrong.append(text)

    def watch(self) -> int:
        ended = 0
        while ended < self.wanted:
            for native, ident, slot in list(self.slots):
                request = slot.request
                if not isinstance(request, Request) or time.monotonic() < request.at:
                    continue
                wait = waits.wait_of(native)
                if wait is None:
                    continue
                still = Still.attribute(slot, "request", request)
                outcome = self.ends.end(wait, id(request), still, partial(frames_of, ident))
                request.ends += outcome.ended
                ended += outcome.ended
                self.counts[f"watchdog: {outcome.state} {outcome.how}"] += 1
                if outcome.state == "refused":
                    self.counts[f"refused: {outcome.reason[:60]}"] += 1
            time.sleep(TICK)
        return ended


def run(wanted: int, driver: str) -> int:
    with servers.postgres() as database, servers.redis() as cache:
        before = len(procfs.fds())
        load = Load(wanted)
        load.pools += [Psycopg2(database), SQLAlchemy(database, driver), Redis(cache)]
        threads = [threading.Thread(target=load.serve, args=(seed,)) for seed in range(THREADS)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        ended = load.watch()
        load.stop.set()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        load.judge()
        for pool in load.pools:
            pool.close()
        del load.pools[:]
        time.sleep(0.2)
        leaked = len(procfs.fds()) - before
    print(machine("psycopg2-binary", "psycopg", "sqlalchemy", "redis"), "\n")
    print(
        f"{ended} ends in {took:.0f} s, {THREADS} threads; descriptors more than before: {leaked}"
    )
    for name, count in sorted(load.counts.items()):
        print(f"- {name}: {count}")
    print(f"what the requests got: {dict(load.errors)}")
    print(f"wrong: {len(load.wrong)}")
    for text, count in collections.Counter(load.wrong).most_common(10):
        print(f"- {count} x {text}")
    return 1 if load.wrong or leaked > 0 else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    count, driver = [*sys.argv[1:3], *("10000", "psycopg2")[len(sys.argv) - 1 :]]
    sys.exit(run(int(count), driver))
