"""Where nginx passes requests to, and in which protocol."""

from __future__ import annotations

import posixpath
import re
from typing import Iterator, List, Optional

from .. import pairing
from ..model import Evidence, Severity, at, rule
from ..read.nginx import Pass
from ..read.nginx_syntax import Directive
from ..subject import Subject
from ..uwsgi_config import Socket
from .nginx_timeouts import nginx, passes

_SPEAKS = {"uwsgi": ("uwsgi",), "proxy": ("http", "https")}
_ADDRESS = re.compile(r"[\d.:]+$|\[|unix:|localhost(:|$)|127\.")


def upstream(servers: str, location: str = "uwsgi_pass app; include uwsgi_params") -> str:
    """Return an nginx.conf whose upstream `app` has these directives, a line each."""
    lines = "".join(f"    {each.strip()};\n" for each in servers.split(";") if each.strip())
    return nginx(f"uwsgi_connect_timeout 3s; {location}").replace(
        "http {\n", f"http {{\n  upstream app {{\n{lines}  }}\n", 1
    )


@rule(
    "N04",
    Severity.ERROR,
    "nginx and uWSGI speak different protocols",
    why=(
        "`uwsgi_pass` speaks uWSGI's binary protocol, `proxy_pass` HTTP. A socket understands one "
        "of them: uWSGI reads `GET /` as the header of a packet of 21573 bytes, logs `invalid "
        "request block size: 21573`, and closes the connection; nginx answers 502 to every request."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nhttp-socket = 127.0.0.1:3031\n",
        "nginx.conf": nginx("uwsgi_pass 127.0.0.1:3031; include uwsgi_params"),
    },
    good={
        "uwsgi.ini": "[uwsgi]\nsocket = 127.0.0.1:3031\n",
        "nginx.conf": nginx(
            "uwsgi_connect_timeout 3s; uwsgi_pass 127.0.0.1:3031; include uwsgi_params"
        ),
    },
    fix="Use uwsgi_pass for `socket`, and proxy_pass for `http-socket`.",
    sources=(
        "uWSGI docs, Things to know",
        "uWSGI 2.0.31, proto/uwsgi.c: invalid request block size",
    ),
)
def protocol_mismatch(subject: Subject) -> Iterator[Evidence]:
    """Compare the protocol of each location with that of the sockets at its address."""
    sockets = [socket for config in subject.uwsgi for socket in config.sockets()]
    for passed in passes(subject):
        for address in passed.servers():
            yield from _mismatch(passed, sockets, address)


def _mismatch(passed: Pass, sockets: List[Socket], address: str) -> Iterator[Evidence]:
    same = [each for each in sockets if pairing.same_address(address, each)]
    like = [each for each in sockets if pairing.same_port(address, each)]
    wanted = _SPEAKS[passed.protocol]
    if not [*same, *like] or any(each.protocol in wanted for each in [*same, *like]):
        return
    socket = [*same, *like][0]
    yield at(
        passed.directive,
        f"{passed.directive.name} to {address}, where uWSGI's {socket.option.name} speaks "
        f"{socket.protocol}",
        severity=_certain(passed, socket, bool(same)),
    )


def _certain(passed: Pass, socket: Socket, same: bool) -> Optional[Severity]:
    """Return the severity if it is not that of the rule.

    Behind a host name may be another server. Behind proxy_pass and a port, too: the same port is
    often that of a development server.
    """
    if passed.protocol == "proxy" and socket.is_tcp:
        return Severity.HINT
    return None if same else Severity.WARNING


@rule(
    "N05",
    Severity.ERROR,
    "uwsgi_pass without the parameters of the request",
    why=(
        "nginx tells uWSGI about a request only what `uwsgi_param` names; the file `uwsgi_params` "
        "that comes with nginx has them all. Without them the app sees neither method nor path, "
        "and answers every request as if it were for its start page, or with an error. A single "
        "`uwsgi_param` in a location replaces all those of the server and http blocks around it."
    ),
    bad={
        "nginx.conf": nginx("uwsgi_pass 127.0.0.1:3031; uwsgi_param HTTP_X_A b"),
    },
    good={
        "nginx.conf": nginx(
            "uwsgi_connect_timeout 3s; include uwsgi_params; uwsgi_param HTTP_X_A b;"
            "uwsgi_pass 127.0.0.1:3031"
        )
    },
    fix="Add `include uwsgi_params;` beside uwsgi_pass.",
    sources=("nginx, ngx_http_uwsgi_module: uwsgi_param, inheritance",),
)
def without_params(subject: Subject) -> Iterator[Evidence]:
    """Find locations whose parameters do not have REQUEST_METHOD."""
    for passed in passes(subject, "uwsgi"):
        held = _params(passed)
        if held is not None and not any(each.value == "REQUEST_METHOD" for each in held):
            at_all = f"{len(held)} uwsgi_param, none of them REQUEST_METHOD" if held else "none"
            yield at(
                passed.directive,
                f"the uwsgi_param that hold here: {at_all}",
                severity=None if held or passed.config.whole else Severity.WARNING,
            )


