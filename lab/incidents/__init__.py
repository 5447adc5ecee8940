"""The five incidents and an overload, one module each with `run(protected) -> Result`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict

from . import (
    failed_load,
    hung_upstream,
    overload,
    reload_with_threads,
    small_backlog,
    stalled_stderr,
)

if TYPE_CHECKING:
    from lab.rendering.result import Result

INCIDENTS: Dict[str, Callable[[bool], Result]] = {
    "hung-upstream": hung_upstream.run,
    "overload": overload.run,
    "failed-load": failed_load.run,
    "reload-with-threads": reload_with_threads.run,
    "small-backlog": small_backlog.run,
    "stalled-stderr": stalled_stderr.run,
}

__all__ = ["INCIDENTS"]
