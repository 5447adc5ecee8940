"""What nginx does with requests and answers: buffers, headers, limits, files."""

from __future__ import annotations

from typing import Iterator, List, Optional, Tuple

from .. import pairing
from ..model import Evidence, Severity, at, rule
from ..read.nginx import NginxConfig, Pass
from ..read.nginx_syntax import Directive, size_bytes
from ..subject import Subject
from ..uwsgi_config import UwsgiConfig
from .nginx_timeouts import nginx, passes

DEFAULT_BUFFER_SIZE = 4096  # of uWSGI, core/init.c
DEFAULT_HEADER_BUFFER = 8192  # large_client_header_buffers 4 8k
DEFAULT_BODY_BYTES = 1 << 20  # client_max_body_size 1m
_UWSGI = "[uwsgi]\nsocket = 127.0.0.1:3031\n"
_HANDS_ON = "uwsgi_connect_timeout 3s; uwsgi_pass 127.0.0.1:3031; include uwsgi_params;"


def _inherited(passed: Pass, name: str) -> Optional[Directive]:
    assert passed.directive.parent is not None
    found = passed.directive.parent.inherited(name)
    return found[-1] if found else None


def _behind(subject: Subject, protocol: str) -> Iterator[Tuple[Pass, UwsgiConfig]]:
    for passed in passes(subject, protocol):
        for config in pairing.configs_behind(subject, passed):
            yield passed, config


@rule(
    "U49",
    Severity.WARNING,
    "buffer-size is smaller than what nginx lets through",
    why=(
        "uWSGI takes the headers of a request in one packet of at most `buffer-size` bytes, 4096 "
        "by default. It refuses more, `invalid request block size: 4161 (max 4096)...skip`, "
        "and the client gets 502. nginx accepts headers of 8 kB a line and 32 kB in all by "
        "default, and a few large cookies are enough."
    ),
    bad={
        "uwsgi.ini": _UWSGI + "buffer-size = 4096\n",
        "nginx.conf": nginx(_HANDS_ON),
    },
    good={
        "uwsgi.ini": _UWSGI + "buffer-size = 32768\n",
        "nginx.conf": nginx(_HANDS_ON),
    },
    fix="Set buffer-size = 32768.",
    sources=(
        "uWSGI docs, Things to know",
        "nginx, ngx_http_core_module: large_client_header_buffers, 4 8k",
        "unbit/uwsgi#1831",
    ),
)
def small_buffer_size(subject: Subject) -> Iterator[Evidence]:
    """Compare buffer-size with one buffer for large headers of nginx."""
    for passed, config in _behind(subject, "uwsgi"):
        size, option = config.number("buffer-size", DEFAULT_BUFFER_SIZE), config.last("buffer-size")
        large = _inherited(passed, "large_client_header_buffers")
        most = size_bytes("".join(large.args[1:2])) if large else DEFAULT_HEADER_BUFFER
        if size is not None and most is not None and size < most:
            how = "" if option else " (default)"
            yield at(
                option or config,
                f"buffer-size = {size}{how}, nginx passes header lines of up to {most} bytes",
            )


@rule(
    "N07",
    Severity.WARNING,
    "slow uploads hold workers",
    why=(
        "With `uwsgi_request_buffering off` nginx passes a body on as it arrives. A worker then "
        "waits for the client's network, for as long as an upload takes, and a few slow clients "
        "hold them all."
    ),
    bad={"uwsgi.ini": _UWSGI, "nginx.conf": nginx(_HANDS_ON + "uwsgi_request_buffering off")},
    good={"uwsgi.ini": _UWSGI, "nginx.conf": nginx(_HANDS_ON + "uwsgi_request_buffering on")},
    fix="Leave it on, or turn it off only for the locations whose app must read while data comes.",
    sources=("nginx, ngx_http_uwsgi_module: uwsgi_request_buffering", "uWSGI docs, Things to know"),
)
def request_buffering_off(subject: Subject) -> Iterator[Evidence]:
    """Find request buffering turned off for everything, without post-buffering in uWSGI."""
    for passed in passes(subject, "uwsgi"):
        option = passed.option("request_buffering")
        if option is None or option.value != "off":
            continue
        configs = pairing.configs_behind(subject, passed)
        if any(config.has("post-buffering") for config in configs):
            continue
        known = configs and _for_everything(option)
        message = "uwsgi_request_buffering off: workers wait for the network of clients"
        yield at(option, message, severity=None if known else Severity.HINT)


