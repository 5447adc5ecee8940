"""Limit calls to an upstream that is known to be down, in a running instance, or lift that again.

Requests that call it fail at once, but for one call a second that probes it. Upstreams that hang
are limited without this; it is for those of which you know beforehand.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from typing import Tuple

from ..bulkhead.state import LIMITED_AT, ORDERED_AT, RESTRAINED, limited_in
from ..errors import Unavailable
from ..shm import finding, snapshot
from ..shm.directory import as_user
from ..shm.snapshot import NotAScoreboard, Snapshot
from . import target
from .output import answer

EXIT_CODES = {
    0: "it is limited, or with --lift it is not any more",
    1: "with --lift: no operator had limited it",
    2: "the instance could not be changed",
}
JSON = {"pid": "the master", "upstreams[]": "host:port of each", "limited": "true or false"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the verb `limit` takes."""
    parser.add_argument(
        "host", help="host:port as the app calls it; without a port, those of http and https"
    )
    target.add_target(parser)
    parser.add_argument("--lift", action="store_true", help="limit it no more")


def run(arguments: argparse.Namespace) -> int:
    """Write the order into the scoreboard, return 0."""
    pid = target.master(arguments)
    names = _names(arguments.host)
    try:
        with ExitStack() as stack:
            directory = finding.find(pid)
            stack.enter_context(as_user(directory.owner))  # before anything in it is opened
            with Snapshot(directory) as seen:
                ordered = [each.name for each in limited_in(seen) if each.by_operator]
            order = (
                {LIMITED_AT: 0.0, ORDERED_AT: 0.0}
                if arguments.lift
                else {ORDERED_AT: time.monotonic()}
            )
            for name in names:
                snapshot.write_upstream(directory, name, order, {RESTRAINED: 1.0})
    except (FileNotFoundError, Unavailable):
        what = f"process {pid}{target.name_of(pid)}"
        msg = f"{what} has no scoreboard: is resilient_wsgi installed in its app?"
        raise target.CannotLook(msg) from None
    except PermissionError:
        target.no_permission(pid)
    except NotAScoreboard as error:
        msg = f"instance {pid} {error}"
        raise target.CannotLook(msg) from None
    limited = not arguments.lift
    what = "limited" if limited else "not limited any more by an operator"
    fields = {"pid": pid, "upstreams": list(names), "limited": limited}
    answer(arguments, fields, [f"{name}: {what}" for name in names])
    return 1 if arguments.lift and not set(names) & set(ordered) else 0


def _names(host: str) -> Tuple[str, ...]:
    name, colon, port = host.lower().rpartition(":")
    if colon and port.isdigit():
        return (host.lower(),)
    if not host.strip() or "/" in host or (name and not host.endswith("]")):
        msg = f"{host!r} is not a host: give it as api.example or api.example:8443"
        raise ValueError(msg)
    return (f"{host.lower()}:80", f"{host.lower()}:443")
