"""Every event is data: fields without prose, a constant message template, labels of few values."""

from __future__ import annotations

import inspect
import json
import logging
import pickle
import re
import string
import typing
from pathlib import Path

import pytest

from resilient_wsgi import events
from resilient_wsgi.events import (
    BacklogSmall,
    ClientGone,
    DescriptorTakenOver,
    ExitAwaitsWork,
    LoadFailed,
    OutboundTimedOut,
    OutboundUnbounded,
    OverloadBegan,
    OverloadEnded,
    PeerStuck,
    RequestOverdue,
    RequestShed,
    RequestSlow,
    StaleThread,
    ThreadHoldsExit,
    WorkerKilled,
    WorkerRecycled,
)
from resilient_wsgi.stderr import takeover
from tools import events_doc

HOSTILE = "/a\r\n2026-01-01 FAKE\x1b[2J\u202e"
SECRET = "to postgres://shop:S3CRET@db/shop?password=S3CRET, password=S3CRET"
SAMPLES = {str: "a", int: 1, float: 1.5, bool: True, typing.Tuple[str, ...]: ("a", "b")}
DATA = {str, int, float, bool, typing.Optional[float], typing.Tuple[str, ...]}
KINDS = [
    kind
    for name in events.__all__
    if inspect.isclass(kind := getattr(events, name)) and kind is not events.Event
]


def types_of(kind):
    """Return the types of an event's fields by name."""
    hints = typing.get_type_hints(kind)
    return {name: hints[name] for name in kind._field_names}


def is_choice(of):
    return typing.get_origin(of) is typing.Literal


def value_of(of, text):
    if of is str:
        return text
    if is_choice(of):
        return typing.get_args(of)[0]
    if of == typing.Optional[float]:
        return None
    if of == typing.Tuple[str, ...]:
        return (text, text)
    return SAMPLES[of]


def made(kind, text="a"):
    """Return an event of that kind with the text in each of its fields of text."""
    return kind(**{name: value_of(of, text) for name, of in types_of(kind).items()})


def variants(kind):
    """Yield an event for each value of each field that takes a few."""
    yield made(kind)
    for name, of in types_of(kind).items():
        values = typing.get_args(of) if is_choice(of) else (True, False) if of is bool else ()
        for value in values:
            yield made(kind)._replace(**{name: value})