def _for_everything(option: Directive) -> bool:
    """Return whether an option is not that of a single location."""
    return not option.within_location or option.within_location.args == ["/"]


@rule(
    "N09",
    Severity.WARNING,
    "the buffer for response headers is small",
    why=(
        "nginx reads the headers of a response into one buffer. If they do not fit, it logs "
        "`upstream sent too big header` and the client gets 502, after the app has done the work. "
        "A session cookie and a Content-Security-Policy fill 4 kB."
    ),
    bad={"nginx.conf": nginx(_HANDS_ON + "uwsgi_buffer_size 2k")},
    good={"nginx.conf": nginx(_HANDS_ON + "uwsgi_buffer_size 16k; uwsgi_buffers 8 16k")},
    fix="Set uwsgi_buffer_size 16k (proxy_buffer_size 16k).",
    sources=("nginx, ngx_http_uwsgi_module: uwsgi_buffer_size, one page of memory",),
)
def small_buffer_for_headers(subject: Subject) -> Iterator[Evidence]:
    """Find buffers for headers that were made smaller than the default."""
    for config in subject.nginx:
        for each in config.named("uwsgi_buffer_size", "proxy_buffer_size"):
            size = size_bytes(each.value)
            if size is not None and size < 4096:
                yield at(each, f"{each.name} = {size} bytes, the default is one page, 4096")


@rule(
    "N11",
    Severity.HINT,
    "nginx accepts larger bodies than uWSGI",
    why=(
        "A body above `limit-post` is refused by uWSGI after nginx has taken it: the client has "
        "sent it all, and gets a closed connection or 502 instead of 413."
    ),
    bad={
        "uwsgi.ini": _UWSGI + "limit-post = 1048576\n",
        "nginx.conf": nginx(_HANDS_ON + "client_max_body_size 20m"),
    },
    good={
        "uwsgi.ini": _UWSGI + "limit-post = 1048576\n",
        "nginx.conf": nginx(_HANDS_ON + "client_max_body_size 1m"),
    },
    fix="Set client_max_body_size to limit-post.",
    sources=("nginx, ngx_http_core_module: client_max_body_size, 1m", "uWSGI: limit-post"),
)
def larger_bodies(subject: Subject) -> Iterator[Evidence]:
    """Compare client_max_body_size with limit-post."""
    for passed, config in _behind(subject, "uwsgi"):
        limit, body = config.number("limit-post", 0), _inherited(passed, "client_max_body_size")
        most = size_bytes(body.value) if body else DEFAULT_BODY_BYTES
        if limit and most is not None and (most > limit or most == 0):
            said = f"client_max_body_size = {most or 'unlimited'}, limit-post = {limit}"
            yield at(body or passed.directive, said)


@rule(
    "N14",
    Severity.HINT,
    "nginx does not say when a request came",
    why=(
        "How long a request has waited in the listen queue is known exactly if nginx stamps it. "
        "Without the stamp the library estimates it from the length of the queue."
    ),
    bad={
        "uwsgi.ini": _UWSGI + "shared-import = resilient_wsgi.uwsgi\n"
        "hook-accepting = rpc:resilient_wsgi_ready\n",
        "nginx.conf": nginx(_HANDS_ON),
    },
    good={
        "uwsgi.ini": _UWSGI + "shared-import = resilient_wsgi.uwsgi\n"
        "hook-accepting = rpc:resilient_wsgi_ready\n",
        "nginx.conf": nginx(_HANDS_ON + 'uwsgi_param HTTP_X_REQUEST_START "t=${msec}"'),
    },
    fix='Add `uwsgi_param HTTP_X_REQUEST_START "t=${msec}";` beside uwsgi_pass.',
    sources=("docs/overload.md",),
)
def no_request_start(subject: Subject) -> Iterator[Evidence]:
    """Find locations without the stamp in front of an app with this library."""
    for passed, config in _behind(subject, "uwsgi"):
        ours = any("resilient_wsgi" in each.value for each in config.all("shared-import"))
        named = {each.value.upper() for each in passed.all("param")}
        if ours and not named & {"HTTP_X_REQUEST_START", "HTTP_X_QUEUE_START"}:
            yield at(passed.directive, "no X-Request-Start is passed to the app")


