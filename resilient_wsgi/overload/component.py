"""Shed requests that have waited too long in the listen queue."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple

from ..component import Component, Context, Layer
from ..core.system import PerProcess
from ..errors import Unavailable
from ..settings import options as settings
from ..settings.options import OFF
from .middleware import QueueMiddleware, Shared
from .state import LIMIT, SHED, TOLERATED

if TYPE_CHECKING:
    from .queue import Queue

BLIND = (
    "plain HTTP over TCP does not show clients that hang up: nothing is shed. "
    "Fix: set OVERLOAD.TARGET, or put the router in front on a UNIX socket or the uwsgi protocol"
)


class Overload(Component[settings.Overload]):
    """Requests that have waited longer than clients do are answered 503 instead of being run."""

    name = "overload"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._options: Optional[settings.Overload] = None
        self._shared = Shared()
        self._in_apps = False
        self._no_queue: PerProcess[List[str]] = PerProcess(list)

    def install(self, options: settings.Overload) -> Sequence[str]:
        """Return what is done in the apps that are wrapped."""
        self._options = options
        if self._in_apps:  # taken away before, and put back
            self._start()
        return self._how(options)

    def uninstall(self) -> None:
        """Count no more in the apps that are wrapped."""
        self.context.server.hooks.forget(self._join)
        self._shared.queue = None

    def layer(self, options: settings.Overload) -> Optional[Layer]:
        """Measure how long a request has waited, and shed it if that was too long."""
        measures = options.measures(self.settings)
        if options.mode == OFF and not measures:
            return None
        self._in_apps = True
        self._start()
        return Layer(
            gate=functools.partial(
                QueueMiddleware,
                options=options,
                server=self.context.server,
                measures=measures,
                shared=self._shared,
                half_closed_is_gone=self._half_closed_is_gone(),
            )
        )

    def status(self) -> Sequence[str]:
        """Return what is done, and what was learned."""
        if self._options is None:
            return ()
        return [*self._how(self._options), *self._no_queue.get(), *self._learned()]

    def _how(self, options: settings.Overload) -> List[str]:
        by = options.queue_time_header
        lines = [
            f"time in the queue: {f'by {by}, which the router must set' if by else 'measured'}"
        ]
        if options.target is not None:
            lines.append(f"target: {options.target:g} s")
        if options.max_wait is not None:
            lines.append(f"longest wait: {options.max_wait:g} s")
        if self.blind():
            lines.append(BLIND)
        else:
            lines.append("how long clients wait: learned from those that hang up")
        return lines

    def blind(self) -> bool:
        """Return whether, in this worker, clients that hang up surely cannot be seen."""
        server = self.context.server
        if self._half_closed_is_gone() or not server.load_is_over():
            return False
        return server.connections.hides_hang_ups()

    def _half_closed_is_gone(self) -> bool:
        request = self.settings.request
        return request.mode != OFF and request.client_gone is True

    def _learned(self) -> List[str]:
        cells = self._shared.state.cells
        tolerated, limit, shed = cells[TOLERATED], cells[LIMIT], int(cells[SHED])
        lines = [f"tolerated wait: {f'{tolerated:.2f} s' if tolerated else 'not known'}"]
        if limit:
            lines.append(f"overloaded: requests that waited over {limit:.2f} s are shed")
        if shed:
            lines.append(f"{shed} requests shed in this overload")
        return lines if self._shared.queue is not None else []

    def _start(self) -> None:
        if self.context.server.name != "plain":
            self.context.server.hooks.serving.add(self._join)

    def _join(self) -> None:
        """Have a part in what the processes of the instance know of the queue."""
        why = self._no_queue.get()
        try:
            queue = self._queue()
        except (OSError, Unavailable) as error:
            queue = None
            why.append(f"the listen queue is not measured: {error}")
        if queue is not None:
            self._shared.join(queue)

    def _queue(self) -> Optional[Queue]:
        from ..host import sockets
        from ..shm.scoreboard import Scoreboard
        from .queue import Queue
        from .state import ROW_CELLS, State

        server = self.context.server
        listening: Tuple[int, ...] = server.connections.listening()
        if not listening or not server.identity().master_pid:
            return None
        board = Scoreboard.of_this_instance()
        row = board.mine()
        if row is None:
            msg = "no row of the scoreboard is free"
            raise Unavailable(msg)
        interpreter = server.interpreter_number()
        if interpreter >= ROW_CELLS:
            msg = f"this worker has more than {ROW_CELLS} interpreters"
            raise Unavailable(msg)
        state = State(board.queue, board.geometry.rows, row.index, interpreter)
        state.join(interpreter)
        return Queue(
            state,
            lambda: sockets.queue_depth(listening) or 0,
            sockets.waiting(listening),
            # the longest: others may be the app's own, for metrics say
            sockets.most_room(listening) or math.inf,
        )
