"""Shed requests that have waited too long in the listen queue."""

from __future__ import annotations

import functools
from typing import Optional, Sequence

from ..component import Component, Layer
from ..settings import options as settings
from ..settings.options import OFF
from .middleware import QueueMiddleware


class Overload(Component[settings.Request]):
    """Requests that have waited too long are answered with 503 instead of being run."""

    name = "overload"

    def install(self, options: settings.Request) -> Sequence[str]:
        """Return what is done in the apps that are wrapped."""
        if not _is_wanted(options):
            return ["time in the queue: not looked at"]
        return [f"time in the queue: by {options.queue_header}, which the router must set"]

    def layer(self, options: settings.Request) -> Optional[Layer]:
        """Look at how long a request has waited, if anything depends on it."""
        if not _is_wanted(options):
            return None
        server = self.context.server
        make = functools.partial(QueueMiddleware, options=options, server=server)
        return Layer(gate=make)


def _is_wanted(options: settings.Request) -> bool:
    return options.shed != OFF or options.router_timeout is not None