def test_there_is_an_event_for_each_name_and_a_name_for_each_event():
    assert len(KINDS) == 33
    assert {kind.__name__ for kind in KINDS} == {
        kind.__name__ for kind in events.Event.__subclasses__()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_fields_are_data(kind):
    assert types_of(kind)
    for name, of in types_of(kind).items():
        assert of in DATA or is_choice(of), name
        for word in typing.get_args(of) if is_choice(of) else ():
            assert re.fullmatch(r"[a-z_-]+", word), "a word for programs, not prose"


@pytest.mark.parametrize("kind", KINDS)
def test_the_template_is_constant_and_takes_nothing_that_is_not_there(kind):
    assert "template" in vars(kind)
    for event in variants(kind):
        assert event.template is kind.template
        assert str(event) == kind.template % event.arguments()
    taken = set(re.findall(r"%\((\w+)\)", kind.template))
    assert taken
    assert not [part for part in string.Formatter().parse(kind.template) if part[1]]


@pytest.mark.parametrize("kind", KINDS)
def test_labels_have_few_values(kind):
    types = types_of(kind)
    assert set(kind.label_fields) >= {n for n, of in types.items() if is_choice(of) or of is bool}
    for event in variants(kind):
        labels = event.labels()
        assert list(labels) == list(kind.label_fields)
        for name, value in labels.items():
            words = typing.get_args(types[name]) if is_choice(types[name]) else ("true", "false")
            assert value in words


@pytest.mark.parametrize("kind", KINDS)
def test_the_record_has_the_template_the_values_and_everything_as_a_dictionary(kind, caplog):
    caplog.set_level(logging.DEBUG, f"resilient_wsgi.{kind.component}")
    event = made(kind)
    events.emit(event)
    (record,) = caplog.records
    assert (record.name, record.levelno) == (f"resilient_wsgi.{kind.component}", kind.level)
    assert record.msg == f"[{kind.code}] {kind.template}"
    assert record.args == event.arguments()
    assert record.getMessage() == f"[{kind.code}] {event}"
    named = {"event": kind.__name__, "code": kind.code}
    assert record.resilient_wsgi == {**named, **event.fields()}
    assert set(event.fields()) == set(types_of(kind))
    json.dumps([record.args, record.resilient_wsgi], allow_nan=False)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_can_be_pickled_compared_and_kept_in_a_set(kind):
    event = made(kind)
    assert pickle.loads(pickle.dumps(event)) == event
    assert len({event, made(kind)}) == 1
    with pytest.raises(AttributeError):
        setattr(event, next(iter(types_of(kind))), None)


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_is_documented(kind):
    assert inspect.getdoc(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_from_outside_begins_a_line_or_reaches_the_terminal_but_the_field_is_as_it_came(
    kind, caplog
):
    caplog.set_level(logging.DEBUG, f"resilient_wsgi.{kind.component}")
    event = made(kind, HOSTILE)
    if kind.blocks:  # they are of several lines, and end the message
        event = event._replace(**dict.fromkeys(kind.blocks, "thread 'x'\n  f (a.py:1)\x1b[2J"))
    shown = str(event)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert "FAKE" not in "".join(shown.split("\n")[1:])
    assert all(
        value == HOSTILE
        for name, value in vars(event).items()
        if types_of(kind)[name] is str and name not in kind.blocks
    )
    events.emit(event)
    texts = [*caplog.records[0].args.items(), *caplog.records[0].resilient_wsgi.items()]
    for name, value in texts:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and name not in (*kind.blocks, "stacks_below"):
                assert text.isprintable()


@pytest.mark.parametrize("kind", KINDS)
def test_what_looks_like_a_secret_stays_out_of_the_log(kind, caplog):
    caplog.set_level(logging.DEBUG, f"resilient_wsgi.{kind.component}")
    events.emit(made(kind, SECRET))
    (record,) = caplog.records
    assert "S3CRET" not in record.getMessage() + repr(record.args) + repr(record.resilient_wsgi)


def test_messages_say_what_happened_to_what_with_the_numbers():
    slow = RequestSlow("GET", "/pay", 8.1, 10, 0.5, "api.example (body)", "thread 'x'")
    assert str(slow) == (
        "GET /pay has run for 8.10 s of 10 s (waited 0.50 s in the queue before), "
        "waiting for api.example (body)\nthread 'x'"
    )
    assert str(slow._replace(limit=None, waiting_for="", stacks="")) == (
        "GET /pay has run for 8.10 s, without a deadline (waited 0.50 s in the queue before)"
    )
    overdue = RequestOverdue("GET", "/pay", 1.6, 1.5, 1, soft_timeout=True)
    assert str(overdue) == (
        "GET /pay has passed its deadline of 1.5 s; 1 wait ended; RequestTimedOut is raised in it"
    )
    recycled = WorkerRecycled(3, 4711, "GET", "/stuck", 15.1, "rate_limited", 10, 5)
    assert str(recycled).startswith(
        "worker 3 (pid 4711) stays, because enough workers were replaced in this minute "
        "(RECYCLES_PER_MINUTE): GET /stuck has run for 15.1 s; its limit of 10 s"
    )
    killed = WorkerKilled(3, 4711, "POST", "/pay", 31.0, "api.example (body)", "thread 'x'")
    assert str(killed) == (
        "worker 3 (pid 4711) was killed in POST /pay after 31.0 s, waiting for api.example (body)"
        "\nthread 'x'"
    )
    assert str(ClientGone("GET", "/", dry_run=True)) == (
        "dry run: would have skipped GET /: its client is gone"
    )


def test_messages_of_shedding_tell_a_dry_run():
    assert str(RequestShed("GET", "/", 31, 30, 12)).startswith("shed GET /: it had waited 31.00 s")
    assert str(RequestShed("GET", "/", 31, 30, 12, True)).startswith("dry run: would have shed GET")
    assert "are answered 503 (12 in" in str(OverloadBegan(30, 12))
    assert "would be (dry run) answered 503" in str(OverloadBegan(30, 12, True))
    assert str(OverloadEnded(7, 2.0)) == "overload over: 7 requests were answered 503 in 2 s"


def test_the_message_of_a_limit_names_it_and_how_to_raise_it():
    event = OutboundTimedOut(
        "api.example", "headers", 5.01, 5, "default_in_request", "READ_TIMEOUT",
        port=443, method="GET", path="/offers", caller="views.py:42", function="offers",
        request="GET /shop", count=3,
    )  # fmt: skip
    assert str(event) == (
        "gave up on GET api.example:443/offers after 5.0 s (phase headers, limit 5 s: default "
        "READ_TIMEOUT in a request; caller views.py:42 in offers; request GET /shop; 3 times since "
        "last logged). Fix: if this upstream is slow by nature, set "
        "OUTBOUND.HOSTS['api.example']['READ_TIMEOUT']."
    )
    by_request = OutboundTimedOut("::1", "body", 5, None, "request_deadline", request="GET /shop")
    assert str(by_request) == (
        "gave up on [::1] after 5.0 s (phase body, limit none: request deadline of GET /shop; "
        "request GET /shop). Fix: make the call in a background job, or give this request more "
        "time (REQUEST.PATHS, harakiri)."
    )
    assert str(OutboundTimedOut("", "dns", 1, 1, "block", "outbound.timeouts(total=)")) == (
        "gave up on an unknown host after 1.0 s (phase dns, limit 1 s: outbound.timeouts(total=))."
    )


def test_messages_of_a_dry_run_name_what_would_have_limited_a_call():
    beyond = OutboundUnbounded(
        "a", "v.py:1", "beyond_limit", 16, 15, "default_in_request", "READ_TIMEOUT"
    )
    assert str(beyond) == (
        "v.py:1: call to a beyond 15 s (default READ_TIMEOUT in a request) (took 16.00 s); dry run,"
        " the call was not limited"
    )
    assert "call to a without a timeout (took" in str(
        OutboundUnbounded("a", "v.py:1", "no_timeout", 1)
    )


def test_messages_of_descriptors_and_queues():
    assert str(DescriptorTakenOver(5, "pipe", "reopened", inherited=True)) == (
        "descriptor 5 (inherited pipe) can no longer block: reopened"
    )
    bounded = str(DescriptorTakenOver(2, "socket", "send_timeout"))
    assert f"writes wait for {takeover.SEND_SECONDS:g} s at most" in bounded
    assert str(DescriptorTakenOver(2, "pipe", dry_run=True)) == (
        "descriptor 2 (pipe) can block (dry run, it was left as it is). "
        "Fix: RESILIENT_WSGI_STDERR=on"
    )
    assert str(BacklogSmall("127.0.0.1:80", 2048, 128, 128, 2048)) == (
        "listen queue of 127.0.0.1:80: asked 2048, effective 128 (net.core.somaxconn here: 128). "
        "Bursts above 128 connections are refused or delayed by SYN retransmission. Fix: set "
        "net.core.somaxconn = 2048 on the host or in the container (sysctl; each network namespace "
        "has its own: with a larger listen uWSGI refuses to start), then set listen = 2048 in the "
        "uWSGI configuration."
    )


def test_messages_of_threads_and_workers():
    names = tuple(f"t{number}" for number in range(12))
    waiting = str(ExitAwaitsWork(names, 2, "worker 1 ends", 3))
    assert waiting.startswith("waiting up to 3.0 s for work that requests have started (worker 1 e")
    assert waiting.endswith("'t8', 't9', 2 more threads, 2 jobs of executors")
    assert "THREADS.RESTART" in str(StaleThread("x", "  f (a.py:1)"))
    assert str(ThreadHoldsExit("x", "  f (a.py:1)", "  g (a.py:2)")) == (
        "the exit waits for thread 'x' (dry run, nothing was done), which is in\n  f (a.py:1)\n"
        "it was started in\n  g (a.py:2)"
    )
    assert str(LoadFailed(1, "KeyError: 'x'", 2, 4.0)) == (
        "worker 1 has no app (KeyError: 'x'), attempt 2; next try in 4.0 s"
    )
    assert str(LoadFailed(1, "x", 2, 0, "at_reload")).endswith(
        "next try at the next reload of the instance"
    )
    assert str(PeerStuck(2, 11, "no_app", 31.4, recycled=False)) == (
        "worker 2 (pid 11) serves without an app for 31 s; HEAL_PEERS is off, nothing is done"
    )


def test_the_page_of_events_is_current():
    page = Path(__file__).parents[2] / "docs" / "events.md"
    assert events_doc.main(["--check", str(page)]) == 0


def test_a_page_of_events_that_is_not_current_is_found_out(tmp_path, capsys):
    page = tmp_path / "events.md"
    page.write_text("old")
    assert events_doc.main(["--check", str(page)]) == 1
    assert "make events-doc" in capsys.readouterr().err


def test_every_event_is_on_the_page_with_its_component():
    assert {kind.component for kind in KINDS} == set(events_doc.PARTS)
    page = events_doc.render()
    assert not [kind for kind in KINDS if f"| `{kind.__name__}` |" not in page]


def test_the_examples_of_the_page_work():
    """Each is run as it stands, one after the other; what they subscribe is taken away again."""
    before, found = events._bus.subscribers, {}
    try:
        for example in re.findall(r"```python\n(.*?)```", events_doc.HEAD, re.DOTALL):
            exec(example, found)
        event = OutboundTimedOut("api.example", "dns", 1.0, 1.0, "setting", "X")
        events.emit(event)
    finally:
        events._bus.subscribers = before
    assert found["timeouts"] == [("api.example", "dns", 1.0)]
    labels = (("limited_by", "setting"), ("phase", "dns"))
    assert found["counters"] == {("OutboundTimedOut", *labels): 1}
    record = logging.makeLogRecord({"msg": str(event), "resilient_wsgi": {"host": "api.example"}})
    assert json.loads(found["JsonFormatter"]().format(record))["host"] == "api.example"
