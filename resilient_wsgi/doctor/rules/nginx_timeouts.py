"""How long nginx waits for an app, and what it does then."""

from __future__ import annotations

from typing import Iterator, NamedTuple, Optional, Tuple

from .. import pairing
from ..model import Evidence, Location, Severity, at, rule
from ..read.nginx import Pass
from ..subject import Subject
from ..uwsgi_config import Option, UwsgiConfig
from .uwsgi_facts import imports_library

DEFAULT_TIMEOUT = 60.0  # connect, send and read timeouts of ngx_http_uwsgi_module
LONG_CONNECT = 5.0

_UWSGI = "[uwsgi]\nsocket = 127.0.0.1:3031\n"
_HANDS_ON = "uwsgi_connect_timeout 3s; uwsgi_pass 127.0.0.1:3031; include uwsgi_params;"


def nginx(location: str) -> str:
    """Return an nginx.conf with these directives in its location, a line each."""
    lines = "\n".join(f"      {each.strip()};" for each in location.split(";") if each.strip())
    return (
        "events {}\nhttp {\n  server {\n    listen 80;\n    location / {\n"
        f"{lines}\n    }}\n  }}\n}}\n"
    )


def passes(subject: Subject, *protocols: str) -> Iterator[Pass]:
    """Yield the locations that pass requests on, by uwsgi_pass or proxy_pass."""
    for config in subject.nginx:
        for each in config.passes():
            if each.protocol in (protocols or ("uwsgi", "proxy")):
                yield each


def _read_timeout(passed: Pass) -> Tuple[Location, Optional[float]]:
    option = passed.option("read_timeout")
    if option is None and passed.set_elsewhere:
        return passed.directive.location, None
    where = option.location if option else passed.directive.location
    return where, passed.seconds("read_timeout", DEFAULT_TIMEOUT)


class _Ladder(NamedTuple):
    """How long nginx waits at one of its locations, and the app behind it may take."""

    passed: Pass
    where: Location
    timeout: float
    config: UwsgiConfig
    option: Option
    harakiri: int


def _ladders(subject: Subject) -> Iterator[_Ladder]:
    for passed in passes(subject):
        where, timeout = _read_timeout(passed)
        for config in pairing.configs_behind(subject, passed):
            harakiri, option = config.number("harakiri", 0), config.last("harakiri")
            if timeout is not None and harakiri and option is not None:
                yield _Ladder(passed, where, timeout, config, option, harakiri)


@rule(
    "N01",
    Severity.HINT,
    "harakiri is shorter than nginx's read timeout",
    why=(
        "When `harakiri` comes first, uWSGI kills the worker with SIGKILL and closes the "
        "connection without an answer: the client gets 502, and nothing of the request is logged "
        "by the app. When nginx's read timeout comes first, the client gets 504. Best is a ladder: "
        "the app's own deadline, then nginx's read timeout, then harakiri. With this library "
        "requests end 1.5 s before harakiri, and nothing is reported."
    ),
    bad={"uwsgi.ini": _UWSGI + "harakiri = 30\n", "nginx.conf": nginx(_HANDS_ON)},
    good={
        "uwsgi.ini": _UWSGI + "harakiri = 30\n",
        "nginx.conf": nginx(_HANDS_ON + "uwsgi_read_timeout 29s"),
    },
    fix="Set uwsgi_read_timeout a little below harakiri.",
    sources=("nginx, ngx_http_uwsgi_module: uwsgi_read_timeout, 60 s", "unbit/uwsgi#1567, #1414"),
)
def harakiri_before_nginx(subject: Subject) -> Iterator[Evidence]:
    """Compare harakiri with the read timeout of each location."""
    for passed, where, timeout, config, _, harakiri in _ladders(subject):
        # with the library, requests end before harakiri, and their answers should still arrive
        if harakiri < timeout and not imports_library(config):
            message = f"{passed.protocol}_read_timeout = {timeout:g} s, harakiri = {harakiri} s"
            yield at(where, message)


@rule(
    "N02",
    Severity.WARNING,
    "uWSGI works on long after nginx has given up",
    why=(
        "After its read timeout nginx answers 504 and closes the connection, but the worker goes "
        "on until it is done or harakiri ends it. When an upstream hangs, every worker ends up "
        "working for clients that are gone, and new requests wait behind them: incident 1."
    ),
    bad={
        "uwsgi.ini": _UWSGI + "harakiri = 300\n",
        "nginx.conf": nginx(_HANDS_ON + "uwsgi_read_timeout 30s"),
    },
    good={
        "uwsgi.ini": _UWSGI + "harakiri = 40\n",
        "nginx.conf": nginx(_HANDS_ON + "uwsgi_read_timeout 30s"),
    },
    fix="Set harakiri a little above the read timeout, or raise that to what is needed.",
    sources=("incident 1 (hung upstream)", "catmaid/CATMAID#1608"),
)
def harakiri_long_after_nginx(subject: Subject) -> Iterator[Evidence]:
    """Find locations whose read timeout is at most half of harakiri; none at all is U18's."""
    for passed, where, timeout, _, option, harakiri in _ladders(subject):
        if harakiri >= 2 * timeout > 0:
            given = passed.option("read_timeout") is not None
            message = f"nginx gives up after {timeout:g} s, harakiri = {harakiri} s"
            yield at(where if given else option, message)


