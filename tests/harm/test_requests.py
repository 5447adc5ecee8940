"""A request's limits are its own: they begin and end with it, and hold for nothing else."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from wsgiref import util

import pytest

from resilient_wsgi import deadline
from resilient_wsgi.request import DeadlineMiddleware
from resilient_wsgi.settings import Outbound, Readiness, Request, Settings, Stderr
from resilient_wsgi.stack import Wrapped


def environ():
    made = {}
    util.setup_testing_defaults(made)
    return made


def start_response(status, headers, exc_info=None):
    del status, headers, exc_info


def serve(app, seconds=5.0, **options):
    """Serve one request to its end."""
    body = DeadlineMiddleware(app, seconds, **options)(environ(), start_response)
    try:
        return list(body)
    finally:
        getattr(body, "close", lambda: None)()


def seen():
    """Return what code here sees of a request."""
    return deadline.in_request(), deadline.remaining() is not None


def test_a_thread_that_copied_the_context_has_no_deadline_once_the_request_is_over():
    inside, outside, over = [], [], threading.Event()

    def job():
        inside.append(seen())
        started.set()
        over.wait(10)
        outside.append(seen())

    def app(environ, start_response):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(job,))
        thread.start()
        started.wait(10)
        threads.append(thread)
        return []

    started, threads = threading.Event(), []
    serve(app)
    over.set()
    threads[0].join(10)
    assert (inside, outside) == ([(True, True)], [(False, False)])


def test_a_task_that_outlives_its_request_has_no_deadline():
    async def job():
        found.append(seen())
        await over
        found.append(seen())

    def app(environ, start_response):
        tasks.append(loop.create_task(job()))
        loop.run_until_complete(asyncio.sleep(0))
        return []

    loop = asyncio.new_event_loop()
    found, tasks, over = [], [], loop.create_future()
    serve(app)
    over.set_result(None)
    loop.run_until_complete(tasks[0])
    loop.close()
    assert found == [(True, True), (False, False)]


def test_a_limit_of_the_view_ends_with_its_block_in_a_copied_context_too():
    def app(environ, start_response):
        with deadline.limit(1):
            contexts.append(contextvars.copy_context())
        assert contexts[0].run(lambda: deadline.current().limit) == 5
        return []

    contexts = []
    serve(app)
    assert contexts[0].run(seen) == (False, False)


def test_a_job_keeps_its_own_limit_when_the_request_is_over():
    def job():
        with deadline.limit(60):
            found.append(deadline.current().limit)
            finish()
            found.append(deadline.current().limit)
        found.append(deadline.current())

    def app(environ, start_response):
        contexts.append(contextvars.copy_context())
        return iter([b""])

    found, contexts = [], []
    body = DeadlineMiddleware(app, 5)(environ(), start_response)
    finish = body.close
    contexts[0].run(job)
    assert found == [5, 60, None]


@pytest.mark.parametrize(
    ("seconds", "enforced", "limited"),
    [(5.0, True, True), (float("inf"), True, False), (5.0, False, False)],
    ids=["with a deadline", "without a deadline", "in report mode"],
)
def test_code_is_in_a_request_until_its_response_is_closed(seconds, enforced, limited):
    class Body:
        def __iter__(self):
            found.append(seen())
            yield b"x"

        def close(self):
            found.append(seen())

    def app(environ, start_response):
        found.append(seen())
        contexts.append(contextvars.copy_context())
        return Body()

    found, contexts = [seen()], []
    assert serve(app, seconds, enforced=enforced) == [b"x"]
    found += [seen(), contexts[0].run(seen)]
    none = (False, False)
    assert found == [none, *[(True, limited)] * 3, none, none]


@pytest.mark.parametrize("outcome", ["a list", "an exception"])
def test_a_request_is_over_when_the_app_has_returned_or_raised(outcome):
    def app(environ, start_response):
        contexts.append(contextvars.copy_context())
        if outcome == "an exception":
            raise KeyError
        return []

    contexts = []
    try:
        serve(app)
    except KeyError:
        assert outcome == "an exception"
    assert contexts[0].run(seen) == (False, False)


@pytest.mark.parametrize(
    "options",
    [
        Settings(),
        Settings(request=Request(mode="off")),
        Settings(request=Request(record="off", client_left="off")),
        Settings(request=Request(mode="report"), outbound=Outbound(mode="report")),
    ],
    ids=["defaults", "request off", "nothing to watch", "report"],
)
def test_every_wrapped_app_knows_that_it_is_in_a_request(options):
    found = []
    app = Wrapped(lambda environ, start_response: [found.append(seen()) or b""], options)
    app(environ(), start_response)
    assert found == [(True, False)]


def test_with_everything_off_nothing_is_put_around_the_app():
    def app(environ, start_response):
        found.append(seen())
        return []

    found = []
    off = Settings(
        request=Request(mode="off"), outbound=Outbound(mode="off"), stderr=Stderr(mode="off"),
        readiness=Readiness(mode="off"),
    )  # fmt: skip
    Wrapped(app, off)(environ(), start_response)
    assert found == [(False, False)]


def test_a_request_within_a_request_ends_alone():
    def inner(environ, start_response):
        contexts.append(contextvars.copy_context())
        return []

    def outer(environ_, start_response):
        serve(inner, 1)
        found.append((deadline.current().limit, contexts[0].run(lambda: deadline.current().limit)))
        return []

    found, contexts = [], []
    serve(outer, 5)
    assert found == [(5, 5)]
    assert contexts[0].run(seen) == (False, False)