def _params(passed: Pass) -> Optional[List[Directive]]:
    """Return the parameters that hold for a location, None if a file that is not known may add to
    them.
    """
    parent = passed.directive.parent
    assert parent is not None
    for block in (parent, *parent.ancestors()):
        if any(not each.found for each in block.own("include")):
            return None
        if block.own("uwsgi_param"):
            return block.own("uwsgi_param")
    return []


@rule(
    "N10",
    Severity.WARNING,
    "nginx passes to another socket than uWSGI's",
    why=(
        "nginx answers 502 to every request when nothing listens at the path it connects to "
        "(`connect() to unix:... failed (2: No such file or directory)`)."
    ),
    bad={
        "uwsgi.ini": "[uwsgi]\nsocket = /run/app/uwsgi.sock\nchmod-socket = 660\n",
        "nginx.conf": nginx("uwsgi_pass unix:/run/app/app.sock; include uwsgi_params"),
    },
    good={
        "uwsgi.ini": "[uwsgi]\nsocket = /run/app/uwsgi.sock\nchmod-socket = 660\n",
        "nginx.conf": nginx("uwsgi_pass unix:/run/app/uwsgi.sock; include uwsgi_params"),
    },
    fix="Name the same path in both.",
    sources=("uWSGI docs, Things to know",),
)
def other_socket(subject: Subject) -> Iterator[Evidence]:
    """Compare paths where there is one configuration, and one place that nginx passes to."""
    if len(subject.uwsgi) != 1 or len(pairing.targets(subject)) != 1:
        return
    sockets = subject.uwsgi[0].sockets()
    if not sockets or not subject.uwsgi[0].complete or not all(map(_is_path, sockets)):
        return
    names = {posixpath.basename(each.address) for each in sockets}
    for passed in passes(subject):
        servers = [each for each in passed.servers() if each.startswith("unix:/")]
        # the same name in another folder may be a folder that is mounted elsewhere
        others = [each for each in servers if posixpath.basename(each) not in names | {""}]
        if servers and others == passed.servers() and not any("$" in each for each in others):
            paths = ", ".join(each.address for each in sockets)
            yield at(
                passed.directive, f"nginx connects to {', '.join(others)}, uWSGI listens on {paths}"
            )


def _is_path(socket: Socket) -> bool:
    """Return whether a socket is a path that is written out: `%d/app.sock` depends on the folder
    in which the file will lie.
    """
    return socket.option.raw.startswith("/") and not set("%$") & set(socket.option.raw)


@rule(
    "N12",
    Severity.HINT,
    "max_fails has no effect with one server",
    why=(
        "nginx never takes the only server of an upstream out of use: `max_fails` and "
        "`fail_timeout` do nothing there."
    ),
    bad={"nginx.conf": upstream("server 127.0.0.1:3031 max_fails=3 fail_timeout=10s")},
    good={"nginx.conf": upstream("server 127.0.0.1:3031")},
    fix="Remove them, or add a server.",
    sources=("nginx, ngx_http_upstream_module: server",),
)
def one_server(subject: Subject) -> Iterator[Evidence]:
    """Find limits of failures on the only server of an upstream."""
    for config in subject.nginx:
        for each in config.upstreams.values():
            servers = each.own("server")
            if len(servers) != 1 or any(not include.found for include in each.own("include")):
                continue
            limits = [a for a in servers[0].args if a.startswith(("max_fails=", "fail_timeout="))]
            # 0 says the same as there being one server
            if limits and not {"max_fails=0", "fail_timeout=0"} & set(limits):
                message = f"{' '.join(limits)} on the only server of upstream {each.value}"
                yield at(servers[0], message)


@rule(
    "N18",
    Severity.HINT,
    "the name of an upstream is looked up once",
    why=(
        "nginx looks up a host name when it starts, or is reloaded, and keeps the addresses. When "
        "a container or a load balancer comes back with another address, nginx goes on connecting "
        "to the old one: 502 or 504 until somebody reloads it."
    ),
    bad={
        "nginx.conf": nginx(
            "uwsgi_connect_timeout 3s; uwsgi_pass app.internal:3031; include uwsgi_params"
        )
    },
    good={
        "nginx.conf": nginx(
            "resolver 127.0.0.11 valid=10s; set $app app.internal:3031; uwsgi_connect_timeout 3s;"
            "uwsgi_pass $app; include uwsgi_params"
        )
    },
    fix=(
        "Set a resolver, and pass to a variable; or give the server the parameter `resolve` in an "
        "upstream with a zone (nginx 1.27.3 and later)."
    ),
    sources=(
        "nginx, ngx_http_uwsgi_module: uwsgi_pass",
        "nginx, ngx_http_upstream_module: resolve",
    ),
)
def name_resolved_once(subject: Subject) -> Iterator[Evidence]:
    """Find locations that pass to a host by its name."""
    for passed in passes(subject, "uwsgi"):
        block = passed.upstream
        if block is None:
            # without a port it is an upstream, in a file that was not given
            named = ":" in passed.target and not _ADDRESS.match(passed.target)
            if named and "$" not in passed.target:
                yield at(passed.directive, f"{passed.target} is looked up once, at start")
            continue
        for server in block.own("server"):
            if not _ADDRESS.match(server.value) and "resolve" not in server.args:
                yield at(server, f"{server.value} is looked up once, at start")
