"""Probes of Kubernetes: what they ask, whom they kill."""

from __future__ import annotations

from typing import Iterator, List, Optional

from .. import pairing
from ..model import Evidence, Severity, at, rule
from ..read.kubernetes import Container
from ..read.yaml_nodes import Node
from ..subject import Subject
from .stop_grace import PRE_STOP, deployment

_HTTP = "{kind}:\n  httpGet: {{path: {path}, port: 8000}}\n  timeoutSeconds: 5"


_LIVE = (
    "livenessProbe:\n  exec: {command: [resilient-wsgi, ready, --live, --pidfile, /run/x.pid]}\n"
    "  timeoutSeconds: 2"
)


def _http(kind: str, path: str) -> str:
    return _HTTP.format(kind=kind, path=path)


@rule(
    "S07",
    Severity.WARNING,
    "the liveness probe waits in the app's queue",
    why=(
        "An HTTP probe stands in the listen queue behind the app's requests. When all workers are "
        "busy it times out, and Kubernetes kills a pod that is merely loaded. Its requests go to "
        "the other pods, which are killed next."
    ),
    bad={"web.yaml": deployment(PRE_STOP + "\n" + _http("livenessProbe", "/live"))},
    good={"web.yaml": deployment(PRE_STOP + "\n" + _LIVE)},
    fix=(
        "Probe with `resilient-wsgi ready --live --pidfile F`, which asks no worker, or leave the "
        "liveness probe out."
    ),
    sources=("unbit/uwsgi#1952", "docs/start/container.md"),
)
def liveness_through_the_queue(subject: Subject) -> Iterator[Evidence]:
    """Find liveness probes by HTTP at the port that the app listens on."""
    for container in pairing.served(subject):
        get = container.probe("liveness").get("httpGet")
        if get and _is_the_app(subject, container, get):
            path, port = get.get("path").text or "/", get.get("port").text
            yield at(
                container.probe("liveness").location,
                f"livenessProbe asks {path} at port {port}, where the app's requests wait",
            )


def _is_the_app(subject: Subject, container: Container, get: Node) -> bool:
    port = _number(container, get.get("port").text)
    config = pairing.config_of(subject, container.runner())
    known = {each.address.rpartition(":")[2] for each in config.sockets()} if config else set()
    if port in known:
        return True
    return not known and len(container.node.get("ports").each()) <= 1


def _number(container: Container, port: str) -> str:
    for each in container.node.get("ports").each():
        if each.get("name").text == port:
            return each.get("containerPort").text
    return port


@rule(
    "S18",
    Severity.HINT,
    "liveness and readiness ask the same",
    why=(
        "Readiness takes a pod out of service for as long as it cannot serve; liveness kills it. "
        "With one check for both, an outage of the database or the cache that it asks kills all "
        "pods, again and again, and they start with cold caches when it is over."
    ),
    bad={
        "web.yaml": deployment(
            "\n".join(
                [PRE_STOP, _http("livenessProbe", "/health"), _http("readinessProbe", "/health")]
            )
        )
    },
    good={
        "web.yaml": deployment("\n".join([PRE_STOP, _LIVE, _http("readinessProbe", "/-/ready")]))
    },
    fix="Let liveness ask only whether the process runs, and readiness what it needs to serve.",
    sources=("project-koku/koku#625", "docs/start/container.md"),
)
def same_probe(subject: Subject) -> Iterator[Evidence]:
    """Find containers whose liveness and readiness probes are the same request."""
    for container in pairing.served(subject):
        live, ready = (container.probe(kind).get("httpGet") for kind in ("liveness", "readiness"))
        same = [live.get(key).text == ready.get(key).text for key in ("path", "port")]
        if live and all(same):
            path = live.get("path").text or "/"
            yield at(container.probe("liveness").location, f"both probes ask {path}")


@rule(
    "S19",
    Severity.HINT,
    "a probe may take one second",
    why=(
        "`timeoutSeconds` is 1 by default. Under load, or when the container's processor time is "
        "throttled, an answer takes longer, and so does the start of a command: the probe fails "
        "though the app is well."
    ),
    bad={
        "web.yaml": deployment(
            PRE_STOP + "\nreadinessProbe:\n  httpGet: {path: /-/ready, port: 8000}"
        )
    },
    good={"web.yaml": deployment(PRE_STOP + "\n" + _http("readinessProbe", "/-/ready"))},
    fix="Set timeoutSeconds to 2 to 5, below periodSeconds.",
    sources=("Kubernetes, Probe v1: timeoutSeconds", "project-koku/koku#625"),
)
def short_probe(subject: Subject) -> Iterator[Evidence]:
    """Find probes of a server that may take at most a second."""
    for container in pairing.served(subject):
        for kind in ("liveness", "readiness", "startup"):
            probe = container.probe(kind)
            seconds = _timeout(probe)
            if seconds is not None and seconds <= 1:
                how = "" if probe.get("timeoutSeconds") else " (default)"
                yield at(probe.location, f"{kind}Probe: timeoutSeconds = {seconds:g}{how}")


def _timeout(probe: Node) -> Optional[float]:
    asks: List[Node] = [probe.get("httpGet"), probe.get("exec")]
    if not any(asks):
        return None
    return probe.get("timeoutSeconds").number() if probe.get("timeoutSeconds") else 1