@rule(
    "N16",
    Severity.WARNING,
    "nginx may not open as many files as it has connections",
    why=(
        "A proxied request needs two descriptors, its client's and the app's. When they run out, "
        "nginx logs `socket() failed (24: Too many open files)` and answers 500, or stops "
        "accepting."
    ),
    bad={"nginx.conf": "worker_rlimit_nofile 1024;\nevents {\n  worker_connections 4096;\n}\n"},
    good={"nginx.conf": "worker_rlimit_nofile 16384;\nevents {\n  worker_connections 4096;\n}\n"},
    fix="Set worker_rlimit_nofile to more than twice worker_connections.",
    sources=("nginx, core module: worker_rlimit_nofile",),
)
def few_descriptors(subject: Subject) -> Iterator[Evidence]:
    """Compare worker_rlimit_nofile with worker_connections."""
    for config in subject.nginx:
        connections, files = (
            _last_number(config, "worker_connections"),
            config.root.own("worker_rlimit_nofile"),
        )
        limit = int(files[-1].value) if files and files[-1].value.isdigit() else None
        if connections and limit is not None and limit < 2 * connections:
            message = f"worker_rlimit_nofile = {limit}, worker_connections = {connections}"
            yield at(files[-1], message)


def _last_number(config: NginxConfig, name: str) -> Optional[int]:
    found: List[Directive] = list(config.named(name))
    return int(found[-1].value) if found and found[-1].value.isdigit() else None


@rule(
    "N20",
    Severity.HINT,
    "error_log off writes to a file named off",
    why=(
        "`error_log` has no `off`: nginx takes the word for the name of a file, and fills it. With "
        "no error log, 502 and 504 leave no trace."
    ),
    bad={"nginx.conf": nginx(_HANDS_ON + "error_log off")},
    good={"nginx.conf": nginx(_HANDS_ON + "error_log /var/log/nginx/error.log crit")},
    fix="Write `error_log /dev/null crit;`, or better, leave it on.",
    sources=("nginx, core module: error_log",),
)
def error_log_off(subject: Subject) -> Iterator[Evidence]:
    """Find error_log off."""
    for config in subject.nginx:
        found = [each for each in config.named("error_log") if each.value == "off"]
        for each in found[:1]:
            times = f", {len(found)} times in all" if len(found) > 1 else ""
            yield at(each, f"error_log off writes to the file `off`{times}")


@rule(
    "N21",
    Severity.HINT,
    "slow downloads hold workers",
    why=(
        "With buffering off nginx passes a response on as fast as its client takes it: a slow "
        "client holds a worker until it has all. It is meant for streams of events."
    ),
    bad={"nginx.conf": nginx(_HANDS_ON + "uwsgi_buffering off")},
    good={"nginx.conf": nginx(_HANDS_ON + "uwsgi_buffering on")},
    fix=(
        "Leave it on, and let the app turn it off for a stream with the header "
        "`X-Accel-Buffering: no`."
    ),
    sources=("nginx, ngx_http_uwsgi_module: uwsgi_buffering",),
)
def buffering_off(subject: Subject) -> Iterator[Evidence]:
    """Find buffering of responses turned off."""
    for passed in passes(subject):
        option = passed.option("buffering")
        if option is not None and option.value == "off" and _for_everything(option):
            yield at(option, f"{option.name} off: workers wait for the network of clients")