@rule(
    "N03",
    Severity.HINT,
    "nginx waits long for a connection",
    why=(
        "When the listen queue of a TCP socket is full, the kernel drops the SYN and nothing is "
        "answered: nginx waits for the whole connect timeout, 60 s by default, while its client "
        "waits with it. Connecting takes milliseconds, or fails. With several servers, each dead "
        "one costs that long before the next is tried. A UNIX socket fails at once."
    ),
    bad={"nginx.conf": nginx("uwsgi_pass 10.0.0.5:3031; include uwsgi_params")},
    good={
        "nginx.conf": nginx(
            "uwsgi_connect_timeout 3s; uwsgi_pass 10.0.0.5:3031; include uwsgi_params"
        )
    },
    fix="Set uwsgi_connect_timeout (proxy_connect_timeout) to 2 to 5 s.",
    sources=("nginx, ngx_http_uwsgi_module: uwsgi_connect_timeout, 60 s",),
)
def long_connect_timeout(subject: Subject) -> Iterator[Evidence]:
    """Find locations that wait more than 5 s to connect by TCP."""
    for passed in passes(subject, "uwsgi"):
        servers = [each for each in passed.servers() if not each.startswith("unix:")]
        timeout = passed.seconds("connect_timeout", DEFAULT_TIMEOUT)
        if not servers or timeout is None or timeout <= LONG_CONNECT or "$" in passed.target:
            continue
        option = passed.option("connect_timeout")
        if option is None and passed.set_elsewhere:
            continue
        how = "" if option else " by default"
        yield at(
            option or passed.directive,
            f"uwsgi_connect_timeout = {timeout:g} s{how}, for {len(servers)} servers by TCP",
            severity=Severity.WARNING if option and len(servers) > 1 else None,
        )


@rule(
    "N08",
    Severity.WARNING,
    "nginx sends POST requests again",
    why=(
        "With `non_idempotent` nginx passes a POST to the next server when the first one fails or "
        "times out, though that one may have done the work, or may still be doing it. After a "
        "harakiri the same order, payment or mail is made twice."
    ),
    bad={"nginx.conf": nginx(_HANDS_ON + "uwsgi_next_upstream error timeout non_idempotent")},
    good={"nginx.conf": nginx(_HANDS_ON + "uwsgi_next_upstream error timeout")},
    fix="Remove non_idempotent.",
    sources=("nginx, ngx_http_uwsgi_module: uwsgi_next_upstream",),
)
def non_idempotent(subject: Subject) -> Iterator[Evidence]:
    """Find next_upstream with non_idempotent."""
    for config in subject.nginx:
        for each in config.named("uwsgi_next_upstream", "proxy_next_upstream"):
            if "non_idempotent" in each.args:
                yield at(each, f"{each.name} has non_idempotent")


@rule(
    "N13",
    Severity.WARNING,
    "nginx hides that clients have gone",
    why=(
        "With `uwsgi_ignore_client_abort on` nginx keeps the connection to the app open when its "
        "client has gone. The app works for nobody, and nothing can tell: requests of clients that "
        "are gone cannot be skipped, and how long clients wait cannot be learned."
    ),
    bad={"nginx.conf": nginx(_HANDS_ON + "uwsgi_ignore_client_abort on")},
    good={"nginx.conf": nginx(_HANDS_ON + "uwsgi_ignore_client_abort off")},
    fix="Remove it, or limit it to the locations that must finish what they began.",
    sources=("nginx, ngx_http_uwsgi_module: uwsgi_ignore_client_abort, off", "docs/limits.md"),
)
def ignores_client_abort(subject: Subject) -> Iterator[Evidence]:
    """Find ignore_client_abort on."""
    for config in subject.nginx:
        for each in config.named("uwsgi_ignore_client_abort", "proxy_ignore_client_abort"):
            if each.value == "on":
                yield at(each, f"{each.name} on: the app cannot see that a client has gone")


@rule(
    "N15",
    Severity.HINT,
    "a failing request is tried on every server",
    why=(
        "By default nginx passes a request that failed or timed out to the next server until one "
        "answers, for as long as it takes. When all are slow, each request occupies them one after "
        "the other: the overload multiplies by the number of servers."
    ),
    bad={
        "nginx.conf": "events {}\nhttp {\n"
        "  upstream app {\n    server 10.0.0.1:3031;\n    server 10.0.0.2:3031;\n  }\n"
        "  server {\n    location / {\n      uwsgi_connect_timeout 3s;\n"
        "      uwsgi_pass app;\n      include uwsgi_params;\n    }\n  }\n}\n"
    },
    good={
        "nginx.conf": "events {}\nhttp {\n"
        "  upstream app {\n    server 10.0.0.1:3031;\n    server 10.0.0.2:3031;\n  }\n"
        "  server {\n    location / {\n      uwsgi_connect_timeout 3s;\n"
        "      uwsgi_next_upstream_tries 2;\n      uwsgi_next_upstream_timeout 10s;\n"
        "      uwsgi_pass app;\n      include uwsgi_params;\n    }\n  }\n}\n"
    },
    fix="Set uwsgi_next_upstream_tries 2 and uwsgi_next_upstream_timeout 10s.",
    sources=("nginx, ngx_http_uwsgi_module: uwsgi_next_upstream_tries, 0",),
)
def tried_everywhere(subject: Subject) -> Iterator[Evidence]:
    """Find upstreams of several servers without a limit of tries or of time."""
    for passed in passes(subject, "uwsgi"):
        servers, next_one = passed.servers(), passed.option("next_upstream")
        limited = passed.option("next_upstream_tries") or passed.option("next_upstream_timeout")
        off = next_one is not None and next_one.value == "off"
        if len(servers) > 1 and not limited and not off:
            yield at(
                passed.directive,
                f"a request may be tried on {len(servers)} servers, without a limit of time",
                severity=Severity.WARNING if len(servers) > 3 else None,
            )
