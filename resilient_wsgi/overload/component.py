"""Shed requests that have waited too long in the listen queue."""

from __future__ import annotations

import functools
from typing import Sequence

from ..component import Component, Layer
from ..settings import options as settings
from .middleware import QueueMiddleware


class Overload(Component[settings.Overload]):
    """Requests that have waited too long are answered with 503 instead of being run."""

    name = "overload"

    def install(self, options: settings.Overload) -> Sequence[str]:
        """Return what is done in the apps that are wrapped."""
        return [f"time in the queue: by {options.queue_header}, which the router must set"]

    def layer(self, options: settings.Overload) -> Layer:
        """Measure how long a request has waited, and shed it if that was too long."""
        return Layer(
            gate=functools.partial(
                QueueMiddleware,
                options=options,
                server=self.context.server,
                measures=options.measures(self.settings),
            )
        )
